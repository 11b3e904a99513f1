//! Properties of leasing: several gateways and the scripts of a real Redis, on a clock that the test
//! moves, with crashes, lost questions and lost answers.

use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};

use self::fleet::Fleet;
use self::members::{Limit, open};
use crate::clock::{Moment, Timestamp};
use crate::gate::around::{Around, Patience, Reach};
use crate::gate::purse::Purse;
use crate::gate::supply::Fill;
use crate::gate::taking::{Spent, Taking};
use crate::store::redis::tests::redis;
use crate::store::slices::{Leased, Rest, Slice};

pub mod fleet;
pub mod members;
mod quotas;

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// So many requests at once come to a gateway.
    Requests(usize, u32),
    /// A gateway is gone, with all that it knows; another one takes its place.
    Crash(usize),
    /// The next question of a gateway is never carried out.
    LoseQuestion(usize),
    /// The next question of a gateway is carried out, and nobody hears of it.
    LoseAnswer(usize),
    /// The next answer to a gateway takes so many milliseconds.
    Delay(usize, u64),
    /// The next question of a gateway is so many milliseconds on its way.
    DelayQuestion(usize, u64),
    /// A gateway looks after nothing for so many milliseconds.
    Stall(usize, u64),
    /// A gateway does not reach the store for so many milliseconds, and goes on with its share.
    Part(usize, u64),
}

fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
    schedule(event())
}

fn event() -> impl Strategy<Value = Event> {
    let gateway = 0..3_usize;
    prop_oneof![
        12 => (gateway.clone(), 1..40_u32).prop_map(|(it, count)| Event::Requests(it, count)),
        1 => gateway.clone().prop_map(Event::Crash),
        1 => gateway.clone().prop_map(Event::LoseQuestion),
        1 => gateway.clone().prop_map(Event::LoseAnswer),
        1 => (gateway.clone(), 1..1_500_u64).prop_map(|(it, millis)| Event::Delay(it, millis)),
        1 => (gateway.clone(), 1..1_500_u64)
            .prop_map(|(it, millis)| Event::DelayQuestion(it, millis)),
        1 => (gateway, 1..3_000_u64).prop_map(|(it, millis)| Event::Stall(it, millis)),
    ]
}

fn schedule(event: impl Strategy<Value = Event>) -> impl Strategy<Value = Vec<(u64, Event)>> {
    let pause = prop_oneof![4 => 0..3_u64, 4 => 0..60_u64, 1 => 0..2_000_u64];
    prop::collection::vec((pause, event), 1..200)
}

fn happen(fleet: &mut Fleet<'_>, events: &[(u64, Event)]) {
    for (pause, event) in events {
        fleet.pass(*pause);
        match *event {
            Event::Requests(gateway, count) => fleet.request(gateway, count),
            Event::Crash(gateway) => fleet.crash(gateway),
            Event::LoseQuestion(gateway) => fleet.lose_question(gateway),
            Event::LoseAnswer(gateway) => fleet.lose_answer(gateway),
            Event::Delay(gateway, millis) => fleet.delay(gateway, millis),
            Event::DelayQuestion(gateway, millis) => fleet.delay_question(gateway, millis),
            Event::Stall(gateway, millis) => fleet.stall(gateway, millis),
            Event::Part(gateway, millis) => fleet.part(gateway, millis),
        }
    }
    fleet.pass(3_000);
}

/// In every window no more than burst + rate × time: a bucket that is charged at each admission never
/// runs dry.
#[track_caller]
fn assert_within(admitted: &[u64], per_second: u64, burst: u64) {
    let (mut full_at, cost) = (0_u64, 1_000_000 / per_second);
    for now in admitted {
        full_at = full_at.max(*now) + cost;
        assert!(full_at <= now + burst * cost, "over at {now} of {admitted:?}");
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn no_window_lets_in_more_than_the_rate_whoever_crashes_and_whatever_is_lost() {
    let (runtime, server) = (runtime(), redis::Redis::start());
    let store = runtime.block_on(open(&server.url()));
    let rates = prop::sample::select(vec![
        (10, 10),
        (10, 1),
        (50, 5),
        (100, 100),
        (1_000, 50),
        (1_000, 1_000),
    ]);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) };
    proptest!(config, |((per_second, burst) in rates, events in events())| {
        let mut fleet = Fleet::new(&runtime, &store, Limit::Rate(per_second, burst));
        happen(&mut fleet, &events);
        assert_within(fleet.admitted(), per_second.into(), burst.into());
    });
}

