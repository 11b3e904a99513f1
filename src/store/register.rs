//! Decides when a change has reached everyone in the register: the loop WRITE of the protocol.
//!
//! A gateway is waited for until it has confirmed the change, or has left, or until its lease has
//! certainly run out: 1.1 leases after the write, or earlier if its beat has been seen standing
//! still for so long. The figures are the register's, never the waiting process's own.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{sleep, timeout};

use crate::clock::Moment;
use crate::config::WhenUnreachable;
use crate::store::gateway::{GatewayCard, GatewayId, Registered};
use crate::store::sight::Seen;
use crate::store::{Held, Position, Store, Ticket};

/// How far a change got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Propagation {
    /// Whether nobody is unconfirmed: then the change is a barrier.
    pub complete: bool,
    /// How long was waited, in milliseconds, rounded up.
    pub elapsed_ms: u64,
    /// Who has confirmed, or admits nobody any more.
    pub gateways: Vec<Receipt>,
    /// Who has neither confirmed nor certainly stopped.
    pub unconfirmed: Vec<GatewayId>,
    /// Whether too few replicas of the store hold the change, so that a failover may lose it; said
    /// only where it is so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub too_few_replicas: bool,
}

/// What is known of one gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// Which.
    pub id: GatewayId,
    /// For people.
    pub name: String,
    /// How it came to be done with.
    pub state: ReceiptState,
    /// When that was seen, in milliseconds from the write, rounded up.
    pub applied_ms: u64,
    /// How many requests it ended for this change.
    pub closed_streams: u64,
}

/// How a gateway came to be done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptState {
    /// It has applied the change.
    Confirmed,
    /// Its lease has certainly run out, and without a lease it admits nobody.
    Fenced,
}

/// Waits until everyone in the ticket's register has confirmed its change or is done with.
///
/// Call it as soon as the ticket is there: the time from which leases are counted is now. Takes no
/// longer than 1.1 × the longest lease in the register, also while the store is away; where the store
/// changes its primary meanwhile, it begins anew, and gives up after four times that.
pub async fn receipts(store: &Store, ticket: &Ticket) -> Propagation {
    let _attention = store.sight().attend();
    let begun = Moment::now();
    let mut ticket = ticket.clone();
    loop {
        match in_one_epoch(store, &ticket, begun).await {
            Ok(propagation) => return propagation,
            Err(epoch) => ticket = renewed(store, ticket, &epoch).await,
        }
    }
}

/// Waits for as long as the store is in the ticket's epoch; where it is not any more, in which it is.
async fn in_one_epoch(
    store: &Store,
    ticket: &Ticket,
    begun: Moment,
) -> Result<Propagation, Arc<str>> {
    let mut round = Round::start(ticket, begun, Moment::now());
    let mut sight = store.sight().watch();
    loop {
        let seen = sight.borrow_and_update().clone();
        let now = Moment::now();
        if !seen.epoch.is_empty() && *seen.epoch != *ticket.position.epoch {
            if !round.is_over(now) {
                return Err(seen.epoch);
            }
            // Nobody knows whether it is there.
            round.held = Held::TooFew;
        }
        let rest = match round.judge(&seen, now) {
            Some(rest) => rest,
            None if !store.may_forget() => return Ok(round.end(now)),
            None if round.is_over(now) => {
                // Nobody could look once more.
                round.held = Held::TooFew;
                return Ok(round.end(now));
            }
            None => match round.until_the_epoch_is_known(&seen, now) {
                Some(rest) => rest,
                None if round.is_settled_by(&seen, now) => return Ok(round.end(now)),
                None => {
                    round.over.get_or_insert(now);
                    JUST_PAST
                }
            },
        };
        // What was seen, or that it is time to look at the clock again: the same thing follows.
        let _moved_or_elapsed = timeout(rest.min(TICK), sight.changed()).await;
    }
}

/// The ticket for another epoch; where the store does not say, the same one, and it is tried again.
async fn renewed(store: &Store, ticket: Ticket, epoch: &str) -> Ticket {
    match store.reassert(&ticket, epoch).await {
        Ok(renewed) => renewed,
        Err(fault) => {
            tracing::debug!(%fault, "a change could not be written again in another epoch");
            sleep(TICK).await;
            ticket
        }
    }
}

#[derive(Debug)]
struct Round<'a> {
    position: &'a Position,
    is_own: bool,
    held: Held,
    moves: u64,
    /// When the change was made.
    begun: Moment,
    /// When it was made in this epoch.
    start: Moment,
    /// The longest lease in the register, and a tenth more.
    longest: Duration,
    waiting: Vec<&'a Registered>,
    /// When somebody's time was last found to be over by this process's own clock.
    elapsed: Moment,
    /// When all waiting was first found to be over.
    over: Option<Moment>,
    receipts: Vec<Receipt>,
    unconfirmed: Vec<GatewayId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Confirmed,
    /// It was seen standing still for so long.
    LeaseOver,
    /// So much time has passed since the write.
    Elapsed,
    Gone,
    Waiting(Duration),
}

impl<'a> Round<'a> {
    fn start(ticket: &'a Ticket, begun: Moment, start: Moment) -> Self {
        let leases = ticket.register.entries.iter().map(|it| it.card.lease_over_after());
        Self {
            position: &ticket.position,
            is_own: ticket.is_own,
            held: ticket.held,
            moves: ticket.register.moves,
            begun,
            start,
            longest: leases.max().unwrap_or_default(),
            waiting: ticket.register.entries.iter().collect(),
            elapsed: Moment::default(),
            over: None,
            receipts: Vec::new(),
            unconfirmed: Vec::new(),
        }
    }

