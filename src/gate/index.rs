//! Finds what is known of an id: its entry, the read that is under way, or only that it exists.
//!
//! In parts with a lock each, so that one that grows holds up few. An entry says itself whose it is:
//! its place in the table is one pointer.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use ahash::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::OccupiedEntry;

use crate::gate::entry::Entry;
use crate::gate::fill::Fill;
use crate::key::text::KeyId;

/// All ids.
#[derive(Debug)]
pub struct Index {
    first: Shard,
    more: Box<[Shard]>,
    hasher: RandomState,
}

/// Alone on its cache lines, so that nobody waits for another's lock.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(RwLock<Part>);

/// The ids of one part.
#[derive(Debug, Default)]
pub struct Part {
    entries: HashTable<Arc<Entry>>,
    /// Reads under way.
    pub fills: HashMap<KeyId, Arc<Fill>, RandomState>,
    /// Keys that exist and are not in memory.
    pub elsewhere: HashSet<KeyId, RandomState>,
}

/// An id with its hash.
#[derive(Debug)]
pub struct Place<'a> {
    id: KeyId,
    hash: u64,
    hasher: &'a RandomState,
}

impl Index {
    /// Nothing is known.
    pub fn new() -> Self {
        let more = (1..PARTS).map(|_| Shard::default()).collect();
        Self { first: Shard::default(), more, hasher: RandomState::new() }
    }

    /// Looks at what is known of an id.
    pub fn look<T>(&self, id: KeyId, look: impl FnOnce(&Part, &Place<'_>) -> T) -> T {
        let place = self.place(id);
        let part = self.shard(&place).0.read().unwrap_or_else(PoisonError::into_inner);
        look(&part, &place)
    }

    /// Changes what is known of an id. Nobody sees anything between.
    pub fn change<T>(&self, id: KeyId, change: impl FnOnce(&mut Part, &Place<'_>) -> T) -> T {
        let place = self.place(id);
        let mut part = self.shard(&place).0.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut part, &place)
    }

    /// Looks at every part in turn.
    pub fn each(&self, mut look: impl FnMut(&Part)) {
        for shard in self.more.iter().chain([&self.first]) {
            look(&shard.0.read().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn place(&self, id: KeyId) -> Place<'_> {
        Place { id, hash: self.hasher.hash_one(id), hasher: &self.hasher }
    }

    /// The tables go by the hash's highest and lowest bits, so parts go by others.
    fn shard(&self, place: &Place<'_>) -> &Shard {
        let [_, _, at, ..] = place.hash.to_be_bytes();
        self.more.get(usize::from(at)).unwrap_or(&self.first)
    }
}

impl Part {
    /// The entry, if it is in memory.
    pub fn get(&self, place: &Place<'_>) -> Option<&Arc<Entry>> {
        self.entries.find(place.hash, |it| it.id() == place.id)
    }

    /// Takes in an entry whose id has none.
    pub fn insert(&mut self, place: &Place<'_>, entry: Arc<Entry>) {
        self.elsewhere.remove(&place.id);
        self.entries.insert_unique(place.hash, entry, |it| place.hasher.hash_one(it.id()));
    }

    /// Notes that a key exists, and that what is being read of it may be older.
    pub fn leave_out<T>(&mut self, id: KeyId) -> Option<T> {
        self.elsewhere.insert(id);
        if let Some(fill) = self.fills.get(&id) {
            fill.overtake();
        }
        None
    }

    /// Lets an entry go, if it may; its key still exists. `None`: there is none.
    pub fn remove_if(
        &mut self,
        place: &Place<'_>,
        may_go: impl FnOnce(&Arc<Entry>) -> bool,
    ) -> Option<Removal> {
        let found = self.entries.find_entry(place.hash, |it| it.id() == place.id).ok()?;
        if !may_go(found.get()) {
            return Some(Removal::Stays);
        }
        drop(OccupiedEntry::remove(found));
        self.elsewhere.insert(place.id);
        Some(Removal::Gone)
    }

    /// Whether the key is known to exist.
    pub fn has(&self, place: &Place<'_>) -> bool {
        self.get(place).is_some() || self.elsewhere.contains(&place.id)
    }

    /// Every entry.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.iter()
    }
}

/// Whether an entry was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It was.
    Gone,
    /// It was not.
    Stays,
}

/// As many as a byte of the hash tells apart.
const PARTS: usize = 256;
