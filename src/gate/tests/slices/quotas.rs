//! Properties of quotas: over midnight, with gateways whose clocks are off and that are cut off, with
//! crashes and lost messages.

use std::cell::Cell;
use std::ops::Range;

use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::clock::Timestamp;
use crate::gate::tests::slices::fleet::{self, Fleet, MORNING};
use crate::gate::tests::slices::members::{Limit, Spell};
use crate::gate::tests::slices::{Event, event, events, happen, runtime, schedule};
use crate::store::redis::Redis;
use crate::store::redis::tests::redis;

/// A quota, and when and with which clocks it is used.
#[derive(Clone, Copy, Debug)]
struct Case {
    quota: u64,
    /// Of that, what is left by others.
    left: u64,
    /// So many milliseconds before midnight.
    before_midnight: Option<u64>,
    ahead: [i64; 3],
}

fn cases() -> impl Strategy<Value = Case> {
    // The larger ones are leased in slices; of these, others use up most.
    let left = prop_oneof![1 => 1..60_u64, 2 => 60..600_u64, 1 => 600..1_500_u64];
    let others = prop_oneof![1 => Just(0), 1 => 10_000..100_000_u64];
    let midnight = prop::option::of(100..LONGEST_MILLIS);
    let ahead = [-50..50_i64, -50..50_i64, -50..50_i64];
    (left, others, midnight, ahead).prop_map(|(left, others, before_midnight, ahead)| Case {
        quota: left + others,
        left,
        before_midnight,
        ahead,
    })
}

impl Case {
    fn fleet<'a>(&self, runtime: &'a Runtime, store: &'a Redis) -> Fleet<'a> {
        let fleet = Fleet::new(runtime, store, Limit::Quota(self.quota));
        let begins = match self.before_midnight {
            Some(millis) => Timestamp::from_micros(
                MIDNIGHT.as_micros() - i64::try_from(millis * 1_000).unwrap(),
            ),
            None => MORNING,
        };
        let mut fleet = fleet.at(begins, self.ahead);
        fleet.spend_elsewhere(self.quota - self.left, self.windows().iter().map(|it| it.start));
        fleet
    }

    /// The windows that there are, in microseconds since the beginning.
    fn windows(&self) -> Vec<Range<u64>> {
        match self.before_midnight {
            Some(millis) => vec![0..millis * 1_000, millis * 1_000..u64::MAX],
            None => vec![0..u64::MAX],
        }
    }
}

/// How many were let in in each window by the store's clock, and how many more in a moment in which a
/// clock that is slow may not have come to the end of the window before.
fn admitted(case: &Case, fleet: &Fleet<'_>) -> Vec<(u64, u64)> {
    let admitted = fleet.admitted().iter().zip(fleet.admitted_by());
    let count = |window: &Range<u64>| {
        let is_late =
            |at: u64, by: usize| window.start > 0 && by == SLOW && at - window.start < LATE;
        let within = admitted.clone().filter(|(at, _)| window.contains(at));
        let (late, others): (Vec<_>, Vec<_>) = within.partition(|(at, by)| is_late(**at, **by));
        (others.len() as u64, late.len() as u64)
    };
    case.windows().iter().map(count).collect()
}

/// How much may be over the quota in a window: what each gateway that was cut off had as its share, an
/// equal part of what remained when it last heard, or of all where that was another window's; and one,
/// of who had not heard of it at all.
fn of_shares(case: &Case, window: &Range<u64>, spells: &[Spell]) -> u64 {
    let touching = spells
        .iter()
        .filter(|it| it.from < window.end && it.until.is_none_or(|until| until >= window.start));
    let share = |it: &Spell| match it.remained {
        Some((left, at)) if window.contains(&at) => (left / 3).max(1),
        Some(_) => (case.quota / 3).max(1),
        None => 1,
    };
    touching.map(share).sum()
}

