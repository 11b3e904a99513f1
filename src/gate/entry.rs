//! Holds what is known of one key, where every change of it is seen at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, Ordering};

use arc_swap::{ArcSwap, Guard};
use once_cell::race::OnceBox;

use crate::clock::{Moment, Timestamp};
use crate::gate::aside::Aside;
use crate::gate::history::{History, Tally};
use crate::gate::known::{Known, Stored};
use crate::gate::purse::Purse;
use crate::gate::room::Stay;
use crate::gate::turns::Turns;
use crate::key::seal::Tag;
use crate::key::text::KeyId;

/// What is known of one key. Whoever holds it sees every change at once.
#[derive(Debug)]
pub struct Entry {
    id: KeyId,
    known: ArcSwap<Known>,
    last_used: AtomicI64,
    /// When it had been used last, as of when it was last asked to leave.
    spared: AtomicI64,
    /// How many requests there were in the second of its last use, by what they cost.
    asked: AtomicU16,
    /// Whether it stays in memory always.
    stays: AtomicBool,
    aside: OnceBox<Aside>,
}

impl Entry {
    /// The first that is known of it.
    pub fn new(id: KeyId, known: Known) -> Self {
        let stays = known.stay() == Some(Stay::Always);
        Self {
            id,
            known: ArcSwap::from_pointee(known),
            last_used: AtomicI64::new(0),
            spared: AtomicI64::new(0),
            asked: AtomicU16::new(0),
            stays: AtomicBool::new(stays),
            aside: OnceBox::new(),
        }
    }

    /// The public half of the key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What is known now.
    pub fn known(&self) -> Guard<Arc<Known>> {
        self.known.load()
    }

    /// Who may run argon2 for this key.
    pub fn turns(&self) -> &Turns {
        self.aside().turns()
    }

    /// What only some keys need.
    pub fn aside(&self) -> &Aside {
        self.aside.get_or_init(Box::default)
    }

    /// A purse that nobody uses any more.
    pub fn forget(&self, purse: &Arc<Purse>) {
        if let Some(aside) = self.aside.get() {
            aside.forget(purse);
        }
    }

    /// Merges what the store says; what is older than what is known changes nothing. A tag that was
    /// made here stays with what it was made for: the store may have been read before it got there.
    pub fn merge(&self, stored: Stored) -> Merge {
        let is_untagged = matches!(stored, Stored::Untagged(_));
        let stored = Arc::new(stored.over(&self.known()));
        let before = self.known.rcu(|known| {
            if !known.yields_to(&stored) {
                return Arc::clone(known);
            }
            let tagged = if is_untagged { stored.tagged_as(known) } else { None };
            tagged.map_or_else(|| Arc::clone(&stored), Arc::new)
        });
        if let Some(stay) = self.known().stay() {
            self.stays.store(stay == Stay::Always, Ordering::Relaxed);
        }
        // Two that tie may say different things.
        if let Some(aside) = self.aside.get() {
            aside.forget_bounds();
        }
        if !before.yields_to(&stored) {
            Merge::Kept
        } else if before.opens_the_same_as(&stored) {
            Merge::Same
        } else {
            Merge::Changed
        }
    }

    /// Keeps a tag that was made for `revision`.
    pub fn learn(&self, revision: u64, tag: &Tag) {
        self.known
            .rcu(|known| known.with_tag(revision, tag).map_or_else(|| Arc::clone(known), Arc::new));
    }

    /// Counts a request that cost so much. What was counted in a second goes to the history with the
    /// first request of another one; requests at the turn itself may be counted on either side.
    pub fn asked(&self, now: Timestamp, cost: u32, history: &History) {
        let last = self.last_used.load(Ordering::Relaxed);
        // From the beginning of that second. Workers' clocks differ a little.
        let since = now.as_micros() - last + last % SECOND;
        if !(-SECOND..SECOND).contains(&since) {
            return self.turn(last, (now, cost), history);
        }
        let more = |it: u16| it.checked_add(u16::try_from(cost).ok()?);
        if self.asked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            let count = u32::from(self.asked.swap(0, Ordering::Relaxed)).saturating_add(cost);
            history.note(self.id, Tally { time: Timestamp::from_micros(last), count });
        }
    }

    /// The first request of a second.
    #[cold]
    fn turn(&self, last: i64, (now, cost): (Timestamp, u32), history: &History) {
        let order = Ordering::Relaxed;
        if self.last_used.compare_exchange(last, now.as_micros(), order, order).is_ok() {
            let count = self.asked.swap(0, order).into();
            history.note(self.id, Tally { time: Timestamp::from_micros(last), count });
        }
        self.asked(now, cost, history);
    }

    /// Hands over what was counted and did not go to the history yet.
    pub fn hand_over(&self, history: &History) {
        if self.asked.load(Ordering::Relaxed) == 0 {
            return;
        }
        let time = Timestamp::from_micros(self.last_used.load(Ordering::Relaxed));
        let count = self.asked.swap(0, Ordering::Relaxed).into();
        history.note(self.id, Tally { time, count });
    }

    /// Notes a use, at most once a second: the line is shared by all workers.
    pub fn used(&self, now: Timestamp) {
        if now.as_micros() - self.last_used.load(Ordering::Relaxed) >= SECOND {
            self.last_used.store(now.as_micros(), Ordering::Relaxed);
        }
    }

    /// When it was last used here.
    pub fn last_used(&self) -> Option<Timestamp> {
        let micros = self.last_used.load(Ordering::Relaxed);
        (micros != 0).then(|| Timestamp::from_micros(micros))
    }

    /// How long it may stay in memory. It changes with a merge only.
    pub fn stay(&self) -> Stay {
        if self.stays.load(Ordering::Relaxed) { Stay::Always } else { Stay::WhileRoom }
    }

    /// Nobody uses it, nor has since it was last asked, and it need not stay.
    pub fn may_leave(self: &Arc<Self>) -> bool {
        let used = self.last_used.load(Ordering::Relaxed);
        self.can_leave() && self.spared.swap(used, Ordering::Relaxed) == used
    }

    /// Nobody uses it now, nothing that was spent would be forgotten with it, and it need not stay.
    pub fn can_leave(self: &Arc<Self>) -> bool {
        let rests = |it: &Aside| it.is_at_rest(Moment::now());
        Arc::strong_count(self) == 1
            && self.stay() == Stay::WhileRoom
            && self.aside.get().is_none_or(rests)
    }
}

/// What became of a record that the store told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// It is what is known now, and opens something else.
    Changed,
    /// It is what is known now, and opens the same.
    Same,
    /// What was known is newer.
    Kept,
}

const SECOND: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Beside the two words of their counts. A word more moves each of a million into the next size
    /// that the allocator has.
    #[test]
    fn an_entry_and_what_it_knows_fill_their_places() {
        assert_eq!(size_of::<Entry>(), 64 - 16);
        assert_eq!(size_of::<Known>(), 96 - 16);
    }
}
