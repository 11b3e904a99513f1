//! A key that is withdrawn opens nothing more, and what runs with it is ended and counted.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use keyward::clock::Timestamp;
use serde_json::{Value, json};

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::crowd::crowd;
use crate::support::gateway::operate::closed_streams;
use crate::support::gateway::{Gateway, Key};
use crate::support::setup::Setup;
use crate::support::streams::{Endless, KINDS, Kind, Stream, Target};
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::{PATIENCE, eventually, rounds};

struct Stage {
    endless: Endless,
    gateway: Gateway,
    id: String,
}

impl Stage {
    fn new() -> Self {
        let endless = Endless::start();
        let setup = Setup::to(endless.upstream().address()).route("other", "path = \"/other/\"");
        let gateway = Gateway::start(&setup);
        let id = gateway.id();
        Self { endless, gateway, id }
    }

    #[track_caller]
    fn open(&self, key: &Key) -> Vec<Stream> {
        self.endless.open(&KINDS, &Target::of(&self.gateway, key))
    }

    /// How many streams a change of `key` has closed.
    #[track_caller]
    fn closed_by(&self, key: &Key, change: &Value) -> u64 {
        closed_streams(&self.gateway.patch(&key.id, change), &[&self.id])
    }

    /// How many streams the revocation of `key` has closed.
    #[track_caller]
    fn closed_by_revoking(&self, key: &Key) -> u64 {
        closed_streams(&self.gateway.revoke(&key.id), &[&self.id])
    }

    #[track_caller]
    fn assert_refused(&self, key: &Key, status: u16, code: &str) {
        Ask::get("/").key(key).to(&self.gateway).assert_problem(status, code);
    }

    #[track_caller]
    fn assert_let_in(&self, key: &Key) {
        assert_eq!(Ask::get("/").key(key).to(&self.gateway).status, 200);
    }
}

const ALL: u64 = KINDS.len() as u64;

#[track_caller]
fn assert_all_cut(streams: Vec<Stream>) {
    streams.into_iter().for_each(Stream::assert_cut);
}

#[test]
fn what_runs_with_a_revoked_key_is_cut_and_counted_and_nothing_else() {
    let stage = Stage::new();
    let (key, other) = (stage.gateway.mint("crm"), stage.gateway.mint("other"));
    let (streams, mut others) = (stage.open(&key), stage.open(&other));
    let public = Target { key: None, path: "/public/", ..Target::of(&stage.gateway, &key) };
    let mut free = stage.endless.open(&[Kind::Download, Kind::Poll], &public);
    assert_eq!(stage.closed_by_revoking(&key), ALL);
    assert_all_cut(streams);
    stage.assert_refused(&key, 401, "revoked_key");
    others.iter_mut().chain(&mut free).for_each(Stream::assert_runs);
    assert_eq!(stage.closed_by_revoking(&other), ALL);
    assert_all_cut(others);
    free.iter_mut().for_each(Stream::assert_runs);
}

#[test]
fn what_runs_with_a_disabled_key_is_cut_and_counted() {
    let stage = Stage::new();
    let key = stage.gateway.mint("crm");
    let streams = stage.open(&key);
    assert_eq!(stage.closed_by(&key, &json!({ "disabled": true })), ALL);
    assert_all_cut(streams);
    stage.assert_refused(&key, 401, "disabled_key");
    assert_eq!(stage.closed_by(&key, &json!({ "disabled": false })), 0);
    stage.assert_let_in(&key);
}

#[test]
fn what_runs_on_a_route_that_is_taken_away_is_cut_and_counted() {
    let stage = Stage::new();
    let key = stage.gateway.mint_as(&json!({ "name": "crm", "routes": ["all", "other"] }));
    let streams = stage.open(&key);
    let kept = Target { path: "/other/", ..Target::of(&stage.gateway, &key) };
    let mut kept = stage.endless.open(&KINDS, &kept);
    assert_eq!(stage.closed_by(&key, &json!({ "routes": ["other"] })), ALL);
    assert_all_cut(streams);
    stage.assert_refused(&key, 403, "route_not_allowed");
    kept.iter_mut().for_each(Stream::assert_runs);
    assert_eq!(stage.closed_by_revoking(&key), ALL);
}

#[test]
fn what_runs_from_an_address_that_is_taken_away_is_cut_and_counted() {
    let stage = Stage::new();
    let key = stage.gateway.mint("crm");
    let kinds = [Kind::Download, Kind::Upload, Kind::Poll];
    let near = Target { source: [127, 0, 0, 2], ..Target::of(&stage.gateway, &key) };
    let far = Target { source: [127, 0, 0, 3], ..near };
    let (streams, mut kept) = (stage.endless.open(&kinds, &near), stage.endless.open(&kinds, &far));
    assert_eq!(stage.closed_by(&key, &json!({ "allow_addresses": ["127.0.0.3"] })), 3);
    assert_all_cut(streams);
    stage.assert_refused(&key, 403, "address_not_allowed");
    kept.iter_mut().for_each(Stream::assert_runs);
    assert_eq!(stage.closed_by_revoking(&key), 3);
}

