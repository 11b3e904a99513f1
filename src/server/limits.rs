//! Decides how many descriptors, connections and workers there are.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Connections, Workers};

/// Raises the limit on descriptors as far as it goes, and says how far that is.
pub fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(fault) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%fault, "the limit on descriptors could not be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many connections there may be: each may need a second one to an upstream. One of HTTP/2 may
/// need more; `max_connections` of an upstream bounds those.
pub fn connections(asked: Connections, descriptors: u64) -> usize {
    let possible = descriptors.saturating_sub(KEPT) / 2;
    match asked {
        Connections::Auto => usize::try_from(possible.min(AUTO_MAX)).unwrap_or(usize::MAX).max(1),
        Connections::AtMost(count) => {
            if u64::from(count.get()) > possible {
                tracing::warn!(
                    max_connections = count,
                    descriptors,
                    "max_connections is more than the limit on descriptors allows; raise it (ulimit -n)"
                );
            }
            count.get() as usize
        }
    }
}

/// How many workers there are.
pub fn workers(asked: Workers) -> usize {
    match asked {
        Workers::Auto => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        Workers::Count(count) => count.get(),
    }
}

const AUTO_MAX: u64 = 20_000;

/// Descriptors for the store, the admin listener and logs.
const KEPT: u64 = 64;
