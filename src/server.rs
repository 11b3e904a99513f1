//! Builds everything below, once, and ends it in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::admin::health::Health;
use crate::config::Config;
use crate::server::build::{Built, Parties, build};
use crate::server::notify::{State, notify};
use crate::server::reload::{Reloading, Reread};
use crate::server::signals::{Signals, Stopper, Word};
use crate::server::succession::{Lineage, Succession};
use crate::server::workers::Workers;
use crate::tasks::Tasks;
use crate::telemetry::outlet::Inlets;

pub mod accept;
mod build;
mod care;
mod certificates;
pub mod exit;
mod first_token;
mod history;
mod last_use;
mod limits;
mod metrics;
mod notify;
mod opening;
pub mod peppers;
mod plan;
pub mod reload;
mod rollout;
mod secret_file;
mod signals;
mod sockets;
pub mod succession;
mod tending;
pub mod transfer;
mod worker;
mod workers;

pub use build::StartFault;

/// A running gateway.
#[derive(Debug)]
pub struct Server {
    config: Arc<Config>,
    health: Arc<Health>,
    addresses: Addresses,
    control: Runtime,
    admin: Runtime,
    parties: Parties,
    workers: Workers,
    signals: Signals,
    reloading: Reloading,
    succession: Succession,
    succeeded: Arc<AtomicBool>,
    unfit: oneshot::Receiver<StartFault>,
}

/// Where a server comes from.
#[derive(Debug, Default)]
pub struct Origin {
    /// What the process before this one left, and what starts the one after it.
    pub lineage: Lineage,
    /// What reads the configuration again; `None`: it stays what it is.
    pub reread: Option<Reread>,
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
    /// go, and what is counted of them and of log lines; `origin` is where all that came from.
    pub fn start(config: Config, lines: &Inlets, origin: Origin) -> Result<Self, StartFault> {
        let control = runtime("control")?;
        let admin = runtime("admin")?;
        // Before anyone can see that it is ready, and stop it.
        let signals = control.block_on(async { Signals::listen() });
        let signals = signals.map_err(|it| StartFault::thread(&it))?;
        let built = control.block_on(build(Arc::new(config), lines, (admin.handle(), origin)))?;
        let Built { config, health, addresses, parties, .. } = built;
        let Built { workers, reloading, succession, succeeded, unfit, .. } = built;
        notify(State::Ready);
        Ok(Self {
            config,
            health,
            addresses,
            control,
            admin,
            parties,
            workers,
            signals,
            reloading,
            succession,
            succeeded,
            unfit,
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
        let Self { control, signals, workers, reloading, succession, unfit, .. } = &mut self;
        let serving = async {
            tokio::select! {
                Ok(fault) = unfit => End::Unfit(fault),
                end = serve(signals, workers, reloading, succession) => end,
            }
        };
        let code = match control.block_on(serving) {
            End::Asked => {
                notify(State::Stopping);
                self.drain(self.config.gateway.drain_delay);
                exit::DONE
            }
            End::Succeeded(pid) => {
                tracing::info!(pid, "another process serves now");
                notify(State::SucceededBy(pid));
                self.succeeded.store(true, Ordering::Release);
                self.parties.reception.stop();
                self.drain(Duration::ZERO);
                exit::DONE
            }
            End::Unfit(fault) => {
                tracing::error!(%fault, "the store was reached, and this process cannot use it");
                fault.exit()
            }
            End::WorkerLost => {
                tracing::error!("a worker has ended by itself: this process cannot go on");
                exit::BUG
            }
        };
        self.end();
        code
    }

    /// Not ready any more; after `delay` no new connection; requests finish.
    fn drain(&mut self, delay: Duration) {
        tracing::info!("draining");
        self.health.set_draining();
        self.reloading.close();
        let Self { control, parties, workers, signals, succession, .. } = self;
        control.block_on(async {
            let drained = async {
                tokio::time::sleep(delay).await;
                // A socket closes with its last copy.
                succession.close();
                parties.front.stop();
                workers.all_ended().await;
            };
            tokio::select! {
                () = drained => {}
                () = signals.stop_again() => tracing::warn!("interrupted again: not waiting for requests"),
            }
        });
    }

    /// The register is left last, after the drain.
    fn end(self) {
        self.parties.front.stop();
        self.control.block_on(async {
            ended(&self.parties.desk).await;
            ended(&self.parties.back).await;
        });
        tracing::info!(keys = self.reloading.keyring.entries().count(), "stopped");
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
    /// By the process of this id.
    Succeeded(u32),
    WorkerLost,
    /// The store was reached at last, and is not the right one.
    Unfit(StartFault),
}

/// Until it is to end.
async fn serve(
    signals: &mut Signals,
    workers: &mut Workers,
    reloading: &mut Reloading,
    succession: &mut Succession,
) -> End {
    loop {
        let word = tokio::select! {
            word = signals.next() => word,
            Some(wish) = reloading.wishes.recv() => {
                // Who does not wait for the answer finds it in the log.
                drop(wish.send(reloading.reload().await));
                continue;
            }
            pid = succession.succeeded() => return End::Succeeded(pid),
            () = workers.one_ended() => return End::WorkerLost,
        };
        match word {
            Word::Succeed => succession.begin(),
            Word::Reload => drop(reloading.reload().await),
            Word::Stop => {
                succession.give_up().await;
                return End::Asked;
            }
        }
    }
}

fn runtime(name: &str) -> Result<Runtime, StartFault> {
    let built =
        Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build();
    built.map_err(|fault| StartFault::thread(&fault))
}

const END_TIMEOUT: Duration = Duration::from_secs(3);
