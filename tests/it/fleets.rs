//! Two processes on one store: a change has reached both when it is answered, or the answer says
//! whom it may not have reached.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::commands::Shell;
use crate::support::gateway::operate::closed_streams;
use crate::support::gateway::{Gateway, Key};
use crate::support::http::Response;
use crate::support::setup::Setup;
use crate::support::streams::{Endless, KINDS, Stream, Target};
use crate::support::wait::{eventually, rounds};

struct Fleet {
    endless: Endless,
    first: Gateway,
    second: Gateway,
    /// Of the first and the second.
    ids: [String; 2],
}

impl Fleet {
    fn new(store_lines: &str) -> Self {
        let endless = Endless::start();
        let setup = Setup::to(endless.upstream().address()).store(store_lines);
        let first = Gateway::start(&setup);
        let second = first.start_beside(&setup);
        let ids = [first.id(), second.id()];
        Self { endless, first, second, ids }
    }

    /// Revokes a key at the first one.
    fn revoke(&self, key: &Key) -> Response {
        self.first.admin("DELETE", &format!("/v1/keys/{}", key.id), None)
    }

    /// The first one's receipt and the second one's, which may be missing.
    #[track_caller]
    fn receipts(&self, document: &Value) -> (Value, Option<Value>) {
        let receipts = document["propagation"]["gateways"].as_array().unwrap();
        let of = |id: &str| receipts.iter().find(|it| it["id"] == id).cloned();
        (of(&self.ids[0]).unwrap(), of(&self.ids[1]))
    }

    /// Both ids, as slices.
    fn both(&self) -> [&str; 2] {
        [&self.ids[0], &self.ids[1]]
    }
}

fn elapsed(document: &Value) -> Duration {
    Duration::from_millis(document["propagation"]["elapsed_ms"].as_u64().unwrap())
}

#[track_caller]
fn assert_revoked(gateway: &Gateway, key: &Key) {
    Ask::get("/").key(key).to(gateway).assert_problem(401, "revoked_key");
}

#[test]
fn what_is_answered_by_one_holds_at_both_at_once() {
    let fleet = Fleet::new("");
    let gateways = [&fleet.first, &fleet.second];
    let mut clients = gateways.map(Gateway::client);
    for round in 0..rounds(30, 500) {
        let (here, there) = (gateways[round % 2], gateways[(round + 1) % 2]);
        let minted = here.admin("POST", "/v1/keys", Some(&json!({ "name": "crm" })));
        assert_eq!(minted.status, 201);
        closed_streams(&minted.json(), &fleet.both());
        let ask = Ask::get("/").header("api-key", minted.json()["key"].as_str().unwrap());
        for client in &mut clients {
            assert_eq!(client.ask(&ask).status, 200);
        }
        let id = minted.json()["id"].as_str().unwrap().to_owned();
        closed_streams(&there.patch(&id, &json!({ "disabled": true })), &fleet.both());
        for client in &mut clients {
            client.ask(&ask).assert_problem(401, "disabled_key");
        }
        closed_streams(&here.patch(&id, &json!({ "disabled": false })), &fleet.both());
        for client in &mut clients {
            assert_eq!(client.ask(&ask).status, 200);
        }
        closed_streams(&there.revoke(&id), &fleet.both());
        for client in &mut clients {
            client.ask(&ask).assert_problem(401, "revoked_key");
        }
    }
    assert_eq!(fleet.second.metrics().count("keyward_key_fills_total"), 0);
}

#[test]
fn each_gateway_counts_the_streams_that_it_has_cut() {
    let fleet = Fleet::new("");
    let key = fleet.first.mint("crm");
    let mut streams = fleet.endless.open(&KINDS, &Target::of(&fleet.first, &key));
    streams.extend(fleet.endless.open(&KINDS[3..], &Target::of(&fleet.second, &key)));
    let receipt = fleet.revoke(&key).json();
    assert_eq!(closed_streams(&receipt, &fleet.both()), 7 + 4);
    let (first, second) = fleet.receipts(&receipt);
    assert_eq!(
        (&first["closed_streams"], &second.unwrap()["closed_streams"]),
        (&json!(7), &json!(4))
    );
    streams.into_iter().for_each(Stream::assert_cut);
}

#[test]
fn under_refuse_a_gateway_that_hangs_is_fenced_and_the_answer_is_complete() {
    let fleet = Fleet::new("lease = \"4s\"\nwhen_unreachable = \"refuse\"");
    let keys = [fleet.first.mint("crm"), fleet.first.mint("other")];
    assert_eq!(Ask::get("/").key(&keys[0]).to(&fleet.second).status, 200);
    let client = fleet.second.client();
    fleet.second.freeze();
    let revoked = fleet.revoke(&keys[0]);
    assert_eq!(revoked.status, 200, "{revoked:?}");
    let receipt = revoked.json();
    assert_eq!(receipt["propagation"]["complete"], true, "{receipt}");
    assert!(elapsed(&receipt) < LEASE * 11 / 10 + SLACK, "{receipt}");
    let (first, second) = fleet.receipts(&receipt);
    assert_eq!(
        (&first["state"], &second.unwrap()["state"]),
        (&json!("confirmed"), &json!("fenced"))
    );
    // What is sent to it from now on finds a lease that is over, or the change.
    client.send(Ask::get("/").key(&keys[0]).bytes());
    fleet.second.signal(Signal::CONT);
    let mut client = client;
    assert!(matches!(client.read().status, 401 | 503));
    eventually("it has heard of it", || {
        Ask::get("/").key(&keys[0]).to(&fleet.second).status == 401
    });
    assert_revoked(&fleet.second, &keys[0]);
    eventually("it goes on", || Ask::get("/").key(&keys[1]).to(&fleet.second).status == 200);
    assert_eq!(closed_streams(&fleet.first.revoke(&keys[1].id), &fleet.both()), 0);
    assert_revoked(&fleet.second, &keys[1]);
}

