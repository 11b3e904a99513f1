//! Writes back what this process knows and the store has lost, or holds in an older state: somebody
//! put an old copy back, of a record or of the whole store.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::gate::entry::Entry;
use crate::gate::keyring::Keyring;
use crate::store::{Row, Unavailable};

impl Keyring {
    /// The record in `stored`, or the newer one that is known here, which is then written back.
    pub async fn current(&self, stored: Row) -> Result<Row, Unavailable> {
        let Some((entry, known)) = self.newer(&stored) else { return Ok(stored) };
        self.offer(&[entry]).await?;
        Ok(known)
    }

    /// The same for a page of records.
    pub async fn all_current(&self, stored: Vec<Row>) -> Result<Vec<Row>, Unavailable> {
        let mut newer = Vec::new();
        let rows = stored.into_iter().map(|stored| {
            let Some((entry, known)) = self.newer(&stored) else { return stored };
            newer.push(entry);
            known
        });
        let rows = rows.collect();
        self.offer(&newer).await?;
        Ok(rows)
    }

    fn newer(&self, stored: &Row) -> Option<(Arc<Entry>, Row)> {
        let entry = self.entries().get(stored.id)?;
        let known = entry.known();
        if known.seniority() <= stored.seniority() {
            return None;
        }
        let row = known.row(stored.id, self.vault())?;
        Some((Arc::clone(&entry), Row { last_used_at: stored.last_used_at, ..row }))
    }

    /// Has the store take those of these records that it lacks or holds in an older state, and counts
    /// them. They are sealed piece by piece: it may be all that there is.
    pub async fn offer(&self, known: &[Arc<Entry>]) -> Result<(), Unavailable> {
        for piece in known.chunks(SEALED_AT_ONCE) {
            let rows = piece.iter().filter_map(|it| it.known().row(it.id(), self.vault()));
            self.offer_rows(rows.collect()).await?;
        }
        Ok(())
    }

    /// The same for records as they were told of.
    pub async fn offer_rows(&self, rows: Vec<Row>) -> Result<(), Unavailable> {
        if rows.is_empty() {
            return Ok(());
        }
        let taken = self.store().offer(rows).await?;
        if taken > 0 {
            self.counts().rollbacks.fetch_add(taken as u64, Ordering::Relaxed);
            tracing::error!(
                records = taken,
                "the store had lost changes that this gateway knew: they were written back"
            );
        }
        Ok(())
    }
}

const SEALED_AT_ONCE: usize = 2_000;
