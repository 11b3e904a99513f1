//! Holds the register as this process sees it move.
//!
//! One reader looks, everybody who waits for receipts shares what it saw. Whether a gateway has
//! fallen silent is judged by how long its beat was *seen* standing still, on this process's own
//! monotonic clock: wall clocks are stepped, and a process that slept has seen nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Moment;
use crate::store::gateway::{GatewayId, Register, Registered};

/// Where a store's reader shows what it saw.
#[derive(Debug)]
pub struct Sight {
    seen: watch::Sender<Seen>,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Counts with [`Register::moves`].
    pub moves: u64,
    /// In the order of their ids.
    pub entries: Arc<[Watched]>,
    /// When the register was last found to be like this.
    pub looked: Moment,
}

/// An entry of the register and how long it has been as it is.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The entry.
    pub entry: Registered,
    /// When this beat was first seen.
    pub since: Moment,
}

impl Sight {
    /// Nothing was seen yet.
    pub fn blank() -> Self {
        let entries = Arc::default();
        Self { seen: watch::Sender::new(Seen { moves: 0, entries, looked: Moment::default() }) }
    }

    /// Shows a register that was read, beginning at `before`, and has been read by `now`.
    pub fn show(&self, register: Register, before: Moment, now: Moment) {
        self.seen.send_modify(|seen| {
            let entries = register.entries.into_iter().map(|it| seen.watch(it, now)).collect();
            *seen = Seen { moves: register.moves, entries, looked: before };
        });
    }

    /// At `now` nothing had moved; wakes nobody.
    pub fn unmoved(&self, now: Moment) {
        self.seen.send_if_modified(|seen| {
            seen.looked = now;
            false
        });
    }

    /// What was seen last, and word of what comes.
    pub fn watch(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Who has been silent for so long that its entry may go, with the beat it stands at.
    pub fn silent(&self) -> Vec<(GatewayId, u64)> {
        let seen = self.seen.borrow();
        let silent = seen
            .entries
            .iter()
            .filter(|it| it.still_for(seen.looked) > it.entry.card.removed_after());
        silent.map(|it| (it.entry.card.id.clone(), it.entry.beat)).collect()
    }
}

impl Seen {
    /// The entry of that gateway.
    pub fn entry(&self, id: &GatewayId) -> Option<&Watched> {
        self.entries.iter().find(|it| it.entry.card.id == *id)
    }

    fn watch(&self, entry: Registered, now: Moment) -> Watched {
        let before = self.entry(&entry.card.id).filter(|it| it.entry.beat == entry.beat);
        Watched { since: before.map_or(now, |it| it.since), entry }
    }
}

impl Watched {
    /// For how long its beat had been seen standing still when it was last `looked` at.
    pub fn still_for(&self, looked: Moment) -> Duration {
        looked.since(self.since)
    }
}
