//! Knows when the process is asked to stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
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

/// What asks a process to stop: SIGTERM, SIGINT, or a stopper. Signals are heard from the moment
/// that this is made, and kept until somebody waits for them.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    stopper: Stopper,
}

impl StopSignals {
    /// Inside a runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            stopper: Stopper::default(),
        })
    }

    /// By which it can be stopped without a signal.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Resolves once it is to stop.
    pub async fn asked(&mut self) {
        let stopper = self.stopper.clone();
        tokio::select! {
            () = self.again() => {}
            () = stopper.0.cancelled() => {}
        }
    }

    /// Resolves on the next signal.
    pub async fn again(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
