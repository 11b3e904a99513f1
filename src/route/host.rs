//! Decides what a host is and which patterns it fits.

/// A valid host: lower case, without its port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host(String);

/// What a route asks of a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host and no other.
    Exact(Host),
    /// `*.example.com`: one label or more before it; holds `.example.com`.
    Wildcard(String),
}
