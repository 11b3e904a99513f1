//! Bounds how fast somebody may try tokens. Only failures count, so a good token always gets in.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::gate::throttle::network;

/// Wrong tokens by address.
#[derive(Debug)]
pub struct Attempts {
    by_address: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
}

impl Default for Attempts {
    fn default() -> Self {
        let quota = Quota::per_second(PER_SECOND).allow_burst(BURST);
        Self { by_address: RateLimiter::keyed(quota), clock: DefaultClock::default() }
    }
}

impl Attempts {
    /// Notes a wrong token; how long to wait for the next one, where there were too many.
    pub fn failed(&self, address: IpAddr) -> Result<(), Duration> {
        if self.by_address.len() >= ADDRESSES_MAX {
            self.by_address.retain_recent();
        }
        let checked = self.by_address.check_key(&network(address));
        checked.map_err(|later| later.wait_time_from(self.clock.now()))
    }
}

const PER_SECOND: NonZeroU32 = NonZeroU32::new(1).unwrap();
const BURST: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// So many are remembered before those who have been quiet are forgotten.
const ADDRESSES_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_fails_too_often_waits_and_others_do_not() {
        let attempts = Attempts::default();
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let failed = (0..100).find_map(|_| attempts.failed(one).err());
        assert!(failed.is_some_and(|wait| wait <= Duration::from_secs(1)));
        assert_eq!(attempts.failed(other), Ok(()));
    }
}
