//! Carries tags that were made anew back into the store, without anyone waiting for it.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::gate::vault::Vault;
use crate::key::seal::{SealFault, Tag};
use crate::key::text::KeyId;
use crate::store::{Row, Store, Unavailable};
use crate::tasks::Tasks;

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

/// The way in.
#[derive(Clone, Debug)]
pub struct Writeback(mpsc::Sender<NewTag>);

impl Writeback {
    /// The way in, and its end.
    pub fn channel() -> (Self, mpsc::Receiver<NewTag>) {
        let (sender, inbox) = mpsc::channel(TAGS_WAITING_MAX);
        (Self(sender), inbox)
    }

    /// Sends a tag on its way; says whether there was room.
    pub fn submit(&self, tag: NewTag) -> bool {
        self.0.try_send(tag).is_ok()
    }
}

/// Writes tags back as they come, many at a time, until told to stop; then what still waits.
pub async fn run(mut inbox: mpsc::Receiver<NewTag>, store: Store, vault: Vault, tasks: Tasks) {
    let mut tags = Vec::new();
    loop {
        let count = tokio::select! {
            count = inbox.recv_many(&mut tags, TAGS_PER_WRITE) => count,
            () = tasks.stopped(), if !inbox.is_closed() => {
                inbox.close();
                continue;
            }
        };
        if count == 0 {
            return;
        }
        while let Err(fault) = write(&store, &vault, &tags).await {
            tracing::warn!(%fault, "tags could not be written back yet");
            if tasks.is_stopped() {
                return;
            }
            tokio::time::sleep(PAUSE_AFTER_FAULT).await;
        }
        tags.clear();
    }
}

async fn write(store: &Store, vault: &Vault, tags: &[NewTag]) -> Result<(), Unavailable> {
    let mut rows = Vec::with_capacity(tags.len());
    for tag in tags {
        match resealed(store, vault, tag).await {
            Ok(row) => rows.extend(row),
            Err(Fault::Store(fault)) => return Err(fault),
            Err(Fault::Seal(fault)) => {
                tracing::warn!(key.id = %tag.id, %fault, "a tag could not be renewed");
            }
        }
    }
    store.reseal(rows).await.map(drop)
}

async fn resealed(store: &Store, vault: &Vault, new: &NewTag) -> Result<Option<Row>, Fault> {
    let Some(row) = store.find(new.id).await? else { return Ok(None) };
    Ok(vault.retag(&row, new.revision, &new.tag)?)
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
const PAUSE_AFTER_FAULT: Duration = Duration::from_secs(1);
