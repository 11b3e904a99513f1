//! Goes over from one life of the store to the next: FAILOVER in the protocol.
//!
//! A primary that takes another's place may have lost its last changes. Every gateway brings those
//! that it has applied; only then may anybody give out leases again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::gate::keyring::Keyring;
use crate::gate::lease::Standing;
use crate::key::text::KeyId;
use crate::store::endurance::Endurance;
use crate::store::sight::Watched;
use crate::store::{CHANGES_KEPT, Change, Position, Row};

/// The last changes that this gateway has applied, in order.
#[derive(Debug, Default)]
pub struct Ring {
    /// The place before the first of them.
    base: Option<(u64, u64)>,
    changes: VecDeque<Change>,
    /// What was offered to a life of the store, and has not come back from it yet.
    owed: HashMap<KeyId, Row>,
}

impl Ring {
    /// Begins anew at a place.
    pub fn begin(&mut self, at: &Position) {
        self.base = Some((at.number, at.nonce));
        self.changes.clear();
    }

    /// Takes what was applied.
    pub fn extend(&mut self, applied: impl IntoIterator<Item = Change>) {
        self.changes.extend(applied);
        while self.changes.len() as u64 > CHANGES_KEPT {
            let oldest = self.changes.pop_front();
            self.base = oldest.map(|it| (it.number, it.nonce)).or(self.base);
        }
    }

    /// Every place that it knows, the newest first.
    pub fn places(&self) -> Vec<(u64, u64)> {
        let newer = self.changes.iter().rev().map(|it| (it.number, it.nonce));
        newer.chain(self.base).collect()
    }

    /// What was applied after the change `number` may be lost: it is owed to the store. In another
    /// past the same numbers were other changes, so they are forgotten.
    pub fn owe_behind(&mut self, number: u64) {
        let kept = self.changes.iter().take_while(|it| it.number <= number).count();
        let behind = self.changes.split_off(kept);
        self.owe(behind);
    }

    /// The store may lack these, which were applied here.
    pub fn owe(&mut self, changes: impl IntoIterator<Item = Change>) {
        for Change { row, .. } in changes {
            let owed = self.owed.get(&row.id).map(Row::seniority);
            if owed.is_none_or(|it| it <= row.seniority()) {
                self.owed.insert(row.id, row);
            }
        }
    }

    /// What is owed to the store.
    pub fn owed(&self) -> Vec<Row> {
        self.owed.values().cloned().collect()
    }

    /// The store has it all.
    pub fn forgive(&mut self) {
        self.owed.clear();
    }
}

/// The time between two lives of the store.
#[derive(Debug)]
pub struct Crossing {
    epoch: Arc<str>,
    found: Moment,
    /// Who followed the store in its last life, where this gateway did; and whether it still had its
    /// lease when it found the next one.
    before: Option<(Arc<[Watched]>, Standing)>,
    /// Whether it knew every key then: only so can it have brought all that it has confirmed.
    knows_all: bool,
}

impl Crossing {
    /// Found by a gateway that stands so, and has followed the life before with `fellows`.
    pub fn new(epoch: &str, fellows: Option<Arc<[Watched]>>, keyring: &Keyring) -> Self {
        let found = Moment::now();
        let standing = keyring.lease().standing(found);
        let (epoch, knows_all) = (Arc::from(epoch), keyring.entries().is_complete());
        Self { epoch, found, before: fellows.map(|it| (it, standing)), knows_all }
    }

    /// Found by one that has just begun.
    pub fn fresh(epoch: &str) -> Self {
        Self { epoch: Arc::from(epoch), found: Moment::now(), before: None, knows_all: false }
    }

    /// Whether it is the way into this life.
    pub fn leads_to(&self, epoch: &str) -> bool {
        *self.epoch == *epoch
    }

    /// Whether leases may be given, after this gateway has brought what it knows.
    ///
    /// Where nothing that counts can be lost with a primary, at once. Where something can, by a gateway
    /// that still had its lease when it found the new life: it has confirmed all that is complete, and
    /// so has brought it. Where Redis itself may forget, against its promise, once everybody whom this
    /// gateway knew is across. Else whoever is not has two leases' time.
    pub fn may_open(&self, keyring: &Keyring, now: Moment) -> bool {
        let seen = keyring.store().sight().watch().borrow().longest;
        if now.since(self.found) > 2 * self.longest(keyring.lease().length()).max(seen) {
            return true;
        }
        match keyring.store().endurance() {
            Endurance::File | Endurance::Always | Endurance::AllReplicas => true,
            Endurance::EverySecond | Endurance::Whenever | Endurance::Memory => {
                self.all_are_across(keyring)
            }
            Endurance::SomeReplicas => self.had_its_lease() && self.knows_all,
            Endurance::Unknown => false,
        }
    }

    fn had_its_lease(&self) -> bool {
        matches!(self.before, Some((_, Standing::Held)))
    }

    fn all_are_across(&self, keyring: &Keyring) -> bool {
        let Some((fellows, _)) = &self.before else { return false };
        let seen = keyring.store().sight().watch().borrow().clone();
        let is_across = |it: &Watched| it.entry.confirmed.epoch == *self.epoch;
        *seen.epoch == *self.epoch
            && !seen.entries.is_empty()
            && seen.entries.iter().all(is_across)
            && fellows.iter().all(|it| seen.entry(&it.entry.card.id).is_some_and(is_across))
    }

    /// The longest lease that anybody is known to have.
    fn longest(&self, own: Duration) -> Duration {
        let fellows = self.before.iter().flat_map(|(fellows, _)| fellows.iter());
        let leases = fellows.map(|it| Duration::from_millis(it.entry.card.lease_ms));
        leases.max().unwrap_or_default().max(own)
    }
}
