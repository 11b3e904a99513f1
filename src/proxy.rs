//! The data plane: one request, from its head to the last byte of its answer.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;

use crate::config;
use crate::gate::{Gate, Terms};
use crate::listener::vitals::Vitals;
use crate::proxy::credentials::Credentials;
use crate::proxy::forwarded::Trust;
use crate::route::table::Table;
use crate::telemetry::access::AccessLog;
use crate::telemetry::counters::WorkerCounters;
use crate::upstream::Upstream;

pub mod check;
pub mod credentials;
pub mod exchange;
pub mod forward;
pub mod forwarded;
pub mod hygiene;
pub mod inbound;
pub mod outbound;
pub mod rejection;
pub mod unread;

/// One worker's data plane.
#[derive(Debug)]
pub struct Proxy {
    /// Who may pass.
    pub gate: Gate,
    /// Which request goes where.
    pub plan: Plan,
    /// Where keys may stand.
    pub credentials: Credentials,
    /// What a head may be at most.
    pub limits: config::HeadLimits,
    /// Without a byte of a request's body.
    pub body_timeout: std::time::Duration,
    /// Whose word on other addresses is believed.
    pub trust: Trust,
    /// Counts.
    pub counters: Arc<WorkerCounters>,
    /// Lines for requests; `None`: nobody wants any.
    pub access: Option<AccessLog>,
    /// Whether connections are to be closed after their next answer.
    pub draining: std::cell::Cell<bool>,
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
}

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// What the gate may know of it.
    pub terms: Rc<Terms>,
    /// Where it leads.
    pub upstream: Rc<Upstream>,
}

/// What all requests of one connection have in common.
#[derive(Clone, Debug)]
pub struct Downstream {
    /// Who is on the other side.
    pub peer: IpAddr,
    /// The same as text.
    pub peer_text: HeaderValue,
    /// Where the connection stands.
    pub vitals: Rc<Vitals>,
}
