//! Keeps the register, and watches for what other processes change.
//!
//! Its commits need not survive power loss, which ends everybody in the register, so a heartbeat
//! costs no `fsync`. While other processes are in the register it asks SQLite every five
//! milliseconds whether anybody has committed; alone it asks seldom, because two hundred wake-ups
//! a second alone were measured at 0.8 % of a core (the question itself: 0.3 %).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::clock::{Moment, Timestamp};
use crate::store::gateway::{GatewayCard, GatewayId};
use crate::store::sqlite::anchor::Anchor;
use crate::store::sqlite::room;
use crate::store::sqlite::rows::{self, Bits};
use crate::store::sqlite::shared::Shared;
use crate::store::{
    Beat, CHANGES_PER_SYNC_MAX, Entered, Heard, Held, Left, More, Opened, Position, Synced,
};
use crate::tasks::survive;

/// One piece of work for the following thread.
pub type Job = Box<dyn FnOnce(&mut Follower) + Send>;

/// The following thread.
#[derive(Debug)]
pub struct Follower {
    conn: Connection,
    anchor: Anchor,
    shared: Arc<Shared>,
    /// SQLite's count of what others have committed, as of the last look that succeeded.
    version: Option<i64>,
    /// Who has synced here.
    own: HashSet<GatewayId>,
    judged: Moment,
}

impl Follower {
    /// With a connection whose commits survive `kill -9`.
    pub fn new(conn: Connection, anchor: Anchor, shared: Arc<Shared>) -> Self {
        Self { conn, anchor, shared, version: None, own: HashSet::new(), judged: Moment::default() }
    }

