//! A quota is never exceeded, whoever crashes, and next to nothing of it is lost.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::gateway::{Gateway, Key};
use crate::support::limits::{
    Limited, assert_only, count, get, logging, silences, stay_clear_of_midnight,
};
use crate::support::offer::{Aim, Asked, Counter, Offer, Said};
use crate::support::setup::Setup;
use crate::support::wait::{PATIENCE, rounds};

/// Mints a key with a quota that the load of a test uses up within its day.
#[track_caller]
fn mint(gateway: &Gateway, quota: usize) -> Key {
    stay_clear_of_midnight();
    gateway.mint_as(&json!({ "name": "limited", "quota": format!("{quota}/day") }))
}

/// What a gateway says to one request; nothing where it does not answer.
fn probe(gateway: &Gateway, ask: &Ask) -> Option<String> {
    let stream = std::net::TcpStream::connect(gateway.address()).ok()?;
    let answer = Client::over(stream).try_ask(ask).ok()?;
    if answer.status == 200 {
        Some("let in".to_owned())
    } else {
        answer.json()["code"].as_str().map(str::to_owned)
    }
}

/// Waits until all gateways have said for a second that there is nothing left.
#[track_caller]
fn wait_until_exhausted(gateways: &[Gateway], ask: &Ask) {
    let (end, mut since) = (Instant::now() + PATIENCE * 3, Instant::now());
    while since.elapsed() < Duration::from_secs(1) {
        let is_out = |it| probe(it, ask).as_deref() == Some("quota_exhausted");
        if !gateways.iter().all(is_out) {
            since = Instant::now();
        }
        assert!(Instant::now() < end, "it is never used up");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Holds what was let in to the quota: never more, and next to nothing less.
#[track_caller]
fn assert_used(quota: usize, upstream: &Counter, asked: &[Asked]) {
    let (let_in, forwarded) = (count(asked, Said::LetIn), upstream.asked());
    eprintln!("of {quota}, {forwarded} were forwarded; {let_in} of {} answered 200", asked.len());
    assert!(forwarded <= quota, "{forwarded} of {quota}");
    assert!(forwarded * 100 >= quota * 99, "{forwarded} of {quota}");
}

#[test]
fn a_quota_holds_while_gateways_and_redis_are_killed() {
    let quota = rounds(5_000, 100_000);
    let mut fleet = Limited::start(3);
    let key = mint(&fleet.gateways[0], quota);
    let offer = Offer::begin(&fleet.aims(u32::try_from(rounds(900, 3_000)).unwrap()), &get(&key));
    for round in 0..rounds(4, 16) {
        thread::sleep(Duration::from_millis(500));
        if round % 2 == 0 {
            let victim = &mut fleet.gateways[round / 2 % 3];
            victim.kill9();
            victim.restart();
        } else {
            fleet.redis.kill();
            thread::sleep(Duration::from_millis(200));
            fleet.redis.restart();
        }
    }
    wait_until_exhausted(&fleet.gateways, &get(&key));
    let asked = offer.end();
    assert_only(&asked, &WHILE_KILLED);
    assert_used(quota, &fleet.upstream, &asked);
}

/// What was asked before it stood still is answered when it goes on, and the share was spent meanwhile.
#[test]
fn a_quota_holds_while_redis_stands_still() {
    // It is used up while Redis stands still.
    let quota = rounds(2_700, 19_200);
    let mut fleet = Limited::start(3);
    let key = mint(&fleet.gateways[0], quota);
    let offer = Offer::begin(&fleet.aims(1_500), &get(&key));
    while fleet.upstream.asked() < quota * 98 / 100 {
        thread::sleep(Duration::from_millis(250));
        fleet.redis.freeze();
        thread::sleep(Duration::from_millis(400));
        fleet.redis.thaw();
    }
    wait_until_exhausted(&fleet.gateways, &get(&key));
    let asked = offer.end();
    assert_only(&asked, &[Said::LetIn, Said::QuotaExhausted]);
    fleet.gateways.iter_mut().for_each(Gateway::stop);
    assert_used(quota, &fleet.upstream, &asked);
}

/// Nobody knows what it has spent of its share: that is all that may be above.
#[test]
fn a_gateway_that_is_killed_while_redis_is_away_spends_no_more_than_its_share() {
    let quota = rounds(5_000, 20_000);
    let mut fleet = Limited::start(3);
    let key = mint(&fleet.gateways[0], quota);
    let offer = Offer::begin(&fleet.aims(1_500), &get(&key));
    thread::sleep(Duration::from_millis(500));
    let before = fleet.upstream.asked();
    fleet.redis.kill();
    thread::sleep(Duration::from_millis(700));
    fleet.gateways[1].kill9();
    fleet.redis.restart();
    fleet.gateways[1].restart();
    wait_until_exhausted(&fleet.gateways, &get(&key));
    assert_only(&offer.end(), &WHILE_KILLED);
    let (all, most) = (fleet.upstream.asked(), quota + (quota - before) / 3);
    eprintln!("of {quota}, {all} were forwarded, and at most {most} may have been");
    assert!(all <= most && all * 100 >= quota * 99);
}

#[test]
fn a_quota_in_a_file_holds_while_its_gateway_is_killed() {
    let (quota, upstream) = (rounds(5_000, 100_000), Counter::start());
    let mut gateway = Gateway::start(&logging(Setup::to(upstream.address())));
    let key = mint(&gateway, quota);
    let per_second = u32::try_from(rounds(1_200, 3_000)).unwrap();
    let aim = Aim { address: gateway.address(), per_second };
    let offer = Offer::begin(&[aim, aim], &get(&key));
    for _ in 0..rounds(4, 8) {
        thread::sleep(Duration::from_millis(400));
        gateway.kill9();
        gateway.restart();
    }
    wait_until_exhausted(std::slice::from_ref(&gateway), &get(&key));
    let asked = offer.end();
    assert_only(&asked, &WHILE_KILLED);
    eprintln!("{} times without the store", silences(&gateway));
    assert_used(quota, &upstream, &asked);
}

/// Holds that all were let in, unless the store kept somebody waiting for too long: then most were.
#[track_caller]
fn assert_let_in(asked: &[Asked], gateways: &[Gateway]) {
    if gateways.iter().map(silences).sum::<usize>() == 0 {
        return assert_only(asked, &[Said::LetIn]);
    }
    assert_only(asked, &[Said::LetIn, Said::QuotaExhausted, Said::Other(503)]);
    assert!(count(asked, Said::LetIn) * 2 > asked.len(), "{asked:?}");
}

#[test]
fn what_a_gateway_had_leased_of_a_quota_goes_back_when_it_is_stopped() {
    let quota = rounds(10_000, 40_000);
    let mut fleet = Limited::start(3);
    let key = mint(&fleet.gateways[0], quota);
    for place in [0, 1] {
        let asked = Offer::run(&fleet.aims(1_500), &get(&key), Duration::from_secs(1));
        assert_let_in(&asked, &fleet.gateways);
        let out = leased(&fleet);
        fleet.gateways[place].stop();
        eprintln!("{out} were out before a gateway was stopped, {} after it", leased(&fleet));
        assert!(out > 0, "it would show nothing");
        fleet.gateways[place].restart();
    }
    let offer = Offer::begin(&fleet.aims(3_000), &get(&key));
    wait_until_exhausted(&fleet.gateways, &get(&key));
    assert_only(&offer.end(), &[Said::LetIn, Said::QuotaExhausted]);
    assert_eq!(fleet.upstream.asked(), quota);
}

#[test]
fn what_a_gateway_had_leased_of_a_quota_in_a_file_goes_back_when_it_is_stopped() {
    let (quota, upstream) = (rounds(5_000, 40_000), Counter::start());
    let mut gateway = Gateway::start(&logging(Setup::to(upstream.address())));
    let key = mint(&gateway, quota);
    let aim = Aim { address: gateway.address(), per_second: 1_000 };
    for _ in 0..2 {
        let asked = Offer::run(&[aim], &get(&key), Duration::from_secs(1));
        assert_let_in(&asked, std::slice::from_ref(&gateway));
        gateway.stop();
        gateway.restart();
    }
    let offer = Offer::begin(&[aim, aim, aim], &get(&key));
    wait_until_exhausted(std::slice::from_ref(&gateway), &get(&key));
    let asked = offer.end();
    assert_only(&asked, &[Said::LetIn, Said::QuotaExhausted]);
    eprintln!("{} of the last {} answered 200", count(&asked, Said::LetIn), asked.len());
    eprintln!("{} times without the store", silences(&gateway));
    assert_eq!(upstream.asked(), quota);
}

/// Who has just begun does not know the keys yet.
const WHILE_KILLED: [Said; 4] =
    [Said::LetIn, Said::QuotaExhausted, Said::Nothing, Said::Other(503)];

/// How much of the one quota is in the hands of gateways, as Redis has it.
#[track_caller]
fn leased(fleet: &Limited) -> u64 {
    let names = fleet.redis.cli(&["KEYS", "*day*"]);
    let name = names.lines().next().unwrap();
    fleet.redis.cli(&["HGET", name, "out"]).parse().unwrap()
}
