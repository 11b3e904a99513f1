//! What a key may do is the same however many gateways it asks, and costs the store next to nothing.

use std::thread;
use std::time::{Duration, Instant};

use keyward::clock::Timestamp;
use serde_json::json;

use crate::support::client::Client;
use crate::support::gateway::{Gateway, Key};
use crate::support::history::now;
use crate::support::limits::{
    Bucket, Limited, admissions_within, assert_only, count, get, load_time, logging, part,
    silences, span, stay_clear_of_midnight, within,
};
use crate::support::offer::{Aim, Asked, Counter, Offer, Said};
use crate::support::setup::Setup;
use crate::support::wait::rounds;

/// Offers three times the rate through three gateways; which share of what is allowed was admitted,
/// and how often the store was asked for each request.
#[track_caller]
fn offer_three_times(rate: &str, bucket: &Bucket, time: Duration) -> (f64, f64) {
    let mut fleet = Limited::start(3);
    let key = fleet.key(rate);
    let aims = fleet.aims(bucket.count * 3);
    let before = fleet.round_trips();
    let asked = Offer::run(&aims, &get(&key), time);
    let round_trips = fleet.round_trips() - before;
    assert!(round_trips > 0, "nobody asked the store");
    assert_only(&asked, &[Said::LetIn, Said::RateLimited]);
    let offered = asked.len();
    let enough = part(offered, bucket.of(time)) > 2.5;
    assert!(enough, "only {offered} were offered: is the machine busy?");
    let times = fleet.admissions();
    assert_eq!(times.len(), count(&asked, Said::LetIn));
    assert_eq!(times.len(), fleet.upstream.asked());
    let admitted = part(times.len(), bucket.most(time));
    let each = part(round_trips, 1.0) / part(offered, 1.0);
    eprintln!(
        "{rate}, {offered} offered in {time:?}: {} admitted, {:.2} % of what is allowed, {}; \
         {round_trips} round trips, {each:.4} for each offered; {} times without the store",
        times.len(),
        100.0 * admitted,
        bucket.told(&times),
        fleet.gateways.iter().map(silences).sum::<usize>()
    );
    bucket.assert_never_above(&times);
    (admitted, each)
}

#[test]
fn three_gateways_admit_what_a_large_rate_allows_and_never_more() {
    let bucket = Bucket::per_second(1_000, 1_000);
    let (admitted, each) = offer_three_times("1000/s burst 1000", &bucket, load_time(5, 30));
    assert!(admitted >= 0.97, "{admitted}");
    assert!(each <= 0.05, "{each}");
}

#[test]
fn three_gateways_admit_what_a_small_rate_allows_and_never_more() {
    let bucket = Bucket::per_second(10, 10);
    let (admitted, each) = offer_three_times("10/s", &bucket, load_time(5, 30));
    assert!(admitted >= 0.90, "{admitted}");
    // One by one: a token is asked for, and that it is spent is said.
    assert!(each <= 2.0, "{each}");
}

#[test]
fn a_rate_follows_its_load_from_one_gateway_to_another() {
    let bucket = Bucket::per_second(1_000, 1_000);
    let mut fleet = Limited::start(3);
    let key = fleet.key("1000/s burst 1000");
    let all_at = |place: usize| {
        let address = fleet.gateways[place].address();
        vec![Aim { address, per_second: 3_000 }]
    };
    let time = load_time(4, 15);
    let mut asked = Offer::run(&all_at(0), &get(&key), time);
    asked.extend(Offer::run(&all_at(2), &get(&key), time));
    assert_only(&asked, &[Said::LetIn, Said::RateLimited]);
    let times = fleet.admissions();
    assert_eq!(times.len(), count(&asked, Said::LetIn));
    let second = Duration::from_secs(1);
    let (from, to) = (time + second, span(&times).min(time * 2));
    let admitted = part(within(&times, from, to), bucket.of(to.abs_diff(from)));
    let first = part(within(&times, second, time), bucket.of(time.abs_diff(second)));
    eprintln!(
        "{} admitted in {:?}, {}; of the rate {:.2} % at the first gateway and {:.2} % at the other from \
         a second after the switch on",
        times.len(),
        span(&times),
        bucket.told(&times),
        100.0 * first,
        100.0 * admitted
    );
    bucket.assert_never_above(&times);
    assert!(admitted >= 0.95, "{admitted}");
}

