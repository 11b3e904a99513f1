//! Holds what the register knows of the gateways that follow the store.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::config::WhenUnreachable;
use crate::store::Position;

/// A process's name in the register, drawn when it starts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GatewayId(pub String);

/// What a gateway says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayCard {
    /// Drawn when the process starts.
    pub id: GatewayId,
    /// For people.
    pub name: String,
    /// Its version.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// How long it trusts what it knows, in milliseconds.
    pub lease_ms: u64,
    /// What it does past the lease.
    pub policy: WhenUnreachable,
    /// How long known keys go on past the lease, in milliseconds.
    pub serve_known_for_ms: u64,
    /// How many replicas must hold a write.
    pub replicas: u32,
    /// How many keys it knows.
    pub keys: u64,
    /// Whether it knows all of them.
    pub complete: bool,
    /// Whether it is on its way out.
    pub draining: bool,
    /// How many requests it ended for which of the last changes.
    pub closed: Vec<(u64, u64)>,
}

impl GatewayCard {
    /// So long after the last sync that the store carried out, the lease has certainly run out,
    /// on a clock 5 % off too.
    pub fn lease_over_after(&self) -> Duration {
        #[cfg(feature = "seeded-bugs")]
        if crate::store::seeded::has(crate::store::seeded::Bug::EarlyFence) {
            return with_margin(self.lease_ms / 4);
        }
        with_margin(self.lease_ms)
    }

    /// So long after its last sync a gateway admits nobody any more and its entry may go. One
    /// lease is added, so that whoever waits for it sees it stand still before it is gone.
    pub fn removed_after(&self) -> Duration {
        let known_ms = match self.policy {
            WhenUnreachable::ServeKnown => self.serve_known_for_ms,
            WhenUnreachable::Refuse => 0,
        };
        let silence = with_margin(self.lease_ms.saturating_add(known_ms));
        silence.saturating_add(Duration::from_millis(self.lease_ms))
    }
}

/// One entry of the register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// What it says of itself.
    pub card: GatewayCard,
    /// What it has applied.
    pub confirmed: Position,
    /// Moved by every sync; never the same twice.
    pub beat: u64,
}

/// Who follows the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// Counts every entry made, moved or taken out: of two readings, which is the later one.
    pub moves: u64,
    /// In the order of their ids.
    pub entries: Vec<Registered>,
}

fn with_margin(lease_ms: u64) -> Duration {
    Duration::from_micros(lease_ms.saturating_mul(1_100))
}
