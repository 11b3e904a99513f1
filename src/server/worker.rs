//! One worker at work: it accepts, serves, looks at deadlines, and finishes.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::HeaderValue;
use rand::TryRng;
use rand::rngs::SysRng;
use socket2::{SockRef, TcpKeepalive};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::clock::Moment;
use crate::gate::Gate;
use crate::gate::recheck::Recheck;
use crate::listener::connection::{Opened, Protocol, Transport, Unopened, announced, open};
use crate::listener::doors::{Place, Seat};
use crate::listener::flow::Flow;
use crate::listener::http1::{Http1, linger, say};
use crate::listener::http2::Http2;
use crate::listener::progress::Progress;
use crate::listener::session::Session;
use crate::listener::vitals::{End, Timeouts, Unread, Vitals};
use crate::listener::ward::{Bed, Ward};
use crate::proxy::allowance::Allowance;
use crate::proxy::credentials::Credentials;
use crate::proxy::forwarded::Trust;
use crate::proxy::outbound::RequestIds;
use crate::proxy::{Downstream, Proxy};
use crate::server::plan::Planner;
use crate::server::rollout::Swap;
use crate::server::workers::{Common, Listening, Passed, WorkerSeat};
use crate::tasks::deadline::TICK;
use crate::tasks::{Tasks, memory};
use crate::telemetry::access::AccessLog;

/// One worker at work.
#[derive(Debug)]
pub struct Worker {
    number: usize,
    planner: Planner,
    common: Common,
    proxy: Rc<Proxy>,
    http1: Http1,
    http2: Http2,
    timeouts: Timeouts,
    ward: Rc<Ward>,
    passing: Vec<mpsc::Sender<Passed>>,
    connections: Tasks,
}

/// Who came, and to which listener.
struct Visitor {
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
    transport: Transport,
}

impl Worker {
    /// Takes its seat; `None`: it cannot work, and the log says why.
    pub fn new(seat: &WorkerSeat, common: Common) -> Option<Self> {
        let config = Arc::clone(&common.config);
        let gateway = &config.gateway;
        let planner = Planner { worker: seat.number, counters: Arc::clone(&seat.counters) };
        let plan = planner.plan(&config, &common.endpoints, None);
        let plan =
            plan.map_err(|clash| tracing::error!(%clash, "the routes cannot be used")).ok()?;
        let proxy = Proxy {
            gate: Gate::new(Arc::clone(&common.keyring)),
            plan: RefCell::new(Rc::new(plan)),
            credentials: Credentials::new(
                gateway.key_headers.clone(),
                gateway.bearer,
                config.prefixes().cloned().collect(),
            ),
            limits: gateway.head,
            in_flight: common.in_flight.permits(),
            body_timeout: gateway.body_timeout,
            trust: Trust::new(gateway.trusted_proxies.clone()),
            counters: Arc::clone(&seat.counters),
            access: common.access.clone().map(AccessLog::new),
            draining: Cell::new(false),
            allowance: Allowance::default(),
            ids: RequestIds::new([SysRng.try_next_u64().ok()?, SysRng.try_next_u64().ok()?]),
        };
        let timeouts = Timeouts {
            header: gateway.header_timeout,
            idle: gateway.idle_timeout,
            write: gateway.write_timeout,
        };
        let connections = Tasks::default();
        let streams_max = gateway.max_streams.get();
        Some(Self {
            number: seat.number,
            planner,
            http1: Http1::new(&gateway.head),
            http2: Http2::new(&gateway.head, streams_max, connections.clone()),
            proxy: Rc::new(proxy),
            timeouts,
            ward: Rc::default(),
            passing: seat.passing.clone(),
            connections,
            common,
        })
    }

    /// Works until told to stop, and then until everything is finished.
    pub async fn work(self: Rc<Self>, seat: WorkerSeat) {
        let local = Tasks::default();
        for listening in seat.sockets {
            self.common.acceptors.spawn_local(Rc::clone(&self).accept(listening));
        }
        self.connections.spawn_local(Rc::clone(&self).take_passed(seat.passed));
        local.spawn_local(Rc::clone(&self).recheck(seat.rechecks));
        local.spawn_local(Rc::clone(&self).swap(seat.swaps));
        local.spawn_local(Rc::clone(&self).tick());
        self.common.tasks.stopped().await;
        self.drain().await;
    }