/// The time between the answer to a change and the next change, on both clocks.
#[derive(Clone, Copy, Debug)]
struct Held {
    stamps: [Timestamp; 2],
    nanos: [u64; 2],
}

impl Held {
    /// How many were asked in it, from end to end, and how many of these were let in.
    fn asked(&self, asked: &[Asked]) -> [usize; 2] {
        let [from, until] = self.nanos;
        let within: Vec<Asked> =
            asked.iter().filter(|it| from <= it.begun && it.ended < until).copied().collect();
        [within.len(), count(&within, Said::LetIn)]
    }
}

/// Sets one limit after the other, and has every gateway be asked at once after each answer; when the
/// first of them held.
#[track_caller]
fn change_again_and_again(fleet: &Limited, key: &Key, limits: &[(Bucket, &str); 2]) -> Vec<Held> {
    let mut clients: Vec<Client> =
        fleet.gateways.iter().map(|it| Client::connect(it.address())).collect();
    let mut held = Vec::new();
    for change in 0..rounds(100, 400) {
        let (bucket, rate) = limits[change % 2];
        fleet.gateways[change % 3].patch(&key.id, &json!({ "rate": rate }));
        let from = (Timestamp::now(), now());
        for client in &mut clients {
            let answer = client.ask(&get(key));
            let policy = answer.head.get("ratelimit-policy").map(str::to_owned);
            assert_eq!(policy, Some(format!("\"rate\";q={};w=1", bucket.count)), "{answer:?}");
        }
        thread::sleep(Duration::from_millis(20));
        let until = (Timestamp::now(), now());
        if change % 2 == 0 {
            held.push(Held { stamps: [from.0, until.0], nanos: [from.1, until.1] });
        }
    }
    held
}

/// Holds what was admitted while the smaller limit held to it, and that there was more to refuse.
#[track_caller]
fn assert_smaller_held(fleet: &Limited, smaller: &Bucket, held: &[Held], asked: &[Asked]) {
    let (mut offered, mut admitted, mut allowed, mut bound) = (0, 0, 0.0, 0);
    let stamps: Vec<[Timestamp; 2]> = held.iter().map(|it| it.stamps).collect();
    for (it, within) in held.iter().zip(admissions_within(&fleet.gateways, &stamps)) {
        let [from, until] = it.stamps;
        smaller.assert_never_above(&within);
        let ([count, let_in], most) = (it.asked(asked), smaller.most(until.since(from)));
        assert!(part(let_in, most) <= 1.0, "{let_in} of {most} were let in");
        bound += usize::from(part(count, most) > 1.5);
        (offered, admitted, allowed) = (offered + count, admitted + within.len(), allowed + most);
    }
    eprintln!(
        "{} times the smaller limit held: {offered} offered, {allowed:.0} allowed and {admitted} \
         admitted; {bound} times more than half as much again was offered as was allowed",
        held.len()
    );
    assert!(bound * 2 > held.len(), "only {bound} of {} could have shown it", held.len());
    assert!(admitted > held.len(), "{admitted} in {} times", held.len());
}

#[test]
fn a_limit_that_changes_under_load_holds_from_the_next_request_on() {
    let mut fleet = Limited::start(3);
    let (smaller, larger) = (Bucket::per_second(500, 5), Bucket::per_second(1_000, 1_000));
    let limits = [(smaller, "500/s burst 5"), (larger, "1000/s burst 1000")];
    let key = fleet.key(limits[1].1);
    let offer = Offer::begin(&fleet.aims(1_800), &get(&key));
    let begun = Instant::now();
    let held = change_again_and_again(&fleet, &key, &limits);
    let took = begun.elapsed();
    let asked = offer.end();
    assert_only(&asked, &[Said::LetIn, Said::RateLimited]);
    let times = fleet.admissions();
    eprintln!(
        "changed for {took:?}: {} admitted, by the larger limit {}; {:.1} % of the smaller alone",
        times.len(),
        larger.told(&times),
        100.0 * part(times.len(), smaller.most(took))
    );
    larger.assert_never_above(&times);
    assert_smaller_held(&fleet, &smaller, &held, &asked);
}

