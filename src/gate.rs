//! Decides whether a request may pass, now. It knows nothing of HTTP.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::clock::{Moment, Timestamp};
use crate::config::Access;
use crate::gate::around::Patience;
use crate::gate::bounds::Paced;
use crate::gate::by_address::ByAddress;
use crate::gate::entry::Entry;
use crate::gate::keyring::Keyring;
use crate::gate::lease::Standing;
use crate::gate::limits::{Hold, Taken, Wait};
use crate::gate::remaining::Over;
use crate::gate::running::{Grant, Running};
use crate::key::text::PresentedKey;
use crate::rate::limits::Mode;

pub mod around;
pub mod aside;
pub mod bill;
pub mod books;
pub mod bounds;
pub mod by_address;
pub mod crossing;
pub mod entries;
pub mod entry;
pub mod fill;
pub mod filling;
pub mod follow;
pub mod hashing;
pub mod hearsay;
pub mod history;
pub mod index;
pub mod intake;
pub mod keyring;
pub mod known;
pub mod last_uses;
pub mod lease;
pub mod leasing;
pub mod limits;
pub mod order;
pub mod purse;
pub mod recheck;
pub mod remaining;
pub mod rollback;
pub mod room;
pub mod running;
pub mod share;
pub mod supply;
pub mod swept;
pub mod taking;
pub mod throttle;
pub mod turns;
pub mod vault;
pub mod writeback;

#[cfg(test)]
mod tests;

/// One worker's gate: what the process knows, and what this worker is serving.
#[derive(Clone, Debug)]
pub struct Gate {
    keyring: Arc<Keyring>,
    running: Rc<Running>,
}

impl Gate {
    /// A gate over what the process knows.
    pub fn new(keyring: Arc<Keyring>) -> Self {
        Self { keyring, running: Rc::default() }
    }

    /// Lets a request in, or says why not. `now` was read after the request's head.
    pub async fn admit<V: AsRef<[u8]>>(
        &self,
        shown: Shown<V>,
        caller: &Caller<'_>,
        now: Moment,
    ) -> Result<Grant, Refusal> {
        let Some((entry, now)) = self.prove(shown, caller, now).await? else {
            return Ok(self.running.enter(None, caller, Taken::NOTHING));
        };
        match self.enter(&entry, caller, now) {
            Ok(grant) => Ok(grant),
            Err(Hold::Over(over)) => Err(Refusal::OverLimit(over)),
            Err(Hold::Refused(refusal)) => Err(refusal),
            // Boxed: what is rare must not make the future large.
            Err(Hold::Wait(wait)) => Box::pin(self.enter_later(entry, caller, wait)).await,
        }
    }

    /// Says whether a request would be let in, but for its limits: one that is not forwarded whatever
    /// they say pays nothing.
    pub async fn examine<V: AsRef<[u8]>>(
        &self,
        shown: Shown<V>,
        caller: &Caller<'_>,
        now: Moment,
    ) -> Result<Option<Arc<Entry>>, Refusal> {
        let Some((entry, now)) = self.prove(shown, caller, now).await? else { return Ok(None) };
        let time = self.keyring.lease().store_time(now);
        entry.known().judge(caller.route, caller.address, time)?;
        Ok(Some(entry))
    }

    /// Whose key was shown, and when that was known; nobody's where none is asked for.
    async fn prove<V: AsRef<[u8]>>(
        &self,
        shown: Shown<V>,
        caller: &Caller<'_>,
        now: Moment,
    ) -> Result<Option<(Arc<Entry>, Moment)>, Refusal> {
        if let Some(limit) = &caller.route.by_address {
            limit.check(caller.address).map_err(Refusal::AddressLimited)?;
        }
        if caller.route.access == Access::Public {
            return Ok(None);
        }
        let value = shown.one()?;
        let key =
            PresentedKey::parse(value.as_ref()).map_err(|_malformed| Refusal::MalformedKey)?;
        Ok(Some(self.keyring.prove(&key, caller.address, now).await?))
    }

    /// Judges, counts the request, has it pay its limits, and lists it. There is no `await` in here:
    /// a revocation that changes the entry after this look finds the request listed.
    fn enter(&self, entry: &Arc<Entry>, caller: &Caller<'_>, now: Moment) -> Result<Grant, Hold> {
        let time = self.keyring.lease().store_time(now);
        entry.known().judge(caller.route, caller.address, time).map_err(Hold::Refused)?;
        // Whether its limits let it in or not: another limit may say something else.
        entry.asked(time, caller.route.cost.get(), self.keyring.entries().history());
        self.pay(entry, caller, &Pass { now, time, patience: Patience::Fresh })
    }

    /// The same once more, for who was counted already.
    fn enter_again(
        &self,
        entry: &Arc<Entry>,
        caller: &Caller<'_>,
        now: Moment,
        patience: Patience,
    ) -> Result<Grant, Hold> {
        let time = self.keyring.lease().store_time(now);
        entry.known().judge(caller.route, caller.address, time).map_err(Hold::Refused)?;
        self.pay(entry, caller, &Pass { now, time, patience })
    }

