//! One worker's share of the connections to an endpoint, where their number is limited.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;

use crate::upstream::cap::{Cap, Entry};

/// The share.
#[derive(Debug)]
pub struct Share {
    cap: Arc<Cap>,
    worker: usize,
    limited: Cell<bool>,
    /// How many here wait for the right to open one, because none that was used before will do.
    wanting_fresh: Cell<usize>,
    closing: Cell<bool>,
}

/// Somebody who needs a fresh connection, until it is dropped.
#[derive(Debug)]
pub struct WantsFresh(Rc<Share>);

impl Share {
    /// Of `worker`.
    pub fn new(cap: Arc<Cap>, worker: usize) -> Self {
        Self {
            cap,
            worker,
            limited: Cell::new(false),
            wanting_fresh: Cell::new(0),
            closing: Cell::new(false),
        }
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
    pub fn enter(&self) -> Entry {
        self.cap.enter(self.worker)
    }

    /// Whether a connection is to be closed although it could be used again.
    pub fn must_yield(&self) -> bool {
        self.closing.get() || self.limited.get() && self.is_wanted_elsewhere()
    }

    fn is_wanted_elsewhere(&self) -> bool {
        self.wanting_fresh.get() > 0 || self.cap.must_yield(self.worker)
    }

    /// From now on no connection is kept that nobody uses.
    pub fn close(&self) {
        self.closing.set(true);
    }

    /// Somebody waits to whom a connection that is given back is of no use.
    pub fn wants_fresh(self: &Rc<Self>) -> WantsFresh {
        self.wanting_fresh.set(self.wanting_fresh.get() + 1);
        WantsFresh(Rc::clone(self))
    }

    /// So many are idle now.
    pub fn note_idle(&self, count: usize) {
        if self.limited.get() {
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

impl Drop for WantsFresh {
    fn drop(&mut self) {
        let left = self.0.wanting_fresh.get().saturating_sub(1);
        self.0.wanting_fresh.set(left);
    }
}
