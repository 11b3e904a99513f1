//! Takes what the store says into the keyring, and ends what that ends.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::clock::Moment;
use crate::gate::entries::Merged;
use crate::gate::entry::Entry;
use crate::gate::keyring::Keyring;
use crate::key::text::KeyId;
use crate::store::{CHANGES_PER_SYNC_MAX, Change, Row, Unavailable};

/// The way in.
pub struct Intake {
    keyring: Arc<Keyring>,
    /// How many requests the last changes ended, by the changes' numbers.
    closed: VecDeque<(u64, u64)>,
}

impl Intake {
    /// Has taken nothing yet.
    pub fn new(keyring: Arc<Keyring>) -> Self {
        Self { keyring, closed: VecDeque::new() }
    }

    /// Takes changes in order: first the entries, then the cuts. Answers what is newer here than what
    /// the store says: it is to be offered.
    pub async fn changes(&mut self, changes: &[Change]) -> Vec<Arc<Entry>> {
        // By key: what several changes of one key end is told with the last of them.
        let mut moved: HashMap<KeyId, (u64, Arc<Entry>)> = HashMap::new();
        let mut newer = Vec::new();
        for change in changes {
            match self.keyring.merge(&change.row) {
                Merged::Changed(entry) => drop(moved.insert(change.row.id, (change.number, entry))),
                Merged::Kept(entry) => newer.push(entry),
                Merged::Quiet => {}
            }
        }
        if !moved.is_empty() {
            let (numbers, entries): (Vec<u64>, Vec<Arc<Entry>>) = moved.into_values().unzip();
            let counts = self.recheck(entries).await;
            self.closed.extend(numbers.into_iter().zip(counts).filter(|(_, count)| *count > 0));
            let surplus = self.closed.len().saturating_sub(CLOSED_KEPT);
            self.closed.drain(..surplus);
        }
        newer
    }

    /// Takes one page of records; what is newer here is offered back, and what is sealed under a
    /// retired pepper is sealed anew.
    pub async fn rows(&self, rows: Vec<Row>) -> Result<(), Unavailable> {
        let (mut changed, mut newer) = (Vec::new(), Vec::new());
        for row in &rows {
            match self.keyring.merge(row) {
                Merged::Changed(entry) => changed.push(entry),
                Merged::Kept(entry) => newer.push(entry),
                Merged::Quiet => {}
            }
        }
        // Reading all again, after changes were missed, may take something away as they would have.
        if !changed.is_empty() {
            self.recheck(changed).await;
        }
        self.keyring.offer(&newer).await?;
        self.reseal(&rows).await
    }

    /// How many requests the last changes ended, by the changes' numbers.
    pub fn closed(&self) -> Vec<(u64, u64)> {
        self.closed.iter().copied().collect()
    }

    /// In another past the numbers behind this one are other changes.
    pub fn forget_closed(&mut self, behind: u64) {
        self.closed.retain(|(number, _)| *number <= behind);
    }

    async fn recheck(&self, entries: Vec<Arc<Entry>>) -> Vec<u64> {
        let now = self.keyring.lease().store_time(Moment::now());
        self.keyring.workers().recheck(entries.into(), now).await
    }

    /// Seals anew, under the current pepper, what is sealed under a retired one.
    async fn reseal(&self, rows: &[Row]) -> Result<(), Unavailable> {
        let vault = self.keyring.vault();
        let retired = rows.iter().filter(|it| vault.is_retired(&it.sealed));
        let sealed: Vec<Row> =
            retired.filter_map(|it| vault.open(it).and_then(|it| vault.seal(&it)).ok()).collect();
        if !sealed.is_empty() {
            self.keyring.store().reseal(sealed).await?;
        }
        Ok(())
    }
}

/// As many as one sync may bring, so that no receipt misses its number.
const CLOSED_KEPT: usize = CHANGES_PER_SYNC_MAX;
