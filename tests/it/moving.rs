//! Records move between stores with the rights that they give, and never with a right that was
//! withdrawn.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::ask::Ask;
use crate::support::gateway::files::command;
use crate::support::gateway::{Gateway, Key};
use crate::support::redis::Redis;
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::wait::eventually;

struct Stage {
    upstream: Upstream,
    gateway: Gateway,
    good: Key,
    revoked: Key,
}

impl Stage {
    /// A gateway on SQLite with a key, and one that was revoked.
    fn new() -> Self {
        let upstream = Upstream::echo();
        let gateway = Gateway::start(&Setup::to(upstream.address()));
        let (good, revoked) = (gateway.mint("good"), gateway.mint("former"));
        gateway.revoke(&revoked.id);
        Self { upstream, gateway, good, revoked }
    }

    fn on(&self, redis: &Redis) -> Setup {
        Setup::to(self.upstream.address()).store(&format!("url = {:?}", redis.url()))
    }

    /// A configuration beside the gateway's own.
    fn write(&self, name: &str, setup: &Setup) {
        let text = setup.text(self.gateway.address(), self.gateway.admin_address());
        fs::write(self.gateway.file(name), text).unwrap();
    }

    /// Types `keyward store …`; what it says, once it is done.
    #[track_caller]
    fn store(&self, words: &[&str]) -> String {
        let outcome = command(self.gateway.directory(), &[&["store"], words].concat());
        assert_eq!(outcome.code, Some(0), "{words:?}: {}", outcome.output);
        outcome.output
    }

    /// The gateway stops, and goes on with what it has on another store.
    #[track_caller]
    fn move_to(&mut self, redis: &Redis) {
        let setup = self.on(redis);
        self.write("next.toml", &setup);
        self.gateway.stop();
        let said = self.store(&["migrate", "--config", "keyward.toml", "--to", "next.toml"]);
        assert!(said.starts_with("3 records read, 3 taken"), "{said}");
        self.gateway.configure(&setup);
        self.gateway.restart();
    }

    #[track_caller]
    fn assert_as_before(&self) {
        assert_eq!(Ask::get("/x").key(&self.good).to(&self.gateway).status, 200);
        let refused = Ask::get("/x").key(&self.revoked).to(&self.gateway);
        refused.assert_problem(401, "revoked_key");
    }
}

#[test]
fn who_was_let_in_before_a_move_is_let_in_afterwards_and_nobody_else() {
    let redis = Redis::start();
    let mut stage = Stage::new();
    stage.move_to(&redis);
    stage.assert_as_before();
    // Operators have moved as well; and what was minted here is known there.
    let new = stage.gateway.mint("new");
    assert_eq!(Ask::get("/x").key(&new).to(&stage.gateway).status, 200);
    let status: Value =
        serde_json::from_str(&stage.store(&["status", "--config", "keyward.toml", "-o", "json"]))
            .unwrap();
    assert_eq!(status["keys"], serde_json::json!({ "kept": 2, "revoked": 1 }));
    assert_eq!(status["gateways"], 1);
    assert_eq!(status["url"], format!("{}/0", redis.url().trim_end_matches("/0")));
}

