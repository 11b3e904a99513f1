//! A store in the network that is away, or is not the right one, when a gateway starts.

use std::fs;

use crate::support::address::fresh;
use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::gateway::Key;
use crate::support::process::{Outcome, Process};
use crate::support::redis::{Redis, Terms};
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::wait::eventually;

const SERVE: [&str; 3] = ["serve", "--config", "keyward.toml"];

/// A directory with a configuration and a pepper.
struct Place {
    directory: tempfile::TempDir,
    gateway: std::net::SocketAddr,
    admin: std::net::SocketAddr,
}

impl Place {
    fn new(setup: &Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (gateway, admin) = (fresh(), fresh());
        fs::write(directory.path().join("keyward.toml"), setup.text(gateway, admin)).unwrap();
        fs::write(directory.path().join("keyward.pepper"), [7; 32]).unwrap();
        Self { directory, gateway, admin }
    }

    fn start(&self) -> Process {
        Process::start(self.directory.path(), &SERVE)
    }

    /// What `/readyz` says, if anybody does.
    fn readiness(&self) -> Option<u16> {
        let ask = Ask::get("/readyz").header("host", &self.admin.to_string());
        let stream = std::net::TcpStream::connect(self.admin).ok()?;
        Client::over(stream).try_ask(&ask).ok().map(|it| it.status)
    }

    fn run(&self) -> Outcome {
        Process::run(self.directory.path(), &SERVE)
    }
}

fn on(redis: &Redis, upstream: &Upstream) -> Setup {
    Setup::to(upstream.address()).store(&format!("url = {:?}", redis.url()))
}

#[test]
fn while_the_store_is_away_at_a_start_nobody_is_told_that_their_key_is_wrong() {
    let upstream = Upstream::echo();
    let redis = Redis::start();
    redis.kill();
    let place = Place::new(&on(&redis, &upstream).store("response_timeout = \"500ms\""));
    let _process = place.start();
    eventually("it listens", || std::net::TcpStream::connect(place.gateway).is_ok());
    let mut client = Client::connect(place.gateway);
    let unknown = Key::unknown();
    for _ in 0..3 {
        client.ask(&Ask::get("/x").key(&unknown)).assert_problem(503, "store_unreachable");
        // What needs no key does not need the store.
        assert_eq!(client.ask(&Ask::get("/public/x")).status, 200);
    }
    assert_eq!(place.readiness(), Some(503));

    redis.restart();
    eventually("it is ready", || place.readiness() == Some(200));
    client.ask(&Ask::get("/x").key(&unknown)).assert_problem(401, "unknown_key");
    assert!(place.directory.path().join("operator.token").exists());
}

#[test]
fn a_store_that_turns_out_to_be_the_wrong_one_ends_the_process() {
    let upstream = Upstream::echo();
    let redis = Redis::start();
    let right = Place::new(&on(&redis, &upstream));
    let process = right.start();
    eventually("it is ready", || right.readiness() == Some(200));
    drop(process);

    // Known at once, where the store is there.
    let wrong = Place::new(&on(&redis, &upstream));
    fs::write(wrong.directory.path().join("keyward.pepper"), [8; 32]).unwrap();
    let outcome = wrong.run();
    assert_eq!(outcome.code, Some(78), "{}", outcome.output);
    assert!(outcome.output.contains("pepper_file does not belong"), "{}", outcome.output);

    // And found out later, where it was away.
    redis.kill();
    let mut process = wrong.start();
    eventually("it listens", || std::net::TcpStream::connect(wrong.gateway).is_ok());
    redis.restart();
    assert_eq!(process.wait().code(), Some(78), "{}", process.log());
}

#[test]
fn a_fleet_brings_its_pepper() {
    let upstream = Upstream::echo();
    let redis = Redis::start();
    let place = Place::new(&on(&redis, &upstream));
    fs::remove_file(place.directory.path().join("keyward.pepper")).unwrap();
    let outcome = place.run();
    assert_eq!(outcome.code, Some(78), "{}", outcome.output);
    assert!(outcome.output.contains("32 random bytes"), "{}", outcome.output);
}

#[test]
fn a_redis_that_may_drop_records_is_refused() {
    let upstream = Upstream::echo();
    let redis = Redis::start_with(&Terms::default().memory(0, "allkeys-lru"));
    let outcome = Place::new(&on(&redis, &upstream)).run();
    assert_eq!(outcome.code, Some(78), "{}", outcome.output);
    assert!(outcome.output.contains("noeviction"), "{}", outcome.output);
}

#[test]
fn a_redis_that_keeps_nothing_is_named_loudly() {
    let upstream = Upstream::echo();
    let redis = Redis::start_with(
        &Terms::default().durability(crate::support::redis::durability::Durability::Nothing),
    );
    let place = Place::new(&on(&redis, &upstream));
    let process = place.start();
    eventually("it is said", || process.log().contains("appendonly yes"));
}
