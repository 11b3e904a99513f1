//! Holds what this process knows: one map from id to entry, each made once and changed in place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, Guard};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry as Place;
use quick_cache::sync::Cache;
use tokio::sync::SetOnce;

use crate::clock::Timestamp;
use crate::gate::known::{Known, Rights};
use crate::gate::turns::Turns;
use crate::key::seal::Tag;
use crate::key::text::KeyId;

/// What is known of one key. Whoever holds it sees every change at once.
#[derive(Debug)]
pub struct Entry {
    id: KeyId,
    known: ArcSwap<Known>,
    last_used: AtomicI64,
    turns: Turns,
}

impl Entry {
    fn new(id: KeyId, known: Known) -> Self {
        let known = ArcSwap::from_pointee(known);
        Self { id, known, last_used: AtomicI64::new(0), turns: Turns::default() }
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
        &self.turns
    }

    /// Merges what the store says; a change that is older than what is known changes nothing.
    fn merge(&self, stored: Known) -> Merged {
        let stored = Arc::new(stored);
        let before = self.known.rcu(|known| {
            if known.yields_to(&stored) { Arc::clone(&stored) } else { Arc::clone(known) }
        });
        if before.yields_to(&stored) { Merged::Taken } else { Merged::Kept }
    }

    /// Keeps a tag that was made for `revision`.
    pub fn learn(&self, revision: u64, tag: &Tag) {
        self.known
            .rcu(|known| known.with_tag(revision, tag).map_or_else(|| Arc::clone(known), Arc::new));
    }

    /// Notes a use, at most once a second: the line is shared by all workers.
    pub fn used(&self, now: Timestamp) {
        if now.as_micros() - self.last_used.load(Ordering::Relaxed) >= 1_000_000 {
            self.last_used.store(now.as_micros(), Ordering::Relaxed);
        }
    }

    /// When it was last used here.
    pub fn last_used(&self) -> Option<Timestamp> {
        let micros = self.last_used.load(Ordering::Relaxed);
        (micros != 0).then(|| Timestamp::from_micros(micros))
    }
}

/// What became of a record that the store told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// It is what is known now.
    Taken,
    /// What was known is newer.
    Kept,
}

/// The map.
#[derive(Debug)]
pub struct Entries {
    map: DashMap<KeyId, Slot, ahash::RandomState>,
    unknown: Cache<KeyId, (), quick_cache::UnitWeighter, ahash::RandomState>,
    count: AtomicUsize,
    max: usize,
    complete: AtomicBool,
    evicted: AtomicU64,
}

#[derive(Clone, Debug)]
enum Slot {
    Known(Arc<Entry>),
    Filling(Arc<Fill>),
}

/// One read of the store for one id, however many wait for it.
#[derive(Debug, Default)]
pub struct Fill {
    overtaken: AtomicBool,
    outcome: SetOnce<Outcome>,
}

/// How a fill ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The key is there.
    Found(Arc<Entry>),
    /// There is no such key.
    Absent,
    /// The store did not say.
    Failed,
}

impl Fill {
    /// Waits for the end of it.
    pub async fn outcome(&self) -> Outcome {
        self.outcome.wait().await.clone()
    }
}

/// What the map says of an id.
#[derive(Debug)]
pub enum Looked {
    /// Known.
    Known(Arc<Entry>),
    /// The store has said that there is no such key, and nothing has changed since.
    Absent,
    /// Somebody asks already.
    Filling(Arc<Fill>),
    /// Nobody has asked yet.
    New,
}

impl Entries {
    /// An empty map for at most `max` keys.
    pub fn new(max: usize) -> Self {
        let hasher = ahash::RandomState::new();
        Self {
            map: DashMap::with_hasher(hasher.clone()),
            unknown: Cache::with(
                ABSENT_MAX,
                ABSENT_MAX as u64,
                quick_cache::UnitWeighter,
                hasher,
                quick_cache::sync::DefaultLifecycle::default(),
            ),
            count: AtomicUsize::new(0),
            max,
            complete: AtomicBool::new(false),
            evicted: AtomicU64::new(0),
        }
    }

    /// The entry, if it is in memory: the hot path.
    pub fn get(&self, id: KeyId) -> Option<Arc<Entry>> {
        self.map.view(&id, |_, slot| match slot {
            Slot::Known(entry) => Some(Arc::clone(entry)),
            Slot::Filling(_) => None,
        })?
    }

    /// What is known of an id, for who may have to ask.
    pub fn look(&self, id: KeyId) -> Looked {
        match self.map.view(&id, |_, slot| slot.clone()) {
            Some(Slot::Known(entry)) => Looked::Known(entry),
            Some(Slot::Filling(fill)) => Looked::Filling(fill),
            None if self.unknown.get(&id).is_some() => Looked::Absent,
            None => Looked::New,
        }
    }

