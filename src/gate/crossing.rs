//! Goes over from one life of the store to the next: FAILOVER in the protocol.
//!
//! A primary that takes another's place may have lost its last changes. Every gateway brings those
//! that it has applied; only then may anybody give out leases again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::gate::keyring::Keyring;
use crate::gate::lease::{Lease, Standing};
use crate::store::endurance::Endurance;
use crate::store::sight::Watched;
use crate::store::{CHANGES_KEPT, Change, Position, Row};

/// The last changes that this gateway has applied, in order.
#[derive(Debug, Default)]
pub struct Ring {
    /// The place before the first of them.
    base: Option<(u64, u64)>,
    changes: VecDeque<Change>,
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

    /// What was applied after the change `number`: of each record its last state.
    pub fn behind(&self, number: u64) -> Vec<Row> {
        let mut lost = HashMap::new();
        for change in self.changes.iter().filter(|it| it.number > number) {
            lost.insert(change.row.id, &change.row);
        }
        lost.into_values().cloned().collect()
    }

    /// Forgets what was applied after the change `number`: in another past it was another one.
    pub fn cut_behind(&mut self, number: u64) {
        self.changes.retain(|it| it.number <= number);
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
}

impl Crossing {
    /// Found by a gateway that stands so, and has followed the life before with `fellows`.
    pub fn new(epoch: &str, fellows: Option<Arc<[Watched]>>, lease: &Lease) -> Self {
        let found = Moment::now();
        let standing = lease.standing(found);
        Self { epoch: Arc::from(epoch), found, before: fellows.map(|it| (it, standing)) }
    }

    /// Found by one that has just begun.
    pub fn fresh(epoch: &str) -> Self {
        Self { epoch: Arc::from(epoch), found: Moment::now(), before: None }
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
        if now.since(self.found) > 2 * self.longest(keyring.lease().length()) {
            return true;
        }
        match keyring.store().endurance() {
            Endurance::File | Endurance::Always | Endurance::AllReplicas => true,
            Endurance::EverySecond | Endurance::Memory => self.all_are_across(keyring),
            Endurance::SomeReplicas => self.had_its_lease(),
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
