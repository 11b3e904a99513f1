//! Holds what is set for upstreams: where requests go, and what happens when nobody is there.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use http::uri::PathAndQuery;

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
    /// How TLS is spoken, where an endpoint speaks it.
    pub tls: ClientTls,
    /// For a connection.
    pub connect_timeout: Duration,
    /// From the end of the request's body to the response's head.
    pub response_timeout: Duration,
    /// Of an unused connection.
    pub idle_timeout: Duration,
    /// To one endpoint, over all workers; `None`: unlimited.
    pub max_connections: Option<NonZeroU32>,
    /// For one of these connections.
    pub wait_timeout: Duration,
    /// What is repeated when an endpoint fails.
    pub retries: Retries,
    /// How often names are looked up again.
    pub resolve_every: Duration,
    /// How long an endpoint that returns gets less than its share; `None`: it does not.
    pub slow_start: Option<Duration>,
    /// How endpoints are asked whether they are well; `None`: they are not asked.
    pub health: Option<Health>,
    /// When an endpoint that fails is left out; `None`: never.
    pub ejection: Option<Ejection>,
}

/// One address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// How it is spoken to.
    pub scheme: UrlScheme,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Its share beside the others' weights.
    pub weight: NonZeroU32,
}

/// How an endpoint is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UrlScheme {
    /// `http://`: HTTP/1.1 in plaintext.
    Http,
    /// `https://`: HTTP/1.1 over TLS.
    Https,
    /// `h2://`: HTTP/2 in plaintext, by prior knowledge.
    H2,
    /// `h2s://`: HTTP/2 over TLS.
    H2s,
}

impl UrlScheme {
    /// The port of an endpoint that names none.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http | Self::H2 => 80,
            Self::Https | Self::H2s => 443,
        }
    }

    /// Whether it is spoken over TLS.
    pub const fn is_secure(self) -> bool {
        match self {
            Self::Http | Self::H2 => false,
            Self::Https | Self::H2s => true,
        }
    }
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The less busy of two drawn at random.
    LeastRequests,
    /// In turn.
    RoundRobin,
    /// At random.
    Random,
    /// Always the same one for a key, as far as it is well: rendezvous hashing of the key's id.
    Hash,
}

/// What the upstream sees in `Host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamHost {
    /// The client's.
    Client,
    /// The endpoint's, with its port unless it is the scheme's own.
    Endpoint,
    /// This one.
    Named(http::HeaderValue),
}

/// How TLS is spoken to endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// Authorities that are believed instead of the system's.
    pub ca: Option<PathBuf>,
    /// Who we are.
    pub identity: Option<Certificate>,
}

/// A certificate's chain and its private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Certificate {
    /// The chain, the leaf first.
    pub certificate: PathBuf,
    /// Of the leaf.
    pub private_key: PathBuf,
}

/// What is repeated when an endpoint fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// How often one request may be, at most.
    pub per_request: u32,
    /// How many of the requests of the last ten seconds may be.
    pub budget: Percent,
}

/// A share, from 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u8);

/// How endpoints are asked whether they are well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is asked.
    pub probe: Probe,
    /// From one question to the next.
    pub interval: Duration,
    /// For an answer.
    pub timeout: Duration,
    /// After so many failures in a row it is not well.
    pub unhealthy_after: NonZeroU32,
    /// After so many successes in a row it is again.
    pub healthy_after: NonZeroU32,
}

/// What an endpoint is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// This path, to which a 2xx or 3xx is the answer.
    Http(PathAndQuery),
    /// A connection.
    Tcp,
}

/// When an endpoint that fails is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// After so many failures in a row.
    pub failures: NonZeroU32,
    /// For so long, and twice as long each time, up to five minutes.
    pub period: Duration,
    /// So many of an upstream's endpoints at once, one at least.
    pub at_most: Percent,
}
