//! Has the store asked for one id, for all who wait.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::gate::fill::{Ended, Fill, FillRead, Outcome};
use crate::gate::keyring::Keyring;
use crate::key::text::KeyId;

/// One id that the store is asked for. However the asking ends, whoever waits hears of it: also
/// where it is dropped before it began.
#[derive(Debug)]
pub struct Filling {
    keyring: Arc<Keyring>,
    id: KeyId,
    fill: Arc<Fill>,
    _permit: OwnedSemaphorePermit,
}

impl Filling {
    /// Of what stands in the map of `keyring` already.
    pub fn new(
        keyring: Arc<Keyring>,
        id: KeyId,
        fill: Arc<Fill>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self { keyring, id, fill, _permit: permit }
    }

    /// Reads until no change has passed the read.
    pub async fn read(&self) -> Outcome {
        loop {
            let read = match self.keyring.store().find_settled(self.id).await {
                Ok(Some(row)) => FillRead::Found(self.keyring.read(&row)),
                Ok(None) => FillRead::Absent,
                Err(_unavailable) => FillRead::Failed,
            };
            match self.end(read) {
                Ended::Settled => return self.fill.outcome().await,
                Ended::Overtaken => {}
            }
        }
    }

    fn end(&self, read: FillRead) -> Ended {
        self.keyring.entries().end_fill(self.id, &self.fill, read)
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        if !self.fill.is_settled() {
            self.end(FillRead::Failed);
        }
    }
}
