//! Says what limits would have refused, from what was counted.

use std::collections::BTreeMap;

use crate::clock::{Moment, Timestamp};
use crate::rate::bucket::{Pace, Series};
use crate::rate::limits::{Limits, Mode, limit};
use crate::rate::quota::{Quota, Span};
use crate::rate::timeline::{Cell, Summary};

/// What was asked of one key, by all gateways together.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    /// By the minute since 1970.
    minutes: BTreeMap<u32, Minute>,
}

#[derive(Clone, Copy, Debug)]
struct Minute {
    seconds: [u64; 60],
    exact: u64,
}

/// What limits would have refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many requests there were, each for as many as it costs.
    pub requests: u64,
    /// Those of them whose second is known.
    pub exact: u64,
    /// How many would have been refused.
    pub refused: u64,
    /// By the rate, if that were the only limit; `None`: there is none.
    pub by_rate: Option<u64>,
    /// The same of the quota.
    pub by_quota: Option<u64>,
}

impl Demand {
    /// What one gateway has counted in an hour, which is a number since 1970.
    pub fn add(&mut self, hour: u32, cells: &[(u8, Cell)]) {
        for (minute, cell) in cells {
            let place = hour.saturating_mul(60).saturating_add(u32::from(*minute));
            self.minutes.entry(place).or_insert(Minute::EMPTY).add(cell);
        }
    }

    /// What `limits` would have refused since then. What was before it counts for what was left.
    pub fn under(&self, limits: &Limits, since: Timestamp) -> Outcome {
        let rate = limit(limits.rate).map(|(rate, mode)| (Pace::new(&rate, 1), mode));
        let quota = limit(limits.quota);
        let by_rate = rate.map(|it| self.refused(Rules { rate: Some(it.0), quota: None }, since));
        let by_quota = quota.map(|it| self.refused(Rules { rate: None, quota: Some(it.0) }, since));
        let rules = Rules { rate: enforced(rate), quota: enforced(quota) };
        let first = minute_of(since);
        let counted = || self.minutes.range(first..).map(|it| it.1);
        Outcome {
            requests: counted().map(|it| it.seconds.iter().sum::<u64>()).sum(),
            exact: counted().map(|it| it.exact).sum(),
            refused: self.refused(rules, since),
            by_rate,
            by_quota,
        }
    }

    fn refused(&self, rules: Rules, since: Timestamp) -> u64 {
        let (first, mut run) = (minute_of(since), Run::of(rules));
        let mut refused = 0;
        for (minute, counts) in &self.minutes {
            let of_minute = run.minute(*minute, &counts.seconds);
            refused += if *minute >= first { of_minute } else { 0 };
        }
        refused
    }
}

impl Minute {
    const EMPTY: Self = Self { seconds: [0; 60], exact: 0 };

    fn add(&mut self, cell: &Cell) {
        match cell {
            Cell::Exact(pairs) => pairs.iter().for_each(|it| self.add_exact(*it)),
            Cell::Summary(sum) => self.spread(*sum),
        }
    }

    fn add_exact(&mut self, (second, count): (u8, u32)) {
        self.add_to(second.into(), count.into());
        self.exact = self.exact.saturating_add(count.into());
    }

    fn add_to(&mut self, second: usize, count: u64) {
        if let Some(sum) = self.seconds.get_mut(second) {
            *sum = sum.saturating_add(count).min(COUNT_MAX);
        }
    }

    /// The active seconds as far from each other as they can be, the busiest in the middle; the
    /// others have the rest, in equal parts.
    fn spread(&mut self, sum: Summary) {
        let active = u64::from(sum.active.clamp(1, 60));
        let busiest = u64::from(sum.busiest).min(sum.total);
        let rest = sum.total - busiest;
        let (each, over) = match active - 1 {
            0 => (0, 0),
            others => (rest / others, rest % others),
        };
        let mut number = 0;
        for place in 0..active {
            let count = if place == active / 2 {
                busiest
            } else {
                number += 1;
                each + u64::from(number <= over)
            };
            self.add_to(usize::try_from(place * 60 / active).unwrap_or_default(), count);
        }
    }
}

/// The least number up to `most` that is enough; from there on all are.
fn least(most: u64, is_enough: impl Fn(u64) -> bool) -> u64 {
    let (mut few, mut enough) = (0, most);
    while few < enough {
        let middle = few + (enough - few) / 2;
        (few, enough) = if is_enough(middle) { (few, middle) } else { (middle + 1, enough) };
    }
    enough
}

