//! Where records live, and how long a gateway trusts what it knows of them: `[store]`.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// Where records live: `[store]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// Which store.
    pub location: Location,
    /// How a store in the network is spoken to.
    pub network: Network,
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

/// How a store in the network is spoken to. `SQLite` needs none of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The ACL user; `None`: Redis's own `default`.
    pub user: Option<String>,
    /// The user's password.
    pub password_file: Option<PathBuf>,
    /// The authority that has signed its certificate; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// What its keys begin with.
    pub namespace: String,
    /// How many replicas must hold a write before it counts.
    pub replicas: Replicas,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            user: None,
            password_file: None,
            ca: None,
            namespace: "kw".to_owned(),
            replicas: Replicas::Auto,
            connect_timeout: Duration::from_secs(1),
        }
    }
}

/// How many replicas must hold a write, and a renewal, before it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replicas {
    /// All that Sentinel or the cluster names where the policy is `refuse`, else none.
    Auto,
    /// So many.
    Number(u32),
}

/// A store's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// An `SQLite` file.
    Sqlite(PathBuf),
    /// Redis, or what speaks its protocol.
    Redis(RedisPlace),
}

/// Where a Redis is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisPlace {
    /// How it is found from `hosts`.
    pub topology: Topology,
    /// Who is asked, in turn.
    pub hosts: Vec<HostPort>,
    /// Whether it speaks TLS.
    pub transport: RedisTransport,
    /// The number of the database; a cluster has only 0.
    pub database: u32,
}

/// How the primary is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// It is the host.
    Standalone,
    /// The hosts are Sentinels, who know it by this name.
    Sentinel(String),
    /// The hosts are of a cluster, which knows who owns the slot.
    Cluster,
}

/// Whether Redis speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisTransport {
    /// It does not.
    Plain,
    /// It does, and its certificate is verified.
    Tls,
}

/// A name or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Redis(place) => place.fmt(f),
        }
    }
}

impl fmt::Display for RedisPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topology, hosts, transport, database } = self;
        let scheme = match transport {
            RedisTransport::Plain => "redis",
            RedisTransport::Tls => "rediss",
        };
        let hosts = hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        match topology {
            Topology::Standalone => write!(f, "{scheme}://{hosts}/{database}"),
            Topology::Sentinel(name) => write!(f, "{scheme}+sentinel://{hosts}/{name}"),
            Topology::Cluster => write!(f, "{scheme}+cluster://{hosts}"),
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
