//! The data plane: one request, from its head to the last byte of its answer.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::config::{self, Access, Preflight, XRateLimit};
use crate::gate::bounds::Paced;
use crate::gate::by_address::ByAddress;
use crate::gate::{Gate, Terms};
use crate::listener::progress::Progress;
use crate::proxy::allowance::Allowance;
use crate::proxy::credentials::Credentials;
use crate::proxy::forwarded::Trust;
use crate::proxy::hygiene::{Direction, Sieve};
use crate::route::table::Table;
use crate::tasks::permits::Permits;
use crate::telemetry::access::AccessLog;
use crate::telemetry::counters::{RouteCounters, WorkerCounters};
use crate::upstream::Upstream;

pub mod allowance;
pub mod amend;
pub mod check;
pub mod credentials;
pub mod exchange;
pub mod forward;
pub mod forwarded;
pub mod hygiene;
pub mod inbound;
pub mod outbound;
pub mod pieces;
pub mod preflight;
pub mod rejection;
pub mod tunnel;
pub mod unread;
pub mod upgrade;
pub mod websocket;

/// One worker's data plane.
#[derive(Debug)]
pub struct Proxy {
    /// Who may pass.
    pub gate: Gate,
    /// Routes and where they lead, until the next reload.
    pub plan: RefCell<Rc<Plan>>,
    /// Where keys may stand.
    pub credentials: Credentials,
    /// What a head may be at most.
    pub limits: config::HeadLimits,
    /// How many requests may be under way.
    pub in_flight: Permits,
    /// Without a byte of a request's body.
    pub body_timeout: Duration,
    /// Whose word on other addresses is believed.
    pub trust: Trust,
    /// Counts.
    pub counters: Arc<WorkerCounters>,
    /// Lines for requests; `None`: nobody wants any.
    pub access: Option<AccessLog>,
    /// Whether connections are to be closed after their next answer.
    pub draining: std::cell::Cell<bool>,
    /// Says what is left of limits.
    pub allowance: Allowance,
    /// Makes request ids.
    pub ids: outbound::RequestIds,
}

/// Routes and where they lead, as one worker sees them.
#[derive(Debug)]
pub struct Plan {
    /// Finds a route by its place.
    pub table: Table,
    /// In the order of the configuration.
    pub routes: Vec<Route>,
    /// Where they lead, each once.
    pub upstreams: Vec<Rc<Upstream>>,
    /// Whether limits are told in the older headers too.
    pub x_rate_limit: XRateLimit,
}

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// What the gate may know of it.
    pub terms: Rc<Terms>,
    /// The same for CORS preflights; `None`: they are requests like any other.
    pub preflight: Option<Rc<Terms>>,
    /// Where it leads.
    pub upstream: Rc<Upstream>,
    /// What is changed on the way.
    pub settings: Rc<config::Route>,
    /// Which trailers pass on the way up.
    pub up: Rc<Sieve>,
    /// Which trailers pass on the way down.
    pub down: Rc<Sieve>,
    /// Counts.
    pub counters: Arc<RouteCounters>,
}

impl Route {
    /// As it was configured. Keys stand in `keys`.
    pub fn new(
        settings: &config::Route,
        upstream: &Rc<Upstream>,
        keys: &[HeaderName],
        (counters, by_address): (Arc<RouteCounters>, Option<Arc<ByAddress>>),
    ) -> Self {
        let terms = |access| Terms {
            cost: settings.cost,
            rate: settings.rate.map(|it| (settings.name.as_str().into(), Paced::from(it))),
            by_address: by_address.clone(),
            ..Terms::new(&settings.name, access)
        };
        Self {
            terms: Rc::new(terms(settings.access)),
            preflight: match settings.preflight {
                Preflight::Key => None,
                Preflight::Forward => Some(Rc::new(terms(Access::Public))),
            },
            upstream: Rc::clone(upstream),
            up: Rc::new(Sieve::new(Direction::Up, &settings.request_headers, keys)),
            down: Rc::new(Sieve::new(Direction::Down, &settings.response_headers, &[])),
            settings: Rc::new(settings.clone()),
            counters,
        }
    }

    /// From the end of a request's body to the head of its answer.
    pub fn response_timeout(&self) -> Duration {
        let own = self.settings.response_timeout;
        own.unwrap_or_else(|| self.upstream.settings().response_timeout)
    }
}

impl Proxy {
    /// Routes and where they lead, as they are now.
    pub fn plan(&self) -> Rc<Plan> {
        Rc::clone(&self.plan.borrow())
    }
}

/// What a request has from its connection.
#[derive(Clone, Debug)]
pub struct Downstream {
    /// Who is on the other side.
    pub peer: IpAddr,
    /// The same as text.
    pub peer_text: HeaderValue,
    /// Over what it came: `http` or `https`.
    pub scheme: HeaderValue,
    /// Who is to know how far the request has come.
    pub progress: Progress,
}
