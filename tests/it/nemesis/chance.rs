//! Numbers that look random and are the same for the same seed.

use std::time::Duration;

use crate::support::history::now;

/// Where numbers come from.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// From a seed. Others from the same seed, for another `purpose`, are others.
    pub fn of(seed: u64, purpose: u64) -> Self {
        Self(seed ^ purpose.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// The next one, as in `SplitMix64`.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below a bound.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn any<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// So many milliseconds.
    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.next() % (to - from))
    }
}

/// The one that is given, or one that nobody has chosen.
pub fn seed() -> u64 {
    let given = std::env::var("FAULTS_SEED").ok();
    given.map_or_else(now, |it| it.parse().expect("FAULTS_SEED is a number"))
}
