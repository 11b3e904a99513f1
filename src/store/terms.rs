//! The words in which every store speaks: records, changes, writes and syncs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::key::seal::{Identity, Sealed};
use crate::key::text::KeyId;
use crate::store::gateway::{GatewayCard, Register};

/// What the store knows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Its random name.
    pub identity: Identity,
    /// By which it knows its pepper; none: no pepper was ever used with it.
    pub check: Option<[u8; 16]>,
    /// How many records it holds.
    pub records: u64,
    /// Where its changes end.
    pub end: Position,
}

/// One record as the store holds it. What stands beside the seal is a copy for the store's own
/// use; only what is under the seal counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The public half of its key.
    pub id: KeyId,
    /// Whose credential it is.
    pub kind: Kind,
    /// When it was minted: pages are in this order.
    pub created_at: Timestamp,
    /// Counts the changes by operators, from 1.
    pub revision: u64,
    /// Whether it was withdrawn.
    pub revoked: Revoked,
    /// When it was last used, as far as the store was told; read, never written with the row.
    pub last_used_at: Option<Timestamp>,
    /// The record.
    pub sealed: Sealed,
}

impl Row {
    /// By which it is compared with another state of the same record.
    pub fn seniority(&self) -> Seniority {
        Seniority { revoked: self.revoked == Revoked::Yes, revision: self.revision }
    }

    /// Where the next page goes on.
    pub fn mark(&self) -> PageMark {
        PageMark { created_at: self.created_at, id: self.id }
    }
}

/// Which of two states of one record holds, everywhere: revoked wins, else the higher revision.
/// Revocation is for good, so no legitimate newer state can lose to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seniority {
    /// Whether it was withdrawn.
    pub revoked: bool,
    /// Counts the changes by operators.
    pub revision: u64,
}

/// Whose credential a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A caller's key.
    Key,
    /// An operator's token.
    Operator,
}

/// Whether a record was withdrawn for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// Not.
    No,
    /// For good.
    Yes,
}

/// The last record of a page: newest first, then by id from high to low.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageMark {
    /// Its minting.
    pub created_at: Timestamp,
    /// Its id.
    pub id: KeyId,
}

/// A place in the changes of one life of one primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Which life.
    pub epoch: String,
    /// The change's number; 0: before the first.
    pub number: u64,
    /// The change's random mark.
    pub nonce: u64,
}

/// The announcement that a record moved; it carries the record whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number: one more than the last one's.
    pub number: u64,
    /// Its random mark.
    pub nonce: u64,
    /// The record as it is since.
    pub row: Row,
}

/// A change to be made.
#[derive(Clone, Debug)]
pub struct Write {
    /// The record as it is to be.
    pub row: Row,
    /// What must hold for that.
    pub expect: Expect,
    /// Which repetition of this write mints nothing.
    pub idempotency: Option<Idempotency>,
    /// Who does it, from where, what for.
    pub audit: Audit,
}

/// What must hold for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The id is free.
    Absent,
    /// The record has this revision and is not revoked.
    Revision(u64),
    /// The store has no operator, not even a revoked one, and the id is free.
    NoOperator,
}

/// By which a repeated write is known; remembered for a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Whose: operators do not see each other's.
    pub operator: String,
    /// What the client sent.
    pub key: String,
    /// A hash of call and body.
    pub fingerprint: [u8; 32],
}

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// When.
    pub at: Timestamp,
    /// The operator's id, or what did it without one.
    pub operator: String,
    /// The operator's name.
    pub operator_name: String,
    /// From where.
    pub address: String,
    /// What: `key.create`, `key.update`, `key.revoke`, `operator.create`, …
    pub action: String,
    /// Which record.
    pub target: String,
    /// The document before.
    pub before: Option<serde_json::Value>,
    /// The document after.
    pub after: Option<serde_json::Value>,
}

/// How a write ended.
#[derive(Clone, Debug)]
pub enum Written {
    /// Stored; the ticket says whose confirmations to wait for.
    Applied(Ticket),
    /// The same write was made before, to this record: nothing was stored.
    Replayed {
        /// Which record it made.
        id: KeyId,
        /// The present end.
        ticket: Ticket,
    },
    /// Another write was made under the same idempotency key.
    IdempotencyConflict,
    /// [`Expect`] did not hold: the record as it is; `None`: there is none.
    Conflict(Option<Row>),
}

/// A number to be confirmed, and by whom.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// The change, or the present end of the changes.
    pub position: Position,
    /// Whether it is the change that the ticket was given for.
    pub is_own: bool,
    /// Who was in the register at that moment.
    pub register: Arc<Register>,
    /// Whether as many replicas hold it as have to.
    pub held: Held,
    /// The record as it was written, for as long as it may be lost with a primary.
    pub row: Option<Arc<Row>>,
}

/// Whether as many replicas hold a write as have to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// All that have to, if any.
    Enough,
    /// Too few: a failover may lose it.
    TooFew,
}

/// What a gateway says when it syncs.
#[derive(Clone, Debug)]
pub struct Beat {
    /// Itself.
    pub card: GatewayCard,
    /// What it has applied.
    pub position: Position,
    /// The end of what it has heard behind that and applied too, by number and nonce: see
    /// [`crate::store::Store::alarm`].
    pub heard: Option<(u64, u64)>,
}

/// What a sync brings.
#[derive(Clone, Debug)]
pub enum Synced {
    /// The position stands in the changes: what came after it, and the store's own time.
    Followed {
        /// Whether what was heard stands there too: then it counts, and the changes are behind it.
        heard: Heard,
        /// In order, without gaps, at most [`CHANGES_PER_SYNC_MAX`].
        changes: Vec<Change>,
        /// Whether there are still more: then the lease is not renewed yet.
        more: More,
        /// Whether leases are given in this life of the store.
        opened: Opened,
        /// Whether nobody can overlook the gateway any more.
        entered: Entered,
        /// Whether as many replicas hold the sync as have to; else the lease is not renewed.
        held: Held,
        /// The store's wall clock.
        time: Timestamp,
    },
    /// The position does not stand in the changes: another life, or too far behind.
    Lost {
        /// The present life.
        epoch: String,
    },
}

/// Whether what a gateway has heard belongs to the past that it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It has heard nothing.
    Nothing,
    /// It stands in the changes.
    Stands,
    /// It is of another past.
    Unknown,
}

/// Who has a gateway's entry in the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// Everybody who may be the primary one day: it is waited for, whatever fails.
    Everywhere,
    /// The primary. Another one may not know of the gateway, and then nobody waits for it longer
    /// than for a lease.
    Here,
}

/// Whether leases are given in a life of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// They are.
    Yes,
    /// Not yet: first everybody brings what the life before may have lost.
    No,
}

/// Whether a sync reached the end of the changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// It reached the end.
    End,
    /// There are more.
    Yes,
}

/// Whether there was somebody to take out of the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It is out now.
    Now,
    /// It was not in.
    Unknown,
}

/// The store did not answer, or said no for reasons of its own. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot be used: {0}")]
pub struct Unavailable(pub String);

/// Why it is not known that a write was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteFault {
    /// It was not made.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// It may have been made, or may still be.
    #[error("the store did not answer in time: whether the change was made is not known")]
    OutcomeUnknown,
}

/// A store that cannot be opened. The message says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OpenFault(pub String);

/// How many changes one sync brings at most.
pub const CHANGES_PER_SYNC_MAX: usize = 512;

/// How many changes a store keeps.
pub const CHANGES_KEPT: u64 = 16_384;
