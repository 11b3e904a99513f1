//! The arithmetic of one token bucket, as the generic cell rate algorithm: ITU-T I.371, annex A.
//!
//! All that is kept of a bucket is the moment at which it will be full again. `governor` decides the
//! same, and a property holds this to it; it keeps six times as much, reads a clock of its own, and
//! cannot take over what was spent under another rate.

use std::time::Duration;

use crate::clock::Moment;
use crate::rate::Rate;

/// The terms of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// In how many nanoseconds one token comes: rounded up, so never too soon.
    token_ns: u64,
    /// In how many as many come as fit in.
    whole_ns: u64,
    /// How many fit in.
    burst: u32,
}

/// Requests at evenly spaced moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    /// When the first one comes.
    pub start: Moment,
    /// The time between two, in nanoseconds.
    pub gap_ns: u64,
    /// How many there are.
    pub count: u64,
}

/// There are too few; so long it takes until there are enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFew(pub Duration);

impl Pace {
    /// Of a whole rate, or of one of `share` equal parts of it.
    pub fn new(rate: &Rate, share: u32) -> Self {
        let period = u64::try_from(rate.period.as_nanos()).unwrap_or(u64::MAX);
        let period = period.saturating_mul(u64::from(share.max(1)));
        let token_ns = period.div_ceil(u64::from(rate.count.get()));
        let burst = (rate.burst.get() / share.max(1)).max(1);
        let whole_ns = token_ns.saturating_mul(u64::from(burst)).min(LONGEST_NS);
        Self { token_ns, whole_ns, burst }
    }

    /// Takes `cost` from a bucket that is full at `full`, and says when it is full then. What costs
    /// more than fits in takes a whole bucket.
    pub fn take(self, full: Moment, cost: u32, now: Moment) -> Result<Moment, TooFew> {
        let after = full.max(now).after_nanos(self.nanos_of(cost));
        let latest = now.after_nanos(self.whole_ns);
        if after <= latest { Ok(after) } else { Err(TooFew(after.since(latest))) }
    }

    /// The same where what costs more than fits in takes all of its cost, from a full bucket: of a
    /// share, which fills again the later.
    pub fn take_whole(self, full: Moment, cost: u32, now: Moment) -> Result<Moment, TooFew> {
        let all = self.token_ns.saturating_mul(u64::from(cost));
        let after = full.max(now).after_nanos(all);
        let latest = now.after_nanos(self.whole_ns.max(all));
        if after <= latest { Ok(after) } else { Err(TooFew(after.since(latest))) }
    }

    /// Gives back what was taken of it: whoever took it was not let in after all.
    pub fn give(self, full: Moment, cost: u32) -> Moment {
        full.before(Duration::from_nanos(self.nanos_of(cost)))
    }

    /// The same of what [`Pace::take_whole`] took.
    pub fn give_whole(self, full: Moment, cost: u32) -> Moment {
        full.before(Duration::from_nanos(self.token_ns.saturating_mul(u64::from(cost))))
    }

    /// How many there are.
    pub fn left(self, full: Moment, now: Moment) -> u32 {
        self.burst - self.missing(full, now)
    }

    /// How many more fit in.
    pub fn missing(self, full: Moment, now: Moment) -> u32 {
        let missing = full.nanos_since(now).div_ceil(self.token_ns);
        u32::try_from(missing).unwrap_or(u32::MAX).min(self.burst)
    }

    /// How long it takes until there is one more; zero where it is full.
    pub fn until_more(self, full: Moment, now: Moment) -> Duration {
        let missing = full.nanos_since(now);
        let rest = missing % self.token_ns;
        let rest = if rest == 0 && missing != 0 { self.token_ns } else { rest };
        Duration::from_nanos(rest)
    }

    /// When a bucket of these terms is full that holds what one of `before` held: no more for being
    /// larger now, and no debt for being smaller.
    pub fn take_over(self, before: Self, full: Moment, now: Moment) -> Moment {
        let held = before.whole_ns.saturating_sub(full.nanos_since(now));
        let held = u128::from(held) * u128::from(self.token_ns) / u128::from(before.token_ns);
        let held = u64::try_from(held).unwrap_or(u64::MAX);
        now.after_nanos(self.whole_ns.saturating_sub(held))
    }

