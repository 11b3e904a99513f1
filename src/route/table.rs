//! Decides which route a request's head belongs to.

use http::{HeaderMap, Method};

use crate::route::host::{Host, HostPattern};

/// What a route asks of a request's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Any of these; empty: any host.
    pub hosts: Vec<HostPattern>,
    /// The path, in normal form.
    pub path: PathPattern,
    /// Any of these; empty: any method.
    pub methods: Vec<Method>,
}

/// What a route asks of a path, in normal form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// This path and no other.
    Exact(String),
    /// `/v3/` matches what begins with it; `/v3` matches `/v3` and `/v3/x`, not `/v30`.
    Prefix(String),
}

/// What routes look at.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The host, lower case, without its port.
    pub host: &'a Host,
    /// The path in normal form, without the query.
    pub path: &'a str,
    /// The method.
    pub method: &'a Method,
    /// For routes that ask for headers.
    pub headers: &'a HeaderMap,
}
