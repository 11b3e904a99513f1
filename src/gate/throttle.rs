//! Bounds what costs more than a look in memory: look-ups of unknown ids, and argon2.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use dashmap::DashMap;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::clock::Moment;
use crate::key::text::KeyId;
use crate::rate::Rate;

/// The limits on what costs, by address, by id and in all.
#[derive(Debug)]
pub struct Throttle {
    by_address: ArcSwapOption<DefaultKeyedRateLimiter<IpAddr>>,
    /// Who has used it up, and until when.
    exhausted: DashMap<IpAddr, Moment, ahash::RandomState>,
    by_id: DefaultKeyedRateLimiter<KeyId>,
    in_all: DefaultDirectRateLimiter,
    clock: DefaultClock,
}

/// One of the limits is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttled;

impl Throttle {
    /// `by_address` is the operator's; the others bound the process.
    pub fn new(by_address: Option<Rate>) -> Self {
        Self {
            by_address: limiter(by_address).into(),
            exhausted: DashMap::default(),
            by_id: RateLimiter::keyed(Quota::per_second(ARGON2_PER_ID_PER_SECOND)),
            in_all: RateLimiter::direct(Quota::per_second(LOOKUPS_PER_SECOND)),
            clock: DefaultClock::default(),
        }
    }

    /// Everybody begins anew under another limit by address.
    pub fn set_by_address(&self, rate: Option<Rate>) {
        self.by_address.store(limiter(rate));
        self.exhausted.clear();
    }

    /// Somebody at `address` asks for an id of which nothing is known.
    pub fn look_up(&self, address: IpAddr, now: Moment) -> Result<(), Throttled> {
        if self.exhausted.view(&network(address), |_, until| *until > now) == Some(true) {
            return Err(Throttled);
        }
        self.in_all.check().map_err(|_later| Throttled)
    }

    /// There was no such id. Only that is charged: behind a load balancer all have one address,
    /// and after a start every key is asked for once.
    pub fn failed(&self, address: IpAddr, now: Moment) {
        let by_address = self.by_address.load();
        let Some(by_address) = &*by_address else { return };
        let network = network(address);
        if let Err(later) = by_address.check_key(&network) {
            self.exhausted.insert(network, now.after(later.wait_time_from(self.clock.now())));
        }
    }

    /// Somebody at `address` shows a key that only argon2 can judge.
    pub fn slow(&self, address: IpAddr) -> Result<(), Throttled> {
        let by_address = self.by_address.load();
        let Some(by_address) = &*by_address else { return Ok(()) };
        by_address.check_key(&network(address)).map_err(|_later| Throttled)
    }

    /// How long the next run for `id` has to wait; nothing if it may go ahead now.
    pub fn pause_before_run(&self, id: KeyId) -> Option<Duration> {
        self.by_id.check_key(&id).err().map(|later| later.wait_time_from(self.clock.now()))
    }

    /// Forgets whoever has been quiet, so that memory stays bounded; called now and then.
    pub fn forget_quiet(&self, now: Moment) {
        self.exhausted.retain(|_, until| *until > now);
        self.exhausted.shrink_to_fit();
        self.by_id.retain_recent();
        self.by_id.shrink_to_fit();
        if let Some(by_address) = &*self.by_address.load() {
            by_address.retain_recent();
            by_address.shrink_to_fit();
        }
    }
}

/// By which an address is counted: who has one IPv6 address has 2⁶⁴ of them.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
    }
}

fn limiter(rate: Option<Rate>) -> Option<Arc<DefaultKeyedRateLimiter<IpAddr>>> {
    rate.map(|it| Arc::new(RateLimiter::keyed(quota(it))))
}

/// As governor says it.
pub fn quota(rate: Rate) -> Quota {
    let replenish = rate.period / rate.count.get();
    Quota::with_period(replenish)
        .unwrap_or_else(|| Quota::per_second(rate.count))
        .allow_burst(rate.burst)
}

const ARGON2_PER_ID_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).unwrap();
const LOOKUPS_PER_SECOND: NonZeroU32 = NonZeroU32::new(5_000).unwrap();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_begins_anew_under_another_limit() {
        let rate = |count| {
            let count = NonZeroU32::new(count);
            let period = Duration::from_mins(1);
            count.map(|count| Rate { count, period, burst: count })
        };
        let (throttle, address) = (Throttle::new(rate(1)), IpAddr::from([192, 0, 2, 1]));
        let slow = |times| (0..times).filter(|_| throttle.slow(address).is_ok()).count();
        assert_eq!(slow(5), 1);
        throttle.set_by_address(rate(3));
        assert_eq!(slow(5), 3);
        throttle.set_by_address(None);
        assert_eq!(slow(5), 5);
    }

    #[test]
    fn who_had_used_a_limit_up_may_ask_again_under_another() {
        let count = NonZeroU32::MIN;
        let rate = Rate { count, period: Duration::from_mins(1), burst: count };
        let (throttle, address) = (Throttle::new(Some(rate)), IpAddr::from([192, 0, 2, 1]));
        let now = Moment::now();
        throttle.failed(address, now);
        throttle.failed(address, now);
        assert_eq!(throttle.look_up(address, now), Err(Throttled));
        throttle.set_by_address(None);
        assert_eq!(throttle.look_up(address, now), Ok(()));
    }
}
