//! Says who is asked next to leave memory, where there is no room for all.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::key::text::KeyId;

/// Keys in the order in which they came, or were last spared.
#[derive(Debug, Default)]
pub struct Order(Mutex<Line>);

#[derive(Debug, Default)]
struct Line {
    queue: VecDeque<KeyId>,
    /// Whether everybody stands in it. Until somebody has to leave for the first time, only who was
    /// asked for does; the others came before.
    whole: bool,
}

impl Order {
    /// A key came because it was asked for.
    pub fn asked_for(&self, id: KeyId) {
        self.line().queue.push_back(id);
    }

    /// A key came of itself, or need not stay any more.
    pub fn came(&self, id: KeyId) {
        let mut line = self.line();
        if line.whole {
            line.queue.push_back(id);
        }
    }

    /// Takes out who is to be asked next; `held` says who may be, the first time.
    pub fn next(&self, held: impl FnOnce() -> Vec<KeyId>) -> Option<KeyId> {
        let mut line = self.line();
        if !line.whole {
            let asked_for: HashSet<KeyId> = line.queue.iter().copied().collect();
            let mut queue = VecDeque::from(held());
            queue.retain(|it| !asked_for.contains(it));
            queue.append(&mut line.queue);
            *line = Line { queue, whole: true };
        }
        line.queue.pop_front()
    }

    /// Puts back who was asked and stays.
    pub fn spare(&self, ids: impl IntoIterator<Item = KeyId>) {
        self.line().queue.extend(ids);
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
