//! Counts what one worker does: it alone writes, a scrape reads and sums.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::Method;

use crate::telemetry::histogram::{Histogram, add};

/// One worker's counters.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    /// Each route's, by its name; whoever answers requests holds its own.
    routes: Mutex<BTreeMap<Box<str>, Arc<RouteCounters>>>,
    /// Of what belongs to no route.
    unrouted: RouteCounters,
    overhead: Histogram,
    decisions: [AtomicU64; DECISIONS.len()],
    accepted: AtomicU64,
    closed: AtomicU64,
    upstream_errors: AtomicU64,
    upstream_opened: AtomicU64,
    upstream_reused: AtomicU64,
    retries: AtomicU64,
    cut: AtomicU64,
    panics: AtomicU64,
}

/// What one worker does for one route.
#[derive(Debug, Default)]
pub struct RouteCounters {
    by_method: [OnceLock<Box<[AtomicU64]>>; METHODS.len()],
    duration: Histogram,
}

impl WorkerCounters {
    /// The counters of the route of that name; they go on through reloads.
    pub fn route(&self, name: &str) -> Arc<RouteCounters> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(routes.entry(name.into()).or_default())
    }

    /// Forgets the routes that are not among `names`.
    pub fn keep_routes<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let names: BTreeSet<&str> = names.collect();
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.retain(|name, _counters| names.contains(&**name));
    }

    /// Those of what belongs to no route.
    pub fn unrouted(&self) -> &RouteCounters {
        &self.unrouted
    }

    /// What was no request was refused.
    pub fn unread(&self, status: u16) {
        self.unrouted.count(METHODS.len() - 1, status);
    }

    /// What was ours of a request's time before it was handed to its upstream.
    pub fn overhead(&self, took: Duration) {
        self.overhead.record(took);
    }

    /// The gate decided.
    pub fn decided(&self, decision: &'static str) {
        let place = DECISIONS.iter().position(|it| *it == decision);
        if let Some(count) = place.and_then(|it| self.decisions.get(it)) {
            add(count, 1);
        }
    }

    /// A connection was accepted.
    pub fn accepted(&self) {
        add(&self.accepted, 1);
    }

    /// A connection was closed.
    pub fn closed(&self) {
        add(&self.closed, 1);
    }

    /// How many connections are open.
    pub fn open(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed).saturating_sub(self.closed.load(Ordering::Relaxed))
    }

    /// An upstream failed a request, or could not be reached for one.
    pub fn upstream_error(&self) {
        add(&self.upstream_errors, 1);
    }

    /// A connection to an upstream was opened.
    pub fn upstream_opened(&self) {
        add(&self.upstream_opened, 1);
    }

    /// A connection to an upstream was used again.
    pub fn upstream_reused(&self) {
        add(&self.upstream_reused, 1);
    }

    /// A request was sent again, on another connection.
    pub fn retried(&self) {
        add(&self.retries, 1);
    }

    /// So many requests were ended from outside so far.
    pub fn cut_so_far(&self, count: u64) {
        self.cut.store(count, Ordering::Relaxed);
    }

    /// A request ended in a panic.
    pub fn panicked(&self) {
        add(&self.panics, 1);
    }

    /// Adds everything to a sum over workers.
    pub fn add_to(&self, sum: &mut Totals) {
        self.overhead.add_to(&mut sum.overhead);
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, row) in &routes {
            row.add_to(sum.routes.entry(name.to_string()).or_default());
        }
        self.unrouted.add_to(sum.routes.entry(UNROUTED.to_owned()).or_default());
        for (place, count) in self.decisions.iter().enumerate() {
            if let Some(total) = sum.decisions.get_mut(place) {
                *total += count.load(Ordering::Relaxed);
            }
        }
        sum.accepted += self.accepted.load(Ordering::Relaxed);
        sum.open += self.open();
        sum.upstream_errors += self.upstream_errors.load(Ordering::Relaxed);
        sum.upstream_opened += self.upstream_opened.load(Ordering::Relaxed);
        sum.upstream_reused += self.upstream_reused.load(Ordering::Relaxed);
        sum.retries += self.retries.load(Ordering::Relaxed);
        sum.cut += self.cut.load(Ordering::Relaxed);
        sum.panics += self.panics.load(Ordering::Relaxed);
    }
}

impl RouteCounters {
    /// One request was answered.
    pub fn answered(&self, method: &Method, status: u16, took: Duration) {
        self.duration.record(took);
        self.count(method_place(method), status);
    }

    fn count(&self, method: usize, status: u16) {
        let Some(codes) = self.by_method.get(method) else { return };
        let codes = codes.get_or_init(|| (0..CODES).map(|_| AtomicU64::new(0)).collect());
        if let Some(count) = codes.get(usize::from(status).saturating_sub(100)) {
            add(count, 1);
        }
    }

    fn add_to(&self, total: &mut RouteTotals) {
        self.duration.add_to(&mut total.duration);
        for (method, codes) in METHODS.iter().zip(&self.by_method) {
            let codes = (100_u16..).zip(codes.get().into_iter().flatten());
            let counts = codes.map(|(code, count)| (code, count.load(Ordering::Relaxed)));
            for (code, count) in counts.filter(|(_, count)| *count > 0) {
                *total.requests.entry((method, code)).or_default() += count;
            }
        }
    }
}

/// What all workers did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// By the route's name.
    pub routes: BTreeMap<String, RouteTotals>,
    /// What was ours of the requests' time before they were handed to their upstreams.
    pub overhead: crate::telemetry::histogram::Sum,
    /// In the order of [`DECISIONS`].
    pub decisions: [u64; DECISIONS.len()],
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// Requests that an upstream failed, or could not be reached for.
    pub upstream_errors: u64,
    /// Connections opened to upstreams.
    pub upstream_opened: u64,
    /// Connections to upstreams that were used again.
    pub upstream_reused: u64,
    /// Requests sent again on another connection.
    pub retries: u64,
    /// Requests that were ended because their key lost its right or could not be checked any more.
    pub cut: u64,
    /// Requests that ended in a panic.
    pub panics: u64,
}

/// What all workers did for one route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteTotals {
    /// By method and status.
    pub requests: BTreeMap<(&'static str, u16), u64>,
    /// From the end of the head to the last byte of the answer.
    pub duration: crate::telemetry::histogram::Sum,
}

fn method_place(method: &Method) -> usize {
    METHODS.iter().position(|it| *it == method.as_str()).unwrap_or(METHODS.len() - 1)
}

/// Methods that are counted by name; a client cannot invent new series.
const METHODS: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "_OTHER"];

/// Whose name no route can have.
const UNROUTED: &str = "_none";

/// How many statuses there can be: 100 to 599.
const CODES: usize = 500;

/// What the gate can decide.
pub const DECISIONS: [&str; 13] = [
    "allowed",
    "public",
    "missing_key",
    "malformed_key",
    "ambiguous_key",
    "unknown_key",
    "revoked_key",
    "expired_key",
    "disabled_key",
    "route_not_allowed",
    "address_not_allowed",
    "store_unreachable",
    "overloaded",
];
