//! Says whether this gateway should get requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::Moment;
use crate::gate::keyring::Keyring;
use crate::gate::lease::Standing;

/// What `/readyz` answers.
#[derive(Debug)]
pub struct Health {
    keyring: Arc<Keyring>,
    /// Every key was in memory once, or as many as fit.
    loaded: AtomicBool,
    draining: AtomicBool,
}

/// Whether this gateway should get requests, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// It is still reading keys.
    Starting,
    /// It is on its way out.
    Draining,
    /// It cannot tell who may pass.
    StoreUnreachable,
}

impl Health {
    /// Not ready yet.
    pub fn new(keyring: Arc<Keyring>) -> Self {
        Self { keyring, loaded: AtomicBool::new(false), draining: AtomicBool::new(false) }
    }

    /// Never ready again.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// At this moment.
    pub fn readiness(&self) -> Readiness {
        let entries = self.keyring.entries();
        if entries.is_complete() || entries.evicted() > 0 {
            self.loaded.store(true, Ordering::Relaxed);
        }
        if self.draining.load(Ordering::Acquire) {
            return Readiness::Draining;
        }
        match self.keyring.lease().standing(Moment::now()) {
            _ if !self.loaded.load(Ordering::Relaxed) => Readiness::Starting,
            Standing::Held | Standing::ServingKnown => Readiness::Ready,
            Standing::Lost => Readiness::StoreUnreachable,
        }
    }
}
