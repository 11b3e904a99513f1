//! Builds everything below, once, and ends it in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::admin::health::Health;
use crate::config::Config;
use crate::gate::keyring::Keyring;
use crate::server::build::{Built, build};
use crate::server::signals::{StopSignals, Stopper};
use crate::server::workers::Workers;
use crate::tasks::Tasks;
use crate::telemetry::outlet::Inlets;

pub mod accept;
mod build;
mod care;
mod certificates;
pub mod exit;
mod first_token;
mod last_use;
mod limits;
mod metrics;
pub mod peppers;
mod plan;
mod secret_file;
mod signals;
mod worker;
mod workers;

pub use build::StartFault;

/// A running gateway.
#[derive(Debug)]
pub struct Server {
    config: Arc<Config>,
    keyring: Arc<Keyring>,
    health: Arc<Health>,
    addresses: Addresses,
    control: Runtime,
    admin: Runtime,
    /// Ends with the requests: workers.
    front: Tasks,
    /// Ends after them: the admin listener, where operators may still wait for receipts.
    desk: Tasks,
    /// Ends last: what keeps the keyring true, and gives those receipts.
    back: Tasks,
    workers: Workers,
    signals: StopSignals,
}

/// Where a gateway listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The data plane.
    pub gateway: Vec<SocketAddr>,
    /// The control plane.
    pub admin: Vec<SocketAddr>,
}

impl Server {
    /// Opens the store, binds every socket and starts every thread. `lines` is where access lines
    /// go, and what is counted of them and of log lines.
    pub fn start(config: Config, lines: &Inlets) -> Result<Self, StartFault> {
        let control = runtime("control")?;
        let admin = runtime("admin")?;
        // Before anyone can see that it is ready, and stop it.
        let signals = control.block_on(async { StopSignals::listen() });
        let signals = signals.map_err(|it| StartFault::thread(&it))?;
        let Built { config, keyring, health, addresses, front, desk, back, workers } =
            control.block_on(build(config, lines, admin.handle()))?;
        Ok(Self {
            config,
            keyring,
            health,
            addresses,
            control,
            admin,
            front,
            desk,
            back,
            workers,
            signals,
        })
    }

    /// Where it listens; a port 0 has become a real one.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// By which it can be stopped from another thread.
    pub fn stopper(&self) -> Stopper {
        self.signals.stopper()
    }

    /// Serves until told to stop, drains, and gives the exit code.
    pub fn wait(mut self) -> u8 {
        let end = self.control.block_on(async {
            tokio::select! {
                () = self.signals.asked() => End::Asked,
                () = self.workers.one_ended() => End::WorkerLost,
            }
        });
        let code = match end {
            End::Asked => {
                self.drain();
                exit::DONE
            }
            End::WorkerLost => {
                tracing::error!("a worker has ended by itself: this process cannot go on");
                exit::BUG
            }
        };
        self.end();
        code
    }

    /// Not ready any more; after `drain_delay` no new connection; requests finish.
    fn drain(&mut self) {
        tracing::info!("draining");
        self.health.set_draining();
        let Self { control, config, front, workers, signals, .. } = self;
        control.block_on(async {
            let drained = async {
                tokio::time::sleep(config.gateway.drain_delay).await;
                front.stop();
                workers.all_ended().await;
            };
            tokio::select! {
                () = drained => {}
                () = signals.again() => tracing::warn!("interrupted again: not waiting for requests"),
            }
        });
    }

    /// The register is left last, after the drain.
    fn end(self) {
        self.front.stop();
        self.control.block_on(async {
            ended(&self.desk).await;
            ended(&self.back).await;
        });
        tracing::info!(keys = self.keyring.entries().count(), "stopped");
        self.admin.shutdown_timeout(END_TIMEOUT);
        self.control.shutdown_timeout(END_TIMEOUT);
    }
}

/// Stops tasks and waits for them a little while.
async fn ended(tasks: &Tasks) {
    tasks.stop();
    if tokio::time::timeout(END_TIMEOUT, tasks.ended()).await.is_err() {
        tracing::warn!("background work did not end in time");
    }
}

enum End {
    Asked,
    WorkerLost,
}

fn runtime(name: &str) -> Result<Runtime, StartFault> {
    let built =
        Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build();
    built.map_err(|fault| StartFault::thread(&fault))
}

const END_TIMEOUT: Duration = Duration::from_secs(3);
