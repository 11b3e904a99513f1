//! Holds what this process knows: one map from id to entry, each made once and changed in place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use quick_cache::sync::Cache;

use crate::clock::Timestamp;
use crate::gate::entry::{Entry, Merge};
use crate::gate::fill::{Ended, Fill, FillRead, Outcome};
use crate::gate::history::History;
use crate::gate::index::{Index, Part, Place, Removal};
use crate::gate::known::Stored;
use crate::gate::last_uses::LastUses;
use crate::gate::order::Order;
use crate::gate::room::{Room, Stay};
use crate::key::text::KeyId;

/// What the store told of a key did to the map.
#[derive(Debug)]
pub enum Merged {
    /// An entry changed that somebody holds: what runs with it has to be looked at.
    Changed(Arc<Entry>),
    /// What was known is newer.
    Kept(Arc<Entry>),
    /// Nothing that anybody has to know.
    Quiet,
}

/// The map.
#[derive(Debug)]
pub struct Entries {
    index: Index,
    /// Whether every id of the store is in it.
    loaded: AtomicBool,
    unknown: Cache<KeyId, (), quick_cache::UnitWeighter, ahash::RandomState>,
    order: Order,
    room: Room,
    evicted: AtomicU64,
    last_uses: LastUses,
    history: History,
}

/// What becomes of a key that is not in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Newcomer {
    /// It comes in where there is room, one that stays always in any case.
    Enters,
    /// No more is noted than that it exists: the store has to be asked for it.
    StaysOut,
}

/// What the map says of an id.
#[derive(Debug)]
pub enum Looked {
    /// Known.
    Known(Arc<Entry>),
    /// There is no such key, while the lease holds.
    Absent,
    /// Somebody asks already.
    Filling(Arc<Fill>),
    /// Nobody has asked yet.
    New,
}

impl Entries {
    /// An empty map for at most `max` keys, beside those that stay always.
    pub fn new(max: usize) -> Self {
        Self {
            index: Index::new(),
            loaded: AtomicBool::new(false),
            unknown: Cache::with(
                ABSENT_MAX,
                ABSENT_MAX as u64,
                quick_cache::UnitWeighter,
                ahash::RandomState::new(),
                quick_cache::sync::DefaultLifecycle::default(),
            ),
            order: Order::default(),
            room: Room::new(max),
            evicted: AtomicU64::new(0),
            last_uses: LastUses::new(),
            history: History::new(),
        }
    }

    /// The entry, if it is in memory: the hot path.
    pub fn get(&self, id: KeyId) -> Option<Arc<Entry>> {
        self.index.look(id, |part, place| part.get(place).cloned())
    }

    /// What is known of an id, for who may have to ask.
    pub fn look(&self, id: KeyId) -> Looked {
        let looked =
            self.index.look(id, |part, place| match (part.get(place), part.fills.get(&id)) {
                (Some(entry), _) => Some(Looked::Known(Arc::clone(entry))),
                (None, Some(fill)) => Some(Looked::Filling(Arc::clone(fill))),
                (None, None) if self.is_loaded() && !part.has(place) => Some(Looked::Absent),
                (None, None) => None,
            });
        looked.unwrap_or_else(|| match self.unknown.get(&id) {
            Some(()) => Looked::Absent,
            None => Looked::New,
        })
    }

    /// Whether a key is known to be in the store, in memory or not.
    pub fn exists(&self, id: KeyId) -> bool {
        self.index.look(id, Part::has)
    }

