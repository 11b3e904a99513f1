//! Holds how often keys were asked for of late, until the store knows.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;
use crate::key::text::KeyId;
use crate::rate::timeline::Hour;
use crate::store::usage::{UsageRow, beginning_of, hour_of};

/// The hours of keys that are being counted, or that the store was not told of yet.
#[derive(Debug)]
pub struct History {
    /// By which what this process counts is told from what others do.
    gateway: u64,
    hasher: ahash::RandomState,
    parts: [Mutex<Part>; PARTS],
    lost: AtomicU64,
}

/// How many requests there were in one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// A moment of that second.
    pub time: Timestamp,
    /// So many, or what they cost.
    pub count: u32,
}

#[derive(Debug, Default)]
struct Part {
    /// In the order of time.
    hours: Vec<(u32, Hours)>,
    /// What was before this hour is over: the store has it whole, and nothing may be added.
    open_since: u32,
}

type Hours = HashMap<KeyId, Counted, ahash::RandomState>;

#[derive(Debug, Default)]
struct Counted {
    hour: Hour,
    state: State,
}

/// Whether the store knows what an hour says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Untold,
    Told,
}

impl History {
    /// Nothing was counted yet.
    pub fn new() -> Self {
        let (_, gateway) = uuid::Uuid::now_v7().as_u64_pair();
        let (hasher, parts) = (ahash::RandomState::new(), Default::default());
        Self { gateway, hasher, parts, lost: AtomicU64::new(0) }
    }

    /// Adds what was counted in a second. Called at most once a second for each key that is in use.
    #[cold]
    pub fn note(&self, key: KeyId, tally: Tally) {
        if tally.count == 0 {
            return;
        }
        let Some(part) = self.part_of(key) else { return };
        let hour = hour_of(tally.time);
        let second = tally.time.since(beginning_of(hour)).as_secs();
        let lost = locked(part).note(key, (hour, second), tally.count);
        if lost > 0 {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }

    /// What the store was not told of yet, of one part of all keys. It counts as told until it is
    /// [said](History::untold) that it was not.
    pub fn take(&self, part: usize) -> Vec<UsageRow> {
        let Some(part) = self.parts.get(part) else { return Vec::new() };
        let (mut part, mut rows) = (locked(part), Vec::new());
        for (key, hour, counted) in part.each().filter(|it| it.2.state == State::Untold) {
            counted.state = State::Told;
            rows.push(self.row(key, hour, counted));
        }
        rows
    }

    /// The store could not be told of these.
    pub fn untold(&self, part: usize, rows: &[UsageRow]) {
        let Some(part) = self.parts.get(part) else { return };
        let mut part = locked(part);
        for row in rows {
            if let Some(counted) = part.find(row.hour, row.key) {
                counted.state = State::Untold;
            }
        }
    }

    /// Hours that were over some time before `now` are let go of once the store knows them.
    pub fn close(&self, now: Timestamp) {
        let open = hour_of(now.before(GRACE));
        self.parts.iter().for_each(|it| locked(it).close(open));
    }

    /// What is held of one key, whether the store knows it or not: it is newer than what it knows.
    pub fn of(&self, key: KeyId) -> Vec<UsageRow> {
        let Some(part) = self.part_of(key) else { return Vec::new() };
        let part = locked(part);
        let hours = part.hours.iter();
        hours.filter_map(|(hour, keys)| Some(self.row(key, *hour, keys.get(&key)?))).collect()
    }

    /// How many hours of keys are held.
    pub fn held(&self) -> usize {
        self.parts
            .iter()
            .map(|it| locked(it).hours.iter().map(|it| it.1.len()).sum::<usize>())
            .sum()
    }

    /// How many requests are in nobody's history.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn part_of(&self, key: KeyId) -> Option<&Mutex<Part>> {
        let place = usize::try_from(self.hasher.hash_one(key)).unwrap_or_default() % PARTS;
        self.parts.get(place)
    }

    fn row(&self, key: KeyId, hour: u32, counted: &Counted) -> UsageRow {
        UsageRow { key, hour, gateway: self.gateway, cells: counted.hour.written() }
    }
}

impl Part {
    /// Says how much was lost.
    fn note(&mut self, key: KeyId, (hour, second): (u32, u64), count: u32) -> u64 {
        if hour < self.open_since {
            return count.into();
        }
        let place = match self.hours.binary_search_by_key(&hour, |it| it.0) {
            Ok(place) => place,
            Err(place) => {
                self.hours.insert(place, (hour, Hours::default()));
                place
            }
        };
        let Some((_, keys)) = self.hours.get_mut(place) else { return 0 };
        let is_full = keys.len() >= KEYS_MAX / PARTS;
        let mut lost = 0;
        match keys.entry(key) {
            Slot::Vacant(_) if is_full => lost += u64::from(count),
            slot @ (Slot::Vacant(_) | Slot::Occupied(_)) => {
                let counted = slot.or_default();
                counted.hour.note(u16::try_from(second).unwrap_or(u16::MAX), count);
                counted.state = State::Untold;
            }
        }
        lost + self.drop_oldest()
    }

    /// Where the store is away for hours.
    fn drop_oldest(&mut self) -> u64 {
        if self.hours.len() <= HOURS_MAX {
            return 0;
        }
        let (hour, keys) = self.hours.remove(0);
        self.open_since = self.open_since.max(hour + 1);
        keys.values().filter(|it| it.state == State::Untold).map(|it| it.hour.total()).sum()
    }

    fn each(&mut self) -> impl Iterator<Item = (KeyId, u32, &mut Counted)> {
        let hours = self.hours.iter_mut();
        hours.flat_map(|(hour, keys)| keys.iter_mut().map(|(key, it)| (*key, *hour, it)))
    }

    /// Lets go of what is over before `open` and told.
    fn close(&mut self, open: u32) {
        let is_told = |keys: &Hours| keys.values().all(|it| it.state == State::Told);
        let stays = |hour: u32, keys: &Hours| hour >= open || !is_told(keys);
        let over = self.hours.iter().filter(|(hour, keys)| !stays(*hour, keys)).map(|it| it.0 + 1);
        self.open_since = over.max().unwrap_or_default().max(self.open_since);
        self.hours.retain(|(hour, keys)| stays(*hour, keys));
    }

    fn find(&mut self, hour: u32, key: KeyId) -> Option<&mut Counted> {
        let keys = self.hours.iter_mut().find(|it| it.0 == hour)?;
        keys.1.get_mut(&key)
    }
}

fn locked(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Into so many parts keys are divided: nobody waits for more than one to be looked through.
pub const PARTS: usize = 16;

/// How many keys are counted in an hour. Of one more, nothing is kept.
const KEYS_MAX: usize = 100_000;

/// How many hours are held while the store is away.
pub const HOURS_MAX: usize = 4;

/// What was counted in the last second of an hour comes at most so much later.
const GRACE: std::time::Duration = std::time::Duration::from_mins(3);
