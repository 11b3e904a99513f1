//! While Redis is away each gateway goes on with its share of a limit, and nobody gains by it.

use std::slice;
use std::thread;
use std::time::Duration;

use keyward::clock::Timestamp;
use rustix::process::Signal;

use crate::support::crowd::crowd;
use crate::support::gateway::Gateway;
use crate::support::limits::{
    Bucket, Limited, admissions, assert_only, between, count, get, load_time, part, silences, span,
};
use crate::support::offer::{Asked, Offer, Said};
use crate::support::redis::Redis;
use crate::support::wait::{eventually, rounds};

/// What a gateway says of its limits.
#[derive(Clone, Copy, Debug)]
struct Scrape {
    begun: Timestamp,
    ended: Timestamp,
    cut_off: u64,
    share_spent: u64,
    leases: u64,
    unanswered: u64,
}

impl Scrape {
    #[track_caller]
    fn of(gateway: &Gateway) -> Self {
        let begun = Timestamp::now();
        let metrics = gateway.metrics();
        Self {
            begun,
            ended: Timestamp::now(),
            cut_off: metrics.count("keyward_limits_cut_off"),
            share_spent: metrics.count("keyward_limits_share_spent_total"),
            leases: metrics.count("keyward_limits_leases_total"),
            unanswered: metrics.count("keyward_limits_leases_unanswered_total"),
        }
    }
}

/// Holds what a gateway said twice while it was cut off: of its share it has spent what it admitted
/// in between.
#[track_caller]
fn assert_share_is_counted(gateway: &Gateway, (early, late): (&Scrape, &Scrape)) {
    for it in [early, late] {
        assert_eq!(it.cut_off, 1, "{it:?}");
        assert!(it.unanswered <= it.leases, "{it:?}");
    }
    assert!(late.unanswered > 0, "{late:?}");
    let times = admissions(slice::from_ref(gateway));
    let spent = usize::try_from(late.share_spent - early.share_spent).unwrap();
    let least = between(&times, early.ended, late.begun).len();
    let most = between(&times, early.begun, late.ended).len();
    eprintln!("{spent} were spent of a share, and {least} to {most} were admitted with it");
    // It is counted a moment before it is noted when, by each of the two workers.
    assert!(least.saturating_sub(2) <= spent && spent <= most + 2 && spent > 0);
}

/// Has Redis be away for some seconds under three times the load that is allowed.
#[track_caller]
fn assert_held_through(what: &str, end: fn(&Redis), begin: fn(&Redis)) {
    let bucket = Bucket::per_second(1_000, 1_000);
    let mut fleet = Limited::start(3);
    let key = fleet.key("1000/s burst 1000");
    let offer = Offer::begin(&fleet.aims(3_000), &get(&key));
    thread::sleep(load_time(3, 8));
    let gone = Timestamp::now();
    end(&fleet.redis);
    // Operators are known for as long as there is a lease.
    thread::sleep(AWAY / 12);
    let early: Vec<Scrape> = fleet.gateways.iter().map(Scrape::of).collect();
    thread::sleep(AWAY / 4);
    let late: Vec<Scrape> = fleet.gateways.iter().map(Scrape::of).collect();
    thread::sleep(AWAY * 2 / 3);
    begin(&fleet.redis);
    let back = Timestamp::now();
    thread::sleep(load_time(5, 12));
    let over = Timestamp::now();
    for gateway in &fleet.gateways {
        eventually("it is with the store again", || Scrape::of(gateway).cut_off == 0);
    }
    let asked = offer.end();
    assert_only(&asked, &[Said::LetIn, Said::RateLimited]);
    let times = fleet.admissions();
    assert_eq!(times.len(), count(&asked, Said::LetIn));
    for (gateway, spell) in fleet.gateways.iter().zip(early.iter().zip(&late)) {
        assert_share_is_counted(gateway, spell);
    }
    for gateway in &fleet.gateways {
        let (silences, log) = (silences(gateway), gateway.log());
        let returns = log.matches("the store answers for limits again").count();
        assert!(
            silences >= 1 && returns == silences,
            "{silences} times silent, and {returns} back"
        );
    }
    let away = between(&times, gone, back);
    let settled = back.after(Duration::from_secs(2));
    let after = between(&times, settled, over);
    let of = |times: &[i64], from: Timestamp, to: Timestamp| {
        100.0 * part(times.len(), bucket.of(to.since(from)))
    };
    let (excess, end) = bucket.worst(&times);
    eprintln!(
        "Redis {what} for {:?}: {:.1} % of the rate meanwhile, {}; {:.1} % from two seconds \
         after its return on, {}; {excess} above in all{}",
        back.since(gone),
        of(away, gone, back),
        bucket.told(away),
        of(after, settled, over),
        bucket.told(after),
        if excess > 0 {
            format!(", {} ms after its return", (end - back.as_micros()) / 1_000)
        } else {
            String::new()
        }
    );
    bucket.assert_never_above(away);
    bucket.assert_never_above(after);
    assert!(of(after, settled, over) >= 90.0);
    // The last to come back has spent its share meanwhile: the limit × (1 + 2/3) at most.
    assert!(excess <= u64::from(bucket.burst) * 2 / 3, "{excess} above");
    bucket.assert_never_above(between(&times, Timestamp::from_micros(0), back));
}