    /// Whether every key of the store is in the map.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Says that every key is in the map, or no longer.
    pub fn set_complete(&self, complete: Completeness) {
        self.complete.store(matches!(complete, Completeness::Whole), Ordering::Release);
    }

    /// Changes may have been missed: what was said to be unknown has to be asked for again.
    pub fn forget_absent(&self) {
        self.unknown.clear();
    }

    /// How many keys are in memory.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How many had to go for others.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Stands in the map before its read is sent, so that no change can pass it unseen.
    /// `None`: somebody was faster.
    pub fn begin_fill(&self, id: KeyId) -> Option<Arc<Fill>> {
        let Place::Vacant(place) = self.map.entry(id) else { return None };
        let fill = Arc::new(Fill::default());
        place.insert(Slot::Filling(Arc::clone(&fill)));
        Some(fill)
    }

    /// Ends a fill with what its read said.
    pub fn end_fill(&self, id: KeyId, fill: &Fill, read: FillRead) -> Ended {
        let Some(outcome) = self.settle(id, fill, read) else { return Ended::Overtaken };
        drop(fill.outcome.set(outcome));
        self.make_room();
        Ended::Settled
    }

    fn settle(&self, id: KeyId, fill: &Fill, read: FillRead) -> Option<Outcome> {
        let Place::Occupied(mut place) = self.map.entry(id) else { return Some(Outcome::Failed) };
        match read {
            FillRead::Failed => {
                place.remove();
                Some(Outcome::Failed)
            }
            FillRead::Found(_) | FillRead::Absent
                if fill.overtaken.swap(false, Ordering::Relaxed) =>
            {
                None
            }
            FillRead::Found(known) => {
                let entry = Arc::new(Entry::new(id, *known));
                place.insert(Slot::Known(Arc::clone(&entry)));
                self.count.fetch_add(1, Ordering::Relaxed);
                Some(Outcome::Found(entry))
            }
            FillRead::Absent => {
                self.unknown.insert(id, ());
                place.remove();
                Some(Outcome::Absent)
            }
        }
    }

    /// Takes over what the store tells of a key: from a change, or while loading. Gives the entry
    /// that changed, if it was there before.
    pub fn merge(
        &self,
        id: KeyId,
        make: impl FnOnce(Option<&Known>) -> Known,
    ) -> Option<Arc<Entry>> {
        let changed = match self.map.entry(id) {
            Place::Occupied(place) => match place.get() {
                Slot::Known(entry) => {
                    let stored = make(Some(&**entry.known()));
                    (entry.merge(stored) == Merged::Taken).then(|| Arc::clone(entry))
                }
                Slot::Filling(fill) => {
                    fill.overtaken.store(true, Ordering::Relaxed);
                    None
                }
            },
            Place::Vacant(place) => {
                place.insert(Slot::Known(Arc::new(Entry::new(id, make(None)))));
                self.count.fetch_add(1, Ordering::Relaxed);
                self.unknown.remove(&id);
                None
            }
        };
        self.make_room();
        changed
    }

    /// Every key that was used since it was last asked, with the time.
    pub fn used_since(&self, since: Timestamp) -> Vec<(KeyId, Timestamp)> {
        let known = self.map.iter().filter_map(|slot| match slot.value() {
            Slot::Known(entry) => Some((entry.id, entry.last_used()?)),
            Slot::Filling(_) => None,
        });
        known.filter(|(_, used)| *used >= since).collect()
    }

    /// Keeps the map at its bound: what nobody uses goes first come, first go. What is evicted
    /// is read again when it is asked for, so an evicted revocation cannot be forgotten.
    fn make_room(&self) {
        while self.count() > self.max {
            self.set_complete(Completeness::Partial);
            let unused = self.map.iter().find(|slot| may_leave(slot.value())).map(|it| *it.key());
            let Some(id) = unused else { return };
            let evicted = self.map.remove_if(&id, |_, slot| may_leave(slot));
            if evicted.is_some() {
                self.count.fetch_sub(1, Ordering::Relaxed);
                self.evicted.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Nobody uses it, and it is no operator's: a flood of callers' keys must not lock operators out.
fn may_leave(slot: &Slot) -> bool {
    match slot {
        Slot::Known(entry) => {
            Arc::strong_count(entry) == 1 && !matches!(entry.known().rights(), Rights::Operator(_))
        }
        Slot::Filling(_) => false,
    }
}

/// Whether every key of the store is in the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// All are.
    Whole,
    /// Some may not be.
    Partial,
}

/// Whether a fill is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Whoever waited has the answer.
    Settled,
    /// A change passed it meanwhile: read again.
    Overtaken,
}

/// What a fill's read said.
#[derive(Debug)]
pub enum FillRead {
    /// The key is there.
    Found(Box<Known>),
    /// There is no such key.
    Absent,
    /// The store did not say.
    Failed,
}

/// How many ids are remembered as unknown.
const ABSENT_MAX: usize = 100_000;
