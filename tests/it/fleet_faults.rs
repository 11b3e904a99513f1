//! Three gateways on one Redis: what each fault by itself does to requests, and what it does not.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::crowd::crowd;
use crate::support::fleet::operator::Operator;
use crate::support::fleet::traffic::Keys;
use crate::support::fleet::{Admins, Fleet, Plan};
use crate::support::gateway::operate::{closed_streams, key_of};
use crate::support::gateway::{Gateway, Key};
use crate::support::history::check::check;
use crate::support::history::{Answer, Outcome};
use crate::support::redis::Redis;
use crate::support::setup::Setup;
use crate::support::streams::{Endless, Kind, Stream, Target};
use crate::support::tunnel::{REVOKED, Talker, open};
use crate::support::upstream::Upstream;
use crate::support::wait::{PATIENCE, eventually, rounds};

/// Three gateways, of four workers each, with one pepper and one operator.
fn three(setup: &Setup, redis: &Redis) -> [Gateway; 3] {
    let setup = setup.clone().store(&format!("url = {:?}", redis.url()));
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("keyward.pepper"), [7; 32]).unwrap();
    let first = Gateway::start_in(directory, &setup);
    let [second, third] = [(), ()].map(|()| {
        let directory = tempfile::tempdir().unwrap();
        for name in ["operator.token", "keyward.pepper"] {
            fs::copy(first.file(name), directory.path().join(name)).unwrap();
        }
        Gateway::start_in(directory, &setup)
    });
    [first, second, third]
}

/// Waits until all three are in the register; by what ids.
#[track_caller]
fn ids(gateways: &[Gateway; 3]) -> [String; 3] {
    let listed = || gateways[0].admin("GET", "/v1/gateways", None).json();
    eventually("all are listed", || listed()["items"].as_array().unwrap().len() == 3);
    gateways.each_ref().map(Gateway::id)
}

#[test]
fn a_receipt_counts_every_stream_on_every_worker_of_every_gateway() {
    let (redis, endless, talker) = (Redis::start(), Endless::start(), Talker::start());
    let setup = Setup::to(endless.upstream().address()).upstream("rooms", &[talker.address()]);
    let rooms = "path = \"/room\"\nupgrades = [\"websocket\"]";
    let gateways = three(&setup.route("rooms", rooms), &redis);
    let ids = ids(&gateways);
    let (key, kept) = (gateways[0].mint("crm"), gateways[1].mint("kept"));
    let (mut streams, mut tunnels) = (Vec::new(), Vec::new());
    let mut others = Vec::new();
    for gateway in &gateways {
        let target = Target::of(gateway, &key);
        // The kernel chooses the worker.
        while tunnels.len() < 4 || gateway.clients_by_worker().len() < 4 {
            streams.extend(endless.open(&[Kind::Download, Kind::Upload], &target));
            tunnels.push(open(gateway, &key));
        }
        streams.extend(endless.open(&[Kind::Blocked, Kind::Poll], &target));
        others.extend(endless.open(&[Kind::Download], &Target::of(gateway, &kept)));
    }
    let count = u64::try_from(streams.len() + tunnels.len()).unwrap();
    let receipt = gateways[2].revoke(&key.id);
    let ids = ids.each_ref().map(String::as_str);
    assert_eq!(closed_streams(&receipt, &ids), count, "{receipt}");
    streams.into_iter().for_each(Stream::assert_cut);
    for mut tunnel in tunnels {
        let rest = tunnel.read_to_end();
        assert!(rest.ends_with(REVOKED), "{:?}", String::from_utf8_lossy(&rest));
    }
    others.iter_mut().for_each(Stream::assert_runs);
    assert_eq!(closed_streams(&gateways[0].revoke(&key.id), &ids), 0);
}