    /// What becomes of a second's worth of requests at evenly spaced moments, each of which takes
    /// one: when the bucket is full then, and how many get theirs. It is what [`Pace::take`] says of
    /// them one by one, without asking for each.
    pub fn take_evenly(self, full: Moment, series: Series) -> (Moment, u64) {
        let (token, gap) = (i128::from(self.token_ns), i128::from(series.gap_ns.max(1)));
        let start = i128::from(series.start.as_nanos());
        let (count, whole) = (i128::from(series.count), token * i128::from(self.burst));
        let mut full = i128::from(full.as_nanos());
        // The first one for which there is enough.
        let first = ceil(full + token - whole - start, gap).max(0);
        if first >= count {
            return (moment(full), 0);
        }
        let (at, rest) = (start + first * gap, count - first);
        let base = full.max(at);
        if gap >= token {
            let last = start + (count - 1) * gap;
            return (moment((full + rest * token).max(last + token)), number(rest));
        }
        // Then all, until the bucket is empty.
        let run = ((whole - token - (base - at)) / (token - gap) + 1).min(rest);
        full = base + run * token;
        let next = first + run;
        if next >= count {
            return (moment(full), number(run));
        }
        // Then one with each token that comes.
        let more = if self.burst == 1 {
            let stride = ceil(token, gap);
            let more = (count - next) / stride;
            full += more * stride * gap;
            more
        } else {
            let more = (((count - 1) * gap + start + whole - full) / token).max(0);
            full += more * token;
            more
        };
        (moment(full), number(run + more))
    }

    /// When a bucket is full that is empty now.
    pub fn empty(self, now: Moment) -> Moment {
        now.after_nanos(self.whole_ns)
    }

    fn nanos_of(self, cost: u32) -> u64 {
        self.token_ns.saturating_mul(u64::from(cost.min(self.burst)))
    }
}

/// Divides and rounds up; `by` is above 0.
fn ceil(number: i128, by: i128) -> i128 {
    number.div_euclid(by) + i128::from(number.rem_euclid(by) > 0)
}

fn moment(nanos: i128) -> Moment {
    Moment::from_nanos(number(nanos))
}

fn number(number: i128) -> u64 {
    u64::try_from(number.max(0)).unwrap_or(u64::MAX)
}