#[test]
fn under_serve_known_a_gateway_that_hangs_is_named_and_confirms_later() {
    let fleet = Fleet::new("lease = \"4s\"\nwhen_unreachable = \"serve_known\"");
    let key = fleet.first.mint("crm");
    fleet.second.freeze();
    let revoked = fleet.revoke(&key);
    assert_eq!(revoked.status, 202, "{revoked:?}");
    let receipt = revoked.json();
    assert_eq!(receipt["state"], "revoked");
    assert_eq!(receipt["propagation"]["complete"], false, "{receipt}");
    assert_eq!(receipt["propagation"]["unconfirmed"], json!([fleet.ids[1]]), "{receipt}");
    assert!(elapsed(&receipt) < LEASE * 11 / 10 + SLACK, "{receipt}");
    let (first, second) = fleet.receipts(&receipt);
    assert_eq!((&first["state"], second), (&json!("confirmed"), None));
    assert_revoked(&fleet.first, &key);
    // Minting keeps its status.
    let minted = fleet.first.admin("POST", "/v1/keys", Some(&json!({ "name": "new" })));
    assert_eq!((minted.status, &minted.json()["propagation"]["complete"]), (201, &json!(false)));
    fleet.second.signal(Signal::CONT);
    eventually("it has heard of it", || Ask::get("/").key(&key).to(&fleet.second).status == 401);
    assert_revoked(&fleet.second, &key);
    eventually("a repetition is complete", || fleet.revoke(&key).status == 200);
    closed_streams(&fleet.revoke(&key).json(), &fleet.both());
}

#[test]
fn a_gateway_that_vanished_is_waited_for_once_and_missed_until_it_is_forgotten() {
    let mut fleet = Fleet::new("lease = \"4s\"");
    let keys = fleet.first.mint_many(4);
    fleet.second.kill9();
    let first = fleet.revoke(&keys[0]);
    assert_eq!(first.status, 202, "{first:?}");
    let again = fleet.revoke(&keys[1]);
    assert_eq!(again.status, 202, "{again:?}");
    assert_eq!(again.json()["propagation"]["unconfirmed"], json!([fleet.ids[1]]));
    assert!(elapsed(&again.json()) < LEASE, "waited for again: {again:?}");

    let gateways = fleet.first.admin("GET", "/v1/gateways", None).json();
    let item = gateways["items"].as_array().unwrap().iter().find(|it| it["id"] == *fleet.ids[1]);
    assert_eq!(item.unwrap()["state"], "unconfirmed", "{gateways}");
    let own = format!("/v1/gateways/{}", fleet.ids[0]);
    fleet.first.admin("DELETE", &own, None).assert_problem(409, "state_conflict");
    let path = format!("/v1/gateways/{}", fleet.ids[1]);
    assert_eq!(fleet.first.admin("DELETE", &path, None).status, 200);
    closed_streams(&fleet.first.revoke(&keys[2].id), &[&fleet.ids[0]]);

    // One that comes instead knows all of it, and is waited for.
    fleet.second.restart();
    keys[..3].iter().for_each(|it| assert_revoked(&fleet.second, it));
    let ids = [&*fleet.ids[0], &fleet.second.id()];
    closed_streams(&fleet.first.revoke(&keys[3].id), &ids);
    assert_revoked(&fleet.second, &keys[3]);
}

#[test]
fn a_gateway_that_stops_is_not_missed() {
    let mut fleet = Fleet::new("");
    let keys = fleet.first.mint_many(2);
    fleet.second.stop();
    let receipt = fleet.revoke(&keys[0]);
    assert_eq!(receipt.status, 200, "{receipt:?}");
    closed_streams(&receipt.json(), &[&fleet.ids[0]]);
    fleet.second.restart();
    let mut client = Client::connect(fleet.second.address());
    client.ask(&Ask::get("/").key(&keys[0])).assert_problem(401, "revoked_key");
    assert_eq!(client.ask(&Ask::get("/").key(&keys[1])).status, 200);
}

/// What is said where it matters.
const LEASE: Duration = Duration::from_secs(4);

/// For a busy machine.
const SLACK: Duration = Duration::from_secs(2);

#[test]
fn a_script_that_revokes_learns_that_not_everybody_has_confirmed() {
    let fleet = Fleet::new("lease = \"1s\"");
    let keys = [fleet.first.mint("crm"), fleet.first.mint("other")];
    fleet.second.freeze();
    let shell = Shell::of_operator(&fleet.first);
    let said = shell.types(&["keys", "revoke", &keys[0].id, &keys[1].id]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(said.out.matches("is revoked").count(), 2, "{said:?}");
    assert!(said.err.contains(&fleet.ids[1]), "{said:?}");
    fleet.second.signal(Signal::CONT);
    assert_eq!(shell.types(&["keys", "revoke", &keys[0].id]).code, Some(0));
}
