//! Tells the store every minute how often keys were asked for; nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::gate::history::{HOURS_MAX, PARTS};
use crate::gate::keyring::Keyring;
use crate::store::Unavailable;
use crate::tasks::Tasks;

/// Tells it until told to stop, and then once more. What it did not take comes again with the next
/// minute.
pub async fn run(keyring: Arc<Keyring>, tasks: Tasks) {
    let mut is_told = true;
    loop {
        let stopped = tokio::time::timeout(EVERY, tasks.stopped()).await.is_ok();
        let was_told = std::mem::replace(&mut is_told, true);
        match tell(&keyring).await {
            Ok(()) if !was_told => tracing::info!("how often keys were asked for is written again"),
            Ok(()) => {}
            Err(fault) => {
                is_told = false;
                if was_told {
                    tracing::warn!(
                        %fault,
                        "how often keys were asked for cannot be written: previews of limits know \
                         nothing newer, and after {HOURS_MAX} hours it is lost"
                    );
                }
            }
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
