//! What all workers share of one endpoint.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config;
use crate::telemetry::histogram::add;

/// One address of an upstream, with what each worker has under way there.
#[derive(Debug)]
pub struct Endpoint {
    address: config::Endpoint,
    in_flight: Box<[Lane]>,
}

/// One worker's count, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Lane {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Endpoint {
    /// Nothing is under way yet.
    pub fn new(address: config::Endpoint, workers: usize) -> Self {
        Self { address, in_flight: (0..workers).map(|_| Lane::default()).collect() }
    }

    /// Where it is.
    pub fn address(&self) -> &config::Endpoint {
        &self.address
    }

    /// Requests under way, over all workers.
    pub fn in_flight(&self) -> u64 {
        let lanes = self.in_flight.iter();
        lanes
            .map(|it| {
                it.begun.load(Ordering::Relaxed).saturating_sub(it.ended.load(Ordering::Relaxed))
            })
            .sum()
    }

    /// A worker begins a request.
    pub fn begin(&self, worker: usize) {
        if let Some(lane) = self.in_flight.get(worker) {
            add(&lane.begun, 1);
        }
    }

    /// It ended.
    pub fn end(&self, worker: usize) {
        if let Some(lane) = self.in_flight.get(worker) {
            add(&lane.ended, 1);
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.address.host, self.address.port)
    }
}