fn enforced<T>(limit: Option<(T, Mode)>) -> Option<T> {
    match limit {
        Some((limit, Mode::Enforced)) => Some(limit),
        Some((_, Mode::Shadow)) | None => None,
    }
}

fn minute_of(time: Timestamp) -> u32 {
    u32::try_from(time.as_micros().div_euclid(MINUTE_MICROS)).unwrap_or_default()
}

#[derive(Clone, Copy, Debug)]
struct Rules {
    rate: Option<Pace>,
    quota: Option<Quota>,
}

/// Where a run through what was asked has come to.
struct Run {
    rules: Rules,
    full: Moment,
    window: Option<(Span, u64)>,
}

impl Run {
    fn of(rules: Rules) -> Self {
        Self { rules, full: Moment::default(), window: None }
    }

    /// How many are refused in a minute.
    fn minute(&mut self, minute: u32, seconds: &[u64; 60]) -> u64 {
        let active = (u64::from(minute) * 60..).zip(seconds).filter(|(_, count)| **count > 0);
        active.map(|(second, count)| count - self.second(second, *count)).sum()
    }

    /// How many get in of those that come in a second, evenly spaced.
    fn second(&mut self, second: u64, count: u64) -> u64 {
        let left = self.left(second).min(count);
        let Some(pace) = self.rules.rate else {
            self.spend(left);
            return left;
        };
        let start = Moment::from_nanos(second.saturating_mul(NANOS));
        let gap_ns = (NANOS / count).max(1);
        let some = |count| pace.take_evenly(self.full, Series { start, gap_ns, count });
        let (mut full, mut admitted) = some(count);
        if admitted > left {
            // Whom the quota refuses takes nothing of the rate: only those count that came before.
            (full, admitted) = some(least(count, |it| some(it).1 >= left));
        }
        self.full = full;
        self.spend(admitted);
        admitted
    }

    fn spend(&mut self, count: u64) {
        if let Some((_, used)) = &mut self.window {
            *used += count;
        }
    }

    /// What the quota has left.
    fn left(&mut self, second: u64) -> u64 {
        let Some(quota) = self.rules.quota else { return u64::MAX };
        let now = i64::try_from(second.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
        let now = Timestamp::from_micros(now);
        let held = self.window.filter(|(span, _)| now < span.end);
        let (span, used) = held.unwrap_or_else(|| (quota.window.at(now), 0));
        self.window = Some((span, used));
        quota.count.get().saturating_sub(used)
    }
}

const NANOS: u64 = 1_000_000_000;
const MINUTE_MICROS: i64 = 60_000_000;
/// Of one second: more does not happen, and a sum of them is a number still.
const COUNT_MAX: u64 = NANOS;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::rate::timeline::{Hour, read};

    /// 2026-11-22T00:00:00Z, in hours.
    const TODAY: u32 = 498_888;

    fn limits(rate: &str, quota: &str) -> Limits {
        Limits { rate: rate.parse().ok(), quota: quota.parse().ok(), max_in_flight: None }
    }

    fn at(hour: u32) -> Timestamp {
        Timestamp::from_micros(i64::from(hour) * 3_600_000_000)
    }

    /// Of hours that were counted second by second.
    fn demand(seconds: &BTreeMap<u32, u32>) -> Demand {
        let mut hours: BTreeMap<u32, Hour> = BTreeMap::new();
        for (second, count) in seconds {
            hours
                .entry(second / 3_600)
                .or_default()
                .note(u16::try_from(second % 3_600).unwrap(), *count);
        }
        let mut demand = Demand::default();
        for (hour, counted) in hours {
            demand.add(hour, &read(&counted.written()).unwrap());
        }
        demand
    }

    /// One request after another.
    fn naive(seconds: &BTreeMap<u32, u32>, limits: &Limits, since: Timestamp) -> u64 {
        let pace = limit(limits.rate).map(|it| Pace::new(&it.0, 1));
        let quota = limit(limits.quota).map(|it| it.0);
        let (mut full, mut used, mut refused) = (Moment::default(), BTreeMap::new(), 0);
        for nanos in seconds.iter().flat_map(|(second, count)| moments(*second, *count)) {
            let now = Moment::from_nanos(nanos);
            let time = Timestamp::from_micros(i64::try_from(nanos / 1_000).unwrap());
            let paid = pace.map_or(Ok(full), |it| it.take(full, 1, now));
            let window = quota.map_or(0, |it| it.window.at(time).name);
            let used: &mut u64 = used.entry(window).or_default();
            match paid {
                Ok(after) if quota.is_none_or(|it| *used < it.count.get()) => {
                    full = after;
                    *used += 1;
                }
                _ => refused += u64::from(time >= since),
            }
        }
        refused
    }

