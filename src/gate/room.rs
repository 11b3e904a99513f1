//! Counts the keys in memory against their bound.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How long a key may stay in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// While there is room.
    WhileRoom,
    /// For good, and takes nobody's place: operators, unless they are revoked. A flood of callers'
    /// keys must not lock them out, and they are few.
    Always,
}

/// The places in memory.
#[derive(Debug)]
pub struct Room {
    max: usize,
    bounded: AtomicUsize,
    unbounded: AtomicUsize,
}

impl Room {
    /// For at most `max` keys, beside those that stay always.
    pub fn new(max: usize) -> Self {
        Self { max, bounded: AtomicUsize::new(0), unbounded: AtomicUsize::new(0) }
    }

    /// How many are in memory.
    pub fn count(&self) -> usize {
        self.unbounded.load(Ordering::Relaxed) + self.bounded.load(Ordering::Relaxed)
    }

    /// Whether one more may come in by itself.
    pub fn is_for(&self, stay: Stay) -> bool {
        match stay {
            Stay::WhileRoom => self.bounded.load(Ordering::Relaxed) < self.max,
            Stay::Always => true,
        }
    }

    /// Whether somebody has to leave.
    pub fn is_over(&self) -> bool {
        self.bounded.load(Ordering::Relaxed) > self.max
    }

    /// One came in.
    pub fn enter(&self, stay: Stay) {
        self.of(stay).fetch_add(1, Ordering::Relaxed);
    }

    /// One left.
    pub fn leave(&self, stay: Stay) {
        self.of(stay).fetch_sub(1, Ordering::Relaxed);
    }

    fn of(&self, stay: Stay) -> &AtomicUsize {
        match stay {
            Stay::WhileRoom => &self.bounded,
            Stay::Always => &self.unbounded,
        }
    }
}