    /// Accepts until told to stop; then takes in who waits already, unless another process will,
    /// since closing the socket would reset them. A place is asked for only once somebody has come:
    /// else workers without visitors would keep places from the others. So one visitor of each
    /// worker waits here, and all others in the kernel.
    async fn accept(self: Rc<Self>, listening: Listening) {
        let Listening { socket, transport } = listening;
        let Ok(listener) = tokio::net::TcpListener::from_std(socket) else { return };
        loop {
            let accepted = tokio::select! {
                () = self.common.tasks.stopped() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let transport = transport.clone();
                    self.seat_somewhere(Visitor { stream, peer, transport }).await;
                }
                Err(fault) => pause_after(&fault).await,
            }
        }
        if self.common.succeeded.load(Ordering::Acquire) {
            return;
        }
        if let Ok(socket) = listener.into_std() {
            self.empty(&socket, &transport).await;
        }
    }

    /// Takes in whoever waits in a listening socket's queue. The kernel is asked itself: what tokio
    /// knows may be old, and after many visitors in a row it says that there are no more.
    async fn empty(self: &Rc<Self>, socket: &TcpListener, transport: &Transport) {
        let accept = || {
            let (stream, peer) = socket.accept()?;
            stream.set_nonblocking(true)?;
            let stream = tokio::net::TcpStream::from_std(stream)?;
            std::io::Result::Ok(Visitor { stream, peer, transport: transport.clone() })
        };
        loop {
            match accept() {
                Ok(visitor) => self.seat_somewhere(visitor).await,
                Err(fault) if fault.kind() == ErrorKind::WouldBlock => return,
                Err(fault) => pause_after(&fault).await,
            }
        }
    }

    /// Keeps a connection, or hands it to a worker that clearly has less to do.
    async fn seat_somewhere(self: &Rc<Self>, visitor: Visitor) {
        let Some(place) = self.common.doors.place().await else { return };
        let other = self.common.doors.worker_for(self.number);
        let inbox = self.passing.get(other).filter(|_| other != self.number);
        let Some(inbox) = inbox else { return self.take(visitor, place) };
        let Visitor { stream, peer, transport } = visitor;
        let Ok(stream) = stream.into_std() else { return };
        if let Err(
            mpsc::error::TrySendError::Full(passed) | mpsc::error::TrySendError::Closed(passed),
        ) = inbox.try_send(Passed { stream, peer, transport, place })
        {
            self.take_back(passed);
        }
    }

    fn take_back(self: &Rc<Self>, passed: Passed) {
        let Passed { stream, peer, transport, place } = passed;
        match tokio::net::TcpStream::from_std(stream) {
            Ok(stream) => self.take(Visitor { stream, peer, transport }, place),
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

    fn take(self: &Rc<Self>, visitor: Visitor, place: Place) {
        let mut seat = self.common.doors.seat(place, self.number);
        let address = visitor.peer.ip();
        if !self.announces(address) && !seat.is_open_to(address) {
            return;
        }
        // Who is gone without a word is noticed by the kernel: a tunnel may be silent for hours.
        let keepalive = SockRef::from(&visitor.stream).set_tcp_keepalive(&KEEPALIVE);
        if keepalive.and_then(|()| visitor.stream.set_nodelay(true)).is_ok() {
            self.connections.spawn_local(Rc::clone(self).attend(visitor, seat));
        }
    }

    /// One connection, from here to its end.
    async fn attend(self: Rc<Self>, visitor: Visitor, mut seat: Seat) {
        let Visitor { stream, mut peer, transport } = visitor;
        let vitals = Rc::new(Vitals::new(self.timeouts, Rc::new(Flow::new(self.timeouts.write))));
        let bed = self.ward.admit(Rc::clone(&vitals) as _);
        self.proxy.counters.accepted();
        if self.announces(peer.ip()) {
            match announced(&stream, &vitals).await {
                Ok(source) => peer = source.unwrap_or(peer),
                Err(fault) => {
                    tracing::debug!(%peer, ?fault, "no PROXY header");
                    return self.proxy.counters.closed();
                }
            }
            if !seat.is_open_to(peer.ip()) {
                return self.proxy.counters.closed();
            }
        }
        let caller = Caller::new(peer.ip().to_canonical(), &transport);
        match open(stream, &transport, &vitals).await {
            Ok(Opened { stream, protocol: Protocol::Http1 }) => {
                let serve = |request| {
                    let downstream = caller.downstream(Progress::Http1(Rc::clone(&vitals)));
                    Rc::clone(&self.proxy).serve(downstream, request)
                };
                let refuse = |unread| self.proxy.refuse_unread(caller.peer, unread);
                self.http1.serve(stream, &vitals, serve, refuse).await;
            }
            Ok(Opened { stream, protocol: Protocol::Http2 }) => {
                let session = self.http2.session(self.timeouts, vitals.flow());
                self.transfer(&bed, &session);
                let serve = |request, progress| {
                    Rc::clone(&self.proxy).serve(caller.downstream(progress), request)
                };
                // Boxed: every connection's future would carry room for it.
                Box::pin(self.http2.serve(stream, &session, serve)).await;
            }
            Err(Unopened::Ended(End::HeadTooSlow, mut stream)) => {
                let message = self.proxy.refuse_unread(caller.peer, Unread::TooSlow);
                say(&mut stream, &message).await;
                linger(stream).await;
            }
            Err(Unopened::Ended(End::Idle | End::Abort, _) | Unopened::Closed) => {}
        }
        self.proxy.counters.closed();
        drop((bed, seat));
    }

    /// Whether whoever connects from `address` says first for whom.
    fn announces(&self, address: IpAddr) -> bool {
        let networks = &self.common.config.gateway.proxy_protocol_from;
        !networks.is_empty() && networks.iter().any(|it| it.contains(&address.to_canonical()))
    }

    /// Who comes while all are told to finish is told as well.
    fn transfer(&self, bed: &Bed, session: &Rc<Session>) {
        bed.transfer(Rc::clone(session) as _);
        if self.proxy.draining.get() {
            self.ward.drain();
        }
    }

    async fn recheck(self: Rc<Self>, mut rechecks: mpsc::Receiver<Recheck>) {
        while let Some(recheck) = rechecks.recv().await {
            recheck.carry_out(self.proxy.gate.running());
            self.count_cut();
        }
    }

    /// Each request keeps the plan that it began with.
    async fn swap(self: Rc<Self>, mut swaps: mpsc::Receiver<Swap>) {
        while let Some(swap) = swaps.recv().await {
            let before = self.proxy.plan();
            match self.planner.plan(&swap.config, &swap.endpoints, Some(&before)) {
                Ok(plan) => {
                    let plan = Rc::new(plan);
                    drop(self.proxy.plan.replace(Rc::clone(&plan)));
                    before.upstreams.iter().for_each(|it| it.leave(&plan.upstreams));
                }
                Err(clash) => tracing::error!(%clash, "the routes cannot be used"),
            }
            swap.done();
        }
    }

    fn count_cut(&self) {
        self.proxy.counters.cut_so_far(self.proxy.gate.running().cut());
    }

    /// Everything that is late is found here, and nothing on the path reads a clock for it.
    async fn tick(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for count in 1_usize.. {
            ticks.tick().await;
            let now = Moment::now();
            self.ward.tick(now);
            self.proxy.gate.tick(now);
            self.count_cut();
            self.proxy.plan().upstreams.iter().for_each(|it| it.tick(now));
            if let Some(access) = &self.proxy.access {
                access.flush();
            }
            if count.is_multiple_of(TICKS_UNTIL_GIVEN_BACK) {
                memory::give_back();
            }
        }
    }

    /// Requests finish, and every connection is told to close: with its next answer, or by GOAWAY.
    async fn drain(&self) {
        self.proxy.draining.set(true);
        self.ward.drain();
        let limit = self.common.config.gateway.drain_timeout;
        if tokio::time::timeout(limit, self.connections.ended()).await.is_err() {
            tracing::warn!(
                connections = self.ward.count(),
                "drain_timeout is over: closing what is left"
            );
        }
    }
}

/// About a second.
const TICKS_UNTIL_GIVEN_BACK: usize = 5;

/// Who went away before they were accepted is no reason to keep others waiting. Everything else,
/// as having no descriptors, fails at once again and again.
async fn pause_after(fault: &std::io::Error) {
    if matches!(fault.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) {
        return;
    }
    tracing::warn!(%fault, "a connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Who is on the other side of a connection, and how they came.
struct Caller {
    peer: IpAddr,
    peer_text: HeaderValue,
    scheme: HeaderValue,
}

impl Caller {
    fn new(peer: IpAddr, transport: &Transport) -> Self {
        let peer_text = HeaderValue::from_str(&peer.to_string());
        let peer_text = peer_text.unwrap_or(HeaderValue::from_static("unknown"));
        let scheme = match transport {
            Transport::Plain => HeaderValue::from_static("http"),
            Transport::Tls(_) => HeaderValue::from_static("https"),
        };
        Self { peer, peer_text, scheme }
    }

    fn downstream(&self, progress: Progress) -> Downstream {
        let (peer_text, scheme) = (self.peer_text.clone(), self.scheme.clone());
        Downstream { peer: self.peer, peer_text, scheme, progress }
    }
}

const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_mins(1)).with_interval(Duration::from_secs(10));
