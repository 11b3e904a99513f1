//! Limits how fast one address may ask on a route, whoever asks. Each gateway counts by itself.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, RateLimiter};

use crate::gate::throttle::{network, quota};
use crate::rate::Rate;

/// The limit of one route. What two workers have is the same.
#[derive(Debug)]
pub struct ByAddress {
    rate: Rate,
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    checked: AtomicU32,
}

impl ByAddress {
    /// Nobody has asked yet.
    pub fn new(rate: Rate) -> Self {
        let (limiter, clock) = (RateLimiter::keyed(quota(rate)), DefaultClock::default());
        Self { rate, limiter, clock, checked: AtomicU32::new(0) }
    }

    /// How fast each may ask.
    pub fn rate(&self) -> &Rate {
        &self.rate
    }

    /// Counts a request; how long it has to wait, if it may not go on.
    pub fn check(&self, address: IpAddr) -> Result<(), Duration> {
        if self.checked.fetch_add(1, Ordering::Relaxed) % FORGETS_AFTER == FORGETS_AFTER - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        let checked = self.limiter.check_key(&network(address));
        checked.map_err(|later| later.wait_time_from(self.clock.now()))
    }
}

/// Whoever has been quiet is forgotten after so many requests, so that memory stays bounded.
const FORGETS_AFTER: u32 = 16_384;
