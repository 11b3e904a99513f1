//! Holds records: the operations that every store has, and the types they speak in.
//!
//! Every change of a record gets the next number, without gaps, and a random nonce, in the same
//! step that stores it. Gateways follow the changes and confirm in a register what they applied.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::key::seal::{Identity, PepperName};
use crate::key::text::KeyId;
use crate::store::endurance::Endurance;
use crate::store::gateway::GatewayId;
use crate::store::sight::Sight;
use crate::store::slices::{Leased, SliceRequest};
use crate::store::usage::UsageRow;

#[cfg(test)]
#[macro_use]
mod conformance;

pub mod endurance;
pub mod gateway;
pub mod inspection;
pub mod redis;
pub mod register;
#[cfg(feature = "seeded-bugs")]
pub mod seeded;
pub mod sight;
pub mod slices;
pub mod sqlite;
mod terms;
pub mod usage;

pub use terms::*;

/// The store, whichever it is.
#[derive(Clone, Debug)]
pub enum Store {
    /// SQLite, inside this process.
    Embedded(Arc<sqlite::Sqlite>),
    /// Redis, shared by a fleet.
    Redis(Arc<redis::Redis>),
}

impl Store {
    /// The random name of this store.
    pub fn identity(&self) -> &Identity {
        match self {
            Self::Embedded(store) => store.identity(),
            Self::Redis(store) => store.identity(),
        }
    }

    /// From now on nobody waits longer for an answer; at a start it may take longer.
    pub fn answer_within(&self, response_timeout: Duration) {
        match self {
            Self::Embedded(store) => store.answer_within(response_timeout),
            Self::Redis(store) => store.answer_within(response_timeout),
        }
    }

    /// What the store knows of itself.
    pub async fn meta(&self) -> Result<Meta, Unavailable> {
        match self {
            Self::Embedded(store) => store.meta().await,
            Self::Redis(store) => store.meta().await,
        }
    }

    /// Remembers the check value of the pepper that seals from now on.
    pub async fn set_check(&self, check: [u8; 16]) -> Result<(), Unavailable> {
        match self {
            Self::Embedded(store) => store.set_check(check).await,
            Self::Redis(store) => store.set_check(check).await,
        }
    }

    /// The record under `id`.
    pub async fn find(&self, id: KeyId) -> Result<Option<Row>, Unavailable> {
        match self {
            Self::Embedded(store) => store.find(id).await,
            Self::Redis(store) => store.find(id).await,
        }
    }

    /// The same for who lets its holder in: not in a life of the store to which what the life before
    /// has lost was not brought back yet.
    pub async fn find_settled(&self, id: KeyId) -> Result<Option<Row>, Unavailable> {
        match self {
            Self::Embedded(store) => store.find(id).await,
            Self::Redis(store) => store.find_settled(id).await,
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
            Self::Redis(store) => store.page(after, count).await,
        }
    }

    /// Every operator's record, newest first; there are few of them among many keys.
    pub async fn operators(&self) -> Result<Vec<Row>, Unavailable> {
        match self {
            Self::Embedded(store) => store.operators().await,
            Self::Redis(store) => store.operators().await,
        }
    }

    /// Checks, stores, numbers and announces one change, and audits it, in one step.
    pub async fn write(&self, write: Write) -> Result<Written, WriteFault> {
        match self {
            Self::Embedded(store) => store.write(write).await,
            Self::Redis(store) => store.write(write).await,
        }
    }

    /// Replaces sealed records whose revision is unchanged, without announcing a change.
    /// Answers how many were replaced.
    pub async fn reseal(&self, rows: Vec<Row>) -> Result<usize, Unavailable> {
        match self {
            Self::Embedded(store) => store.reseal(rows).await,
            Self::Redis(store) => store.reseal(rows).await,
        }
    }

    /// Offers records that the store may have lost, as after an older copy of it was put back: takes
    /// and announces those that it lacks or holds in an older state. Answers how many those were.
    pub async fn offer(&self, rows: Vec<Row>) -> Result<usize, Unavailable> {
        match self {
            Self::Embedded(store) => store.offer(rows).await,
            Self::Redis(store) => store.offer(rows).await,
        }
    }

    /// Audits what is done to the store as a whole.
    pub async fn note(&self, line: Audit) -> Result<(), Unavailable> {
        match self {
            Self::Embedded(store) => store.note(line).await,
            Self::Redis(store) => store.note(line).await,
        }
    }

    /// Remembers when keys were last used; never moves a time back.
    pub async fn touch(&self, used: Vec<(KeyId, Timestamp)>) -> Result<(), Unavailable> {
        match self {
            Self::Embedded(store) => store.touch(used).await,
            Self::Redis(store) => store.touch(used).await,
        }
    }

    /// Enters the gateway, what it has applied and a new beat into the register, and reads the
    /// changes after that.
    pub async fn sync(&self, beat: Beat) -> Result<Synced, Unavailable> {
        match self {
            Self::Embedded(store) => store.sync(beat).await,
            Self::Redis(store) => store.sync(beat).await,
        }
    }