/// No bucket takes longer to fill than a hundred years, so that no sum is too large.
const LONGEST_NS: u64 = 100 * 365 * 86_400 * 1_000_000_000;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use governor::clock::FakeRelativeClock;
    use governor::middleware::NoOpMiddleware;
    use governor::state::{InMemoryState, NotKeyed};
    use governor::{Quota, RateLimiter};
    use proptest::prelude::*;

    use super::*;

    fn pace(text: &str) -> Pace {
        Pace::new(&text.parse().unwrap(), 1)
    }

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(1_000_000_000_000 + millis * 1_000_000)
    }

    /// A schedule of requests, as pauses in milliseconds and costs.
    fn schedules() -> impl Strategy<Value = Vec<(u64, u32)>> {
        prop::collection::vec((prop_oneof![0..3_u64, 0..200_u64, 0..5_000_u64], 1..5_u32), 1..300)
    }

    proptest! {
        #[test]
        fn it_decides_as_governor_does(
            per_second in prop::sample::select(vec![1_u32, 2, 5, 10, 50, 100, 1_000]),
            burst in 1..50_u32,
            schedule in schedules(),
        ) {
            let clock = FakeRelativeClock::default();
            let burst = NonZeroU32::new(burst).unwrap();
            let quota = Quota::per_second(NonZeroU32::new(per_second).unwrap()).allow_burst(burst);
            let theirs: RateLimiter<NotKeyed, InMemoryState, _, NoOpMiddleware<_>> =
                RateLimiter::direct_with_clock(quota, clock.clone());
            let ours = pace(&format!("{per_second}/s burst {burst}"));
            let (mut full, mut now) = (at(0), at(0));
            for (pause, cost) in schedule {
                let pause = Duration::from_millis(pause);
                now = now.after(pause);
                clock.advance(pause);
                let Ok(allowed) = theirs.check_n(NonZeroU32::new(cost).unwrap()) else { continue };
                let taken = ours.take(full, cost, now);
                prop_assert_eq!(taken.is_ok(), allowed.is_ok());
                full = taken.unwrap_or(full);
            }
        }

        /// Whatever numbers a rate has, no window ever lets in more; and who is refused gets in
        /// after just the time that is said, and not before.
        #[test]
        fn no_window_ever_lets_in_more(
            count in 1..5_000_u32,
            burst in 1..100_u32,
            schedule in schedules(),
        ) {
            let pace = pace(&format!("{count}/min burst {burst}"));
            let (mut full, mut now) = (at(0), at(0));
            let mut admitted: Vec<(Moment, u32)> = Vec::new();
            for (pause, cost) in schedule {
                let cost = cost.min(burst);
                now = now.after(Duration::from_millis(pause));
                match pace.take(full, cost, now) {
                    Ok(after) => {
                        full = after;
                        admitted.push((now, cost));
                    }
                    Err(TooFew(wait)) => {
                        prop_assert!(pace.take(full, cost, now.after(wait)).is_ok());
                        let early = wait.saturating_sub(Duration::from_nanos(1));
                        prop_assert!(pace.take(full, cost, now.after(early)).is_err());
                    }
                }
                let mut sum = 0;
                for (then, cost) in admitted.iter().rev() {
                    sum += u128::from(*cost);
                    let earned = now.since(*then).as_nanos() * u128::from(count);
                    prop_assert!((sum - sum.min(u128::from(burst))) * 60_000_000_000 <= earned);
                }
            }
        }

        #[test]
        fn many_at_once_are_decided_as_one_by_one(
            count in 1..3_000_u32,
            burst in prop_oneof![1..4_u32, 1..3_000_u32],
            seconds in prop::collection::vec((0..3_u64, 1..3_000_u64), 1..30),
        ) {
            let pace = pace(&format!("{count}/s burst {burst}"));
            let (mut full, mut full_of_many, mut second) = (at(0), at(0), 0);
            for (pause, count) in seconds {
                second += pause + 1;
                let (start, gap_ns) = (at(second * 1_000), 1_000_000_000 / count);
                let mut admitted = 0;
                for number in 0..count {
                    let now = start.after(Duration::from_nanos(number * gap_ns));
                    if let Ok(after) = pace.take(full, 1, now) {
                        (full, admitted) = (after, admitted + 1);
                    }
                }
                let many = pace.take_evenly(full_of_many, Series { start, gap_ns, count });
                full_of_many = many.0;
                prop_assert_eq!(many, (full, admitted));
            }
        }

        /// However often a rate changes, no window lets in more than the largest of them.
        #[test]
        fn a_change_neither_refunds_nor_locks_out(
            changes in prop::collection::vec((1..100_u32, 1..50_u32), 1..6),
            schedule in schedules(),
        ) {
            let rates: Vec<Pace> =
                changes.iter().map(|(count, burst)| pace(&format!("{count}/s burst {burst}"))).collect();
            let count = changes.iter().map(|it| it.0).max().unwrap();
            let burst = changes.iter().map(|it| it.1).max().unwrap();
            let (mut full, mut now, mut held) = (at(0), at(0), rates[0]);
            let mut admitted: Vec<Moment> = Vec::new();
            for (step, (pause, _)) in schedule.into_iter().enumerate() {
                now = now.after(Duration::from_millis(pause));
                let next = rates[step % rates.len()];
                let before = held.left(full, now);
                full = next.take_over(held, full, now);
                held = next;
                prop_assert!(held.left(full, now) <= before);
                prop_assert!(before == 0 || held.left(full, now) > 0);
                if let Ok(after) = held.take(full, 1, now) {
                    full = after;
                    admitted.push(now);
                }
                for (count_in, then) in admitted.iter().rev().enumerate() {
                    let over = (count_in as u128 + 1).saturating_sub(u128::from(burst));
                    prop_assert!(over * 1_000_000_000 <= now.since(*then).as_nanos() * u128::from(count));
                }
            }
        }
    }

    #[test]
    fn what_is_left_and_when_there_is_more() {
        let pace = pace("10/s");
        assert_eq!((pace.left(at(0), at(0)), pace.until_more(at(0), at(0))), (10, Duration::ZERO));
        let full = pace.take(at(0), 4, at(0)).unwrap();
        assert_eq!(pace.left(full, at(0)), 6);
        assert_eq!(pace.until_more(full, at(0)), Duration::from_millis(100));
        assert_eq!(pace.until_more(full, at(30)), Duration::from_millis(70));
        assert_eq!(pace.left(full, at(99)), 6);
        assert_eq!(pace.left(full, at(100)), 7);
        assert_eq!(pace.give(full, 4), at(0));
    }

    #[test]
    fn what_costs_more_than_fits_in_takes_all() {
        let pace = pace("10/s burst 5");
        let full = pace.take(at(0), 50, at(0)).unwrap();
        assert_eq!(pace.left(full, at(0)), 0);
        assert_eq!(pace.take(full, 50, at(0)), Err(TooFew(Duration::from_millis(500))));
    }

    #[test]
    fn shares_are_no_more_than_the_whole() {
        let rate: Rate = "10/s burst 7".parse().unwrap();
        let pace = Pace::new(&rate, 3);
        assert_eq!((pace.token_ns, pace.burst), (300_000_000, 2));
        assert_eq!(pace.left(pace.empty(at(0)), at(0)), 0);
    }
}
