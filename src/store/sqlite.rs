//! Keeps records in one SQLite file, shared by every process on this machine that opens it.
//!
//! Three threads with a connection each: the writer commits in groups, the reader answers
//! questions, the follower keeps the register. Callers wait on none of them longer than the
//! response timeout.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::clock::Timestamp;
use crate::key::seal::{Identity, PepperName};
use crate::key::text::KeyId;
use crate::store::gateway::GatewayId;
use crate::store::sight::Sight;
use crate::store::slices::{Leased, SliceRequest};
use crate::store::sqlite::desk::Desk;
use crate::store::sqlite::fault::unavailable;
use crate::store::sqlite::follower::Follower;
use crate::store::sqlite::lock::Lock;
use crate::store::sqlite::open::Opened;
use crate::store::sqlite::shared::Shared;
use crate::store::sqlite::writer::{Batch, Writer};
use crate::store::usage::UsageRow;
use crate::store::{
    Audit, Beat, Left, Meta, OpenFault, PageMark, Position, Row, Synced, Ticket, Unavailable,
    Write, WriteFault, Written,
};

pub mod anchor;
pub mod desk;
pub mod fault;
pub mod follower;
pub mod inspect;
pub mod lock;
pub mod open;
pub mod quotas;
pub mod reader;
pub mod room;
pub mod rows;
pub mod schema;
pub mod shared;
pub mod usage;
pub mod write;
pub mod writer;

#[cfg(test)]
mod tests;

/// The store. Dropping it ends its threads after what they were given, and folds the write-ahead
/// log into the file; without that, nothing that was acknowledged is lost either.
#[derive(Debug)]
pub struct Sqlite {
    writer: Desk<writer::Job>,
    reader: Desk<reader::Job>,
    follower: Desk<follower::Job>,
    shared: Arc<Shared>,
    /// In milliseconds.
    response_timeout: AtomicU64,
    /// Given up last, when no thread of ours touches the file any more.
    _lock: Lock,
}

impl Sqlite {
    /// Opens the store at `path`, or makes it, readable only for its owner. Its answers may take
    /// long, from a disk that wakes up, until it is told otherwise.
    pub fn open(path: &Path) -> Result<Self, OpenFault> {
        Self::start(open::open(path)?)
    }

    /// Opens the store at `path`, which exists, for as long as nobody else lives on it: who comes
    /// meanwhile waits.
    pub fn open_alone(path: &Path) -> Result<Self, OpenFault> {
        Self::start(open::open_alone(path)?)
    }

    /// From now on nobody waits longer for an answer.
    pub fn answer_within(&self, response_timeout: Duration) {
        let millis = u64::try_from(response_timeout.as_millis()).unwrap_or(u64::MAX);
        self.response_timeout.store(millis, Ordering::Relaxed);
    }

    fn response_timeout(&self) -> Duration {
        Duration::from_millis(self.response_timeout.load(Ordering::Relaxed))
    }

    fn start(opened: Opened) -> Result<Self, OpenFault> {
        let shared = Arc::new(Shared::new(opened.identity));
        let writer = Writer::new(opened.writer, opened.anchor.clone(), shared.clone());
        let follower = Follower::new(opened.follower, opened.anchor, shared.clone());
        let fault = |it| OpenFault(format!("the store's threads cannot be started ({it})"));
        Ok(Self {
            writer: Desk::start("store-writer", move |jobs| writer.serve(&jobs)).map_err(fault)?,
            reader: Desk::start("store-reader", move |jobs| reader::serve(&opened.reader, &jobs))
                .map_err(fault)?,
            follower: Desk::start("store-follower", move |jobs| follower.serve(&jobs))
                .map_err(fault)?,
            shared,
            response_timeout: AtomicU64::new(PATIENCE_MS),
            _lock: opened.lock,
        })
    }

    /// The random name of this store.
    pub fn identity(&self) -> &Identity {
        self.shared.identity()
    }

    /// What the store knows of itself.
    pub async fn meta(&self) -> Result<Meta, Unavailable> {
        let identity = self.identity().clone();
        self.ask(move |conn| reader::meta(conn, &identity)).await
    }

    /// Remembers the check value of the pepper that seals from now on.
    pub async fn set_check(&self, check: [u8; 16]) -> Result<(), Unavailable> {
        self.change(move |batch| {
            batch.conn.execute("UPDATE meta SET pepper_check = ?1", [check]).map(drop)
        })
        .await
    }

    /// The record under `id`.
    pub async fn find(&self, id: KeyId) -> Result<Option<Row>, Unavailable> {
        self.ask(move |conn| rows::find(conn, id)).await
    }

    /// At most `count` records, newest first, after `after` in that order.
    pub async fn page(
        &self,
        after: Option<PageMark>,
        count: usize,
    ) -> Result<Vec<Row>, Unavailable> {
        self.ask(move |conn| reader::page(conn, after, count)).await
    }

    /// Every operator's record, newest first.
    pub async fn operators(&self) -> Result<Vec<Row>, Unavailable> {
        self.ask(reader::operators).await
    }

    /// Checks, stores, numbers and announces one change, and audits it, in one step.
    ///
    /// Goes on when nobody waits any more: a change is never left half made.
    pub async fn write(&self, write: Write) -> Result<Written, WriteFault> {
        let (job, answer) = writer::job(move |batch| write::apply(batch, &write));
        self.writer.hand_in(job)?;
        match timeout(self.response_timeout(), answer).await {
            Ok(Ok(written)) => Ok(written?),
            Ok(Err(_panicked)) => Err(WriteFault::OutcomeUnknown),
            Err(_elapsed) => Err(WriteFault::OutcomeUnknown),
        }
    }

