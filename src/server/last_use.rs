//! Tells the store now and then when keys were last used; nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Moment, Timestamp};
use crate::gate::keyring::Keyring;
use crate::tasks::Tasks;

/// Tells the store every few seconds, and once more at the end.
pub async fn run(keyring: Arc<Keyring>, tasks: Tasks) {
    loop {
        let stopped = tokio::time::timeout(EVERY, tasks.stopped()).await.is_ok();
        let now = keyring.lease().store_time(Moment::now());
        let used = keyring.entries().untold_uses();
        match keyring.store().touch(used).await {
            // A use is noted at most once a second, so look back a little further.
            Ok(()) => {
                let until = Timestamp::from_micros(now.as_micros() - 2_000_000);
                keyring.entries().uses_told(until);
            }
            Err(fault) => tracing::debug!(%fault, "last uses could not be written yet"),
        }
        keyring.forget_quiet(Moment::now());
        if stopped {
            return;
        }
    }
}

const EVERY: Duration = Duration::from_secs(10);