#[test]
fn a_fresh_key_is_let_in_at_once_by_all_and_a_revoked_one_by_nobody() {
    let (redis, upstream) = (Redis::start(), Upstream::echo());
    let gateways = three(&Setup::to(upstream.address()), &redis);
    let ids = ids(&gateways);
    let ids = ids.each_ref().map(String::as_str);
    let mut clients = gateways.each_ref().map(Gateway::client);
    let mint = json!({ "name": "crm" }).to_string().into_bytes();
    let mut admins = gateways.each_ref().map(|it| {
        (Client::connect(it.admin_address()), it.admin_request("POST", "/v1/keys", mint.clone()))
    });
    for round in 0..rounds(1_000, 10_000) {
        let (admin, mint) = &mut admins[round % 3];
        let minted = admin.ask(mint);
        closed_streams(&minted.json(), &ids);
        let key = key_of(&minted);
        let ask = Ask::get("/").key(&key);
        for client in &mut clients {
            let answer = client.ask(&ask);
            assert_eq!(answer.status, 200, "in round {round}: {answer:?}");
        }
        if round % 10 == 0 {
            closed_streams(&gateways[(round + 1) % 3].revoke(&key.id), &ids);
            for client in &mut clients {
                client.ask(&ask).assert_problem(401, "revoked_key");
            }
        }
    }
}

/// A fleet whose known keys go on for long.
fn serving_known(redis: &Redis) -> Plan {
    let lines = [
        "lease = \"2s\"",
        "response_timeout = \"2s\"",
        "serve_known_for = \"10m\"",
        "when_unreachable = \"serve_known\"",
    ];
    let plan = Plan::of(3, &redis.url()).admins(Admins::Node);
    lines.iter().fold(plan, |plan, line| plan.store(line))
}

/// Waits until a revocation is complete; how long that took.
#[track_caller]
fn until_complete(operator: &mut Operator) -> Duration {
    let begun = Instant::now();
    let mut key = None;
    eventually("a key is minted", || {
        key = operator.mint_told().filter(|(_, answer)| *answer == Answer::Complete);
        key.is_some()
    });
    let (key, _) = key.unwrap();
    eventually("it is revoked", || operator.revoke(&key) == Answer::Complete);
    begun.elapsed()
}

/// Holds a key that nobody minted to being answered 503, and not late.
#[track_caller]
fn assert_unavailable(fleet: &Fleet, limit: Duration) {
    let ask = Ask::get("/").key(&Key::unknown());
    for place in 0..fleet.size() {
        let mut client = fleet.gateway(place).client();
        let begun = Instant::now();
        client.ask(&ask).assert_problem(503, "store_unreachable");
        assert!(begun.elapsed() < limit, "{:?}", begun.elapsed());
    }
}

fn is_unavailable(gateway: &Gateway) -> bool {
    Ask::get("/").key(&Key::unknown()).to(gateway).status == 503
}

#[test]
fn known_keys_do_not_notice_that_redis_is_away() {
    let redis = Redis::start();
    let fleet = Fleet::start(&serving_known(&redis));
    let mut operator = fleet.operator(fleet.node().unwrap());
    let keys = Keys::default();
    let held: Vec<_> = (0..20).map(|_| operator.mint().unwrap()).collect();
    for it in &held {
        keys.add(it);
    }
    let traffic = fleet.begin_traffic(200, &keys);
    redis.kill();
    let back = Instant::now() + Duration::from_secs(rounds(4, 60) as u64);
    for place in 0..fleet.size() {
        eventually("the lease is over", || is_unavailable(fleet.gateway(place)));
    }
    while Instant::now() < back {
        // Less than anybody would wait for an answer of the store.
        assert_unavailable(&fleet, Duration::from_secs(1));
        thread::sleep(Duration::from_millis(200));
    }
    assert!(operator.mint().is_none());
    redis.restart();
    let took = until_complete(&mut operator);
    for it in &held {
        for place in 0..fleet.size() {
            assert_eq!(fleet.asker(place).ask(it), Some(Outcome::LetIn));
        }
    }
    let count = traffic.end();
    drop(operator);
    let history = fleet.history();
    eprintln!("complete again {took:.2?} after Redis was back; {count} requests: {history}");
    check(&history, 0).assert_clean(&history);
    assert!(count > 100);
    assert_eq!(history.count(Outcome::LetIn), history.requests.len(), "{history}");
}

