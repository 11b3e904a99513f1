//! One read of the store for one id, however many wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::SetOnce;

use crate::gate::entry::Entry;
use crate::gate::known::Stored;

/// Stands in the map in place of an entry while the store is asked.
#[derive(Debug, Default)]
pub struct Fill {
    overtaken: AtomicBool,
    outcome: SetOnce<Outcome>,
}

/// How a fill ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The key is there.
    Found(Arc<Entry>),
    /// There is no such key.
    Absent,
    /// The store did not say.
    Failed,
}

/// What a fill's read said.
#[derive(Debug)]
pub enum FillRead {
    /// The key is there.
    Found(Stored),
    /// There is no such key.
    Absent,
    /// The store did not say.
    Failed,
}

/// Whether a fill is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Whoever waited has the answer.
    Settled,
    /// A change passed it meanwhile: read again.
    Overtaken,
}

impl Fill {
    /// Waits for the end of it.
    pub async fn outcome(&self) -> Outcome {
        self.outcome.wait().await.clone()
    }

    /// Tells whoever waits; what comes later tells nobody.
    pub fn settle(&self, outcome: Outcome) {
        drop(self.outcome.set(outcome));
    }

    /// Whether it has ended.
    pub fn is_settled(&self) -> bool {
        self.outcome.initialized()
    }

    /// A change of this id was announced, or may have been: what is being read may be older.
    pub fn overtake(&self) {
        self.overtaken.store(true, Ordering::Relaxed);
    }

    /// Whether that has happened since it was last asked.
    pub fn was_overtaken(&self) -> bool {
        self.overtaken.swap(false, Ordering::Relaxed)
    }
}
