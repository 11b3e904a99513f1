//! Holds records: the operations that every store has, and the types they speak in.
//!
//! Every change of a record gets the next number, without gaps, and a random nonce, in the same
//! step that stores it. Gateways follow the changes and confirm in a register what they applied.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::key::seal::{Identity, PepperName};
use crate::key::text::KeyId;
use crate::store::gateway::GatewayId;
use crate::store::sight::Sight;

#[cfg(test)]
#[macro_use]
mod conformance;

pub mod gateway;
pub mod register;
pub mod sight;
pub mod sqlite;
mod terms;

pub use terms::*;

/// The store, whichever it is.
#[derive(Clone, Debug)]
pub enum Store {
    /// SQLite, inside this process.
    Embedded(Arc<sqlite::Sqlite>),
}

impl Store {
    /// The random name of this store.
    pub fn identity(&self) -> &Identity {
        match self {
            Self::Embedded(store) => store.identity(),
        }
    }

    /// From now on nobody waits longer for an answer; at a start it may take longer.
    pub fn answer_within(&self, response_timeout: Duration) {
        match self {
            Self::Embedded(store) => store.answer_within(response_timeout),
        }
    }

    /// What the store knows of itself.
    pub async fn meta(&self) -> Result<Meta, Unavailable> {
        match self {
            Self::Embedded(store) => store.meta().await,
        }
    }

    /// Remembers the check value of the pepper that seals from now on.
    pub async fn set_check(&self, check: [u8; 16]) -> Result<(), Unavailable> {
        match self {
            Self::Embedded(store) => store.set_check(check).await,
        }
    }

    /// The record under `id`.
    pub async fn find(&self, id: KeyId) -> Result<Option<Row>, Unavailable> {
        match self {
            Self::Embedded(store) => store.find(id).await,
        }
    }

    /// At most `count` records, newest first, after `after` in that order.
    pub async fn page(
        &self,
        after: Option<PageMark>,
        count: usize,
    ) -> Result<Vec<Row>, Unavailable> {
        match self {
            Self::Embedded(store) => store.page(after, count).await,
        }
    }

    /// Every operator's record, newest first; there are few of them among many keys.
    pub async fn operators(&self) -> Result<Vec<Row>, Unavailable> {
        match self {
            Self::Embedded(store) => store.operators().await,
        }
    }

    /// Checks, stores, numbers and announces one change, and audits it, in one step.
    pub async fn write(&self, write: Write) -> Result<Written, WriteFault> {
        match self {
            Self::Embedded(store) => store.write(write).await,
        }
    }

    /// Replaces sealed records whose revision is unchanged, without announcing a change.
    /// Answers how many were replaced.
    pub async fn reseal(&self, rows: Vec<Row>) -> Result<usize, Unavailable> {
        match self {
            Self::Embedded(store) => store.reseal(rows).await,
        }
    }

    /// Offers records that the store may have lost, as after an older copy of it was put back: takes
    /// and announces those that it lacks or holds in an older state. Answers how many those were.
    pub async fn offer(&self, rows: Vec<Row>) -> Result<usize, Unavailable> {
        match self {
            Self::Embedded(store) => store.offer(rows).await,
        }
    }

    /// Audits what is done to the store as a whole.
    pub async fn note(&self, line: Audit) -> Result<(), Unavailable> {
        match self {
            Self::Embedded(store) => store.note(line).await,
        }
    }

    /// Remembers when keys were last used; never moves a time back.
    pub async fn touch(&self, used: Vec<(KeyId, Timestamp)>) -> Result<(), Unavailable> {
        match self {
            Self::Embedded(store) => store.touch(used).await,
        }
    }

    /// Enters the gateway, what it has applied and a new beat into the register, and reads the
    /// changes after that.
    pub async fn sync(&self, beat: Beat) -> Result<Synced, Unavailable> {
        match self {
            Self::Embedded(store) => store.sync(beat).await,
        }
    }

    /// Resolves when the changes may end elsewhere than at `after`, or at the latest after
    /// `longest`: an alarm clock only. What moved before the call counts too.
    pub async fn alarm(&self, after: &Position, longest: Duration) {
        match self {
            Self::Embedded(store) => store.alarm(after, longest).await,
        }
    }

    /// The register as this process sees it move; all who wait for receipts share it.
    pub fn sight(&self) -> &Sight {
        match self {
            Self::Embedded(store) => store.sight(),
        }
    }

    /// The present end of the changes, and who is in the register.
    pub async fn ticket(&self) -> Result<Ticket, Unavailable> {
        match self {
            Self::Embedded(store) => store.ticket().await,
        }
    }

    /// Takes a gateway out of the register, if its `beat` is the one that was judged: it has left,
    /// or an operator forgets it.
    pub async fn leave(&self, gateway: &GatewayId, beat: Option<u64>) -> Result<Left, Unavailable> {
        match self {
            Self::Embedded(store) => store.leave(gateway, beat).await,
        }
    }

    /// How many records need which pepper, by its name: for their seal, or for their tag.
    pub async fn census(&self) -> Result<Vec<(Option<PepperName>, u64)>, Unavailable> {
        match self {
            Self::Embedded(store) => store.census().await,
        }
    }
}