    /// Does jobs, and looks around between them, until the queue is closed.
    pub fn serve(mut self, jobs: &Receiver<Job>) {
        let mut next_look = Moment::default();
        loop {
            let now = Moment::now();
            if now >= next_look {
                survive(|| self.look(now));
                next_look = now.after(self.pace());
            }
            match jobs.recv_timeout(next_look.since(Moment::now())) {
                Ok(job) => survive(|| job(&mut self)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Enters a gateway into the register, if what it says it has applied stands in the changes.
    pub fn sync(&mut self, beat: &Beat) -> rusqlite::Result<Synced> {
        self.twice(|it| it.try_sync(beat))
    }

    /// Takes a gateway out of the register, if its beat is this one.
    pub fn leave(&mut self, gateway: &GatewayId, beat: Option<u64>) -> rusqlite::Result<Left> {
        self.twice(|it| it.try_leave(gateway, beat))
    }

    /// On a full disk a second time, after making room: nobody loses a lease for that.
    fn twice<T>(&mut self, work: impl Fn(&mut Self) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        work(self).or_else(|fault| {
            if !room::is_full(&fault) {
                return Err(fault);
            }
            room::fold(&self.conn);
            work(self)
        })
    }

    fn try_sync(&mut self, beat: &Beat) -> rusqlite::Result<Synced> {
        let before = Moment::now();
        self.anchor.check()?;
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if !stands(&transaction, self.shared.identity().0.as_str(), &beat.position)? {
            return Ok(Synced::Lost { epoch: self.shared.identity().0.clone() });
        }
        enter(&transaction, beat)?;
        let number = beat.position.number;
        let mut changes = rows::changes(&transaction, number, CHANGES_PER_SYNC_MAX + 1)?;
        transaction.commit()?;
        let more = if changes.len() > CHANGES_PER_SYNC_MAX { More::Yes } else { More::End };
        changes.truncate(CHANGES_PER_SYNC_MAX);
        self.own.insert(beat.card.id.clone());
        self.see(before);
        let (opened, entered, held) = (Opened::Yes, Entered::Everywhere, Held::Enough);
        let (heard, time) = (Heard::Nothing, Timestamp::now());
        Ok(Synced::Followed { heard, changes, more, opened, entered, held, time })
    }

    fn try_leave(&mut self, gateway: &GatewayId, beat: Option<u64>) -> rusqlite::Result<Left> {
        let before = Moment::now();
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let removed = transaction
            .prepare_cached("DELETE FROM gateways WHERE id = ?1 AND beat = ifnull(?2, beat)")?
            .execute(params![gateway.0, beat])?;
        rows::move_register(&transaction)?;
        transaction.commit()?;
        self.own.remove(gateway);
        self.see(before);
        Ok(if removed == 0 { Left::Unknown } else { Left::Now })
    }

    /// Sees whether anybody has committed since the last look.
    fn look(&mut self, now: Moment) {
        let version = self.data_version();
        if version.is_some() && version == self.version {
            self.shared.sight().unmoved(now);
        } else if self.see(now) {
            self.version = version;
        }
        if now.since(self.judged) > JUDGE_EVERY {
            self.judged = now;
            self.remove_silent(now);
        }
    }

    /// How long until the next look.
    fn pace(&self) -> Duration {
        let seen = self.shared.sight().watch();
        let alone = seen.borrow().entries.iter().all(|it| self.own.contains(&it.entry.card.id));
        if alone { LOOK_EVERY_ALONE } else { LOOK_EVERY }
    }

    fn data_version(&self) -> Option<i64> {
        let mut version = self.conn.prepare_cached("PRAGMA data_version").ok()?;
        version.query_row([], |row| row.get(0)).ok()
    }

    /// Reads what others wait for, and shows it. What cannot be read is looked at again soon; until
    /// then those who wait see nothing move, and give up in time.
    fn see(&self, before: Moment) -> bool {
        self.try_see(before).is_ok()
    }

    fn try_see(&self, before: Moment) -> rusqlite::Result<()> {
        let snapshot = self.conn.unchecked_transaction()?;
        self.shared.show_end(rows::end(&snapshot, self.shared.identity())?);
        let sight = self.shared.sight();
        if rows::register_moves(&snapshot)? == sight.watch().borrow().moves {
            sight.unmoved(before);
        } else {
            sight.show(rows::register(&snapshot)?, before, Moment::now());
        }
        Ok(())
    }

    /// Takes out whoever has been silent for too long, unless it has moved in the meantime.
    fn remove_silent(&mut self, before: Moment) {
        let silent = self.shared.sight().silent();
        if !silent.is_empty() && self.remove(&silent).is_ok() {
            self.see(before);
        }
    }

    fn remove(&mut self, silent: &[(GatewayId, u64)]) -> rusqlite::Result<()> {
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (gateway, beat) in silent {
            transaction
                .prepare_cached("DELETE FROM gateways WHERE id = ?1 AND beat = ?2")?
                .execute(params![gateway.0, beat])?;
        }
        rows::move_register(&transaction)?;
        transaction.commit()
    }
}

/// Whether `position` is one that this store once had: a file put back from a backup has the
/// number again, but not its nonce.
fn stands(conn: &Connection, epoch: &str, position: &Position) -> rusqlite::Result<bool> {
    if position.epoch != epoch {
        return Ok(false);
    }
    if position.number == 0 {
        let sql = "SELECT min(number) FROM changes";
        let first: Option<u64> = conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        return Ok(position.nonce == 0 && first.is_none_or(|it| it == 1));
    }
    let mut nonce = conn.prepare_cached("SELECT nonce FROM changes WHERE number = ?1")?;
    let nonce = nonce.query_row([position.number], |row| row.get::<_, Bits>(0)).optional()?;
    Ok(nonce.is_some_and(|it| it.0 == position.nonce))
}

fn enter(transaction: &Transaction<'_>, beat: &Beat) -> rusqlite::Result<()> {
    let moves = rows::move_register(transaction)?;
    let mut entered = transaction.prepare_cached(
        "INSERT OR REPLACE INTO gateways (id, card, epoch, number, nonce, beat)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let Beat { card, position: Position { epoch, number, nonce }, heard: _ } = beat;
    let GatewayCard { id, .. } = card;
    entered.execute(params![id.0, card, epoch, number, Bits(*nonce), moves]).map(drop)
}

const LOOK_EVERY: Duration = Duration::from_millis(5);
const LOOK_EVERY_ALONE: Duration = Duration::from_millis(100);
const JUDGE_EVERY: Duration = Duration::from_millis(500);
