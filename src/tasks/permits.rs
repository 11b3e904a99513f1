//! Holds a bound that all workers share, without a counter that all of them touch all the time.
//!
//! Each worker takes permits from the common stock by the handful and gives them back likewise, so
//! all together never hold more than there are; a small stock is taken from one by one.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What is left for whoever comes first.
#[derive(Clone, Debug)]
pub struct Stock {
    left: Arc<AtomicU32>,
    handful: u32,
}

/// What one worker has of it.
#[derive(Debug)]
pub struct Permits {
    stock: Stock,
    held: Cell<u32>,
    used: Cell<u32>,
}

impl Stock {
    /// `count` permits for so many workers.
    pub fn new(count: NonZeroU32, workers: usize) -> Self {
        let workers = u32::try_from(workers.max(1)).unwrap_or(u32::MAX);
        let handful = (count.get() / workers.saturating_mul(HANDFULS)).max(1);
        Self { left: Arc::new(AtomicU32::new(count.get())), handful }
    }

    /// For one more worker.
    pub fn permits(&self) -> Permits {
        Permits { stock: self.clone(), held: Cell::new(0), used: Cell::new(0) }
    }

    fn take(&self) -> u32 {
        let take = |left: u32| (left > 0).then(|| left.saturating_sub(self.handful));
        let before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        before.map_or(0, |it| it.min(self.handful))
    }

    fn give(&self, count: u32) {
        self.left.fetch_add(count, Ordering::Relaxed);
    }
}

impl Permits {
    /// Takes one; whether there was one.
    #[must_use]
    pub fn take(&self) -> bool {
        if self.used.get() == self.held.get() {
            self.held.set(self.held.get() + self.stock.take());
        }
        let may = self.used.get() < self.held.get();
        self.used.set(self.used.get() + u32::from(may));
        may
    }

    /// Gives one back.
    pub fn give(&self) {
        self.used.set(self.used.get().saturating_sub(1));
        let handful = self.stock.handful;
        let spare = self.held.get() - self.used.get();
        if handful == 1 || spare > 2 * handful {
            self.held.set(self.held.get() - handful);
            self.stock.give(handful);
        }
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        self.stock.give(self.held.get());
    }
}

/// So many handfuls of each worker make up the stock: what idle workers keep is a small part of it.
const HANDFULS: u32 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn stock(count: u32, workers: usize) -> (Stock, Vec<Permits>) {
        let stock = Stock::new(NonZeroU32::new(count).unwrap(), workers);
        let permits = (0..workers).map(|_| stock.permits()).collect();
        (stock, permits)
    }

    #[test]
    fn all_workers_together_get_what_there_is_and_no_more() {
        for (count, workers) in [(1, 4), (10, 4), (1_000, 4), (10_000, 2)] {
            let (_stock, permits) = stock(count, workers);
            let taken = (0..100_000).filter(|it| permits[it % workers].take()).count();
            assert_eq!(taken, count as usize);
        }
    }

    #[test]
    fn what_one_gives_back_another_can_take() {
        for count in [1, 10, 10_000] {
            let (_stock, permits) = stock(count, 2);
            assert_eq!((0..count).filter(|_| permits[0].take()).count(), count as usize);
            assert!(!permits[1].take());
            (0..count).for_each(|_| permits[0].give());
            let taken = (0..count).filter(|_| permits[1].take()).count();
            let least = (count - count / 64) as usize;
            assert!(taken >= least, "{taken} of {count}");
        }
    }
}
