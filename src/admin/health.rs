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
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
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

    /// At the moment `now`.
    pub fn readiness(&self, now: Moment) -> Readiness {
        let entries = self.keyring.entries();
        if entries.is_loaded() {
            self.loaded.store(true, Ordering::Relaxed);
        }
        if self.draining.load(Ordering::Acquire) {
            return Readiness::Draining;
        }
        match self.keyring.lease().standing(now) {
            _ if !self.loaded.load(Ordering::Relaxed) => Readiness::Starting,
            Standing::Held | Standing::ServingKnown => Readiness::Ready,
            Standing::Lost => Readiness::StoreUnreachable,
        }
    }

    /// What an operator should know of it.
    pub fn reasons(&self, now: Moment) -> Vec<&'static str> {
        let standing = match self.keyring.lease().standing(now) {
            Standing::Held => None,
            Standing::ServingKnown => Some("the store is away: known keys go on for a while"),
            Standing::Lost => Some("the store is away: nobody is let in"),
        };
        let draining = self.draining.load(Ordering::Acquire);
        let draining = draining.then_some("this gateway was told to stop");
        let partial = !self.keyring.entries().is_complete();
        let partial = partial.then_some("not every key is in memory");
        [draining, standing, partial].into_iter().flatten().collect()
    }
}
