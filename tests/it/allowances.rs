//! What a caller is told of its limits is true, and every kind of limit limits what it says.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::slice;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::address::fresh;
use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::crowd::crowd;
use crate::support::gateway::{Gateway, Key};
use crate::support::http::Response;
use crate::support::limits::{
    Limited, assert_refused, get, logging, shadow_refusals, stay_clear_of_midnight,
};
use crate::support::offer::Counter;
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::{eventually, rounds};

fn mint(gateway: &Gateway, document: &Value) -> Key {
    let mut document = document.clone();
    document["name"] = json!("limited");
    gateway.mint_as(&document)
}

/// A gateway alone, and an upstream that counts.
fn alone() -> (Gateway, Counter) {
    let upstream = Counter::start();
    (Gateway::start(&logging(Setup::to(upstream.address()))), upstream)
}

/// Has somebody who is alone on their keys be refused, wait as told, and get in, again and again; each
/// request asks the next gateway.
#[track_caller]
fn assert_retry_after_is_true(gateways: &[Gateway]) {
    let rates = [("2/s burst 1", 1, 4), ("10/min burst 2", 6, 2), ("30/s burst 5", 1, 6)];
    crowd(rates.len() * 2, |number| {
        let (rate, longest, few) = rates[number / 2];
        let key = mint(&gateways[0], &json!({ "rate": rate }));
        let mut clients: Vec<Client> = gateways.iter().map(Gateway::client).collect();
        let (mut turn, step) = (0, number % 2);
        for _ in 0..rounds(few, few * 3) {
            let mut asked =
                (0..).map(|it| clients[(turn + it * step) % gateways.len()].ask(&get(&key)));
            let refused = asked.find(|it| it.status != 200).unwrap();
            let after = assert_refused(&refused, "rate_limited");
            assert!(after <= longest, "{rate}: {refused:?}");
            thread::sleep(Duration::from_secs(after));
            turn += 1;
            let answer = clients[turn % gateways.len()].ask(&get(&key));
            assert_eq!(answer.status, 200, "{rate}, after {after} s: {answer:?}");
        }
    });
}

#[test]
fn who_waits_as_told_gets_in() {
    let (gateway, _upstream) = alone();
    assert_retry_after_is_true(&[gateway]);
}

#[test]
fn who_waits_as_told_gets_in_at_any_gateway_of_a_fleet() {
    let mut fleet = Limited::start(2);
    assert_retry_after_is_true(&std::mem::take(&mut fleet.gateways));
}

/// Both fields of a response, as they stand there.
fn told(answer: &Response) -> [Vec<&str>; 2] {
    ["ratelimit-policy", "ratelimit"].map(|it| answer.head.all(it))
}

#[test]
fn every_answer_to_a_limited_key_tells_of_its_limits() {
    let upstream = Upstream::answering(|request| {
        match request.target() {
        "/missing" => b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec(),
        "/own" => b"HTTP/1.1 200 OK\r\nratelimit-policy: \"own\";q=5;w=60\r\nratelimit: \"own\";r=3;t=9\r\n\
                    content-length: 0\r\n\r\n"
            .to_vec(),
        _ => ok("ok"),
    }
    });
    let setup = logging(Setup::to(upstream.address()));
    let setup = setup.upstream("dead", &[fresh()]).route("dead", "path = \"/dead/\"");
    let gateway = Gateway::start(&setup);
    let key = mint(&gateway, &json!({ "rate": "1000/min burst 10", "quota": "50000/day" }));
    let policy = "\"rate\";q=1000;w=60, \"quota\";q=50000;w=86400";
    let at = |target: &str| Ask::get(target).key(&key).to(&gateway);
    for (target, status) in [("/", 200), ("/missing", 404), ("/dead/a", 502)] {
        let answer = at(target);
        assert_eq!(answer.status, status, "{answer:?}");
        let [policies, lefts] = told(&answer);
        assert_eq!(policies, [policy], "{target}");
        assert_eq!(lefts.len(), 1, "{target}");
        assert!(
            lefts[0].starts_with("\"rate\";r=") && lefts[0].contains(", \"quota\";r="),
            "{lefts:?}"
        );
    }
    let own = at("/own");
    let [policies, lefts] = told(&own);
    assert_eq!(policies, ["\"own\";q=5;w=60", policy]);
    assert_eq!((lefts.len(), lefts[0]), (2, "\"own\";r=3;t=9"));
    let refused = loop {
        let answer = at("/");
        if answer.status != 200 {
            break answer;
        }
    };
    let after = assert_refused(&refused, "rate_limited");
    assert_eq!(
        told(&refused),
        [vec!["\"rate\";q=1000;w=60"], vec![&*format!("\"rate\";r=0;t={after}")]]
    );

    let strange = Ask::get("/").key(&Key::unknown()).to(&gateway);
    let other = Ask::get("/").key(&key.with_another_secret()).to(&gateway);
    let unlimited = Ask::get("/").key(&gateway.mint("free")).to(&gateway);
    assert_eq!([strange.status, other.status, unlimited.status], [401, 401, 200]);
    for answer in [strange, other, unlimited, Ask::get("/public/a").to(&gateway)] {
        assert_eq!(told(&answer), [Vec::<&str>::new(), Vec::new()], "{answer:?}");
    }
}

