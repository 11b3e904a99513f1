//! Tells the store now and then when keys were last used; nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Moment, Timestamp};
use crate::gate::keyring::Keyring;
use crate::tasks::Tasks;

/// Tells the store every few seconds, and once more at the end.
pub async fn run(keyring: Arc<Keyring>, tasks: Tasks) {
    let mut told = Timestamp::from_micros(0);
    loop {
        let stopped = tokio::time::timeout(EVERY, tasks.stopped()).await.is_ok();
        let now = keyring.lease().store_time(Moment::now());
        let used = keyring.entries().used_since(told);
        match keyring.store().touch(used).await {
            // A use is noted at most once a second, so look back a little further.
            Ok(()) => told = Timestamp::from_micros(now.as_micros() - 2_000_000),
            Err(fault) => tracing::debug!(%fault, "last uses could not be written yet"),
        }
        keyring.forget_quiet(Moment::now());
        if stopped {
            return;
        }
    }
}

const EVERY: Duration = Duration::from_secs(10);