    /// Replaces sealed records whose revision is unchanged, without announcing a change.
    /// Answers how many were replaced.
    pub async fn reseal(&self, rows: Vec<Row>) -> Result<usize, Unavailable> {
        let mut replaced = 0;
        for piece in rows.chunks(ROWS_AT_ONCE_MAX) {
            let piece = piece.to_vec();
            replaced += self.change(move |batch| write::reseal(batch, &piece)).await?;
        }
        Ok(replaced)
    }

    /// Takes and announces the records that are missing here, or are here in an older state.
    /// Answers how many those were.
    pub async fn offer(&self, rows: Vec<Row>) -> Result<usize, Unavailable> {
        let mut taken = 0;
        for piece in rows.chunks(ROWS_AT_ONCE_MAX) {
            let piece = piece.to_vec();
            taken += self.change(move |batch| write::offer(batch, &piece)).await?;
        }
        Ok(taken)
    }

    /// Audits what is done to the store as a whole.
    pub async fn note(&self, line: Audit) -> Result<(), Unavailable> {
        self.change(move |batch| write::audit(batch.conn, &line)).await
    }

    /// Remembers when keys were last used; never moves a time back.
    pub async fn touch(&self, used: Vec<(KeyId, Timestamp)>) -> Result<(), Unavailable> {
        for piece in used.chunks(ROWS_AT_ONCE_MAX) {
            let piece = piece.to_vec();
            self.change(move |batch| write::touch(batch, &piece)).await?;
        }
        Ok(())
    }

    /// Leases a part of a quota; a rate is nobody else's here.
    pub async fn lease_slice(&self, request: SliceRequest) -> Result<Leased, Unavailable> {
        self.lease_slice_at(request, None).await
    }

    /// The same at another time than now.
    pub async fn lease_slice_at(
        &self,
        request: SliceRequest,
        time: Option<Timestamp>,
    ) -> Result<Leased, Unavailable> {
        let is_waited_for = request.wanted > 0;
        let lease = move |batch: &Batch<'_>| {
            let now = time.unwrap_or(batch.now);
            quotas::lease(&Batch { now, ..*batch }, &request)
        };
        // A disk that stands still holds up many; who has given up one of them has no use for it, and
        // what it gave would be lost. So would be what goes back with one that gives nothing.
        let (job, answer) =
            if is_waited_for { writer::job_for_who_waits(lease) } else { writer::job(lease) };
        self.writer.hand_in(job)?;
        self.wait(answer).await?
    }

    /// Writes what this process has counted in hours of keys.
    pub async fn note_usage(&self, rows: Vec<UsageRow>) -> Result<(), Unavailable> {
        for piece in rows.chunks(ROWS_AT_ONCE_MAX / 2) {
            let piece = piece.to_vec();
            self.change(usage::forget).await?;
            self.change(move |batch| usage::note(batch, &piece)).await?;
        }
        Ok(())
    }

    /// What all processes have counted of a key from the hour `first` to `last`.
    pub async fn usage(
        &self,
        key: KeyId,
        first: u32,
        last: u32,
    ) -> Result<Vec<UsageRow>, Unavailable> {
        self.ask(move |conn| usage::read(conn, key, (first, last))).await
    }

    /// Enters the gateway, what it has applied and a new beat into the register, and reads the
    /// changes after that.
    pub async fn sync(&self, beat: Beat) -> Result<Synced, Unavailable> {
        self.follow(move |follower| follower.sync(&beat)).await
    }

    /// Resolves when the changes may end elsewhere than at `after`, or at the latest after
    /// `longest`.
    pub async fn alarm(&self, after: &Position, longest: Duration) {
        timeout(longest, self.shared.end_is_not(after)).await.unwrap_or_default();
    }

    /// The register as this process sees it move.
    pub fn sight(&self) -> &Sight {
        self.shared.sight()
    }

    /// The present end of the changes, and who is in the register.
    pub async fn ticket(&self) -> Result<Ticket, Unavailable> {
        let identity = self.identity().clone();
        self.ask(move |conn| reader::ticket(conn, &identity)).await
    }

    /// Takes a gateway out of the register, if its beat is this one.
    pub async fn leave(&self, gateway: &GatewayId, beat: Option<u64>) -> Result<Left, Unavailable> {
        let gateway = gateway.clone();
        self.follow(move |follower| follower.leave(&gateway, beat)).await
    }

    /// How many records need which pepper, by its name: for their seal, or for their tag.
    pub async fn census(&self) -> Result<Vec<(Option<PepperName>, u64)>, Unavailable> {
        self.ask(reader::census).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.reader.hand_in(Box::new(move |conn| {
            if !reply.is_closed() {
                drop(reply.send(question(conn)));
            }
        }))?;
        self.wait(answer).await?.map_err(|it| unavailable(&it))
    }

    async fn follow<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Follower) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.follower.hand_in(Box::new(move |follower| {
            if !reply.is_closed() {
                drop(reply.send(work(follower)));
            }
        }))?;
        self.wait(answer).await?.map_err(|it| unavailable(&it))
    }

    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Batch<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (job, answer) = writer::job(work);
        self.writer.hand_in(job)?;
        self.wait(answer).await?
    }

    async fn wait<T>(&self, answer: oneshot::Receiver<T>) -> Result<T, Unavailable> {
        match timeout(self.response_timeout(), answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_panicked)) => Err(Unavailable("an operation in it failed badly".to_owned())),
            Err(_elapsed) => Err(Unavailable(format!(
                "it did not answer within {} ms",
                self.response_timeout().as_millis()
            ))),
        }
    }
}

/// At a start.
const PATIENCE_MS: u64 = 30_000;

/// Piece by piece, so that a revocation never waits for more than one.
const ROWS_AT_ONCE_MAX: usize = 512;