#[test]
fn a_rate_holds_while_redis_is_killed_and_when_it_is_back() {
    assert_held_through("was killed", Redis::kill, Redis::restart);
}

#[test]
fn a_rate_holds_while_redis_stands_still_and_when_it_goes_on() {
    assert_held_through("stood still", Redis::freeze, Redis::thaw);
}

#[test]
fn a_question_that_is_not_answered_is_counted_once_whoever_waits_for_it() {
    let fleet = Limited::start(1);
    let (gateway, key) = (&fleet.gateways[0], fleet.key("1000/s burst 1000"));
    assert_eq!(get(&key).to(gateway).status, 200);
    // What was leased goes back.
    thread::sleep(Duration::from_millis(500));
    let before = Scrape::of(gateway);
    assert_eq!((before.cut_off, before.unanswered, before.share_spent), (0, 0, 0));
    fleet.redis.freeze();
    crowd(20, |_| get(&key).to(gateway).status);
    eventually("a question is given up", || Scrape::of(gateway).unanswered > 0);
    let away = Scrape::of(gateway);
    assert_eq!(away.cut_off, 1, "{away:?}");
    assert!(away.leases > before.leases, "{away:?}");
    assert!(away.unanswered <= away.leases - before.leases, "{away:?}");
    fleet.redis.thaw();
    eventually("it is with the store again", || Scrape::of(gateway).cut_off == 0);
}

/// What it had leased is over when it goes on: others have had it meanwhile.
#[test]
fn a_gateway_that_stood_still_spends_nothing_that_others_have() {
    let bucket = Bucket::per_second(1_000, 1_000);
    let mut fleet = Limited::start(3);
    let key = fleet.key("1000/s burst 1000");
    let offer = Offer::begin(&fleet.aims(3_000), &get(&key));
    for place in 0..3 {
        thread::sleep(Duration::from_millis(700));
        fleet.gateways[place].freeze();
        thread::sleep(load_time(2, 5));
        fleet.gateways[place].signal(Signal::CONT);
    }
    thread::sleep(Duration::from_millis(700));
    let asked = offer.end();
    assert_only(&asked, &[Said::LetIn, Said::RateLimited]);
    let times = fleet.admissions();
    let time = span(&times);
    eprintln!(
        "three gateways stood still in turn: {:.1} % of what is allowed in {time:?}, {}",
        100.0 * part(times.len(), bucket.most(time)),
        bucket.told(&times)
    );
    bucket.assert_never_above(&times);
}

/// What it had leased is lost, and nobody has it twice.
#[test]
fn a_gateway_that_is_killed_with_a_slice_in_hand_has_nobody_admit_more() {
    let bucket = Bucket::per_second(1_000, 1_000);
    let mut fleet = Limited::start(3);
    let key = fleet.key("1000/s burst 1000");
    let offer = Offer::begin(&fleet.aims(3_000), &get(&key));
    for round in 0..rounds(4, 16) {
        thread::sleep(Duration::from_millis(700));
        fleet.gateways[round % 3].kill9();
        fleet.gateways[round % 3].restart();
    }
    thread::sleep(Duration::from_millis(700));
    let asked = offer.end();
    assert_only(&asked, &[Said::LetIn, Said::RateLimited, Said::Nothing, Said::Other(503)]);
    // What it had logged last is gone with it, so that only those count who had an answer.
    let let_in: Vec<Asked> = asked.into_iter().filter(|it| it.said == Said::LetIn).collect();
    let time = Duration::from_nanos(let_in[let_in.len() - 1].ended - let_in[0].begun);
    let excess = bucket.certain_excess(&let_in);
    eprintln!(
        "gateways were killed: {:.1} % of what is allowed in {time:?}, {excess} above; {} forwarded",
        100.0 * part(let_in.len(), bucket.most(time)),
        fleet.upstream.asked()
    );
    assert_eq!(excess, 0);
    assert!(part(fleet.upstream.asked(), bucket.most(time)) <= 1.001);
}

const AWAY: Duration = Duration::from_secs(3);
