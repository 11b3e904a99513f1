//! Looks after what keys have leased of their limits; at the end, what is unspent goes back.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::gate::Pass;
use crate::gate::around::Patience;
use crate::gate::keyring::Keyring;
use crate::tasks::Tasks;

/// Looks again and again until told to stop, and then gives back everything.
pub async fn run(keyring: Arc<Keyring>, tasks: Tasks) {
    let pause = || if keyring.limits().leasing().is_empty() { SELDOM } else { EVERY };
    while tokio::time::timeout(pause(), tasks.stopped()).await.is_err() {
        tend(&keyring);
    }
    let pass = pass(&keyring);
    let giving = keyring.limits().leasing().return_all(&pass);
    if tokio::time::timeout(GIVING_BACK, giving).await.is_err() {
        tracing::warn!("not all that was leased of quotas could be given back: it counts as spent");
    }
}

fn tend(keyring: &Keyring) {
    for purse in keyring.limits().leasing().sweep(&pass(keyring)) {
        if let Some(entry) = keyring.entries().get(purse.key()) {
            entry.forget(&purse);
        }
    }
}

/// A moment at which nobody waits.
fn pass(keyring: &Keyring) -> Pass {
    let now = Moment::now();
    Pass { now, time: keyring.lease().store_time(now), patience: Patience::Over }
}

/// At a tenth of what is leased.
const EVERY: Duration = Duration::from_millis(5);
/// Where nothing is.
const SELDOM: Duration = Duration::from_millis(50);
const GIVING_BACK: Duration = Duration::from_secs(2);
