//! Counts the sockets on both sides, so that they leave descriptors to everything else.
//!
//! One connection downstream may ask for a hundred upstream. Whoever ran out of descriptors could
//! not reach its store either, and would take every endpoint for dead.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use rustix::io::Errno;

use crate::clock::Moment;

/// How many there are, and may be, over all workers.
#[derive(Clone, Debug)]
pub struct Descriptors(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max: usize,
    taken: AtomicUsize,
    /// When there was none last; zero: never.
    lacking: AtomicU64,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Descriptor(Descriptors);

impl Descriptors {
    /// At most `max`.
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Shared { max, taken: AtomicUsize::new(0), lacking: AtomicU64::new(0) }))
    }

    /// How many there may be.
    pub fn max(&self) -> usize {
        self.0.max
    }

    /// One more, if there is one.
    pub fn take(&self) -> Option<Descriptor> {
        let one_more = |taken: usize| (taken < self.0.max).then_some(taken + 1);
        if self.0.taken.fetch_update(Relaxed, Relaxed, one_more).is_err() {
            self.note_lack();
            return None;
        }
        Some(Descriptor(self.clone()))
    }

    /// One more, whether there is one or not: whoever asks has a limit of their own.
    pub fn take_over(&self) -> Descriptor {
        self.0.taken.fetch_add(1, Relaxed);
        Descriptor(self.clone())
    }

    /// The system had none, whatever was counted here.
    pub fn note_lack(&self) {
        let now = Moment::now();
        let before = self.0.lacking.swap(now.as_nanos(), Relaxed);
        if before == 0 || now.since(Moment::from_nanos(before)) > WARN_AGAIN_AFTER {
            tracing::warn!(
                max = self.0.max,
                "every descriptor is in use: requests are refused; raise the limit (ulimit -n)"
            );
        }
    }

    /// How many are in use.
    pub fn taken(&self) -> usize {
        self.0.taken.load(Relaxed)
    }

    /// Whether few are left, or there was none a moment ago: connections that nobody uses are to be
    /// closed. Whoever comes once all of them are idle elsewhere would be refused otherwise.
    pub fn are_scarce(&self, now: Moment) -> bool {
        let left = self.0.max.saturating_sub(self.taken());
        if left < (self.0.max / SPARE).min(SPARE_MAX) {
            return true;
        }
        let lacking = self.0.lacking.load(Relaxed);
        lacking != 0 && now.since(Moment::from_nanos(lacking)) < SCARCE
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.0.0.taken.fetch_sub(1, Relaxed);
    }
}

/// Whether `fault` says that this process, or the system, has no descriptor left.
pub fn is_lack(fault: &io::Error) -> bool {
    let errno = fault.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}

/// One in so many is kept free of connections that nobody uses, and no more than that many.
const SPARE: usize = 8;
const SPARE_MAX: usize = 256;

/// Without a lack for so long, the next one is news.
const WARN_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// Long enough for every worker's ticker to see it.
const SCARCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_and_what_is_given_back_can_be_taken_again() {
        let descriptors = Descriptors::new(2);
        let now = Moment::now();
        let (first, _second) = (descriptors.take().unwrap(), descriptors.take().unwrap());
        assert!(!descriptors.are_scarce(now));
        assert!(descriptors.take().is_none());
        assert!(descriptors.are_scarce(Moment::now()));
        assert!(!descriptors.are_scarce(Moment::now().after(SCARCE)));
        drop(first);
        assert!(descriptors.take().is_some());
    }

    #[test]
    fn they_are_scarce_before_there_is_none() {
        let descriptors = Descriptors::new(64);
        let mut taken: Vec<_> = (0..56).filter_map(|_| descriptors.take()).collect();
        assert!(!descriptors.are_scarce(Moment::now()));
        taken.extend(descriptors.take());
        assert!(descriptors.are_scarce(Moment::now()));
        taken.pop();
        assert!(!descriptors.are_scarce(Moment::now()));
    }

    #[test]
    fn only_a_lack_of_descriptors_is_one() {
        let says = |errno: Errno| is_lack(&io::Error::from(errno));
        assert!(says(Errno::MFILE) && says(Errno::NFILE));
        assert!(!says(Errno::CONNREFUSED));
        assert!(!is_lack(&io::Error::other("no")));
    }
}