    /// The same for who has to wait for a slice of a limit: not for long, and then the share decides.
    async fn enter_later(
        &self,
        entry: Arc<Entry>,
        caller: &Caller<'_>,
        mut wait: Wait,
    ) -> Result<Grant, Refusal> {
        let leasing = self.keyring.limits().leasing();
        let end = Instant::now() + leasing.patience();
        loop {
            let waited = timeout_at(end, wait.purse.answered(wait.answers)).await;
            let now = Moment::now();
            let (patience, goes_on) = match waited {
                Ok(()) => (Patience::Fresh, leasing.check_answer(&wait.purse)),
                Err(_elapsed) => (Patience::Over, leasing.give_up(&wait.purse, now)),
            };
            let patience = if goes_on.is_ok() { patience } else { Patience::Over };
            // What only counts refuses nobody.
            if goes_on.is_err() && wait.mode == Mode::Enforced {
                return Err(Refusal::Uncounted);
            }
            if self.keyring.lease().standing(now) == Standing::Lost {
                return Err(Refusal::StoreUnreachable);
            }
            match self.enter_again(&entry, caller, now, patience) {
                Ok(grant) => return Ok(grant),
                Err(Hold::Over(over)) => return Err(Refusal::OverLimit(over)),
                Err(Hold::Refused(refusal)) => return Err(refusal),
                Err(Hold::Wait(next)) => wait = next,
            }
        }
    }

    fn pay(&self, entry: &Arc<Entry>, caller: &Caller<'_>, pass: &Pass) -> Result<Grant, Hold> {
        let taken = self.keyring.limits().take(entry, caller.route, pass)?;
        Ok(self.running.enter(Some(Arc::clone(entry)), caller, taken))
    }

    /// What this worker is serving.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Ends what is past its deadline, expired, or can no longer be trusted.
    pub fn tick(&self, now: Moment) {
        self.running.tick(now, self.keyring.lease().store_time(now));
        if self.keyring.lease().is_long_lost(now) {
            self.running.cut_keyed();
        }
    }
}

/// What a request shows in the places where a key may stand.
pub enum Shown<V> {
    /// Nothing.
    Nothing,
    /// One value.
    One(V),
    /// More than one, so that nobody can tell which one counts.
    Several,
}

impl<V> fmt::Debug for Shown<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::One(_) => "One(<redacted>)",
            Self::Several => "Several",
        })
    }
}

impl<V> Shown<V> {
    fn one(self) -> Result<V, Refusal> {
        match self {
            Self::Nothing => Err(Refusal::MissingKey),
            Self::One(value) => Ok(value),
            Self::Several => Err(Refusal::AmbiguousKey),
        }
    }
}

/// Who asks, and for what: all that the gate may know of a request.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Where the request comes from, as far as it can be believed.
    pub address: IpAddr,
    /// The terms of the route that it asks for.
    pub route: &'a Rc<Terms>,
}

/// What the gate may know of a route.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What keys call it.
    pub name: Box<str>,
    /// Who may pass.
    pub access: Access,
    /// Of one request, in what a key may spend.
    pub cost: NonZeroU32,
    /// How fast each key may ask on this route, and what the limit is called.
    pub rate: Option<(Arc<str>, Paced)>,
    /// How fast each address may ask.
    pub by_address: Option<Arc<ByAddress>>,
}

impl Terms {
    /// Of a route without limits.
    pub fn new(name: &str, access: Access) -> Self {
        Self { name: name.into(), access, cost: NonZeroU32::MIN, rate: None, by_address: None }
    }
}

/// The moment at which a request asks for what it costs.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Our own clock, after the request's head.
    pub now: Moment,
    /// The store's.
    pub time: Timestamp,
    /// Whether it may wait for the store.
    pub patience: Patience,
}

/// Why the gate says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No key was shown.
    #[error("no key was shown")]
    MissingKey,
    /// What was shown is no key.
    #[error("what was shown is not a key: its length, characters or checksum are wrong")]
    MalformedKey,
    /// More than one key was shown.
    #[error("more than one key was shown")]
    AmbiguousKey,
    /// No such id, or another secret: the two are not told apart.
    #[error("the key is not known")]
    UnknownKey,
    /// Withdrawn for good.
    #[error("the key was revoked")]
    RevokedKey,
    /// Its time is over.
    #[error("the key has expired")]
    ExpiredKey,
    /// Switched off for now.
    #[error("the key is disabled")]
    DisabledKey,
    /// Good, and not for this route.
    #[error("the key does not open this route")]
    RouteNotAllowed,
    /// Good, and not from here.
    #[error("the key may not be used from this address")]
    AddressNotAllowed,
    /// Good, and over one of its limits.
    #[error("the key is over its limit: {}", .0.which.name())]
    OverLimit(Over),
    /// Too many requests come from this address.
    #[error("too many requests come from this address")]
    AddressLimited(Duration),
    /// It cannot be said whether the key is good.
    #[error("keys cannot be checked at the moment")]
    StoreUnreachable,
    /// It is good, and it cannot be said whether its quota has enough left.
    #[error("the key's quota cannot be counted at the moment")]
    Uncounted,
    /// It would cost more than there is.
    #[error("too much to do at the moment")]
    Overloaded,
}