/// In no window more than the quota, and what shares allow; whether some window was used up.
#[track_caller]
fn assert_within(case: &Case, fleet: &Fleet<'_>) -> bool {
    let (mut room, mut is_used_up) = (0, false);
    for (window, (count, late)) in case.windows().iter().zip(admitted(case, fleet)) {
        let most = case.left + of_shares(case, window, fleet.spells());
        // What was late is of the window before, where that had room for it.
        let count = count + late.saturating_sub(room);
        assert!(count <= most, "{count} of {most} in {window:?}, {case:?}, {:?}", fleet.spells());
        (room, is_used_up) = (most - count, is_used_up || count >= case.left);
    }
    is_used_up
}

/// Has all gateways ask again and again until nobody is let in any more, though they wait.
fn use_up(fleet: &mut Fleet<'_>) {
    let (mut before, mut idle) = (fleet.admitted().len(), 0);
    while idle < 150 {
        fleet.pass(20);
        (0..3).for_each(|it| fleet.request(it, 7));
        let after = fleet.admitted().len();
        idle = if after == before { idle + 1 } else { 0 };
        before = after;
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

#[test]
fn no_quota_is_exceeded_whoever_crashes_and_whatever_is_lost() {
    let (runtime, server) = (runtime(), redis::Redis::start());
    let store = runtime.block_on(fleet::open(&server.url()));
    let (tried, used_up) = (Cell::new(0), Cell::new(0));
    proptest!(config(80), |(case in cases(), events in events())| {
        let mut fleet = case.fleet(&runtime, &store);
        happen(&mut fleet, &events);
        assert!(fleet.spells().is_empty());
        tried.set(tried.get() + 1);
        used_up.set(used_up.get() + usize::from(assert_within(&case, &fleet)));
    });
    let (tried, used_up) = (tried.get(), used_up.get());
    assert!(used_up * 3 > tried, "only {used_up} of {tried} quotas were used up");
}

#[test]
fn who_is_cut_off_spends_no_more_of_a_quota_than_its_share_of_what_remained() {
    let (runtime, server) = (runtime(), redis::Redis::start());
    let store = runtime.block_on(fleet::open(&server.url()));
    let part = (0..3_usize, 50..3_000_u64).prop_map(|(it, millis)| Event::Part(it, millis));
    let events = schedule(prop_oneof![12 => event(), 1 => part]);
    let (spells, above) = (Cell::new(0), Cell::new(0));
    proptest!(config(80), |(case in cases(), events in events)| {
        let mut fleet = case.fleet(&runtime, &store);
        happen(&mut fleet, &events);
        assert_within(&case, &fleet);
        spells.set(spells.get() + fleet.spells().len());
        let is_above = admitted(&case, &fleet).iter().any(|it| it.0 > case.left);
        above.set(above.get() + usize::from(is_above));
    });
    eprintln!("{} times without the store, {} above the quota", spells.get(), above.get());
    assert!(spells.get() > 40, "{} times without the store", spells.get());
}

/// All that was asked for was carried out, and whoever asked it is still there.
#[test]
fn nothing_of_a_quota_is_lost_where_nobody_crashes() {
    let (runtime, server) = (runtime(), redis::Redis::start());
    let store = runtime.block_on(fleet::open(&server.url()));
    let is_kind = |it: &Event| !matches!(it, Event::Crash(_));
    let events = schedule(event().prop_filter("a crash loses what was leased", is_kind));
    proptest!(config(60), |(case in cases(), events in events)| {
        let mut fleet = case.fleet(&runtime, &store);
        happen(&mut fleet, &events);
        // The days before are over.
        fleet.pass(LONGEST_MILLIS);
        use_up(&mut fleet);
        assert_within(&case, &fleet);
        let (count, late) = *admitted(&case, &fleet).last().unwrap();
        assert!(count + late >= case.left, "{count}, {case:?}");
    });
}

/// The one whose clock runs slow.
const SLOW: usize = 0;
/// By how much it is behind at the end of the time before midnight: it loses three hundredths.
const LATE: u64 = LONGEST_MILLIS * 1_000 * 31 / 1_000;
const LONGEST_MILLIS: u64 = 5_000;
/// The next one after that morning.
const MIDNIGHT: Timestamp = Timestamp::from_micros(1_800_057_600_000_000);
