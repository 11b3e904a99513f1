//! One thread for each worker, with everything on it: sockets, connections, timers, counters.

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use http::HeaderValue;
use rand::TryRng;
use rand::rngs::SysRng;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::clock::Moment;
use crate::config::Config;
use crate::gate::Gate;
use crate::gate::keyring::Keyring;
use crate::gate::recheck::Recheck;
use crate::listener::connection::Http1;
use crate::listener::doors::{Doors, Place, Seat};
use crate::listener::vitals::{Timeouts, Vitals, Ward};
use crate::proxy::credentials::Credentials;
use crate::proxy::forwarded::Trust;
use crate::proxy::outbound::RequestIds;
use crate::proxy::{Downstream, Proxy};
use crate::server::plan::{Endpoints, plan};
use crate::tasks::Tasks;
use crate::tasks::deadline::TICK;
use crate::telemetry::access::{AccessLog, AccessSink};
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
    /// Where access lines go.
    pub access: Option<AccessSink>,
    /// The word to stop.
    pub tasks: Tasks,
    /// Whoever accepts, on any worker: what they pass on, they pass on before they end.
    pub acceptors: Tasks,
}

/// The threads.
#[derive(Debug)]
pub struct Workers {
    running: usize,
    ended: mpsc::Receiver<()>,
}

/// A socket that another worker accepted.
type Passed = (TcpStream, SocketAddr, Place);

impl Workers {
    /// Starts one thread for each set of sockets and counters.
    pub fn start(
        common: &Common,
        sockets: Vec<Vec<TcpListener>>,
        counters: &[Arc<WorkerCounters>],
    ) -> std::io::Result<Self> {
        let (report, ended) = mpsc::channel(sockets.len().max(1));
        let (passing, inboxes): (Vec<_>, Vec<_>) =
            sockets.iter().map(|_| mpsc::channel(PASSED_MAX)).unzip();
        let running = sockets.len();
        let parts = sockets.into_iter().zip(inboxes).zip(counters.iter().cloned());
        for (number, ((sockets, passed), counters)) in parts.enumerate() {
            let rechecks = common.keyring.workers().join();
            let seat = WorkerSeat {
                number,
                sockets,
                passed,
                rechecks,
                counters,
                passing: passing.clone(),
            };
            let (common, report) = (common.clone(), report.clone());
            thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                let _report = Report(report);
                seat.run(common);
            })?;
        }
        Ok(Self { running, ended })
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
struct WorkerSeat {
    number: usize,
    sockets: Vec<TcpListener>,
    passed: mpsc::Receiver<Passed>,
    rechecks: mpsc::Receiver<Recheck>,
    counters: Arc<WorkerCounters>,
    passing: Vec<mpsc::Sender<Passed>>,
}

impl WorkerSeat {
    fn run(self, common: Common) {
        let built = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        match built {
            Ok(runtime) => runtime.block_on(self.serve(common)),
            Err(fault) => tracing::error!(%fault, "a worker's runtime could not be built"),
        }
    }

    async fn serve(self, common: Common) {
        let Some(worker) = Worker::new(&self, common) else { return };
        let worker = Rc::new(worker);
        let local = Tasks::default();
        for socket in self.sockets {
            worker.common.acceptors.spawn_local(Rc::clone(&worker).accept(socket));
        }
        worker.connections.spawn_local(Rc::clone(&worker).take_passed(self.passed));
        local.spawn_local(Rc::clone(&worker).recheck(self.rechecks));
        local.spawn_local(Rc::clone(&worker).tick());
        worker.common.tasks.stopped().await;
        worker.drain().await;
    }
}

/// One worker at work.
struct Worker {
    number: usize,
    common: Common,
    proxy: Rc<Proxy>,
    http1: Http1,
    timeouts: Timeouts,
    ward: Rc<Ward>,
    passing: Vec<mpsc::Sender<Passed>>,
    connections: Tasks,
}

impl Worker {
    fn new(seat: &WorkerSeat, common: Common) -> Option<Self> {
        let config = Arc::clone(&common.config);
        let gateway = &config.gateway;
        let plan = plan(&config, &common.endpoints, seat.number, &seat.counters);
        let plan =
            plan.map_err(|clash| tracing::error!(%clash, "the routes cannot be used")).ok()?;
        let proxy = Proxy {
            gate: Gate::new(Arc::clone(&common.keyring)),
            plan,
            credentials: Credentials::new(
                gateway.key_headers.clone(),
                gateway.bearer,
                vec![config.keys.prefix.clone()],
            ),
            limits: gateway.head,
            body_timeout: gateway.body_timeout,
            trust: Trust::new(gateway.trusted_proxies.clone()),
            counters: Arc::clone(&seat.counters),
            access: common.access.clone().map(AccessLog::new),
            draining: Cell::new(false),
            ids: RequestIds::new([SysRng.try_next_u64().ok()?, SysRng.try_next_u64().ok()?]),
        };
        let timeouts = Timeouts {
            header: gateway.header_timeout,
            idle: gateway.idle_timeout,
            write: gateway.write_timeout,
        };
        Some(Self {
            number: seat.number,
            http1: Http1::new(&gateway.head),
            proxy: Rc::new(proxy),
            timeouts,
            ward: Rc::default(),
            passing: seat.passing.clone(),
            connections: Tasks::default(),
            common,
        })
    }

