//! What holds for a request that is over more than one of its limits.

use std::ops::RangeInclusive;
use std::slice;
use std::thread;
use std::time::Duration;

use keyward::clock::Timestamp;
use serde_json::{Value, json};

use crate::support::ask::Ask;
use crate::support::crowd::crowd;
use crate::support::faults::Way;
use crate::support::fleet::make_pepper;
use crate::support::gateway::{Gateway, Key};
use crate::support::limits::{
    Limited, assert_refused, logging, shadow_refusals, stay_clear_of_midnight,
};
use crate::support::network::Network;
use crate::support::offer::Counter;
use crate::support::redis::Redis;
use crate::support::setup::Setup;
use crate::support::wait::eventually;

/// Of several limits that refuse a request it is told the one that refuses it longest: only then does
/// it get in.
#[test]
fn who_is_over_several_limits_is_told_of_the_longest_wait() {
    stay_clear_of_midnight();
    let routes = |setup: Setup| {
        let setup = setup.route("slow", "path = \"/slow/\"\nrate = \"2/min burst 2\"");
        setup.route("quick", "path = \"/quick/\"\nrate = \"1/s burst 1\"")
    };
    let upstream = Counter::start();
    let alone = Gateway::start(&routes(logging(Setup::to(upstream.address()))));
    let fleet = Limited::start_as(2, routes);
    for gateways in [slice::from_ref(&alone), &fleet.gateways[..1]] {
        let limited = |mut limits: Value| {
            limits["name"] = json!("limited");
            gateways[0].mint_as(&limits)
        };
        let second_and_day = limited(json!({ "rate": "1/s burst 1", "quota": "2/day" }));
        let until_midnight = 86_400 - seconds_of_day();
        let longest = until_midnight.saturating_sub(PASSING)..=until_midnight;
        assert_refused_twice(gateways, "/", &second_and_day, ("quota_exhausted", longest));
        let second = limited(json!({ "rate": "1/s burst 1" }));
        assert_refused_twice(gateways, "/slow/a", &second, ("rate_limited", 15..=30));
        let minute = limited(json!({ "rate": "2/min burst 2" }));
        assert_refused_twice(gateways, "/quick/a", &minute, ("rate_limited", 15..=30));
    }
}

/// Two requests get in, a second apart; of the third it is said why not, and for how long not.
#[track_caller]
fn assert_refused_twice(
    gateways: &[Gateway],
    target: &str,
    key: &Key,
    (code, waits): (&str, RangeInclusive<u64>),
) {
    let ask = || Ask::get(target).key(key).to(&gateways[0]);
    assert_eq!(ask().status, 200);
    thread::sleep(Duration::from_millis(1_100));
    assert_eq!(ask().status, 200);
    let refused = ask();
    let after = assert_refused(&refused, code);
    assert!(waits.contains(&after), "{target}: {refused:?}, and not {waits:?}");
    // The code, the wait and the fields are of one limit.
    assert!(
        refused.head.get("ratelimit").unwrap().ends_with(&format!(";r=0;t={after}")),
        "{refused:?}"
    );
}

fn seconds_of_day() -> u64 {
    u64::try_from(Timestamp::now().as_micros().rem_euclid(86_400_000_000) / 1_000_000).unwrap()
}

/// So many seconds may pass before it is asked.
const PASSING: u64 = 30;

#[test]
fn every_shadow_limit_that_would_have_refused_is_counted() {
    stay_clear_of_midnight();
    let upstream = Counter::start();
    let lines = "path = \"/few/\"\nrate = \"3/min burst 3 shadow\"";
    let setup = Setup::to(upstream.address()).route("few", lines);
    let gateway = Gateway::start(&logging(setup));
    let key = gateway.mint_as(
        &json!({ "name": "limited", "rate": "2/min burst 2 shadow", "quota": "5/day shadow" }),
    );
    let ask = |target: &str, times: usize| {
        for _ in 0..times {
            assert_eq!(Ask::get(target).key(&key).to(&gateway).status, 200);
        }
        shadow_refusals(&gateway)
    };
    assert_eq!(ask("/", 7), [5, 0, 2, 0]);
    assert_eq!(ask("/few/a", 4), [9, 1, 6, 0]);
}

/// A limit that is leased one by one is leased for all who wait.
#[test]
fn a_crowd_gets_in_as_far_as_there_are_tokens() {
    stay_clear_of_midnight();
    let upstream = Counter::start();
    let alone = Gateway::start(&logging(Setup::to(upstream.address())));
    let fleet = Limited::start(2);
    let few = json!({ "name": "limited", "rate": "1/min burst 100" });
    let some = json!({ "name": "limited", "quota": "100/day" });
    for (gateway, limits) in
        [(&fleet.gateways[1], &few), (&fleet.gateways[1], &some), (&alone, &few), (&alone, &some)]
    {
        let key = gateway.mint_as(limits);
        let statuses = crowd(100, |_| Ask::get("/").key(&key).to(gateway).status);
        let admitted = statuses.iter().filter(|it| **it == 200).count();
        assert_eq!(admitted, 100, "of {limits}");
        assert_eq!(Ask::get("/").key(&key).to(gateway).status, 429);
    }
}

/// Each of them has to be asked for, and all of them are at once: one after the other they would take
/// longer than a request may wait.
#[test]
fn over_a_slow_network_a_key_with_several_limits_gets_in() {
    let (upstream, redis) = (Counter::start(), Redis::start());
    let network = Network::before(&[redis.address()], &[]);
    let files = tempfile::tempdir().unwrap();
    make_pepper(&files.path().join("keyward.pepper"));
    let setup =
        Setup::to(upstream.address()).store(&format!("url = {:?}", network.url(&redis.url())));
    let setup = setup.route("slow", "path = \"/slow/\"\nrate = \"100/s burst 100\"");
    let gateway = Gateway::start_in(files, &logging(setup));
    let keys: Vec<Key> = (0..11)
        .map(|_| {
            let limits = json!({ "name": "limited", "rate": "100/s", "quota": "100000/day" });
            gateway.mint_as(&limits)
        })
        .collect();
    network.each().for_each(|it| it.delay(Way::Both, Duration::from_millis(10)));
    let ask = |key: &Key| Ask::get("/slow/a").key(key).to(&gateway).status;
    let [first, others @ ..] = &keys[..] else { panic!("no keys") };
    // Redis is given the scripts with the first questions.
    eventually("it is leased from", || ask(first) == 200);
    let admitted = others.iter().filter(|it| ask(it) == 200).count();
    // One that had to wait for a thread as well may have waited for too long.
    assert!(admitted * 2 >= others.len(), "{admitted} of {}", others.len());
    // A crowd is there with its second answer, and not with its twentieth.
    network.each().for_each(|it| it.delay(Way::Both, Duration::from_millis(5)));
    let all_get_in = || {
        let key = gateway.mint_as(&json!({ "name": "limited", "quota": "100/day" }));
        crowd(20, |_| Ask::get("/").key(&key).to(&gateway).status).iter().all(|it| *it == 200)
    };
    assert!((0..10).any(|_| all_get_in()));
}
