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

/// Resolves on the next SIGINT or SIGTERM from this call on.
pub fn interrupted_again() -> impl Future<Output = ()> {
    let (interrupt, terminate) =
        (received(SignalKind::interrupt()), received(SignalKind::terminate()));
    async {
        tokio::select! {
            () = interrupt => {}
            () = terminate => {}
        }
    }
}

fn received(kind: SignalKind) -> impl Future<Output = ()> {
    let listening = signal(kind);
    async {
        match listening {
            Ok(mut signals) => {
                signals.recv().await;
            }
            Err(fault) => {
                tracing::error!(%fault, "signals cannot be received");
                std::future::pending::<()>().await;
            }
        }
    }
}
