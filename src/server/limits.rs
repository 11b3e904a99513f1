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

/// How many sockets there may be, both sides together, beside what the control plane may have,
/// those that listen, and what each of the workers needs.
pub fn sockets(descriptors: u64, listening: usize, workers: usize) -> usize {
    let own = KEPT + admin(descriptors) + 2 * listening + PER_WORKER * workers;
    usize::try_from(descriptors).unwrap_or(usize::MAX).saturating_sub(own).max(2)
}

/// How many connections the control plane may have.
pub fn admin(descriptors: u64) -> usize {
    usize::try_from(descriptors / 8).unwrap_or(usize::MAX).clamp(ADMIN_MIN, ADMIN_MAX)
}

/// How many connections clients may have, of so many `sockets`: what asks needs one to an upstream
/// as well, and one connection of HTTP/2 may need many.
pub fn connections(asked: Connections, sockets: usize) -> usize {
    let possible = sockets - (sockets / 2).min(UPSTREAM_MIN);
    match asked {
        Connections::Auto => possible.min(AUTO_MAX),
        Connections::AtMost(count) => {
            let count = count.get() as usize;
            if count > possible {
                tracing::warn!(
                    max_connections = count,
                    possible,
                    "max_connections is more than the limit on descriptors allows, which holds; raise it (ulimit -n)"
                );
            }
            count.min(possible)
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

const AUTO_MAX: usize = 20_000;

/// So many, or half of all, are for upstreams alone.
const UPSTREAM_MIN: usize = 4_096;

/// Descriptors for the store and the log; with the fewest of the control plane they are 64.
const KEPT: usize = 32;
const ADMIN_MIN: usize = 32;
const ADMIN_MAX: usize = 512;

/// What its runtime waits with and is woken by.
const PER_WORKER: usize = 4;
