//! Holds what is set for routes: which requests go where, and what is changed on the way.

use std::num::NonZeroU32;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::rate::Rate;
use crate::rate::limits::Mode;
use crate::route::table::Pattern;

/// One of `[[routes]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// What keys, metrics and logs call it; unique.
    pub name: String,
    /// What it matches.
    pub pattern: Pattern,
    /// Its place in [`super::Config::upstreams`].
    pub upstream: usize,
    /// Who may pass.
    pub access: Access,
    /// Who may ask in a browser's name whether a request would be allowed.
    pub preflight: Preflight,
    /// Protocols to which a connection may be upgraded, in lower case.
    pub upgrades: Vec<String>,
    /// Whether the upstream sees the route's path.
    pub prefix: PathPrefix,
    /// What is changed on the way up.
    pub request_headers: HeaderEdits,
    /// What is changed on the way down.
    pub response_headers: HeaderEdits,
    /// Bytes of a request's body; `None`: unlimited.
    pub max_body: Option<u64>,
    /// `None`: as the upstream says.
    pub response_timeout: Option<Duration>,
    /// Of one request, in what a key may spend.
    pub cost: NonZeroU32,
    /// How fast each key may ask; `None`: unlimited.
    pub rate: Option<(Rate, Mode)>,
    /// How fast each address may ask, with a key or without; `None`: unlimited.
    pub rate_per_address: Option<Rate>,
}

/// Who may pass a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever shows a key.
    Key,
    /// Anyone.
    Public,
}

/// Whether a CORS preflight needs a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preflight {
    /// As any other request of the route.
    Key,
    /// It is forwarded without one.
    Forward,
}

/// What becomes of the path by which a route was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathPrefix {
    /// The upstream sees it.
    Kept,
    /// The upstream sees what comes after it, from the slash on.
    Stripped,
}

/// What is changed of a message's headers: first removed, then set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Whatever was there under such a name is replaced.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Gone, however often they were there.
    pub remove: Vec<HeaderName>,
}
