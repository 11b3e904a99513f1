//! Knows when the process is asked to stop.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

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
    /// What would end the process at once, and with it every request, if nobody heard it.
    unused: [(&'static str, Signal); 3],
    stopper: Stopper,
}

impl StopSignals {
    /// Inside a runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            unused: [
                ("SIGHUP", signal(SignalKind::hangup())?),
                ("SIGUSR1", signal(SignalKind::user_defined1())?),
                ("SIGUSR2", signal(SignalKind::user_defined2())?),
            ],
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
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                name = first(&mut self.unused) => name,
            };
            tracing::warn!("{name} means nothing to this version: SIGTERM stops it");
        }
    }
}

/// The name of the next of these signals.
async fn first(signals: &mut [(&'static str, Signal)]) -> &'static str {
    let name = poll_fn(|context| {
        let heard = signals
            .iter_mut()
            .find_map(|(name, it)| it.poll_recv(context).is_ready().then_some(*name));
        heard.map_or(Poll::Pending, Poll::Ready)
    });
    name.await
}