#[test]
fn a_change_that_takes_nothing_away_cuts_nothing() {
    let stage = Stage::new();
    let key = stage.gateway.mint("crm");
    let mut streams = stage.open(&key);
    let changes = [
        json!({ "metadata": { "team": "sales" } }),
        json!({ "name": "another", "owner": "acme" }),
        json!({ "expires_at": "2999-01-01T00:00:00Z" }),
        json!({ "routes": ["all", "other"], "allow_addresses": ["127.0.0.0/8"] }),
        json!({ "disabled": false }),
    ];
    for change in changes {
        assert_eq!(stage.closed_by(&key, &change), 0, "{change}");
        streams.iter_mut().for_each(Stream::assert_runs);
    }
    assert_eq!(stage.closed_by_revoking(&key), ALL);
    assert_all_cut(streams);
}

#[test]
fn what_runs_with_a_key_is_cut_when_its_time_is_over() {
    let stage = Stage::new();
    let end = Timestamp::from_micros(Timestamp::now().as_micros() + 3_000_000);
    let key = stage.gateway.mint_as(&json!({ "name": "crm", "expires_at": end.to_string() }));
    let mut streams = stage.open(&key);
    streams.iter_mut().for_each(Stream::assert_runs);
    assert!(Timestamp::now() < end, "too busy to try it");
    assert_all_cut(streams);
    let late_us = Timestamp::now().as_micros() - end.as_micros();
    assert!((0..5_000_000).contains(&late_us), "cut {late_us} µs after its time was over");
    stage.assert_refused(&key, 401, "expired_key");
}

#[test]
fn streams_are_counted_over_all_workers() {
    let stage = Stage::new();
    for _ in 0..rounds(5, 100) {
        let key = stage.gateway.mint("crm");
        let streams = stage.endless.open(&[Kind::Poll; 100], &Target::of(&stage.gateway, &key));
        assert_eq!(stage.closed_by_revoking(&key), 100);
        assert_all_cut(streams);
    }
}

#[test]
fn each_of_many_revocations_at_once_counts_its_own_streams() {
    let stage = Stage::new();
    let keys = stage.gateway.mint_many(150);
    let streams: Vec<Vec<Stream>> = keys
        .iter()
        .enumerate()
        .map(|(at, key)| {
            stage.endless.open(&vec![Kind::Poll; at % 2], &Target::of(&stage.gateway, key))
        })
        .collect();
    let closed = crowd(keys.len(), |at| stage.closed_by_revoking(&keys[at]));
    let expected: Vec<u64> = (0..150).map(|at| at % 2).collect();
    assert_eq!(closed, expected);
    streams.into_iter().for_each(assert_all_cut);
}

#[test]
fn a_revoked_key_stays_revoked() {
    let stage = Stage::new();
    let end = Timestamp::from_micros(Timestamp::now().as_micros() + 2_000_000);
    let key = stage.gateway.mint_as(&json!({ "name": "crm", "expires_at": end.to_string() }));
    assert_eq!(stage.closed_by_revoking(&key), 0);
    let change = stage.gateway.admin(
        "PATCH",
        &format!("/v1/keys/{}", key.id),
        Some(&json!({ "disabled": false })),
    );
    change.assert_problem(409, "revoked");
    eventually("its time is over as well", || Timestamp::now() > end);
    stage.assert_refused(&key, 401, "revoked_key");
    assert_eq!(stage.gateway.show(&key.id)["state"], "revoked");
    let Stage { endless: _endless, mut gateway, .. } = stage;
    gateway.stop();
    gateway.restart();
    Ask::get("/").key(&key).to(&gateway).assert_problem(401, "revoked_key");
    gateway.kill9();
    gateway.restart();
    Ask::get("/").key(&key).to(&gateway).assert_problem(401, "revoked_key");
}

#[test]
fn a_revocation_can_be_repeated() {
    let stage = Stage::new();
    let key = stage.gateway.mint("crm");
    let streams = stage.open(&key);
    let (first, again) = (stage.gateway.revoke(&key.id), stage.gateway.revoke(&key.id));
    assert_eq!(closed_streams(&first, &[&stage.id]), ALL);
    assert_eq!(closed_streams(&again, &[&stage.id]) % ALL, 0);
    assert_eq!(first["revoked_at"], again["revoked_at"]);
    assert_eq!((&again["id"], &again["state"]), (&json!(key.id), &json!("revoked")));
    assert_all_cut(streams);
}

