//! Goes over from one life of the store to the next: FAILOVER in the protocol.
//!
//! A primary that takes another's place may have lost its last changes. Every gateway brings those
//! that it has applied; only then may anybody give out leases again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::gate::keyring::Keyring;
use crate::store::sight::{Seen, Watched};
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
    /// Who followed the store in its last life, where this gateway had a lease in it.
    fellows: Option<Arc<[Watched]>>,
}

impl Crossing {
    /// Found by a gateway that has followed the life before, with `fellows`.
    pub fn new(epoch: &str, fellows: Option<Arc<[Watched]>>) -> Self {
        Self { epoch: Arc::from(epoch), found: Moment::now(), fellows }
    }

    /// Found by one that has just begun.
    pub fn fresh(epoch: &str) -> Self {
        Self { epoch: Arc::from(epoch), found: Moment::now(), fellows: None }
    }

    /// Whether it is the way into this life.
    pub fn leads_to(&self, epoch: &str) -> bool {
        *self.epoch == *epoch
    }

    /// Whether leases may be given: everybody who may know of something is across, or whoever is
    /// not has had two leases' time.
    pub fn may_open(&self, keyring: &Keyring, now: Moment) -> bool {
        let lease = keyring.lease().length();
        let longest = self.fellows.iter().flat_map(|it| it.iter());
        let longest = longest.map(|it| Duration::from_millis(it.entry.card.lease_ms)).max();
        if now.since(self.found) > 2 * longest.unwrap_or_default().max(lease) {
            return true;
        }
        let seen = keyring.store().sight().watch().borrow().clone();
        let Some(fellows) = &self.fellows else { return false };
        *seen.epoch == *self.epoch
            && !seen.entries.is_empty()
            && seen.entries.iter().all(|it| it.entry.confirmed.epoch == *self.epoch)
            && fellows.iter().all(|it| is_across(it, &seen, &self.epoch))
    }
}

fn is_across(fellow: &Watched, seen: &Seen, epoch: &str) -> bool {
    seen.entry(&fellow.entry.card.id).is_some_and(|it| it.entry.confirmed.epoch == *epoch)
}