#[test]
fn no_import_brings_back_what_was_revoked() {
    let redis = Redis::start();
    let mut stage = Stage::new();
    stage.move_to(&redis);
    let config = ["--config", "keyward.toml"];
    stage.store(&[&["export", "--file", "all.jsonl"], &config[..]].concat());
    let exported = fs::read_to_string(stage.gateway.file("all.jsonl")).unwrap();
    assert_eq!(exported.lines().count(), 4);
    for key in [&stage.good, &stage.revoked] {
        let secret = &key.plaintext[key.plaintext.len() - 49..];
        assert!(!exported.contains(secret), "a secret was exported");
    }
    let mode = fs::metadata(stage.gateway.file("all.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    stage.gateway.revoke(&stage.good.id);
    let said = stage.store(&[&["import", "--file", "all.jsonl"], &config[..]].concat());
    assert!(said.starts_with("3 records read, 0 taken; 1 gateway confirmed"), "{said}");
    for key in [&stage.good, &stage.revoked] {
        Ask::get("/x").key(key).to(&stage.gateway).assert_problem(401, "revoked_key");
    }
}

#[test]
fn what_is_imported_is_let_in_at_once_by_whoever_follows() {
    let redis = Redis::start();
    let source = Stage::new();
    source.store(&["export", "--config", "keyward.toml", "--file", "all.jsonl"]);
    let mut other = Stage::new();
    other.move_to(&redis);
    Ask::get("/x").key(&source.good).to(&other.gateway).assert_problem(401, "unknown_key");
    let file = source.gateway.file("all.jsonl").display().to_string();
    let said = other.store(&["import", "--config", "keyward.toml", "--file", &file]);
    assert!(said.starts_with("3 records read, 3 taken; 1 gateway confirmed"), "{said}");
    assert_eq!(Ask::get("/x").key(&source.good).to(&other.gateway).status, 200);
    other.assert_as_before();
}

#[test]
fn what_is_no_export_is_refused_with_its_line() {
    let stage = Stage::new();
    stage.store(&["export", "--config", "keyward.toml", "--file", "all.jsonl"]);
    let exported = fs::read_to_string(stage.gateway.file("all.jsonl")).unwrap();
    let without_head = exported.lines().skip(1).collect::<Vec<_>>().join("\n");
    let other_format = exported.replace("\"keyward_export\":1", "\"keyward_export\":2");
    let cut = exported.trim_end().trim_end_matches('}').to_owned();
    for (text, told) in [
        (String::new(), "line 1: there is nothing in it"),
        (without_head, "line 1: "),
        (other_format, "line 1: it has format 2, and this version knows 1"),
        (cut, "line 4: "),
    ] {
        fs::write(stage.gateway.file("bad.jsonl"), text).unwrap();
        let words = ["store", "import", "--config", "keyward.toml", "--file", "bad.jsonl"];
        let outcome = command(stage.gateway.directory(), &words);
        assert_eq!(outcome.code, Some(1), "{}", outcome.output);
        assert!(outcome.output.contains(told), "{told:?} in {}", outcome.output);
    }
}

#[test]
fn an_emptied_redis_is_given_back_what_its_gateways_know() {
    let redis = Redis::start();
    let mut stage = Stage::new();
    stage.move_to(&redis);
    let status = stage.store(&["status", "--config", "keyward.toml", "-o", "json"]);
    let status: Value = serde_json::from_str(&status).unwrap();
    let identity = status["identity"].as_str().unwrap();

    redis.restart_empty();
    eventually("the gateway says that the store is not its own", || {
        stage.gateway.log().contains("it is not ours any more")
    });
    // Until its lease is over the gateway trusts what it knows; it makes no store of its own.
    assert_eq!(redis.cli(&["DBSIZE"]).trim(), "0");
    stage.store(&["restore", "--config", "keyward.toml", "--identity", identity]);
    eventually("everything is written back", || redis.cli(&["HLEN", "{kw}:records"]).trim() == "3");
    eventually("operators are let in", || {
        stage.gateway.admin("GET", "/v1/keys", None).status == 200
    });
    stage.assert_as_before();
    let new = stage.gateway.mint("new");
    // One who knows nothing yet learns all of it.
    stage.gateway.stop();
    stage.gateway.restart();
    stage.assert_as_before();
    assert_eq!(Ask::get("/x").key(&new).to(&stage.gateway).status, 200);
}

#[test]
fn a_store_that_is_there_is_not_given_another_name() {
    let redis = Redis::start();
    let mut stage = Stage::new();
    stage.move_to(&redis);
    let words = ["store", "restore", "--config", "keyward.toml", "--identity", "another"];
    let outcome = command(stage.gateway.directory(), &words);
    assert_eq!(outcome.code, Some(1), "{}", outcome.output);
    assert!(outcome.output.contains("another store"), "{}", outcome.output);
    stage.assert_as_before();
}
