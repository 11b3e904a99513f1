//! A fleet is what was planned, and what it does is noted.

use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::faults::{Faults, Way};
use crate::support::fleet::operator::Operator;
use crate::support::fleet::traffic::{Keys, Traffic};
use crate::support::fleet::{Admins, Fleet, Plan};
use crate::support::history::check::check;
use crate::support::history::{Answer, Kind, Outcome};
use crate::support::redis::Redis;
use crate::support::sentinel::Sentinel;
use crate::support::wait::{eventually, rounds};

/// On one file.
fn plan(store: &TempDir) -> Plan {
    let path = store.path().join("keyward.db");
    Plan::of(3, &format!("sqlite:{}", path.display()))
}

#[test]
fn a_fleet_that_is_asked_while_it_is_operated_keeps_its_promise() {
    let store = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(&plan(&store).admins(Admins::Node));
    let keys = Keys::default();
    let mut operators = [fleet.operator(fleet.node().unwrap()), fleet.operator(fleet.gateway(1))];
    let traffic = fleet.begin_traffic(100, &keys);
    for round in 0..20 {
        let operator = &mut operators[round % 2];
        let [key, kept] = [(), ()].map(|()| operator.mint().unwrap());
        keys.add(&key);
        keys.add(&kept);
        assert_eq!(fleet.asker(round % 3).ask(&kept), Some(Outcome::LetIn));
        assert_eq!(operator.revoke(&key), Answer::Complete);
        assert_eq!(fleet.asker(round % 3).ask(&key), Some(Outcome::Refused));
    }
    let brief = operators[0].mint_for(Duration::from_millis(300)).unwrap();
    keys.add(&brief);
    eventually("it expires", || fleet.asker(0).ask(&brief) == Some(Outcome::Refused));
    keys.remove(&brief);
    fleet.kill(2);
    fleet.restart(2);
    assert!(traffic.end() > 100);
    drop(operators);
    let history = fleet.history();
    check(&history, CLOCKS).assert_clean(&history);
    let of = |kind: &Kind| history.changes.iter().filter(|it| it.kind == *kind).count();
    assert_eq!((of(&Kind::Revoke), of(&Kind::Mint { expires: None })), (20, 40));
    assert_eq!(history.gateways[2], fleet.gateway(2).id());
    let asked_at = |it| history.requests.iter().any(|request| request.gateway == it);
    assert!((0..3).all(asked_at) && fleet.size() == 3);
}

/// Well above what two clocks of one machine differ by in a second.
const CLOCKS: u64 = 100_000_000;

/// On a server or more, with times that a test can wait for.
fn on(url: &str, policy: &str) -> Plan {
    let lines = [
        "lease = \"2s\"",
        "response_timeout = \"500ms\"",
        "serve_known_for = \"1s\"",
        &format!("when_unreachable = {policy:?}"),
    ];
    lines.iter().fold(Plan::of(3, url).admins(Admins::Node), |plan, line| plan.store(line))
}

/// Waits until all is well, ends, and holds what was noted to the promise.
#[track_caller]
fn assert_kept(fleet: &Fleet, traffic: Traffic, mut operator: Operator) {
    eventually("an answer is complete again", || {
        operator.mint().is_some_and(|it| operator.revoke(&it) == Answer::Complete)
    });
    assert!(traffic.end() > 100);
    drop(operator);
    let history = fleet.history();
    assert!(history.count(Outcome::LetIn) > 0 && history.count(Outcome::Refused) > 0, "{history}");
    check(&history, CLOCKS).assert_clean(&history);
}

#[test]
fn a_fleet_on_redis_keeps_its_promise_while_its_networks_fail() {
    let redis = Redis::start();
    let fleet = Fleet::start(&on(&redis.url(), "refuse").through_networks(redis.address()));
    let keys = Keys::default();
    let mut operator = fleet.operator(fleet.node().unwrap());
    let traffic = fleet.begin_traffic(100, &keys);
    for round in 0..rounds(8, 200) {
        if let Some(key) = operator.mint() {
            keys.add(&key);
            let network = fleet.network(round % 4);
            match round % 3 {
                0 => network.reset(),
                1 => network.vanish(Way::Both),
                _ => network.refuse(),
            }
            operator.revoke(&key);
        }
        fleet.networks().iter().for_each(Faults::pass);
    }
    assert_kept(&fleet, traffic, operator);
}

#[test]
fn a_fleet_on_redis_keeps_its_promise_while_redis_and_gateways_fail() {
    let redis = Redis::start();
    let mut fleet = Fleet::start(&on(&redis.url(), "serve_known"));
    let keys = Keys::default();
    let mut operator = fleet.operator(fleet.gateway(0));
    let traffic = fleet.begin_traffic(100, &keys);
    for round in 0..rounds(3, 60) {
        let Some(key) = operator.mint() else { continue };
        keys.add(&key);
        match round % 3 {
            0 => {
                redis.freeze();
                thread::sleep(Duration::from_millis(700));
                redis.thaw();
            }
            1 => redis.restart(),
            _ => {
                fleet.kill(1);
                operator.revoke(&key);
                fleet.restart(1);
            }
        }
        operator.revoke(&key);
    }
    assert_kept(&fleet, traffic, operator);
}

#[test]
fn a_fleet_follows_a_failover_that_loses_writes() {
    let store = Sentinel::start();
    let fleet = Fleet::start(&on(&store.url(), "refuse"));
    let keys = Keys::default();
    let mut operator = fleet.operator(fleet.node().unwrap());
    let traffic = fleet.begin_traffic(100, &keys);
    let held = [(), ()].map(|()| operator.mint().unwrap());
    for it in &held {
        keys.add(it);
    }
    let old = store.primary();
    store.lose(|_primary| {
        // Nobody holds it but a primary that is about to die.
        assert_eq!(operator.revoke(&held[0]), Answer::NotHeld);
    });
    old.restart();
    eventually("it is complete", || operator.revoke(&held[0]) == Answer::Complete);
    for place in 0..fleet.size() {
        assert_eq!(fleet.asker(place).ask(&held[0]), Some(Outcome::Refused));
    }
    assert_kept(&fleet, traffic, operator);
}
