//! One thread for each worker, with everything on it: sockets, connections, timers, counters.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::gate::keyring::Keyring;
use crate::gate::recheck::Recheck;
use crate::listener::connection::Transport;
use crate::listener::doors::{Doors, Place};
use crate::server::plan::Endpoints;
use crate::server::rollout::{SWAPS_MAX, Swap};
use crate::server::worker::Worker;
use crate::tasks::Tasks;
use crate::tasks::permits::Stock;
use crate::telemetry::access::AccessSink;
use crate::telemetry::counters::WorkerCounters;

/// What all workers have in common.
#[derive(Clone, Debug)]
pub struct Common {
    /// What was asked for.
    pub config: Arc<Config>,
    /// What the process knows of keys.
    pub keyring: Arc<Keyring>,
    /// Who may connect.
    pub doors: Doors,
    /// The endpoints of every upstream.
    pub endpoints: Endpoints,
    /// Requests that may be under way.
    pub in_flight: Stock,
    /// Where access lines go.
    pub access: Option<AccessSink>,
    /// The word to stop.
    pub tasks: Tasks,
    /// Whoever accepts, on any worker: what they pass on, they pass on before they end.
    pub acceptors: Tasks,
    /// Whether another process goes on with the sockets, and with who waits in their queues.
    pub succeeded: Arc<AtomicBool>,
}

/// The threads.
#[derive(Debug)]
pub struct Workers {
    running: usize,
    swaps: Vec<mpsc::Sender<Swap>>,
    ended: mpsc::Receiver<()>,
}

/// A socket to listen on, and what is spoken there.
#[derive(Debug)]
pub struct Listening {
    /// The socket.
    pub socket: TcpListener,
    /// Below HTTP.
    pub transport: Transport,
}

/// A connection that another worker accepted.
#[derive(Debug)]
pub struct Passed {
    /// The connection.
    pub stream: TcpStream,
    /// Who is on the other side.
    pub peer: SocketAddr,
    /// What is spoken there.
    pub transport: Transport,
    /// Its place among all.
    pub place: Place,
}

impl Workers {
    /// Starts one thread for each set of sockets and counters.
    pub fn start(
        common: &Common,
        sockets: Vec<Vec<Listening>>,
        counters: &[Arc<WorkerCounters>],
    ) -> std::io::Result<Self> {
        let (report, ended) = mpsc::channel(sockets.len().max(1));
        let (passing, inboxes): (Vec<_>, Vec<_>) =
            sockets.iter().map(|_| mpsc::channel(PASSED_MAX)).unzip();
        let running = sockets.len();
        let mut all_swaps = Vec::with_capacity(running);
        let parts = sockets.into_iter().zip(inboxes).zip(counters.iter().cloned());
        for (number, ((sockets, passed), counters)) in parts.enumerate() {
            let rechecks = common.keyring.workers().join();
            let (sender, swaps) = mpsc::channel(SWAPS_MAX);
            all_swaps.push(sender);
            let seat = WorkerSeat {
                number,
                sockets,
                passed,
                rechecks,
                swaps,
                counters,
                passing: passing.clone(),
            };
            let (common, report) = (common.clone(), report.clone());
            thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                let _report = Report(report);
                seat.run(common);
            })?;
        }
        Ok(Self { running, swaps: all_swaps, ended })
    }

    /// The way to every worker, for other configurations.
    pub fn swaps(&self) -> Vec<mpsc::Sender<Swap>> {
        self.swaps.clone()
    }

    /// Resolves when a worker has ended; never where there is none.
    pub async fn one_ended(&mut self) {
        if self.running == 0 {
            std::future::pending::<()>().await;
        }
        self.ended.recv().await;
    }

    /// Resolves when every worker has ended.
    pub async fn all_ended(&mut self) {
        while self.ended.recv().await.is_some() {}
    }
}

/// Says that a worker has ended, however it ends.
struct Report(mpsc::Sender<()>);

impl Drop for Report {
    fn drop(&mut self) {
        // There is room for one of each worker.
        self.0.try_send(()).ok();
    }
}

/// What one worker alone has.
#[derive(Debug)]
pub struct WorkerSeat {
    /// Its own.
    pub number: usize,
    /// What it accepts from.
    pub sockets: Vec<Listening>,
    /// What others accepted for it.
    pub passed: mpsc::Receiver<Passed>,
    /// Keys that have changed.
    pub rechecks: mpsc::Receiver<Recheck>,
    /// Configurations that have changed.
    pub swaps: mpsc::Receiver<Swap>,
    /// What it counts.
    pub counters: Arc<WorkerCounters>,
    /// The way to every worker.
    pub passing: Vec<mpsc::Sender<Passed>>,
}

impl WorkerSeat {
    fn run(self, common: Common) {
        let mut builder = Builder::new_current_thread();
        builder.enable_all().event_interval(POLLS_BETWEEN_EVENTS);
        let built = builder.build_local(LocalOptions::default());
        match built {
            Ok(runtime) => runtime.block_on(self.serve(common)),
            Err(fault) => tracing::error!(%fault, "a worker's runtime could not be built"),
        }
    }

    async fn serve(self, common: Common) {
        if let Some(worker) = Worker::new(&self, common) {
            Rc::new(worker).work(self).await;
        }
    }
}

/// How many connections may be on their way to one worker.
const PASSED_MAX: usize = 256;

/// As many as the requests of a busy worker need that came in one go, so that it asks for events once
/// for all of them.
const POLLS_BETWEEN_EVENTS: u32 = 256;