    /// Whether nobody waits any longer, whatever is seen: epochs may come and go.
    fn is_over(&self, now: Moment) -> bool {
        now.since(self.begun) > self.longest.max(LEASE_ANY) * EPOCHS_MAX
    }

    /// Sorts out whoever is done with; if anybody is left, how soon somebody's time is over.
    fn judge(&mut self, seen: &Seen, now: Moment) -> Option<Duration> {
        let mut soonest: Option<Duration> = None;
        for entry in std::mem::take(&mut self.waiting) {
            match self.verdict(entry, seen, now) {
                Verdict::Confirmed => self.confirm(entry, seen, now),
                Verdict::LeaseOver => self.give_up(&entry.card, now),
                Verdict::Elapsed => {
                    self.elapsed = now;
                    self.give_up(&entry.card, now);
                }
                Verdict::Gone => {}
                Verdict::Waiting(rest) => {
                    self.waiting.push(entry);
                    soonest = Some(soonest.map_or(rest, |it| it.min(rest)));
                }
            }
        }
        soonest
    }

    /// A register that lost entries with the primary before names too few; after 1.1 leases whoever
    /// is missing in it has no lease either.
    fn until_the_epoch_is_known(&self, seen: &Seen, now: Moment) -> Option<Duration> {
        if seen.epoch.is_empty() {
            return (!self.is_over(now)).then_some(TICK);
        }
        if *seen.epoch != *self.position.epoch {
            return None;
        }
        // Whose entry was lost with a primary may have had the longest lease.
        let longest = self.longest.max(seen.longest);
        let known = seen.looked.since(seen.epoch_since);
        (known <= longest).then(|| longest.saturating_sub(known) + JUST_PAST)
    }

    /// Whether the register was seen in this epoch after all waiting by the clock, and just now: the
    /// change may have been lost since, with a primary. Whoever was only ever seen to have confirmed
    /// needs no further look, unless looks take long.
    fn is_settled_by(&self, seen: &Seen, now: Moment) -> bool {
        let is_young = now.since(seen.looked) < LOOK_COUNTS_FOR;
        seen.looked > self.elapsed && (is_young || self.over.is_some_and(|it| seen.looked > it))
    }

    fn verdict(&self, entry: &Registered, seen: &Seen, now: Moment) -> Verdict {
        let limit = entry.card.lease_over_after();
        let watched = seen.entry(&entry.card.id);
        let latest = watched.map_or(entry, |it| &it.entry);
        // A standing beat counts only if the ticket names the same one: between a look and the
        // write the gateway may have synced once more, and then its lease is younger.
        let still = watched
            .filter(|it| it.entry.beat == entry.beat)
            .is_some_and(|it| it.still_for(seen.looked) > limit);
        if self.has_confirmed(entry) || self.has_confirmed(latest) {
            Verdict::Confirmed
        } else if watched.is_none() && seen.moves >= self.moves {
            Verdict::Gone
        } else if still {
            Verdict::LeaseOver
        } else if now.since(self.start) > limit {
            Verdict::Elapsed
        } else {
            Verdict::Waiting((limit + JUST_PAST).saturating_sub(now.since(self.start)))
        }
    }

    fn has_confirmed(&self, entry: &Registered) -> bool {
        let confirmed = &entry.confirmed;
        confirmed.epoch == self.position.epoch && confirmed.number >= self.position.number
    }

    fn confirm(&mut self, entry: &Registered, seen: &Seen, now: Moment) {
        let card = seen.entry(&entry.card.id).map_or(&entry.card, |it| &it.entry.card);
        let mut closed = card.closed.iter().filter(|_| self.is_own);
        let closed = closed.find(|(number, _)| *number == self.position.number);
        let closed_streams = closed.map_or(0, |(_, streams)| *streams);
        self.receipts.push(Receipt {
            closed_streams,
            ..receipt(card, ReceiptState::Confirmed, now.since(self.start))
        });
    }

    fn give_up(&mut self, card: &GatewayCard, now: Moment) {
        match card.policy {
            WhenUnreachable::ServeKnown => self.unconfirmed.push(card.id.clone()),
            WhenUnreachable::Refuse => {
                let waited = now.since(self.start);
                self.receipts.push(receipt(card, ReceiptState::Fenced, waited));
            }
        }
    }

    fn end(mut self, now: Moment) -> Propagation {
        self.receipts.sort_by(|a, b| a.id.cmp(&b.id));
        Propagation {
            complete: self.unconfirmed.is_empty() && self.held == Held::Enough,
            elapsed_ms: millis_up(now.since(self.begun)),
            gateways: self.receipts,
            unconfirmed: self.unconfirmed,
            too_few_replicas: self.held == Held::TooFew,
        }
    }
}

fn receipt(card: &GatewayCard, state: ReceiptState, after: Duration) -> Receipt {
    Receipt {
        id: card.id.clone(),
        name: card.name.clone(),
        state,
        applied_ms: millis_up(after),
        closed_streams: 0,
    }
}

fn millis_up(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

/// As long as a lease is where nobody says.
const LEASE_ANY: Duration = Duration::from_secs(2);

/// A change that is made again in another epoch waits anew, and not for ever.
const EPOCHS_MAX: u32 = 4;

/// Far less than any lease.
const LOOK_COUNTS_FOR: Duration = Duration::from_millis(50);

/// How long a standing beat may go unnoticed.
const TICK: Duration = Duration::from_millis(25);

/// Tokio's timers have whole milliseconds.
const JUST_PAST: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
