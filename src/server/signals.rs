//! Knows what the process is asked for from outside.

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

/// What a process can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// To finish and end: SIGTERM, SIGINT, or a stopper.
    Stop,
    /// To read its configuration again: SIGHUP.
    Reload,
    /// To start the process that goes on with its work: SIGUSR2.
    Succeed,
}

/// What asks. Signals are heard from the moment that this is made, and kept until somebody waits
/// for them. One that nobody heard would end the process at once, and with it every request.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    first: Signal,
    second: Signal,
    stopper: Stopper,
}

impl Signals {
    /// Inside a runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            first: signal(SignalKind::user_defined1())?,
            second: signal(SignalKind::user_defined2())?,
            stopper: Stopper::default(),
        })
    }

    /// By which it can be stopped without a signal.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// The next word.
    pub async fn next(&mut self) -> Word {
        let stopper = self.stopper.clone();
        tokio::select! {
            word = self.heard() => word,
            () = stopper.0.cancelled() => Word::Stop,
        }
    }

    /// Resolves when it is asked once more to stop, while it does.
    pub async fn stop_again(&mut self) {
        loop {
            match self.heard().await {
                Word::Stop => return,
                Word::Reload => tracing::warn!("SIGHUP is ignored: this process is draining"),
                Word::Succeed => tracing::warn!("SIGUSR2 is ignored: this process is draining"),
            }
        }
    }

    async fn heard(&mut self) -> Word {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Word::Stop,
                _ = self.interrupt.recv() => return Word::Stop,
                _ = self.hang_up.recv() => return Word::Reload,
                _ = self.second.recv() => return Word::Succeed,
                _ = self.first.recv() => {}
            }
            tracing::warn!("SIGUSR1 means nothing to this version");
        }
    }
}
