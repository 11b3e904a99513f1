//! Knows when the process is asked to stop.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Stops a server from another thread, as SIGTERM would.
#[derive(Clone, Debug, Default)]
pub struct Stopper(CancellationToken);

impl Stopper {
    /// Begins the drain.
    pub fn stop(&self) {
        self.0.cancel();
    }
}

/// Resolves on SIGTERM, SIGINT, or by a stopper.
pub async fn stop_asked(stopper: &Stopper) {
    tokio::select! {
        () = received(SignalKind::terminate()) => {}
        () = received(SignalKind::interrupt()) => {}
        () = stopper.0.cancelled() => {}
    }
}

/// Resolves on the next SIGINT or SIGTERM.
pub async fn interrupted_again() {
    tokio::select! {
        () = received(SignalKind::interrupt()) => {}
        () = received(SignalKind::terminate()) => {}
    }
}

async fn received(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(fault) => {
            tracing::error!(%fault, "signals cannot be received");
            std::future::pending::<()>().await;
        }
    }
}
