//! Remembers when keys were used that had to leave memory before the store was told.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;
use crate::key::text::KeyId;

/// Uses that the store was not told of yet.
#[derive(Debug)]
pub struct LastUses(Mutex<Untold>);

#[derive(Debug)]
struct Untold {
    /// Uses before then were told.
    since: Timestamp,
    uses: HashMap<KeyId, Timestamp, ahash::RandomState>,
}

impl LastUses {
    /// Nothing was told, and nothing is to be.
    pub fn new() -> Self {
        let (since, uses) = (Timestamp::from_micros(0), HashMap::default());
        Self(Mutex::new(Untold { since, uses }))
    }

    /// Before when all was told.
    pub fn since(&self) -> Timestamp {
        self.untold().since
    }

    /// A key that was used then is about to leave.
    pub fn keep(&self, id: KeyId, used: Timestamp) {
        let mut untold = self.untold();
        if used >= untold.since && untold.uses.len() < KEPT_MAX {
            untold.uses.insert(id, used);
        }
    }

    /// What is kept.
    pub fn kept(&self) -> Vec<(KeyId, Timestamp)> {
        self.untold().uses.iter().map(|(id, used)| (*id, *used)).collect()
    }

    /// All uses before `until` were told.
    pub fn told(&self, until: Timestamp) {
        let mut untold = self.untold();
        untold.since = until;
        untold.uses.retain(|_, used| *used >= until);
        untold.uses.shrink_to_fit();
    }

    fn untold(&self) -> MutexGuard<'_, Untold> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is one more appears to be used less lately than it was.
const KEPT_MAX: usize = 65_536;
