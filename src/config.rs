//! Turns text into types that cannot be wrong; "off" is a variant, never 0 or `None`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use crate::key::argon2id::Cost;
use crate::key::text::Prefix;
use crate::rate::Rate;
use crate::route::table::Pattern;

mod check;
pub mod fault;
pub mod nearest;
mod raw;
mod reader;
mod schema;
pub mod sources;
#[cfg(test)]
mod tests;
pub mod units;
mod values;

/// The environment of this process, for [`sources::load`].
pub fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

/// Everything that `keyward serve` is told, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The data plane.
    pub gateway: Gateway,
    /// The control plane.
    pub admin: Admin,
    /// What is written down.
    pub log: Log,
    /// Where records live.
    pub store: Store,
    /// The scheme `default`.
    pub keys: Keys,
    /// What costs, by address.
    pub limits: Limits,
    /// Where requests go.
    pub upstreams: Vec<Upstream>,
    /// Which requests go where; each names an upstream by its place in `upstreams`.
    pub routes: Vec<Route>,
}

/// The data plane: `[gateway]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Plaintext listeners; none: an admin node.
    pub listen: Vec<SocketAddr>,
    /// Whose `X-Forwarded-For` and `X-Request-Id` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How many threads serve requests.
    pub workers: Workers,
    /// Headers in which a key is accepted; at least one.
    pub key_headers: Vec<HeaderName>,
    /// Whether `Authorization: Bearer` is one more place for a key.
    pub bearer: Bearer,
    /// Connections in all.
    pub max_connections: Connections,
    /// Connections from one address; `None`: unlimited.
    pub max_connections_per_address: Option<NonZeroU32>,
    /// Bounds of a request's head.
    pub head: HeadLimits,
    /// From the first byte to the end of the head.
    pub header_timeout: Duration,
    /// Without a byte of the request's body.
    pub body_timeout: Duration,
    /// Without the client taking a byte.
    pub write_timeout: Duration,
    /// Without a request.
    pub idle_timeout: Duration,
    /// Between "not ready" and draining.
    pub drain_delay: Duration,
    /// For requests to finish.
    pub drain_timeout: Duration,
}

/// How many workers: `"auto"` is one per core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One per core.
    Auto,
    /// So many.
    Count(NonZeroUsize),
}

/// Whether a key may be shown as a bearer token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// `Authorization` is none of our business.
    PassedOn,
    /// A bearer value with a prefix of ours is a key.
    Accepted,
}

/// How many connections at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// 20000, or what the limit on descriptors allows.
    Auto,
    /// At most so many.
    AtMost(NonZeroU32),
}

/// Bounds of a request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// All header lines together, in bytes.
    pub bytes_max: usize,
    /// How many header lines.
    pub count_max: usize,
    /// The request target, in bytes.
    pub uri_bytes_max: usize,
}

/// The control plane: `[admin]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Its listeners; none: no admin here.
    pub listen: Vec<SocketAddr>,
    /// Plaintext off loopback, in a private network.
    pub plaintext: Plaintext,
    /// What `Host` may say besides its addresses and localhost; lower case, without a port.
    pub hosts: Vec<String>,
    /// Where the first operator's token is written.
    pub operator_token_file: PathBuf,
}

/// Whether the admin listener may speak plaintext off loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plaintext {
    /// Only on loopback.
    LoopbackOnly,
    /// Anywhere; said loudly at start.
    Allowed,
}

/// What is written down: `[log]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// A filter like `info` or `keyward=debug`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
    /// Whether there is a line for each request.
    pub access: AccessLog,
}

/// How log lines look: `"auto"` is text on a terminal and otherwise JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, otherwise JSON.
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Whether there is a line for each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    Off,
    /// One each.
    On,
}

/// Where records live: `[store]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// Which store.
    pub location: Location,
    /// Nobody waits longer for the store.
    pub response_timeout: Duration,
    /// The pepper that seals.
    pub pepper_file: PathBuf,
    /// Peppers that still verify.
    pub retired_pepper_files: Vec<PathBuf>,
    /// What happens past the lease.
    pub when_unreachable: WhenUnreachable,
    /// How long known keys go on past the lease.
    pub serve_known_for: Duration,
    /// How long a gateway may trust what it knows.
    pub lease: Duration,
    /// Above it the map of keys is a cache.
    pub max_keys_in_memory: NonZeroUsize,
}

/// A store's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// An `SQLite` file.
    Sqlite(PathBuf),
}

impl Location {
    /// What no acknowledged write is lost by, in this store.
    pub const fn survives(&self) -> &'static [&'static str] {
        match self {
            Self::Sqlite(_) => &["kill -9", "power loss"],
        }
    }
}

/// What a gateway does once its lease has run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenUnreachable {
    /// Known keys go on for `serve_known_for`.
    ServeKnown,
    /// Nobody is let in.
    Refuse,
}

/// The scheme `default`: `[keys]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Keys {
    /// What its keys begin with.
    pub prefix: Prefix,
    /// What argon2id costs.
    pub argon2: Cost,
    /// How many threads run it.
    pub argon2_threads: NonZeroUsize,
    /// How many may wait for it.
    pub argon2_queue: NonZeroUsize,
}

/// What costs, by address: `[limits]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Look-ups of unknown ids and argon2 runs; `None`: unlimited.
    pub failures_per_address: Option<Rate>,
}

/// One of `[[upstreams]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// What routes call it.
    pub name: String,
    /// At least one.
    pub endpoints: Vec<Endpoint>,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// What the upstream sees in `Host`.
    pub host: UpstreamHost,
    /// For a connection.
    pub connect_timeout: Duration,
    /// From the end of the request's body to the response's head.
    pub response_timeout: Duration,
    /// Of an unused connection.
    pub idle_timeout: Duration,
}

/// One address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The less busy of two drawn at random.
    LeastRequests,
    /// In turn.
    RoundRobin,
}

/// What the upstream sees in `Host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamHost {
    /// The client's.
    Client,
    /// The endpoint's, with its port unless it is 80.
    Endpoint,
    /// This one.
    Named(http::HeaderValue),
}

/// One of `[[routes]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// What keys, metrics and logs call it; unique.
    pub name: String,
    /// What it matches.
    pub pattern: Pattern,
    /// Its place in [`Config::upstreams`].
    pub upstream: usize,
    /// Who may pass.
    pub access: Access,
}

/// Who may pass a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever shows a key.
    Key,
    /// Anyone.
    Public,
}
