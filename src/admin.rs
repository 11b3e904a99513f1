//! The control plane: who may do what to keys, operators and the fleet, over HTTP.
//!
//! One call in order: `serve` has the connection, `router` finds the call, `front` lets it in or
//! refuses, a handler carries it out. Every change goes through `writing`, which audits it and
//! waits until the fleet has confirmed.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::admin::attempts::Attempts;
use crate::admin::health::Health;
use crate::admin::reload::Reloads;
use crate::admin::tally::Tally;
use crate::config::Config;
use crate::config::change::Current;
use crate::gate::keyring::Keyring;

pub mod answer;
pub mod asked;
pub mod attempts;
pub mod conditions;
pub mod cursor;
pub mod documents;
pub mod fields;
pub mod first;
pub mod fleet;
pub mod front;
pub mod health;
pub mod hosts;
pub mod issue;
pub mod keys;
pub mod minting;
pub mod operators;
pub mod probes;
pub mod pulse;
pub mod records;
pub mod rejection;
pub mod reload;
pub mod router;
pub mod serve;
pub mod sign_in;
pub mod strict;
pub mod tally;
pub mod writing;

#[cfg(test)]
mod tests;

/// What every call on the admin listener shares.
pub struct Admin {
    keyring: Arc<Keyring>,
    config: Current,
    health: Arc<Health>,
    attempts: Attempts,
    scrape: Scrape,
    tally: Arc<Tally>,
    reloads: Reloads,
    /// Whoever takes an operator away holds it, so that two cannot each leave the other as the
    /// last one.
    revoking_operators: Mutex<()>,
}

/// What the admin listener is made of.
pub struct Parts {
    /// What the process knows of keys, and the store behind it.
    pub keyring: Arc<Keyring>,
    /// Which routes there are, how keys begin, and what `Host` may say.
    pub config: Current,
    /// Whether this gateway should get requests.
    pub health: Arc<Health>,
    /// Writes down everything that is counted.
    pub scrape: Scrape,
    /// Counts what is done here.
    pub tally: Arc<Tally>,
    /// Has the configuration read again.
    pub reloads: Reloads,
}

/// Writes down everything that is counted, as `OpenMetrics` text.
pub type Scrape = Box<dyn Fn() -> String + Send + Sync>;

impl Admin {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let Parts { keyring, config, health, scrape, tally, reloads } = parts;
        let (attempts, revoking_operators) = (Attempts::default(), Mutex::default());
        Self { keyring, config, health, attempts, scrape, tally, reloads, revoking_operators }
    }

    /// The configuration that is in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}