    /// Whether every id of the store is known.
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Every id of the store is known now.
    pub fn set_loaded(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    /// Changes may have been missed: what was said to be unknown, or is being read, has to be
    /// asked for again.
    pub fn set_stale(&self) {
        self.loaded.store(false, Ordering::Release);
        self.overtake_fills();
        self.unknown.clear();
    }

    /// What is being read may be of the past: it is read again.
    pub fn overtake_fills(&self) {
        self.index.each(|part| part.fills.values().for_each(|it| it.overtake()));
    }

    /// Whether every key of the store is in the map.
    pub fn is_complete(&self) -> bool {
        let mut elsewhere = 0;
        self.index.each(|part| elsewhere += part.elsewhere.len());
        self.is_loaded() && elsewhere == 0
    }

    /// How many keys are in memory.
    pub fn count(&self) -> usize {
        self.room.count()
    }

    /// How many had to go for others.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// The id of every key in memory.
    pub fn held(&self) -> Vec<KeyId> {
        self.each(|it| Some(it.id()))
    }

    /// Every key that was used since the store was last told, with the time; also those that had to
    /// go. Who goes while this is asked is found in the one place or in the other.
    pub fn untold_uses(&self) -> Vec<(KeyId, Timestamp)> {
        let since = self.last_uses.since();
        let last_use = |it: &Entry| it.last_used().filter(|used| *used >= since);
        let mut untold = self.each(|it| last_use(it).map(|used| (it.id(), used)));
        untold.extend(self.last_uses.kept());
        untold
    }

    /// The store was told of all uses before `until`.
    pub fn uses_told(&self, until: Timestamp) {
        self.last_uses.told(until);
    }

    /// How often keys were asked for of late. What an entry has counted by itself comes in with the
    /// next second of its use, with [`Entries::gather`], or when it leaves.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Has all entries hand over what they have counted.
    pub fn gather(&self) {
        let hand_over = |it: &Arc<Entry>| it.hand_over(&self.history);
        self.index.each(|part| part.entries().for_each(hand_over));
    }

    fn each<T>(&self, look: impl Fn(&Entry) -> Option<T>) -> Vec<T> {
        let mut looked = Vec::new();
        self.index.each(|part| looked.extend(part.entries().filter_map(|it| look(it))));
        looked
    }

    /// Stands in the map before its read is sent, so that no change can pass it unseen.
    /// `None`: somebody was faster.
    pub fn begin_fill(&self, id: KeyId) -> Option<Arc<Fill>> {
        self.index.change(id, |part, place| {
            if part.get(place).is_some() || part.fills.contains_key(&id) {
                return None;
            }
            let fill = Arc::new(Fill::default());
            part.fills.insert(id, Arc::clone(&fill));
            Some(fill)
        })
    }

    /// Ends a fill with what its read said. What nobody uses makes room for it; that is read
    /// again when it is asked for, so an evicted revocation cannot be forgotten.
    pub fn end_fill(&self, id: KeyId, fill: &Fill, read: FillRead) -> Ended {
        let Some(outcome) = self.settle(id, fill, read) else { return Ended::Overtaken };
        if let Outcome::Found(entry) = &outcome {
            let stay = entry.stay();
            self.room.enter(stay);
            if stay == Stay::WhileRoom {
                self.order.asked_for(id);
                self.make_room();
            }
        }
        fill.settle(outcome);
        Ended::Settled
    }

    fn settle(&self, id: KeyId, fill: &Fill, read: FillRead) -> Option<Outcome> {
        self.index.change(id, |part, place| {
            // A change has brought it meanwhile.
            if fill.is_settled() {
                return Some(Outcome::Failed);
            }
            let outcome = match read {
                FillRead::Failed => Outcome::Failed,
                FillRead::Found(_) | FillRead::Absent if fill.was_overtaken() => return None,
                FillRead::Found(stored) => {
                    self.unknown.remove(&id);
                    let entry = Arc::new(Entry::new(id, stored.alone()));
                    part.insert(place, Arc::clone(&entry));
                    Outcome::Found(entry)
                }
                // No change of it came since the read was sent, so the store has lost it.
                FillRead::Absent => {
                    part.elsewhere.remove(&id);
                    self.unknown.insert(id, ());
                    Outcome::Absent
                }
            };
            part.fills.remove(&id);
            Some(outcome)
        })
    }

    /// Takes over what the store tells of a key: from a change, or while loading.
    pub fn merge(&self, id: KeyId, stored: Stored) -> Merged {
        self.take_over(id, stored, Newcomer::Enters)
    }

    /// The same where of a key that is not in memory no more is taken over than that it exists.
    pub fn merge_known(&self, id: KeyId, stored: Stored) -> Merged {
        self.take_over(id, stored, Newcomer::StaysOut)
    }

    fn take_over(&self, id: KeyId, stored: Stored, newcomer: Newcomer) -> Merged {
        let (merged, left, entered) = self.index.change(id, |part, place| {
            self.unknown.remove(&id);
            let Some(entry) = part.get(place) else {
                let entry = Entry::new(id, stored.alone());
                let entered = match newcomer {
                    Newcomer::Enters => self.enter(part, place, entry),
                    Newcomer::StaysOut => part.leave_out(id),
                };
                return (Merged::Quiet, None, entered);
            };
            let before = entry.stay();
            let merged = match entry.merge(stored) {
                Merge::Changed if is_nobodys(entry) => Merged::Quiet,
                Merge::Changed => Merged::Changed(Arc::clone(entry)),
                Merge::Kept => Merged::Kept(Arc::clone(entry)),
                Merge::Same => Merged::Quiet,
            };
            let moved = before != entry.stay();
            (merged, moved.then_some(before), moved.then(|| entry.stay()))
        });
        if let Some(stay) = left {
            self.room.leave(stay);
        }
        if let Some(stay) = entered {
            self.room.enter(stay);
            if stay == Stay::WhileRoom {
                self.order.came(id);
            }
        }
        merged
    }

    /// Takes in a key that is not in memory. Where there is room for it, whoever has the store asked
    /// for it has the answer; else what is being read may be older.
    fn enter(&self, part: &mut Part, place: &Place<'_>, entry: Entry) -> Option<Stay> {
        let (id, stay) = (entry.id(), entry.stay());
        if !self.room.is_for(stay) {
            return part.leave_out(id);
        }
        let entry = Arc::new(entry);
        if let Some(fill) = part.fills.remove(&id) {
            fill.settle(Outcome::Found(Arc::clone(&entry)));
        }
        part.insert(place, entry);
        Some(stay)
    }

    /// Keeps the map at its bound: who came first goes first, and who was used meanwhile is spared
    /// once. Where all who are asked were used, the first of them has to go; where all are in use,
    /// it is tried again with the next one that comes.
    fn make_room(&self) {
        let mut spared = Vec::new();
        for _ in 0..ASKED_TO_LEAVE_MAX {
            if !self.room.is_over() {
                break;
            }
            let held = || self.each(|it| (it.stay() == Stay::WhileRoom).then_some(it.id()));
            let Some(id) = self.order.next(held) else { break };
            if self.ask_to_leave(id, Entry::may_leave) == Some(Removal::Stays) {
                spared.push(id);
            }
        }
        spared.retain(|id| {
            !self.room.is_over() || self.ask_to_leave(*id, Entry::can_leave) == Some(Removal::Stays)
        });
        self.order.spare(spared);
    }

    fn ask_to_leave(&self, id: KeyId, may: impl FnOnce(&Arc<Entry>) -> bool) -> Option<Removal> {
        let leaves = |entry: &Arc<Entry>| {
            let leaves = may(entry);
            if let Some(used) = entry.last_used().filter(|_| leaves) {
                self.last_uses.keep(id, used);
            }
            if leaves {
                entry.hand_over(&self.history);
            }
            leaves
        };
        let asked = self.index.change(id, |part, place| part.remove_if(place, leaves));
        if asked == Some(Removal::Gone) {
            self.room.leave(Stay::WhileRoom);
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
        asked
    }
}

/// Whether nothing runs with an entry, asked while its part of the index is locked for a change.
///
/// Whoever holds an entry has cloned it from the map under that lock, or from somebody who had; and
/// what runs owns its entry for as long as it is listed. So where the map's is the only one, no
/// worker lists it, and who comes later finds the change. It would not be so if entries were handed
/// out without the lock, or if a listed [`Run`](crate::gate::running::Run) did not own its own.
fn is_nobodys(entry: &Arc<Entry>) -> bool {
    let is_alone = Arc::strong_count(entry) == 1;
    // What was done by whoever let go of it last is over.
    fence(Ordering::Acquire);
    is_alone
}

/// How many ids are remembered as unknown.
const ABSENT_MAX: usize = 100_000;

/// How many keys one that comes may ask.
const ASKED_TO_LEAVE_MAX: usize = 128;
