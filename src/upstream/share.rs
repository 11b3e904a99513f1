//! One worker's share of the connections to an endpoint, where their number is limited.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::upstream::cap::{Cap, Entry, Wanted};

/// The share.
#[derive(Debug)]
pub struct Share {
    cap: Arc<Cap>,
    worker: usize,
    limited: Cell<bool>,
    closing: Cell<bool>,
}

impl Share {
    /// Of `worker`.
    pub fn new(cap: Arc<Cap>, worker: usize) -> Self {
        Self { cap, worker, limited: Cell::new(false), closing: Cell::new(false) }
    }

    /// How many there may be from now on, over all workers; each of them is told the same.
    pub fn set_limit(&self, limit: Option<NonZeroU32>) {
        self.limited.set(limit.is_some());
        self.cap.set_limit(limit);
    }

    /// Whether there is a limit; everything below costs nothing where there is none.
    pub fn is_limited(&self) -> bool {
        self.limited.get()
    }

    /// Asks for one more connection.
    pub fn enter(&self, wanted: Wanted) -> Entry {
        self.cap.enter(self.worker, wanted)
    }

    /// Whether a connection is to be closed although it could be used again.
    pub fn must_yield(&self) -> bool {
        self.closing.get() || self.limited.get() && self.cap.must_yield(self.worker)
    }

    /// From now on no connection is kept that nobody uses, and somebody else counts those of this
    /// worker that are idle.
    pub fn close(&self) {
        self.closing.set(true);
    }

    /// So many are idle now.
    pub fn note_idle(&self, count: usize) {
        if self.limited.get() && !self.closing.get() {
            self.cap.note_idle(self.worker, count);
        }
    }

    /// Waits until other workers want idle connections; how many of them wait.
    pub async fn nudged(&self) -> usize {
        self.cap.nudged(self.worker).await;
        self.cap.others_waiting(self.worker)
    }

    /// There was none to be given up here.
    pub fn pass_nudge_on(&self) {
        self.cap.nudge_another(self.worker);
    }
}