    /// Evenly spaced in a second.
    fn moments(second: u32, count: u32) -> impl Iterator<Item = u64> {
        let (start, gap) = (u64::from(second) * NANOS, NANOS / u64::from(count));
        (0..u64::from(count)).map(move |it| start + it * gap)
    }

    /// At most eight seconds of a minute, around a midnight.
    fn exact_seconds() -> impl Strategy<Value = BTreeMap<u32, u32>> {
        let minute = prop::collection::btree_map(0..60_u32, 1..300_u32, 1..=8);
        let at = |(minute, at): (u32, u32)| TODAY * 3_600 - 7_200 + minute * 60 + at;
        prop::collection::btree_map(0..240_u32, minute, 1..20).prop_map(move |minutes| {
            let each = |(minute, counts): (u32, BTreeMap<u32, u32>)| {
                counts.into_iter().map(move |(second, count)| (at((minute, second)), count))
            };
            minutes.into_iter().flat_map(each).collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_known_by_the_second_is_decided_as_one_by_one(
            seconds in exact_seconds(),
            rate in prop::sample::select(vec!["unlimited", "1/s", "10/s burst 3", "90/min", "100/s"]),
            quota in prop::sample::select(vec!["unlimited", "1/day", "500/day", "900/month"]),
            since in 0..4_u32,
        ) {
            let (limits, since) = (limits(rate, quota), at(TODAY - 2 + since));
            let demand = demand(&seconds);
            let outcome = demand.under(&limits, since);
            let counted = seconds.iter().filter(|it| at(0).after(Duration::from_secs((*it.0).into())) >= since);
            let requests: u64 = counted.map(|it| u64::from(*it.1)).sum();
            prop_assert_eq!((outcome.requests, outcome.exact), (requests, requests));
            prop_assert_eq!(outcome.refused, naive(&seconds, &limits, since));
            let alone = |limits: Limits| Some(naive(&seconds, &limits, since));
            let by_rate = limit(limits.rate).and_then(|_| alone(Limits { quota: None, ..limits }));
            let by_quota = limit(limits.quota).and_then(|_| alone(Limits { rate: None, ..limits }));
            prop_assert_eq!((outcome.by_rate, outcome.by_quota), (by_rate, by_quota));
        }

        /// Whatever somebody has put there.
        #[test]
        fn a_sum_spread_over_its_minute_is_the_same_sum(
            (active, busiest, total) in (any::<u8>(), any::<u32>(), 0..u64::from(u32::MAX)),
        ) {
            let mut demand = Demand::default();
            demand.add(TODAY, &[(7, Cell::Summary(Summary { total, busiest, active }))]);
            let outcome = demand.under(&limits("1/s", "5/day"), at(TODAY));
            prop_assert!(outcome.refused <= outcome.requests);
            if total < NANOS {
                prop_assert_eq!((outcome.requests, outcome.exact), (total, 0));
            }
        }
    }

    #[test]
    fn a_minute_that_was_summed_up_is_spread_over_it() {
        let steady: BTreeMap<u32, u32> = (0..3_600).map(|it| (TODAY * 3_600 + it, 10)).collect();
        let outcome = demand(&steady).under(&limits("10/s", "unlimited"), at(TODAY));
        assert_eq!((outcome.requests, outcome.exact, outcome.refused), (36_000, 0, 0));
        let outcome = demand(&steady).under(&limits("5/s", "30000/day"), at(TODAY));
        let alone = (outcome.by_rate.unwrap(), outcome.by_quota);
        assert_eq!(alone, (36_000 - 5 * 3_600 - 4, Some(6_000)));
        assert_eq!(outcome.refused, alone.0);
    }

    #[test]
    fn a_limit_in_its_shadow_refuses_nobody() {
        let burst = BTreeMap::from([(TODAY * 3_600, 60)]);
        let outcome = demand(&burst).under(&limits("10/s shadow", "50/day"), at(TODAY));
        assert_eq!((outcome.refused, outcome.by_quota), (10, Some(10)));
        assert!(outcome.by_rate.unwrap() > 30);
    }

    #[test]
    fn what_several_gateways_counted_counts_together() {
        let one = |count| vec![(0, Cell::Exact(vec![(0, count)]))];
        let mut demand = Demand::default();
        demand.add(TODAY, &one(6));
        demand.add(TODAY, &one(7));
        assert_eq!(demand.under(&limits("unlimited", "10/day"), at(TODAY)).refused, 3);
    }
}