/// How many of so many requests get in, asked of one gateway after the other.
#[track_caller]
fn let_in(gateways: &[Gateway], key: &Key, requests: usize) -> usize {
    let answers = (0..requests).map(|it| get(key).to(&gateways[it % gateways.len()]));
    answers.filter(|it| it.status == 200).count()
}

/// The same with one gateway and its file, and with two on Redis.
fn alone_and_together(claim: impl Fn(&[Gateway])) {
    let upstream = Counter::start();
    claim(&[Gateway::start(&logging(Setup::to(upstream.address())))]);
    claim(&Limited::start(2).gateways);
}

#[test]
fn a_changed_rate_forgets_nothing_that_was_spent() {
    alone_and_together(|gateways| {
        let rated = |rate: &str| gateways[0].mint_as(&json!({ "name": "limited", "rate": rate }));
        let change = |key: &Key, rate: &str| {
            gateways[0].patch(&key.id, &json!({ "rate": rate }));
        };
        // Raising gives nothing back: what comes in a second or two is all there is.
        let key = rated("10/min burst 10");
        assert_eq!(let_in(gateways, &key, 15), 10);
        change(&key, "60/min burst 30");
        let more = let_in(gateways, &key, 40);
        assert!(more <= 4, "{more} more");
        // Lowering keeps nobody out for longer than the lower limit does.
        let key = rated("600/min burst 100");
        assert!(let_in(gateways, &key, 130) >= 100);
        change(&key, "60/min burst 2");
        thread::sleep(Duration::from_millis(2_200));
        let more = let_in(gateways, &key, 6);
        assert!((2..=3).contains(&more), "{more} more");
        // And it leaves no more than fits in.
        let key = rated("600/min burst 100");
        assert_eq!(let_in(gateways, &key, 5), 5);
        change(&key, "6/min burst 6");
        let more = let_in(gateways, &key, 20);
        assert!((1..=7).contains(&more), "{more} more");
    });
}

#[test]
fn a_changed_quota_forgets_nothing_that_was_spent() {
    stay_clear_of_midnight();
    alone_and_together(|gateways| {
        let key = gateways[0].mint_as(&json!({ "name": "limited", "quota": "10/day" }));
        let change = |quota: &str| {
            gateways[0].patch(&key.id, &json!({ "quota": quota }));
        };
        assert_eq!(let_in(gateways, &key, 5), 5);
        change("12/day");
        assert_eq!(let_in(gateways, &key, 3), 3);
        change("3/day");
        assert_eq!(let_in(gateways, &key, 6), 0);
        change("12/day");
        assert_eq!(let_in(gateways, &key, 10), 4);
        change("unlimited");
        assert_eq!(let_in(gateways, &key, 5), 5);
    });
}

#[test]
fn a_quota_that_goes_over_to_a_month_forgets_nothing_that_was_spent() {
    stay_clear_of_midnight();
    alone_and_together(|gateways| {
        let key = gateways[0].mint_as(&json!({ "name": "limited", "quota": "12/day" }));
        assert_eq!(let_in(gateways, &key, 20), 12);
        gateways[0].patch(&key.id, &json!({ "quota": "15/month" }));
        assert_eq!(let_in(gateways, &key, 20), 3);
    });
}

#[test]
fn a_quota_that_goes_over_to_a_day_and_back_forgets_nothing_that_was_spent() {
    stay_clear_of_midnight();
    alone_and_together(|gateways| {
        let minted = || gateways[0].mint_as(&json!({ "name": "limited", "quota": "10/month" }));
        let change = |key: &Key, quota: &str| {
            gateways[0].patch(&key.id, &json!({ "quota": quota }));
        };
        // What this month has used up was used today.
        let key = minted();
        assert_eq!(let_in(gateways, &key, 20), 10);
        change(&key, "12/day");
        assert_eq!(let_in(gateways, &key, 20), 2);
        // What was spent under the day's limit was spent this month.
        let key = minted();
        assert_eq!(let_in(gateways, &key, 9), 9);
        change(&key, "13/day");
        assert_eq!(let_in(gateways, &key, 20), 4);
        change(&key, "10/month");
        assert_eq!(let_in(gateways, &key, 20), 0);
        change(&key, "15/month");
        assert_eq!(let_in(gateways, &key, 20), 2);
    });
}
