//! Carries tags that were made anew back into the store, without anyone waiting for it.

use tokio::sync::mpsc;

use crate::gate::vault::Vault;
use crate::key::seal::{SealFault, Tag};
use crate::key::text::KeyId;
use crate::store::{Row, Store, Unavailable};

/// A tag made for a record at `revision`.
#[derive(Debug)]
pub struct NewTag {
    /// Whose.
    pub id: KeyId,
    /// It is written only where the record still has this revision.
    pub revision: u64,
    /// The tag.
    pub tag: Tag,
}

/// The way in. When it is full a tag is dropped: it can be made again.
#[derive(Clone, Debug)]
pub struct Writeback(mpsc::Sender<NewTag>);

impl Writeback {
    /// The way in, and its end.
    pub fn channel() -> (Self, mpsc::Receiver<NewTag>) {
        let (sender, inbox) = mpsc::channel(TAGS_WAITING_MAX);
        (Self(sender), inbox)
    }

    /// Sends a tag on its way, if there is room.
    pub fn submit(&self, tag: NewTag) {
        drop(self.0.try_send(tag));
    }
}

/// Writes tags back as they come, many at a time.
pub async fn run(mut inbox: mpsc::Receiver<NewTag>, store: Store, vault: Vault) {
    let mut tags = Vec::new();
    while inbox.recv_many(&mut tags, TAGS_PER_WRITE).await > 0 {
        let mut rows = Vec::with_capacity(tags.len());
        for tag in tags.drain(..) {
            match resealed(&store, &vault, &tag).await {
                Ok(row) => rows.extend(row),
                Err(fault) => {
                    tracing::warn!(key.id = %tag.id, %fault, "a tag could not be renewed");
                }
            }
        }
        if let Err(fault) = store.reseal(rows).await {
            tracing::warn!(%fault, "tags could not be written back; they are made again when needed");
        }
    }
}

async fn resealed(store: &Store, vault: &Vault, new: &NewTag) -> Result<Option<Row>, Fault> {
    let Some(row) = store.find(new.id).await? else { return Ok(None) };
    let mut record = vault.open(&row)?;
    if record.revision != new.revision {
        return Ok(None);
    }
    record.tag = Some(new.tag.clone());
    Ok(Some(vault.seal(&record)?))
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Store(#[from] Unavailable),
    #[error(transparent)]
    Seal(#[from] SealFault),
}

const TAGS_WAITING_MAX: usize = 16_384;
const TAGS_PER_WRITE: usize = 256;