/// Schedules seldom come to that: who is not looked after keeps what it leased.
#[test]
fn what_may_have_lapsed_is_not_spent() {
    let (runtime, server) = (runtime(), redis::Redis::start());
    let store = runtime.block_on(open(&server.url()));
    for pause in (1_000..1_600).step_by(20) {
        let mut fleet = Fleet::new(&runtime, &store, Limit::Rate(100, 300));
        (0..60).for_each(|_| {
            fleet.pass(1);
            fleet.request(0, 1);
        });
        fleet.stall(0, 5_000);
        fleet.pass(pause);
        (0..100).for_each(|_| {
            fleet.pass(1);
            fleet.request(1, 5);
        });
        fleet.request(0, 50);
        fleet.pass(100);
        assert!(fleet.admitted().len() > 200, "{}", fleet.admitted().len());
        assert_within(fleet.admitted(), 100, 300);
    }
}

/// The store may have lapsed them before it heard that they were kept.
#[test]
fn what_was_kept_for_too_long_is_not_spent() {
    let key = "000000000001".parse().unwrap();
    let fill = || Fill::Rate("100/s burst 300".parse().unwrap(), None);
    for (late, kept) in [(900, 20), (1_200, 0)] {
        let purse = Purse::new(key, 1, fill());
        let at = |millis| Around {
            now: Moment::from_nanos(1_000_000_000_000 + millis * 1_000_000),
            time: Timestamp::from_micros(1_800_000_000_000_000),
            fellows: 1,
            reach: Reach::Answering,
            silent_since: Moment::default(),
            patience: Patience::Fresh,
        };
        let slice = |granted, millis| {
            let now = at(0).time.after(Duration::from_millis(millis));
            Ok(Leased::Slice(Slice { granted, left: 0, enough_in: Duration::ZERO, spent: 0, now }))
        };
        let (_, question) = purse.take(1, fill, &at(0));
        purse.answer(&question.unwrap(), at(0).now, &slice(50, 0), at(1).now);
        let take = |_| {
            let taking = purse.take(1, fill, &at(990)).0;
            let Taking::Taken(spent) = taking else { panic!("{taking:?}") };
            spent
        };
        let spent: Vec<Spent> = (0..30).map(take).collect();
        let question = purse.tend(fill, || at(990)).unwrap();
        assert_eq!(question.rest, Rest::Kept(20));
        purse.answer(&question, at(990).now, &slice(5, late), at(late).now);
        assert_eq!(purse.left(&spent[29]), 5 + kept);
    }
}

#[test]
fn nothing_is_withheld_from_who_stays_within_the_rate() {
    let (runtime, server) = (runtime(), redis::Redis::start());
    let store = runtime.block_on(open(&server.url()));
    let small = [(10, 1), (10, 10), (100, 1), (50, 2), (100, 5), (30, 4)];
    for (per_second, burst) in small.into_iter().chain([(100, 20), (1_000, 1_000)]) {
        let mut fleet = Fleet::new(&runtime, &store, Limit::Rate(per_second, burst));
        let pause = 1_000 / u64::from(per_second) + 1 + 50 / u64::from(per_second);
        for at in 0..600 {
            fleet.pass(pause);
            fleet.request(if burst == 1 { 0 } else { at / 200 }, 1);
        }
        fleet.pass(100);
        let offered: HashSet<u64> = fleet.admitted().iter().copied().collect();
        assert!(offered.len() >= 590, "{per_second}/s burst {burst}: {}", offered.len());
    }
}

#[test]
fn cut_off_from_the_store_all_together_stay_within_the_rate_and_are_exact_again() {
    let (runtime, server) = (runtime(), redis::Redis::start());
    let store = runtime.block_on(open(&server.url()));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20) };
    proptest!(config, |(away in 500..6_000_u64, hungry in 1..4_usize)| {
        let mut fleet = Fleet::new(&runtime, &store, Limit::Rate(1_000, 1_000));
        let load = |fleet: &mut Fleet<'_>, millis: u64| for _ in 0..millis / 5 {
            fleet.pass(5);
            (0..hungry).for_each(|it| fleet.request(it, 5));
        };
        load(&mut fleet, 2_000);
        fleet.cut_off();
        load(&mut fleet, away);
        fleet.restore();
        load(&mut fleet, 2_000);
        let before = fleet.admitted().len();
        load(&mut fleet, 3_000);
        let after = fleet.admitted().len() - before;
        assert_within(fleet.admitted(), 1_000, 1_000);
        assert!(after >= 2_850, "{after} of 3000 in three seconds");
    });
}
