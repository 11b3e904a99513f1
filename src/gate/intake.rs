//! Takes what the store says into the keyring, and ends what that ends.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::clock::Moment;
use crate::gate::entries::Merged;
use crate::gate::entry::Entry;
use crate::gate::keyring::Keyring;
use crate::key::text::KeyId;
use crate::store::{CHANGES_PER_SYNC_MAX, Change, PageMark, Row, Unavailable};

/// What of the store's records is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// All of them.
    Everything,
    /// Those of keys that are known here.
    Known,
}

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
    pub async fn changes(&mut self, changes: &[Change], scope: Read) -> Vec<Arc<Entry>> {
        // By key: what several changes of one key end is told with the last of them.
        let mut moved: HashMap<KeyId, (u64, Arc<Entry>)> = HashMap::new();
        let mut newer = Vec::new();
        for change in changes {
            match self.merge(&change.row, scope) {
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

    /// Reads some pages after that place, each while the one before it is taken over. Answers where to
    /// go on; `None`: there are no more. Nothing may be synced meanwhile, so that no page is older than
    /// a change that was applied before it.
    pub async fn some(&self, after: Option<PageMark>) -> Result<Option<PageMark>, Unavailable> {
        let mut rows = self.keyring.store().page(after, PAGE).await?;
        let mut reached = None;
        for left in (0..PAGES_AT_ONCE).rev() {
            let Some(last) = rows.last().map(Row::mark) else { return Ok(None) };
            reached = Some(last);
            let next = self.ahead(last, left);
            // In this order: the next page is under way before this one takes the thread.
            let (next, taken) = tokio::join!(biased; next, self.rows(rows, Read::Everything));
            taken?;
            rows = next?;
        }
        Ok(reached)
    }

    /// The next page, where there is one left to read.
    async fn ahead(&self, after: PageMark, left: usize) -> Result<Vec<Row>, Unavailable> {
        if left == 0 {
            return Ok(Vec::new());
        }
        self.keyring.store().page(Some(after), PAGE).await
    }

    /// Reads everything, and offers what is here and not there. Answers what was taken over.
    pub async fn all(&self, scope: Read) -> Result<Read, Unavailable> {
        let entries = self.keyring.entries();
        let mut unseen: HashSet<KeyId> = entries.held().into_iter().collect();
        let (mut after, mut read) = (None, Read::Everything);
        loop {
            let rows = self.keyring.store().page(after, PAGE).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.mark());
            let is_left_out = |it: &Row| scope == Read::Known && entries.get(it.id).is_none();
            read = if rows.iter().any(is_left_out) { scope } else { read };
            for row in &rows {
                unseen.remove(&row.id);
            }
            self.rows(rows, scope).await?;
        }
        let lost = unseen.into_iter().filter_map(|id| entries.get(id));
        self.keyring.offer(&lost.collect::<Vec<_>>()).await?;
        Ok(read)
    }

    /// Takes one page of records; what is newer here is offered back, and what is sealed under a
    /// retired pepper is sealed anew.
    async fn rows(&self, rows: Vec<Row>, scope: Read) -> Result<(), Unavailable> {
        let (mut changed, mut newer) = (Vec::new(), Vec::new());
        for row in &rows {
            match self.merge(row, scope) {
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

    fn merge(&self, row: &Row, scope: Read) -> Merged {
        match scope {
            Read::Everything => self.keyring.merge(row),
            Read::Known => self.keyring.merge_known(row),
        }
    }

    async fn recheck(&self, entries: Vec<Arc<Entry>>) -> Vec<u64> {
        let now = self.keyring.lease().store_time(Moment::now());
        self.keyring.workers().recheck(entries.into(), now).await
    }

    /// Seals anew, under the current pepper, what is sealed under a retired one.
    async fn reseal(&self, rows: &[Row]) -> Result<(), Unavailable> {
        let vault = self.keyring.vault();
        let sealed = rows.iter().filter_map(|it| vault.reseal(it).ok().flatten());
        let sealed: Vec<Row> = sealed.collect();
        if !sealed.is_empty() {
            self.keyring.store().reseal(sealed).await?;
        }
        Ok(())
    }
}

const PAGE: usize = 512;
/// As long as a lease can wait for its renewal.
const PAGES_AT_ONCE: usize = 8;

/// As many as one sync may bring, so that no receipt misses its number.
const CLOSED_KEPT: usize = CHANGES_PER_SYNC_MAX;
