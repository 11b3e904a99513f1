//! Properties of quotas: over midnight, with gateways whose clocks are off and that are cut off, with
//! crashes and lost messages.

use std::cell::Cell;
use std::iter;
use std::ops::Range;

use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::clock::Timestamp;
use crate::gate::tests::slices::fleet::{Fleet, MORNING};
use crate::gate::tests::slices::members::{By, Limit, Spell, open};
use crate::gate::tests::slices::{Event, event, events, happen, runtime, schedule};
use crate::store::redis::Redis;
use crate::store::redis::tests::redis;

/// A quota, and when and with which clocks it is used.
#[derive(Clone, Copy, Debug)]
struct Case {
    quota: u64,
    /// Of that, what is left by others.
    left: u64,
    /// In so many milliseconds it is midnight.
    midnight_in: Option<u64>,
    /// And then the store's clock is set forward by so many, as where another server takes over.
    step: u64,
    ahead: [i64; 3],
}

fn cases() -> impl Strategy<Value = Case> {
    // The larger ones are leased in slices; of these, others use up most.
    let left = prop_oneof![1 => 1..60_u64, 2 => 60..600_u64, 1 => 600..1_500_u64];
    let others = prop_oneof![1 => Just(0), 1 => 10_000..100_000_u64];
    let midnight = prop::option::of(100..LONGEST_MILLIS);
    let ahead = [-50..50_i64, -50..50_i64, -50..50_i64];
    let step = prop_oneof![Just(0), 1..STEP_MILLIS];
    let parts = (left, others, midnight, step, ahead);
    parts.prop_map(|(left, others, midnight_in, step, ahead)| {
        let quota = left + others;
        Case { quota, left, midnight_in, step, ahead }
    })
}

impl Case {
    fn fleet<'a>(&self, runtime: &'a Runtime, store: &'a Redis) -> Fleet<'a> {
        let fleet = Fleet::new(runtime, store, Limit::Quota(self.quota));
        let midnight_in = self.midnight_in.unwrap_or_default();
        let micros = i64::try_from((midnight_in + self.step) * 1_000).unwrap();
        let (began, step) = match self.midnight_in {
            Some(_) => (Timestamp::from_micros(MIDNIGHT.as_micros() - micros), self.step),
            None => (MORNING, 0),
        };
        let mut fleet = fleet.at(began, (midnight_in * 1_000, step * 1_000), self.ahead);
        fleet.spend_elsewhere(self.quota - self.left, self.windows().iter().map(|it| it.start));
        fleet
    }

    /// The windows that there are, in microseconds since the beginning.
    fn windows(&self) -> Vec<Range<u64>> {
        let turn = self.midnight_in.map(|millis| millis * 1_000);
        let (begins, ends) = (iter::once(0).chain(turn), turn.into_iter().chain([u64::MAX]));
        begins.zip(ends).map(|(begin, end)| begin..end).collect()
    }
}

/// How many were let in in each window by the store's clock, and how many more in the moment after
/// its beginning in which a gateway may not have come to the end of the one before.
fn admitted(case: &Case, fleet: &Fleet<'_>) -> Vec<(u64, u64)> {
    let admitted = fleet.admitted().iter().zip(fleet.admitted_by());
    let count = |window: &Range<u64>| {
        let is_late = |at: u64, by: &By| {
            let behind = case.step * 1_000 + if by.gateway == SLOW { LATE } else { 0 };
            window.start > 0 && by.is_behind && at - window.start < behind
        };
        let within = admitted.clone().filter(|(at, _)| window.contains(at));
        let (late, others): (Vec<_>, Vec<_>) = within.partition(|(at, by)| is_late(**at, by));
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
        // What was late may be of the window before, where that had room, and so much was out.
        let count = count + late.saturating_sub(room.min(fleet.left_over()));
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
    let store = runtime.block_on(open(&server.url()));
    let (tried, used_up) = (Cell::new(0), Cell::new(0));
    proptest!(config(80), |(case in cases(), events in events())| {
        let mut fleet = case.fleet(&runtime, &store);
        happen(&mut fleet, &events);
        use_up(&mut fleet);
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
    let store = runtime.block_on(open(&server.url()));
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
    let (spells, above) = (spells.get(), above.get());
    assert!(spells > 40 && above > 0, "{spells} times without the store, {above} above the quota");
}

/// All that was asked for was carried out, and whoever asked it is still there.
#[test]
fn nothing_of_a_quota_is_lost_where_nobody_crashes() {
    let (runtime, server) = (runtime(), redis::Redis::start());
    let store = runtime.block_on(open(&server.url()));
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

/// Schedules seldom come to that: something is in hand when the window turns, and more is fetched
/// before anybody notices that it is over.
#[test]
fn what_was_leased_in_one_window_is_not_spent_in_the_next() {
    let (runtime, server) = (runtime(), redis::Redis::start());
    let store = runtime.block_on(open(&server.url()));
    for few in (1..60).step_by(3) {
        let case = Case {
            quota: 100_000,
            left: 300,
            midnight_in: Some(1_000),
            step: 300,
            ahead: [20, 20, 20],
        };
        let mut fleet = case.fleet(&runtime, &store);
        fleet.pass(900);
        (0..3).for_each(|it| fleet.request(it, 60));
        fleet.pass(110);
        assert!(fleet.left_over() >= 60, "{} are in hand", fleet.left_over());
        (0..3).for_each(|it| fleet.request(it, few));
        use_up(&mut fleet);
        assert!(assert_within(&case, &fleet), "{few}");
    }
}

/// By how much a clock is set forward at most.
const STEP_MILLIS: u64 = 400;
/// The one whose clock runs slow.
const SLOW: usize = 0;
/// By how much it is behind at the end of the time before midnight: it loses three hundredths.
const LATE: u64 = LONGEST_MILLIS * 1_000 * 31 / 1_000;
const LONGEST_MILLIS: u64 = 5_000;
/// The next one after that morning.
const MIDNIGHT: Timestamp = Timestamp::from_micros(4_000_060_800_000_000);
