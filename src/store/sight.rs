//! Holds the register as this process sees it move.
//!
//! One reader looks, everybody who waits for receipts shares what it saw. Whether a gateway has
//! fallen silent is judged by how long its beat was *seen* standing still, on this process's own
//! monotonic clock: wall clocks are stepped, and a process that slept has seen nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::clock::Moment;
use crate::store::gateway::{GatewayId, Register, Registered};

/// Where a store's reader shows what it saw.
#[derive(Debug)]
pub struct Sight {
    seen: watch::Sender<Seen>,
    attentive: AtomicUsize,
    /// How many have begun to wait so far.
    begun: AtomicU64,
    attention: Notify,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// In which life of the store.
    pub epoch: Arc<str>,
    /// Since when this process has known that life.
    pub epoch_since: Moment,
    /// Counts with [`Register::moves`].
    pub moves: u64,
    /// In the order of their ids.
    pub entries: Arc<[Watched]>,
    /// When the register was last found to be like this.
    pub looked: Moment,
    /// The longest time after which a lease is over, of all that were ever seen.
    pub longest: Duration,
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
        let seen = Seen {
            epoch: Arc::from(""),
            epoch_since: Moment::default(),
            moves: 0,
            entries: Arc::default(),
            looked: Moment::default(),
            longest: Duration::ZERO,
        };
        let (attentive, begun) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self { seen: watch::Sender::new(seen), attentive, begun, attention: Notify::new() }
    }

    /// Shows a register that was read, beginning at `before`, and has been read by `now`.
    pub fn show(&self, register: Register, before: Moment, now: Moment) {
        self.seen.send_modify(|seen| {
            let leases = register.entries.iter().map(|it| it.card.lease_over_after());
            seen.longest = leases.chain([seen.longest]).max().unwrap_or_default();
            let entries = register.entries.into_iter().map(|it| seen.watch(it, now)).collect();
            *seen = Seen { moves: register.moves, entries, looked: before, ..seen.clone() };
        });
    }

    /// From `now` on, the store is known to be in another life.
    pub fn begin(&self, epoch: &str, now: Moment) {
        self.seen.send_if_modified(|seen| {
            let is_new = *seen.epoch != *epoch;
            if is_new {
                (seen.epoch, seen.epoch_since) = (Arc::from(epoch), now);
                (seen.moves, seen.entries) = (0, Arc::default());
            }
            is_new
        });
    }

    /// The present life has been known for long.
    #[cfg(test)]
    pub async fn trust_the_epoch(&self) {
        let mut seen = self.watch();
        drop(seen.wait_for(|it| !it.epoch.is_empty()).await);
        self.seen.send_modify(|it| it.epoch_since = Moment::default());
    }

    /// Somebody waits for what is seen, for as long as this lives: whoever has to ask for it asks
    /// often.
    pub fn attend(&self) -> Attention<'_> {
        self.attentive.fetch_add(1, Ordering::AcqRel);
        self.begun.fetch_add(1, Ordering::AcqRel);
        self.attention.notify_one();
        Attention(self)
    }

    /// Something is to be seen: whoever has to ask for it asks now.
    pub fn nudge(&self) {
        self.attention.notify_one();
    }

    /// How many wait for what is seen.
    pub fn attentive(&self) -> usize {
        self.attentive.load(Ordering::Acquire)
    }

    /// Whether anybody does.
    pub fn is_attended(&self) -> bool {
        self.attentive() > 0
    }

    /// What is seen in a look that begins after this call, or at the latest after `longest` what was
    /// seen before.
    pub async fn fresh(&self, longest: Duration) -> Seen {
        let _attention = self.attend();
        let begun = Moment::now();
        while self.seen.borrow().looked < begun && Moment::now().since(begun) < longest {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.seen.borrow().clone()
    }

    /// How many have begun to wait so far.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Acquire)
    }

    /// Resolves when somebody begins to wait, or something is to be seen.
    pub async fn attended(&self) {
        self.attention.notified().await;
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

/// Somebody waits.
#[derive(Debug)]
pub struct Attention<'a>(&'a Sight);

impl Drop for Attention<'_> {
    fn drop(&mut self) {
        self.0.attentive.fetch_sub(1, Ordering::AcqRel);
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