#[test]
fn nobody_waits_longer_than_agreed_for_a_redis_that_stands_still() {
    let redis = Redis::start();
    let fleet = Fleet::start(&serving_known(&redis));
    let mut operator = fleet.operator(fleet.node().unwrap());
    let keys = Keys::default();
    for _ in 0..20 {
        keys.add(&operator.mint().unwrap());
    }
    let traffic = fleet.begin_traffic(200, &keys);
    redis.freeze();
    let end = Instant::now() + Duration::from_secs(rounds(6, 60) as u64);
    let ask = Ask::get("/").key(&Key::unknown());
    let mut unavailable = 0;
    while Instant::now() < end {
        for place in 0..fleet.size() {
            let begun = Instant::now();
            let answer = ask.to(fleet.gateway(place));
            assert!(matches!(answer.status, 401 | 503), "{answer:?}");
            unavailable += usize::from(answer.status == 503);
            assert!(begun.elapsed() < RESPONSE_TIMEOUT + SLACK, "{:?}", begun.elapsed());
        }
        thread::sleep(Duration::from_millis(50));
    }
    let asked = Instant::now();
    assert!(operator.mint().is_none());
    // Its own answer, and perhaps that of another attempt.
    assert!(asked.elapsed() < 2 * RESPONSE_TIMEOUT + SLACK, "{:?}", asked.elapsed());
    redis.thaw();
    let took = until_complete(&mut operator);
    traffic.end();
    drop(operator);
    let history = fleet.history();
    let longest = Duration::from_nanos(history.longest());
    eprintln!("complete again {took:.2?} after Redis went on; {history}");
    assert!(unavailable > 0);
    check(&history, 0).assert_clean(&history);
    assert_eq!(history.count(Outcome::LetIn), history.requests.len(), "{history}");
    // They do not wait at all; a busy machine takes its time all the same.
    assert!(longest < RESPONSE_TIMEOUT / 2, "{longest:?}");
}

#[test]
fn who_has_to_be_looked_up_waits_no_longer_than_agreed_for_a_redis_that_stands_still() {
    let (redis, upstream) = (Redis::start(), Upstream::echo());
    let lines = ["max_keys_in_memory = 10", "response_timeout = \"4s\"", "lease = \"20s\""];
    let setup = lines.iter().fold(Setup::to(upstream.address()), |it, line| it.store(line));
    let gateways = three(&setup, &redis);
    let keys = gateways[0].mint_many(40);
    redis.freeze();
    let answers = crowd(keys.len(), |number| {
        let begun = Instant::now();
        let answer = Ask::get("/").key(&keys[number]).to(&gateways[number % 3]);
        (answer.status, begun.elapsed())
    });
    redis.thaw();
    let waited: Vec<_> = answers.iter().filter(|(status, _)| *status == 503).collect();
    assert!(answers.iter().all(|(status, _)| matches!(status, 200 | 503)), "{answers:?}");
    assert!(!waited.is_empty(), "{answers:?}");
    let limit = Duration::from_secs(4) + SLACK;
    assert!(waited.iter().all(|(_, time)| *time < limit), "{answers:?}");
    eventually("all are let in", || {
        keys.iter().all(|it| Ask::get("/").key(it).to(&gateways[2]).status == 200)
    });
}

#[test]
fn a_gateway_that_was_killed_holds_up_one_answer() {
    let redis = Redis::start();
    let plan = ["lease = \"4s\"", "serve_known_for = \"10m\""]
        .iter()
        .fold(Plan::of(3, &redis.url()), |plan, line| plan.store(line));
    let mut fleet = Fleet::start(&plan);
    let killed = fleet.gateway(2).id();
    fleet.kill(2);
    let mint = || {
        let minted = fleet.gateway(0).admin("POST", "/v1/keys", Some(&json!({ "name": "crm" })));
        assert_eq!(minted.status, 201, "{minted:?}");
        minted.json()["propagation"].clone()
    };
    let elapsed = |it: &Value| Duration::from_millis(it["elapsed_ms"].as_u64().unwrap());
    let first = mint();
    for _ in 0..5 {
        let next = mint();
        assert!(elapsed(&next) < LEASE / 2, "{next} after {first}");
        assert_eq!(next["unconfirmed"], json!([killed]), "{next}");
    }
    assert!(elapsed(&first) < PATIENCE, "{first}");
}

/// As long as the store may take to answer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
const LEASE: Duration = Duration::from_secs(4);

/// For a busy machine.
const SLACK: Duration = Duration::from_secs(2);