/// An upstream that answers one request for each word.
fn slow() -> (Upstream, Sender<()>) {
    let (sender, words) = channel();
    let words = Mutex::new(words);
    let upstream = Upstream::answering(move |_| {
        words.lock().unwrap().recv().unwrap_or_default();
        ok("ok")
    });
    (upstream, sender)
}

/// Sends a request that is answered late; the refusal if it is refused at once.
fn enter(gateway: &Gateway, key: &Key) -> Result<Client, Response> {
    let mut client = gateway.client();
    client.send(get(key).bytes());
    client.stream().set_read_timeout(Some(Duration::from_millis(250))).unwrap();
    match client.try_read() {
        Ok(answer) => Err(answer),
        Err(fault) => {
            assert!(matches!(fault.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{fault}");
            Ok(client)
        }
    }
}

#[test]
fn no_more_requests_are_in_flight_than_a_key_may_have() {
    let (upstream, answer) = slow();
    let gateway = Gateway::start(&logging(Setup::to(upstream.address())));
    let key = mint(&gateway, &json!({ "max_in_flight": 10 }));
    let mut clients: Vec<Client> = (0..10).map(|_| enter(&gateway, &key).unwrap()).collect();
    assert_eq!(upstream.asked(), 10);
    let refused = enter(&gateway, &key).unwrap_err();
    assert_refused(&refused, "too_many_in_flight");
    assert_eq!(told(&refused)[0], ["\"in-flight\";q=10;qu=\"concurrent-requests\""]);
    assert_eq!(upstream.asked(), 10);

    // One ends.
    answer.send(()).unwrap();
    eventually("one may come instead", || enter(&gateway, &key).map(|it| clients.push(it)).is_ok());
    assert_eq!(upstream.asked(), 11);
    enter(&gateway, &key).unwrap_err();
    // One goes away. Of the eleven one has its answer: it is the one that can be read.
    let gone = clients.iter_mut().position(|it| it.try_read().is_err()).unwrap();
    drop(clients.remove(gone));
    eventually("one may come instead", || enter(&gateway, &key).map(|it| clients.push(it)).is_ok());
    enter(&gateway, &key).unwrap_err();
    drop(answer);
}

#[test]
fn each_gateway_of_a_fleet_has_an_equal_part_of_what_may_be_in_flight() {
    let (upstream, answer) = slow();
    let fleet = Limited::start_as(2, |setup| {
        setup.upstream("slow", &[upstream.address()]).route("slow", "path = \"/slow/\"")
    });
    let key = mint(&fleet.gateways[0], &json!({ "max_in_flight": 10 }));
    let mut clients = Vec::new();
    for gateway in &fleet.gateways {
        for _ in 0..5 {
            let client = gateway.client();
            client.send(Ask::get("/slow/a").key(&key).bytes());
            clients.push(client);
        }
    }
    eventually("all are let in", || upstream.asked() == 10);
    for gateway in &fleet.gateways {
        assert_refused(&Ask::get("/slow/a").key(&key).to(gateway), "too_many_in_flight");
    }
    drop(answer);
    for mut client in clients {
        assert_eq!(client.read().status, 200);
    }
}

#[test]
fn a_shadow_limit_refuses_nobody_and_is_counted() {
    let (mut gateway, upstream) = alone();
    let limits =
        json!({ "rate": "10/min shadow", "quota": "50/day shadow", "max_in_flight": "1 shadow" });
    stay_clear_of_midnight();
    let key = mint(&gateway, &limits);
    let mut client = gateway.client();
    for _ in 0..60 {
        let answer = client.ask(&get(&key));
        assert_eq!((answer.status, told(&answer)), (200, [vec![], vec![]]));
    }
    drop(client);
    assert_eq!(upstream.asked(), 60);
    let refusals = shadow_refusals(&gateway);
    gateway.stop();
    let log = gateway.log();
    let shadowed = log.lines().filter(|it| it.contains("\"shadow\":\"")).count();
    // A token comes every six seconds.
    assert!((40..=50).contains(&shadowed), "{shadowed} of 60 were over the limit\n{log}");
    // Ten of sixty are over fifty, one after another is never more than one, and no route has a rate.
    assert_eq!(refusals, [u64::try_from(shadowed).unwrap(), 0, 10, 0]);
}

#[test]
fn a_shadow_limit_of_requests_in_flight_counts_those_over_it() {
    let (upstream, answer) = slow();
    let gateway = Gateway::start(&logging(Setup::to(upstream.address())));
    let key = mint(&gateway, &json!({ "max_in_flight": "1 shadow" }));
    let clients: Vec<Client> = (0..4).map(|_| enter(&gateway, &key).unwrap()).collect();
    assert_eq!(shadow_refusals(&gateway), [0, 0, 0, 3]);
    drop((clients, answer));
}

#[test]
fn a_route_takes_what_it_costs_and_what_is_refused_costs_nothing() {
    stay_clear_of_midnight();
    let dear = |setup: Setup| setup.route("dear", "path = \"/dear/\"\ncost = 10");
    let upstream = Counter::start();
    let alone = Gateway::start(&dear(logging(Setup::to(upstream.address()))));
    let fleet = Limited::start_as(2, dear);
    for (gateways, upstream) in
        [(slice::from_ref(&alone), &upstream), (&fleet.gateways[..], &fleet.upstream)]
    {
        let key = mint(&gateways[0], &json!({ "quota": "25/day" }));
        let quick = mint(&gateways[0], &json!({ "rate": "25/min burst 25" }));
        let mut turn = 0;
        let mut ask = |key: &Key, target: &str| {
            turn += 1;
            Ask::get(target).key(key).to(&gateways[turn % gateways.len()])
        };
        for (key, code) in [(&key, "quota_exhausted"), (&quick, "rate_limited")] {
            for _ in 0..2 {
                assert_eq!(ask(key, "/dear/a").status, 200);
            }
            let before = upstream.asked();
            for _ in 0..3 {
                assert_refused(&ask(key, "/dear/a"), code);
            }
            assert_eq!(upstream.asked(), before);
            for _ in 0..5 {
                let answer = ask(key, "/");
                assert_eq!(answer.status, 200, "{answer:?}");
            }
            assert_refused(&ask(key, "/"), code);
        }
    }
}

#[test]
fn what_a_rate_refuses_is_not_forwarded_and_takes_nothing_of_the_quota() {
    stay_clear_of_midnight();
    let (alone, upstream) = alone();
    let fleet = Limited::start(2);
    for (gateways, upstream) in
        [(slice::from_ref(&alone), &upstream), (&fleet.gateways[..], &fleet.upstream)]
    {
        let key = mint(&gateways[0], &json!({ "rate": "5/min burst 5", "quota": "7/day" }));
        let answers: Vec<Response> =
            (0..14).map(|it| get(&key).to(&gateways[it % gateways.len()])).collect();
        assert_eq!(answers.iter().filter(|it| it.status == 200).count(), 5);
        assert_eq!(upstream.asked(), 5);
        gateways[0].patch(&key.id, &json!({ "rate": "unlimited" }));
        let codes = (0..6).map(|it| get(&key).to(&gateways[it % gateways.len()]).status);
        assert_eq!(codes.filter(|it| *it == 200).count(), 2);
        assert_refused(&get(&key).to(&gateways[0]), "quota_exhausted");
        assert_eq!(upstream.asked(), 7);
    }
}

#[test]
fn a_routes_rate_is_each_keys_own() {
    let few = |setup: Setup| setup.route("few", "path = \"/few/\"\nrate = \"3/min burst 3\"");
    let upstream = Counter::start();
    let alone = Gateway::start(&few(logging(Setup::to(upstream.address()))));
    let fleet = Limited::start_as(2, few);
    for gateways in [slice::from_ref(&alone), &fleet.gateways[..]] {
        for name in ["one", "another"] {
            let key = gateways[0].mint(name);
            let ask = |it: usize| Ask::get("/few/a").key(&key).to(&gateways[it % gateways.len()]);
            for turn in 0..3 {
                let answer = ask(turn);
                assert_eq!(
                    (answer.status, told(&answer)[0].clone()),
                    (200, vec!["\"route\";q=3;w=60"])
                );
            }
            for turn in 0..4 {
                assert_refused(&ask(turn), "rate_limited");
            }
            assert_eq!(get(&key).to(&gateways[0]).status, 200);
        }
    }
}

#[test]
fn an_address_is_limited_where_nobody_shows_a_key() {
    let upstream = Counter::start();
    let lines = "path = \"/open/\"\naccess = \"public\"\nrate_per_address = \"1/s burst 4\"";
    let gateway = Gateway::start(&logging(Setup::to(upstream.address())).route("open", lines));
    let [one, other] = ["127.0.0.1", "127.9.0.2"].map(|it| it.parse::<IpAddr>().unwrap());
    let mut clients = [one, other].map(|it| Client::connect_from(it, gateway.address()));
    for client in &mut clients {
        let answers: Vec<Response> = (0..8).map(|_| client.ask(&Ask::get("/open/a"))).collect();
        let let_in = answers.iter().filter(|it| it.status == 200).count();
        assert!((4..=5).contains(&let_in), "{let_in}");
        let after =
            assert_refused(answers.iter().find(|it| it.status != 200).unwrap(), "rate_limited");
        assert_eq!(after, 1);
    }
    assert!(upstream.asked() <= 10);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(clients[0].ask(&Ask::get("/open/a")).status, 200);
}
