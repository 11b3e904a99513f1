//! Keeps the keyring true: loads every record, follows every change, confirms what was applied.
//!
//! One task does all of it, so that what it reads is applied in the order in which it was read,
//! and a page of the load can never overtake a change.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::Moment;
use crate::gate::entries::{Completeness, Entry};
use crate::gate::keyring::Keyring;
use crate::store::gateway::GatewayCard;
use crate::store::{
    Beat, CHANGES_PER_SYNC_MAX, Change, More, PageMark, Position, Row, Synced, Unavailable,
};
use crate::tasks::Tasks;

/// Follows the store until told to stop, then leaves the register. Everyone there is told whether
/// this gateway is `draining`.
pub async fn run(
    keyring: Arc<Keyring>,
    card: GatewayCard,
    draining: Arc<AtomicBool>,
    tasks: Tasks,
) {
    let mut follower = Follower {
        keyring,
        card,
        draining,
        position: None,
        load: Load::Pages(None),
        closed: VecDeque::new(),
        resealing: Vec::new(),
    };
    while !tasks.is_stopped() {
        // A step may be dropped anywhere: what it did not confirm, nobody counts on.
        let step = tokio::select! {
            step = follower.step() => step,
            () = tasks.stopped() => break,
        };
        if let Err(fault) = step {
            tracing::warn!(%fault, "the store did not answer; the lease is not renewed");
            tokio::time::sleep(PAUSE_AFTER_FAULT).await;
        }
    }
    if let Err(fault) = follower.keyring.store().leave(&follower.card.id).await {
        tracing::warn!(%fault, "this gateway could not leave the register; it will be missed for a while");
    }
}

struct Follower {
    keyring: Arc<Keyring>,
    card: GatewayCard,
    draining: Arc<AtomicBool>,
    /// What was applied; `None`: nothing yet.
    position: Option<Position>,
    load: Load,
    /// How many requests the last changes ended.
    closed: VecDeque<(u64, u64)>,
    /// Rows whose seal is under a retired pepper.
    resealing: Vec<Row>,
}

/// How far the load has come.
enum Load {
    /// The next page comes after this.
    Pages(Option<PageMark>),
    /// All was read.
    Done,
}

impl Follower {
    /// One sync, and what follows from it.
    async fn step(&mut self) -> Result<(), Unavailable> {
        let position = self.start().await?;
        let sent = Moment::now();
        let beat = Beat { card: self.card(), position };
        let (changes, more, time) = match self.keyring.store().sync(beat).await? {
            Synced::Followed { changes, more, time } => (changes, more, time),
            Synced::Lost => {
                self.start_again();
                return Ok(());
            }
        };
        self.keyring.lease().set_clock(sent, time);
        let quiet = changes.is_empty();
        self.apply(changes).await;
        if more == More::End {
            self.keyring.lease().renew(sent);
        }
        if quiet && more == More::End {
            self.go_on().await?;
        }
        Ok(())
    }

    /// Where to follow from: the end of the changes, taken before the load begins.
    async fn start(&mut self) -> Result<Position, Unavailable> {
        if let Some(position) = &self.position {
            return Ok(position.clone());
        }
        let end = self.keyring.store().ticket().await?.position;
        self.position = Some(end.clone());
        Ok(end)
    }

    /// The store has another past than this gateway: nothing is complete, and all is read again.
    /// What is known stays, and merges: what was revoked stays revoked.
    fn start_again(&mut self) {
        tracing::warn!(
            "the store's changes do not go on from what this gateway knows: reading all again"
        );
        self.position = None;
        self.load = Load::Pages(None);
        self.keyring.entries().set_complete(Completeness::Partial);
        self.keyring.entries().forget_absent();
    }

