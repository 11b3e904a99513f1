//! What a fleet stands on: the forms in which a real Redis is run.

use std::net::SocketAddr;

use crate::support::cluster::{Cluster, Replicas};
use crate::support::redis::{Redis, Terms};
use crate::support::sentinel::Sentinel;
use crate::support::wall::Wall;

/// In which form Redis is run, and what a fleet on it promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One server; `refuse`.
    One,
    /// Sentinels; a write counts once all replicas hold it; `refuse`.
    AllReplicas,
    /// Sentinels; a write counts at once; `serve_known`.
    SomeReplicas,
    /// Three masters; `serve_known`.
    Cluster,
}

/// The servers. They end when this is dropped.
#[derive(Debug)]
pub enum Ground {
    One(Box<Redis>),
    Sentinel(Sentinel),
    Cluster(Cluster),
}

impl Form {
    /// What a gateway does whose lease is over.
    pub fn policy(self) -> &'static str {
        match self {
            Self::One | Self::AllReplicas => "refuse",
            Self::SomeReplicas | Self::Cluster => "serve_known",
        }
    }
}

impl Ground {
    /// Starts them; all see the same time of day.
    #[track_caller]
    pub fn start(form: Form, wall: &Wall) -> Self {
        let terms = Terms::default().variables(&wall.variables());
        match form {
            Form::One => Self::One(Box::new(Redis::start_with(&terms))),
            Form::AllReplicas | Form::SomeReplicas => Self::Sentinel(Sentinel::start_with(&terms)),
            Form::Cluster => Self::Cluster(Cluster::start_with(&terms, Replicas::None)),
        }
    }

    /// As a gateway's configuration names it.
    pub fn url(&self) -> String {
        match self {
            Self::One(redis) => redis.url(),
            Self::Sentinel(sentinel) => sentinel.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    /// All that keep records.
    pub fn servers(&self) -> &[Redis] {
        match self {
            Self::One(redis) => std::slice::from_ref(redis.as_ref()),
            Self::Sentinel(sentinel) => sentinel.servers(),
            Self::Cluster(cluster) => cluster.servers(),
        }
    }

    /// Where those are that keep records.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers().iter().map(Redis::address).collect()
    }

    /// Where those are that name others.
    pub fn guides(&self) -> Vec<SocketAddr> {
        match self {
            Self::One(_) => Vec::new(),
            Self::Sentinel(it) => it.sentinels().iter().map(Redis::address).collect(),
            Self::Cluster(it) => it.servers().iter().map(Redis::address).collect(),
        }
    }

    /// Who has the records now.
    #[track_caller]
    pub fn primary(&self) -> &Redis {
        match self {
            Self::One(redis) => redis,
            Self::Sentinel(sentinel) => sentinel.primary(),
            Self::Cluster(cluster) => cluster.owner_of(META),
        }
    }
}

/// What the store knows of itself; everything else is in the same slot.
pub const META: &str = "{kw}:meta";