/// One key, hammered by many until it was revoked.
struct Round {
    number: usize,
    ask: Vec<u8>,
    /// Set as soon as the revocation's answer was received.
    revoked: AtomicBool,
    admitted: AtomicUsize,
    abandoned: AtomicBool,
}

impl Round {
    fn new(number: usize, key: &Key) -> Self {
        let ask = Ask::get("/").key(key).bytes();
        let [revoked, abandoned] = [false; 2].map(AtomicBool::new);
        Self { number, ask, revoked, admitted: AtomicUsize::new(0), abandoned }
    }
}

/// Gives a round up when something goes wrong, so that nobody hammers on.
struct Care<'a>(&'a Round);

impl Drop for Care<'_> {
    fn drop(&mut self) {
        self.0.abandoned.store(thread::panicking(), Ordering::Relaxed);
    }
}

/// Somebody who sends one request after the other.
struct Hammer<'a> {
    gateway: &'a Gateway,
    number: usize,
    client: Client,
}

impl<'a> Hammer<'a> {
    fn new(gateway: &'a Gateway, number: usize) -> Self {
        Self { gateway, number, client: gateway.client() }
    }

    /// Works at one round after the other, and reports what went wrong in each.
    fn obey(&mut self, orders: &mpsc::Receiver<Arc<Round>>, report: &mpsc::Sender<Vec<String>>) {
        while let Ok(round) = orders.recv() {
            report.send(self.work(&round)).unwrap();
        }
    }

    /// Sends requests until a few have been sent after the revocation; what should not have been.
    fn work(&mut self, round: &Round) -> Vec<String> {
        let (mut faults, mut after) = (Vec::new(), 0);
        while after < REQUESTS_AFTER && !round.abandoned.load(Ordering::Relaxed) {
            self.connect_anew_if_it_likes_to(round);
            // Read before the first byte is sent: the barrier is for those who begin later.
            let was_revoked = round.revoked.load(Ordering::SeqCst);
            let answer = self.client.try_send(&round.ask).and_then(|()| self.client.try_read());
            let Ok(answer) = answer else {
                // Cut; nobody was let in.
                self.client = self.gateway.client();
                continue;
            };
            match (answer.status, was_revoked) {
                (200, false) => drop(round.admitted.fetch_add(1, Ordering::Relaxed)),
                (401, _) if answer.json()["code"] == "revoked_key" => {}
                _ => faults.push(format!("after the revocation: {was_revoked}; {answer:?}")),
            }
            if answer.head.get("connection") == Some("close") {
                self.client = self.gateway.client();
            }
            after += usize::from(was_revoked);
        }
        faults
    }

    /// Some take a new connection for each request, from an address for each round, because an
    /// address has only so many ports.
    fn connect_anew_if_it_likes_to(&mut self, round: &Round) {
        if self.number.is_multiple_of(16) {
            let octets = [self.number / 16, round.number / 200, 1 + round.number % 200];
            let [a, b, c] = octets.map(|it| u8::try_from(it).unwrap());
            let source = IpAddr::from([127, a, b, c]);
            self.client = Client::connect_from(source, self.gateway.address());
        }
    }
}

#[test]
fn nobody_is_let_in_after_a_revocation_was_answered() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let gateway = Gateway::start(&Setup::to(upstream.address()));
    let (id, count) = (gateway.id(), rounds(60, 1_000));
    let keys = gateway.mint_many(count);
    let (report, reports) = mpsc::channel();
    thread::scope(|scope| {
        // Dropped when anything goes wrong here, which ends the hammers.
        let mut orders = Vec::new();
        for number in 0..HAMMERS {
            let (order, ordered) = mpsc::channel::<Arc<Round>>();
            let (gateway, report) = (&gateway, report.clone());
            orders.push(order);
            scope.spawn(move || Hammer::new(gateway, number).obey(&ordered, &report));
        }
        for (number, key) in keys.iter().enumerate() {
            let round = Arc::new(Round::new(number, key));
            let _care = Care(&round);
            for order in &orders {
                order.send(Arc::clone(&round)).unwrap();
            }
            eventually("many were let in", || round.admitted.load(Ordering::Relaxed) > HAMMERS);
            let receipt = gateway.revoke(&key.id);
            round.revoked.store(true, Ordering::SeqCst);
            closed_streams(&receipt, &[&id]);
            let faults = orders.iter().flat_map(|_| reports.recv_timeout(PATIENCE).unwrap());
            let faults: Vec<String> = faults.collect();
            assert!(faults.is_empty(), "round {number} of {count}: {faults:#?}");
        }
    });
}

const HAMMERS: usize = 64;
const REQUESTS_AFTER: usize = 3;