    /// Applies changes in order: first the entries, then the cuts; only the next sync confirms.
    /// A record of a newer format gets its key 503, and is never confirmed.
    async fn apply(&mut self, changes: Vec<Change>) {
        let understood = changes.iter().take_while(|it| !it.row.sealed.is_newer()).last();
        let reached = understood.map(|it| (it.number, it.nonce));
        let mut moved: Vec<(u64, Arc<Entry>)> = Vec::new();
        for change in &changes {
            let read = |before: Option<&_>| self.keyring.read(&change.row, before);
            if let Some(entry) = self.keyring.entries().merge(change.row.id, read) {
                moved.push((change.number, entry));
            }
        }
        let now = self.keyring.lease().store_time(Moment::now());
        let (numbers, entries): (Vec<u64>, Vec<Arc<Entry>>) = moved.into_iter().unzip();
        if !entries.is_empty() {
            let counts = self.keyring.workers().recheck(entries.into(), now).await;
            self.closed.extend(numbers.into_iter().zip(counts).filter(|(_, count)| *count > 0));
            let surplus = self.closed.len().saturating_sub(CLOSED_KEPT);
            self.closed.drain(..surplus);
        }
        if let (Some(position), Some((number, nonce))) = (&mut self.position, reached) {
            (position.number, position.nonce) = (number, nonce);
        }
        if changes.iter().any(|it| it.row.sealed.is_newer()) {
            tracing::error!(
                "a change was written by a newer version: update this gateway, it cannot confirm"
            );
            tokio::time::sleep(PAUSE_AFTER_FAULT).await;
        }
    }

    /// Nothing new: loads one more page, or waits for the alarm.
    async fn go_on(&mut self) -> Result<(), Unavailable> {
        match self.load {
            Load::Pages(after) => self.load_page(after).await,
            Load::Done => {
                let longest = self.keyring.lease().length() / 4;
                let position = self.start().await?;
                self.keyring.store().alarm(&position, longest).await;
                Ok(())
            }
        }
    }

    async fn load_page(&mut self, after: Option<PageMark>) -> Result<(), Unavailable> {
        let rows = self.keyring.store().page(after, PAGE).await?;
        let last = rows.last().map(Row::mark);
        let mut changed = Vec::new();
        for row in rows {
            let read = |before: Option<&_>| self.keyring.read(&row, before);
            changed.extend(self.keyring.entries().merge(row.id, read));
            if self.keyring.vault().is_retired(&row.sealed) {
                self.resealing.push(row);
            }
        }
        // Reading all again, after changes were missed, may take something away as they would have.
        if !changed.is_empty() {
            let now = self.keyring.lease().store_time(Moment::now());
            self.keyring.workers().recheck(changed.into(), now).await;
        }
        self.reseal().await?;
        let full = self.keyring.entries().evicted() > 0;
        self.load = match last {
            Some(last) if !full => Load::Pages(Some(last)),
            Some(_) | None => Load::Done,
        };
        if last.is_none() {
            self.keyring.entries().set_complete(Completeness::Whole);
            tracing::info!(keys = self.keyring.entries().count(), "every key is in memory");
        }
        Ok(())
    }

    /// Seals rows anew under the current pepper.
    async fn reseal(&mut self) -> Result<(), Unavailable> {
        let vault = self.keyring.vault();
        let rows = self.resealing.drain(..);
        let sealed: Vec<Row> =
            rows.filter_map(|row| vault.open(&row).and_then(|it| vault.seal(&it)).ok()).collect();
        if !sealed.is_empty() {
            self.keyring.store().reseal(sealed).await?;
        }
        Ok(())
    }

    fn card(&self) -> GatewayCard {
        let entries = self.keyring.entries();
        GatewayCard {
            keys: entries.count() as u64,
            complete: entries.is_complete(),
            draining: self.draining.load(Ordering::Acquire),
            closed: self.closed.iter().copied().collect(),
            ..self.card.clone()
        }
    }
}

const PAGE: usize = 2_000;

/// As many as one sync may bring, so that no receipt misses its number.
const CLOSED_KEPT: usize = CHANGES_PER_SYNC_MAX;
const PAUSE_AFTER_FAULT: Duration = Duration::from_millis(50);
