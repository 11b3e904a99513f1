//! Decides whether a request may pass, now. It knows nothing of HTTP.

use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::clock::Moment;
use crate::config::Access;
use crate::gate::keyring::Keyring;
use crate::gate::running::{Grant, Running};
use crate::key::text::PresentedKey;

pub mod crossing;
pub mod entries;
pub mod entry;
pub mod fill;
pub mod filling;
pub mod follow;
pub mod hashing;
pub mod hearsay;
pub mod index;
pub mod intake;
pub mod keyring;
pub mod known;
pub mod last_uses;
pub mod lease;
pub mod order;
pub mod recheck;
pub mod rollback;
pub mod room;
pub mod running;
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
        if caller.route.access == Access::Public {
            return Ok(self.running.enter(None, caller));
        }
        let value = shown.one()?;
        let key =
            PresentedKey::parse(value.as_ref()).map_err(|_malformed| Refusal::MalformedKey)?;
        let (entry, now) = self.keyring.prove(&key, caller.address, now).await?;
        // From here there is no `await`: a revocation that changes the entry after this look
        // finds the request listed.
        let time = self.keyring.lease().store_time(now);
        entry.known().judge(caller.route, caller.address, time)?;
        entry.used(time);
        Ok(self.running.enter(Some(entry), caller))
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What keys call it.
    pub name: Box<str>,
    /// Who may pass.
    pub access: Access,
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
    /// It cannot be said whether the key is good.
    #[error("keys cannot be checked at the moment")]
    StoreUnreachable,
    /// It would cost more than there is.
    #[error("too much to do at the moment")]
    Overloaded,
}
