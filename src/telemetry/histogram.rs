//! Counts durations in buckets, written by one thread and read by any.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Adds to a cell that only this thread writes: no locked instruction is needed.
pub fn add(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

/// Durations in buckets, from 50 µs to 10 s. One thread records.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    /// Records one duration.
    pub fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let place = BOUNDS_US.partition_point(|bound| bound * 1_000 < nanos);
        if let Some(bucket) = self.buckets.get(place) {
            add(bucket, 1);
        }
        add(&self.sum_ns, nanos);
    }

    /// Adds what was recorded to a sum over threads.
    pub fn add_to(&self, sum: &mut Sum) {
        for (total, bucket) in sum.buckets.iter_mut().zip(&self.buckets) {
            *total += bucket.load(Ordering::Relaxed);
        }
        sum.seconds += Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed)).as_secs_f64();
    }
}

/// What several threads recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sum {
    buckets: [u64; BOUNDS_US.len() + 1],
    seconds: f64,
}

impl Sum {
    /// All durations together, in seconds.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Upper bounds in seconds, the last one infinite, each with how many lie in that bucket.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS_US.iter().map(|it| Duration::from_micros(*it).as_secs_f64());
        bounds.chain([f64::INFINITY]).zip(self.buckets).collect()
    }
}

/// The bounds advised for HTTP servers, and finer ones below 5 ms, where a gateway lives.
const BOUNDS_US: [u64; 21] = [
    50, 100, 200, 300, 500, 1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000,
    500_000, 750_000, 1_000_000, 2_500_000, 5_000_000, 7_500_000, 10_000_000,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for micros in [0, 50, 51, 10_000_000, 10_000_001] {
            histogram.record(Duration::from_micros(micros));
        }
        let mut sum = Sum::default();
        histogram.add_to(&mut sum);
        let buckets = sum.buckets();
        let counts: Vec<u64> = buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!((counts[0], counts[1], counts[20], counts[21]), (2, 1, 1, 1));
        assert_eq!(sum.count(), 5);
    }
}
