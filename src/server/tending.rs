//! Looks after what keys have leased of their limits; at the end, what is unspent goes back.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::gate::keyring::Keyring;
use crate::tasks::Tasks;

/// Looks several times a second until told to stop, and then gives back everything.
pub async fn run(keyring: Arc<Keyring>, tasks: Tasks) {
    while tokio::time::timeout(EVERY, tasks.stopped()).await.is_err() {
        keyring.tend_limits(Moment::now());
    }
    let giving = keyring.return_limits();
    if tokio::time::timeout(GIVING_BACK, giving).await.is_err() {
        tracing::warn!("not all that was leased of quotas could be given back: it counts as spent");
    }
}

const EVERY: Duration = Duration::from_millis(50);
const GIVING_BACK: Duration = Duration::from_secs(2);
