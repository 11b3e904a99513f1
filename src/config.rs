//! Turns text into types that cannot be wrong; "off" is a variant, never 0 or `None`.

use std::ffi::OsString;
use std::iter;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use crate::key::argon2id::Cost;
use crate::key::record::DEFAULT_SCHEME;
use crate::key::text::Prefix;

pub mod change;
mod check;
pub mod fault;
mod limits;
pub mod nearest;
mod raw;
mod reader;
mod route;
mod schema;
pub mod sources;
mod store;
#[cfg(test)]
mod tests;
pub mod units;
mod upstream;
mod values;

pub use limits::*;
pub use route::*;
pub use store::*;
pub use upstream::*;

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
    /// What holds where neither a key nor its scheme says anything, and what costs, by address.
    pub limits: Limits,
    /// The other schemes.
    pub schemes: Vec<Scheme>,
    /// Where requests go.
    pub upstreams: Vec<Upstream>,
    /// Which requests go where; each names an upstream by its place in `upstreams`.
    pub routes: Vec<Route>,
}

impl Config {
    /// What the keys of a scheme begin with; `None`: there is no such scheme.
    pub fn prefix_of(&self, scheme: &str) -> Option<&Prefix> {
        if scheme == DEFAULT_SCHEME {
            return Some(&self.keys.prefix);
        }
        self.schemes.iter().find(|it| it.name == scheme).map(|it| &it.prefix)
    }

    /// What keys begin with: the scheme `default`'s, and all others'.
    pub fn prefixes(&self) -> impl Iterator<Item = &Prefix> {
        iter::once(&self.keys.prefix).chain(self.schemes.iter().map(|it| &it.prefix))
    }
}

/// The data plane: `[gateway]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Plaintext listeners: HTTP/1.1, and HTTP/2 by prior knowledge.
    pub listen: Vec<SocketAddr>,
    /// Listeners with TLS: HTTP/1.1 and HTTP/2 by ALPN. None of either: an admin node.
    pub listen_tls: Vec<SocketAddr>,
    /// By the name that a client asks for; the first is the default.
    pub certificates: Vec<Certificate>,
    /// The oldest TLS that is spoken, downstream and upstream.
    pub min_tls: TlsVersion,
    /// Networks whose connections begin with a PROXY header, always.
    pub proxy_protocol_from: Vec<IpNet>,
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
    /// Requests under way in all.
    pub max_in_flight: NonZeroU32,
    /// Requests under way on one HTTP/2 connection.
    pub max_streams: NonZeroU32,
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

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
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
    /// With any, it speaks TLS.
    pub certificates: Vec<Certificate>,
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
