//! Tells the store every minute how often keys were asked for; nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::gate::history::PARTS;
use crate::gate::keyring::Keyring;
use crate::store::Unavailable;
use crate::tasks::Tasks;

/// Tells it until told to stop, and then once more. What it did not take comes again with the next
/// minute.
pub async fn run(keyring: Arc<Keyring>, tasks: Tasks) {
    loop {
        let stopped = tokio::time::timeout(EVERY, tasks.stopped()).await.is_ok();
        if let Err(fault) = tell(&keyring).await {
            tracing::debug!(%fault, "what was counted of keys could not be written yet");
        }
        if stopped {
            return;
        }
    }
}

async fn tell(keyring: &Keyring) -> Result<(), Unavailable> {
    let (entries, now) = (keyring.entries(), keyring.lease().store_time(Moment::now()));
    entries.gather();
    let mut told = Ok(());
    for part in 0..PARTS {
        let rows = entries.history().take(part);
        if rows.is_empty() {
            continue;
        }
        told = keyring.store().note_usage(rows.clone()).await;
        if told.is_err() {
            entries.history().untold(part, &rows);
            break;
        }
    }
    entries.history().close(now);
    told
}

const EVERY: Duration = Duration::from_mins(1);