    /// Accepts until told to stop; then takes in who waits already, since closing the socket
    /// would reset them. A place is asked for only once somebody has come: else workers without
    /// visitors would keep places from the others. So one visitor of each worker waits here, and
    /// all others in the kernel.
    async fn accept(self: Rc<Self>, socket: TcpListener) {
        let Ok(listener) = tokio::net::TcpListener::from_std(socket) else { return };
        loop {
            let accepted = tokio::select! {
                () = self.common.tasks.stopped() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.seat_somewhere(stream, peer).await,
                Err(fault) => pause_after(&fault).await,
            }
        }
        if let Ok(socket) = listener.into_std() {
            self.empty(&socket).await;
        }
    }

    /// Takes in whoever waits in a listening socket's queue. The kernel is asked itself: what tokio
    /// knows may be old, and after many visitors in a row it says that there are no more.
    async fn empty(self: &Rc<Self>, socket: &TcpListener) {
        loop {
            match socket.accept() {
                Ok((stream, peer)) => {
                    let taken = stream.set_nonblocking(true);
                    match taken.and_then(|()| tokio::net::TcpStream::from_std(stream)) {
                        Ok(stream) => self.seat_somewhere(stream, peer).await,
                        Err(fault) => pause_after(&fault).await,
                    }
                }
                Err(fault) if fault.kind() == ErrorKind::WouldBlock => return,
                Err(fault) => pause_after(&fault).await,
            }
        }
    }

    /// Keeps a connection, or hands it to a worker that clearly has less to do.
    async fn seat_somewhere(self: &Rc<Self>, stream: tokio::net::TcpStream, peer: SocketAddr) {
        let Some(place) = self.common.doors.place().await else { return };
        let other = self.common.doors.worker_for(self.number);
        let inbox = self.passing.get(other).filter(|_| other != self.number);
        let Some(inbox) = inbox else { return self.take(stream, peer, place) };
        let Ok(stream) = stream.into_std() else { return };
        if let Err(
            mpsc::error::TrySendError::Full(passed) | mpsc::error::TrySendError::Closed(passed),
        ) = inbox.try_send((stream, peer, place))
        {
            self.take_back(passed);
        }
    }

    fn take_back(self: &Rc<Self>, (stream, peer, place): Passed) {
        match tokio::net::TcpStream::from_std(stream) {
            Ok(stream) => self.take(stream, peer, place),
            Err(fault) => tracing::warn!(%fault, "a connection could not be taken over"),
        }
    }

    /// Takes what others pass on, until nobody accepts any more.
    async fn take_passed(self: Rc<Self>, mut inbox: mpsc::Receiver<Passed>) {
        let mut nobody_accepts = pin!(async {
            self.common.tasks.stopped().await;
            self.common.acceptors.ended().await;
        });
        loop {
            tokio::select! {
                () = &mut nobody_accepts => break,
                Some(passed) = inbox.recv() => self.take_back(passed),
            }
        }
        while let Ok(passed) = inbox.try_recv() {
            self.take_back(passed);
        }
    }

    fn take(self: &Rc<Self>, stream: tokio::net::TcpStream, peer: SocketAddr, place: Place) {
        let Some(seat) = self.common.doors.seat(place, peer.ip(), self.number) else { return };
        if stream.set_nodelay(true).is_ok() {
            self.connections.spawn_local(Rc::clone(self).attend(stream, peer, seat));
        }
    }

    /// One connection, from here to its end.
    async fn attend(self: Rc<Self>, stream: tokio::net::TcpStream, peer: SocketAddr, seat: Seat) {
        let vitals = Rc::new(Vitals::new(self.timeouts));
        let bed = self.ward.admit(&vitals);
        let address = peer.ip().to_canonical();
        let peer_text = HeaderValue::from_str(&address.to_string());
        let peer_text = peer_text.unwrap_or(HeaderValue::from_static("unknown"));
        let downstream = Downstream { peer: address, peer_text, vitals: Rc::clone(&vitals) };
        self.proxy.counters.accepted();
        let serve = |request| Rc::clone(&self.proxy).serve(downstream.clone(), request);
        let refuse = |unread| self.proxy.refuse_unread(&downstream, unread);
        self.http1.serve(stream, vitals, serve, refuse).await;
        self.proxy.counters.closed();
        drop((bed, seat));
    }

    async fn recheck(self: Rc<Self>, mut rechecks: mpsc::Receiver<Recheck>) {
        while let Some(recheck) = rechecks.recv().await {
            recheck.carry_out(self.proxy.gate.running());
            self.count_cut();
        }
    }

    fn count_cut(&self) {
        self.proxy.counters.cut_so_far(self.proxy.gate.running().cut());
    }

    /// Everything that is late is found here, and nothing on the path reads a clock for it.
    async fn tick(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = Moment::now();
            self.ward.tick(now);
            self.proxy.gate.tick(now);
            self.count_cut();
            self.proxy.plan.upstreams.iter().for_each(|it| it.tick(now));
            if let Some(access) = &self.proxy.access {
                access.flush();
            }
        }
    }

    /// Requests finish, and every connection is told to close with its next answer.
    async fn drain(&self) {
        self.proxy.draining.set(true);
        let limit = self.common.config.gateway.drain_timeout;
        if tokio::time::timeout(limit, self.connections.ended()).await.is_err() {
            tracing::warn!(
                connections = self.ward.count(),
                "drain_timeout is over: closing what is left"
            );
        }
    }
}

/// Who went away before they were accepted is no reason to keep others waiting. Everything else,
/// as having no descriptors, fails at once again and again.
async fn pause_after(fault: &std::io::Error) {
    if matches!(fault.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) {
        return;
    }
    tracing::warn!(%fault, "a connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

const PASSED_MAX: usize = 256;
