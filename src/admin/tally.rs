//! Counts how operators' writes went: how long the store took, how far they got, what failed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::store::register::Propagation;
use crate::telemetry::histogram::{Histogram, Sum, add};

/// Written by the one thread of the admin listener, read by a scrape.
#[derive(Debug, Default)]
pub struct Tally {
    writes: Histogram,
    receipts: Histogram,
    incomplete: AtomicU64,
    failures: [AtomicU64; FAILURES.len()],
}

/// What was counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Tallied {
    /// From a change to the store's word on it.
    pub writes: Sum,
    /// From there to the last receipt, or to the end of waiting.
    pub receipts: Sum,
    /// Changes that somebody could not confirm.
    pub incomplete: u64,
    /// Calls that failed, in the order of [`FAILURES`].
    pub failures: [u64; FAILURES.len()],
}

impl Tally {
    /// The store has said whether it made a change.
    pub fn wrote(&self, took: Duration) {
        self.writes.record(took);
    }

    /// Nobody is waited for any more.
    pub fn waited(&self, took: Duration, propagation: &Propagation) {
        self.receipts.record(took);
        add(&self.incomplete, u64::from(!propagation.complete));
    }

    /// A call was answered with a 5xx.
    pub fn failed(&self, code: &str) {
        let place = FAILURES.iter().position(|it| *it == code);
        if let Some(count) = place.and_then(|it| self.failures.get(it)) {
            add(count, 1);
        }
    }

    /// All of it, at this moment.
    pub fn read(&self) -> Tallied {
        let sum = |histogram: &Histogram| {
            let mut sum = Sum::default();
            histogram.add_to(&mut sum);
            sum
        };
        Tallied {
            writes: sum(&self.writes),
            receipts: sum(&self.receipts),
            incomplete: self.incomplete.load(Ordering::Relaxed),
            failures: self.failures.each_ref().map(|it| it.load(Ordering::Relaxed)),
        }
    }
}

/// The codes of failures.
pub const FAILURES: [&str; 4] =
    ["store_unreachable", "outcome_unknown", "overloaded", "internal_error"];
