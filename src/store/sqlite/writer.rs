//! Commits writes in groups: one transaction and one `fsync` for all that wait.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use crate::clock::{Moment, Timestamp};
use crate::key::seal::Identity;
use crate::store::Unavailable;
use crate::store::gateway::Register;
use crate::store::sqlite::anchor::Anchor;
use crate::store::sqlite::fault::unavailable;
use crate::store::sqlite::room::{self, Room};
use crate::store::sqlite::rows;
use crate::store::sqlite::shared::Shared;
use crate::tasks::survive;

/// One piece of work for the writing thread.
pub type Job = Box<dyn Work>;

/// Work that is answered only when it is known whether it was committed.
pub trait Work: Send {
    /// Does it, in a savepoint of its own.
    fn run(&mut self, batch: &Batch<'_>) -> rusqlite::Result<()>;

    /// Answers whoever waits.
    fn answer(self: Box<Self>, committed: Result<(), Unavailable>);
}

/// What a job works with.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Inside the transaction.
    pub conn: &'a Connection,
    /// The store's wall clock.
    pub now: Timestamp,
    /// The store's name.
    pub identity: &'a Identity,
    /// As of this transaction: nobody can move it before the commit.
    pub register: &'a Arc<Register>,
    /// On the disk.
    pub room: Room,
}

/// Makes a job of `work`.
pub fn job<T: Send + 'static>(
    work: impl FnOnce(&Batch<'_>) -> rusqlite::Result<T> + Send + 'static,
) -> (Job, oneshot::Receiver<Result<T, Unavailable>>) {
    task(work, Unawaited::Done)
}

/// The same for work that is of no use to who has stopped waiting: then it is not begun.
pub fn job_for_who_waits<T: Send + 'static>(
    work: impl FnOnce(&Batch<'_>) -> rusqlite::Result<T> + Send + 'static,
) -> (Job, oneshot::Receiver<Result<T, Unavailable>>) {
    task(work, Unawaited::Left)
}

fn task<T: Send + 'static>(
    work: impl FnOnce(&Batch<'_>) -> rusqlite::Result<T> + Send + 'static,
    unawaited: Unawaited,
) -> (Job, oneshot::Receiver<Result<T, Unavailable>>) {
    let (reply, answer) = oneshot::channel();
    (Box::new(Task { work: Some(work), unawaited, outcome: None, reply }), answer)
}

/// What becomes of work whose asker has gone before it was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unawaited {
    /// It is done all the same.
    Done,
    /// It is left undone.
    Left,
}

struct Task<T, F> {
    work: Option<F>,
    unawaited: Unawaited,
    outcome: Option<Result<T, Unavailable>>,
    reply: oneshot::Sender<Result<T, Unavailable>>,
}

impl<T: Send, F: FnOnce(&Batch<'_>) -> rusqlite::Result<T> + Send> Work for Task<T, F> {
    fn run(&mut self, batch: &Batch<'_>) -> rusqlite::Result<()> {
        if self.unawaited == Unawaited::Left && self.reply.is_closed() {
            return Ok(());
        }
        let Some(work) = self.work.take() else { return Ok(()) };
        let (outcome, step) = match work(batch) {
            Ok(it) => (Ok(it), Ok(())),
            Err(fault) => (Err(unavailable(&fault)), Err(fault)),
        };
        self.outcome = Some(outcome);
        step
    }

    fn answer(self: Box<Self>, committed: Result<(), Unavailable>) {
        let undone = || Err(Unavailable("the work was not done".to_owned()));
        let Self { work: _, unawaited: _, outcome, reply } = *self;
        // Who has stopped waiting learns the outcome by asking again.
        drop(reply.send(committed.and_then(|()| outcome.unwrap_or_else(undone))));
    }
}

/// The writing thread.
#[derive(Debug)]
pub struct Writer {
    conn: Connection,
    anchor: Anchor,
    shared: Arc<Shared>,
    free_since: Moment,
    log: Log,
}

/// What the write-ahead log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Log {
    /// Commits that are not in the database yet.
    Full,
    /// Nothing of ours.
    Folded,
}

impl Writer {
    /// With a connection, to the file at `anchor`, whose commits survive power loss.
    pub fn new(conn: Connection, anchor: Anchor, shared: Arc<Shared>) -> Self {
        Self { conn, anchor, shared, free_since: Moment::default(), log: Log::Folded }
    }

    /// Does jobs until the queue is closed.
    pub fn serve(mut self, jobs: &Receiver<Job>) {
        while let Some(first) = self.next(jobs) {
            self.leave_a_gap();
            let others = jobs.try_iter().take(BATCH_MAX - 1);
            let batch = std::iter::once(first).chain(others).collect();
            survive(|| self.commit(batch));
            self.free_since = Moment::now();
        }
    }

    /// Waits for a job; folds the log when none has come for a while.
    fn next(&mut self, jobs: &Receiver<Job>) -> Option<Job> {
        if self.log == Log::Full {
            match jobs.recv_timeout(FOLD_AFTER) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Timeout) => self.fold(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        jobs.recv().ok()
    }

    fn fold(&mut self) {
        room::fold(&self.conn);
        self.log = Log::Folded;
    }

    /// Between two batches the lock is free for long enough that heartbeats get it, from this
    /// process and from others: else a busy writer would cost them their leases.
    fn leave_a_gap(&self) {
        let free = Moment::now().since(self.free_since);
        if let Some(rest) = GAP.checked_sub(free) {
            std::thread::sleep(rest);
        }
    }

    fn commit(&mut self, mut jobs: Vec<Job>) {
        let outcome = self.run(&mut jobs);
        self.log = Log::Full;
        match &outcome {
            Ok(()) => self.announce(),
            // Makes room for who tries again.
            Err(fault) if room::is_full(fault) => self.fold(),
            Err(_) => {}
        }
        let committed = outcome.map_err(|it| unavailable(&it));
        for job in jobs {
            job.answer(committed.clone());
        }
    }

    fn run(&mut self, jobs: &mut [Job]) -> rusqlite::Result<()> {
        self.anchor.check()?;
        let room = Room::around(self.anchor.path());
        let mut transaction =
            self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let register = Arc::new(rows::register(&transaction)?);
        let identity = self.shared.identity();
        for job in jobs {
            let savepoint = transaction.savepoint()?;
            let now = Timestamp::now();
            let batch = Batch { conn: &savepoint, now, identity, register: &register, room };
            let Err(fault) = job.run(&batch) else {
                savepoint.commit()?;
                continue;
            };
            // Undoes this job alone, unless a full disk has ended the whole transaction already.
            drop(savepoint);
            if transaction.is_autocommit() {
                return Err(fault);
            }
        }
        transaction.commit()?;
        self.anchor.check()
    }

    /// Wakes whoever waits for changes. Whom this misses, the follower's next look wakes.
    fn announce(&self) {
        if let Ok(end) = rows::end(&self.conn, self.shared.identity()) {
            self.shared.show_end(end);
        }
    }
}

const FOLD_AFTER: Duration = Duration::from_secs(1);
const BATCH_MAX: usize = 256;

/// Three times as long as a process that waits for the lock sleeps between two tries.
const GAP: Duration = Duration::from_micros(750);