    /// Resolves when the changes may end elsewhere than at `after`, or at the latest after
    /// `longest`: an alarm clock. What moved before the call counts too. What it brings was heard
    /// from nobody knows which life of the store: it may be applied, and counts once a sync has
    /// found it behind `after`.
    pub async fn alarm(&self, after: &Position, longest: Duration) -> Vec<Change> {
        match self {
            Self::Embedded(store) => {
                store.alarm(after, longest).await;
                Vec::new()
            }
            Self::Redis(store) => store.alarm(after, longest).await,
        }
    }

    /// The register as this process sees it move; all who wait for receipts share it.
    pub fn sight(&self) -> &Sight {
        match self {
            Self::Embedded(store) => store.sight(),
            Self::Redis(store) => store.sight(),
        }
    }

    /// The present end of the changes, and who is in the register.
    pub async fn ticket(&self) -> Result<Ticket, Unavailable> {
        match self {
            Self::Embedded(store) => store.ticket().await,
            Self::Redis(store) => store.ticket().await,
        }
    }

    /// The same for a record as it was written before: it stands there, or is written again.
    pub async fn ticket_for(&self, row: &Row) -> Result<Ticket, Unavailable> {
        match self {
            Self::Embedded(store) => store.ticket().await,
            Self::Redis(store) => store.ticket_for(row).await,
        }
    }

    /// The same in another life of the store, `epoch`: what was written may have been lost with the
    /// primary before, and is written again.
    pub async fn reassert(&self, ticket: &Ticket, epoch: &str) -> Result<Ticket, Unavailable> {
        match self {
            Self::Embedded(store) => store.ticket().await,
            Self::Redis(store) => store.reassert(ticket, epoch).await,
        }
    }

    /// The newest of these places, by number and nonce from new to old, that stands in the changes
    /// of the present life of the store.
    pub async fn common(&self, places: &[(u64, u64)]) -> Result<Option<Position>, Unavailable> {
        match self {
            // A file has one life: where it does not go on, an older copy was put in its place.
            Self::Embedded(_) => Ok(None),
            Self::Redis(store) => store.common(places).await,
        }
    }

    /// From now on leases are given in this life of the store.
    pub async fn open_epoch(&self, epoch: &str) -> Result<(), Unavailable> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Redis(store) => store.open_epoch(epoch).await,
        }
    }

    /// What an acknowledged write survives.
    pub fn endurance(&self) -> Endurance {
        match self {
            Self::Embedded(_) => Endurance::File,
            Self::Redis(store) => store.endurance(),
        }
    }

    /// Leases tokens of a limit, and says what became of those that were leased before.
    pub async fn lease_slice(&self, request: SliceRequest) -> Result<Leased, Unavailable> {
        match self {
            Self::Embedded(store) => store.lease_slice(request).await,
            Self::Redis(store) => store.lease_slice(&request).await,
        }
    }

    /// Keeps what this process has counted in hours of keys, each as a whole.
    pub async fn note_usage(&self, rows: Vec<UsageRow>) -> Result<(), Unavailable> {
        match self {
            Self::Embedded(store) => store.note_usage(rows).await,
            Self::Redis(store) => store.note_usage(rows).await,
        }
    }

    /// What all gateways have counted of a key from the hour `first` to `last`.
    pub async fn usage(
        &self,
        key: KeyId,
        first: u32,
        last: u32,
    ) -> Result<Vec<UsageRow>, Unavailable> {
        match self {
            Self::Embedded(store) => store.usage(key, first, last).await,
            Self::Redis(store) => store.usage(key, first, last).await,
        }
    }

    /// With which part of the store a key's limits are counted: one may be away while others answer.
    pub fn limits_shard(&self, key: KeyId) -> usize {
        match self {
            Self::Embedded(_) => 0,
            Self::Redis(store) => store.limits_shard(key),
        }
    }

    /// Whether entries of the register can be lost, with a primary whose place another one takes.
    pub fn may_forget(&self) -> bool {
        match self.endurance() {
            Endurance::File | Endurance::Always => false,
            Endurance::EverySecond
            | Endurance::Whenever
            | Endurance::Memory
            | Endurance::AllReplicas
            | Endurance::SomeReplicas
            | Endurance::Unknown => true,
        }
    }

    /// What is wrong with a store that is there, so that it must not be used.
    pub fn unfit(&self) -> Option<String> {
        match self {
            Self::Embedded(_) => None,
            Self::Redis(store) => store.unfit(),
        }
    }

    /// Takes a gateway out of the register, if its `beat` is the one that was judged: it has left,
    /// or an operator forgets it.
    pub async fn leave(&self, gateway: &GatewayId, beat: Option<u64>) -> Result<Left, Unavailable> {
        match self {
            Self::Embedded(store) => store.leave(gateway, beat).await,
            Self::Redis(store) => store.leave(gateway, beat).await,
        }
    }

    /// How many records need which pepper, by its name: for their seal, or for their tag.
    pub async fn census(&self) -> Result<Vec<(Option<PepperName>, u64)>, Unavailable> {
        match self {
            Self::Embedded(store) => store.census().await,
            Self::Redis(store) => store.census().await,
        }
    }
}
