//! A WebSocket client speaks through the gateway to a WebSocket server, both of them Python's.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::Stage;
use crate::support::gateway::operate::closed_streams;
use crate::support::peer::{Peer, python, run};
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::wait::eventually;

struct Room {
    server: Peer,
    stage: Stage,
}

/// A scheme, the address that belongs to it, and who vouches for it.
type Way<'a> = (&'a str, SocketAddr, Option<&'a Path>);

impl Room {
    fn open() -> Self {
        Self::open_with("upgrades = [\"websocket\"]")
    }

    fn open_with(line: &str) -> Self {
        let mut server = Peer::start(python("websocket_peer.py").arg("serve"));
        let address = server.address();
        let route = format!("path = \"/\"\n{line}");
        let public = format!("path = \"/public/\"\naccess = \"public\"\n{line}");
        let setup = Setup::empty().upstream("rooms", &[address]);
        let stage = Stage::new(&setup.route("rooms", &route).route("public", &public));
        Self { server, stage }
    }

    /// In plaintext, and over TLS.
    fn ways<'a>(&self, ca: &'a Path) -> [Way<'a>; 2] {
        [("ws", self.stage.plain(), None), ("wss", self.stage.secure, Some(ca))]
    }

    fn plain(&self) -> Way<'static> {
        ("ws", self.stage.plain(), None)
    }

    /// Holds a client to what it finds, in plaintext and over TLS.
    #[track_caller]
    fn check(&self, case: &str, path: &str, expected: &Value) {
        let ca = self.stage.ca();
        for way in self.ways(&ca) {
            let actual = call(case, way, path, &self.stage.key.plaintext);
            assert_eq!(actual, *expected, "{case} by {}", way.0);
        }
    }
}

fn client(case: &str, (scheme, address, ca): Way<'_>, path: &str, key: &str) -> Command {
    let mut command = python("websocket_peer.py");
    command.args(["call", case, &format!("{scheme}://{address}{path}"), key]).args(ca);
    command
}

#[track_caller]
fn call(case: &str, way: Way<'_>, path: &str, key: &str) -> Value {
    let said = run(&mut client(case, way, path, key));
    let outcome = said.out.lines().find_map(|it| it.strip_prefix("outcome "));
    let outcome = outcome.unwrap_or_else(|| panic!("{case}: {said:?}"));
    serde_json::from_str(outcome).unwrap()
}

#[test]
fn messages_of_every_kind_come_back_as_they_were() {
    let expected =
        json!({ "fragments": true, "text": true, "empty": true, "binary": true, "large": true });
    Room::open().check("echo", "/", &expected);
}

#[test]
fn compression_is_what_both_ends_agree_on() {
    let expected = json!({ "same": true, "extensions": ["permessage-deflate"] });
    Room::open().check("compressed", "/", &expected);
}

#[test]
fn messages_that_overtake_their_answers_all_come_back_in_order() {
    Room::open().check("many", "/", &json!(true));
}

#[test]
fn a_ping_is_answered_by_the_other_end() {
    Room::open().check("ping", "/", &json!("pong"));
}

#[test]
fn a_server_may_speak_first() {
    Room::open().check("first", "/first", &json!("welcome"));
}

#[test]
fn the_code_with_which_a_client_leaves_reaches_the_server() {
    let mut room = Room::open();
    room.check("leave", "/", &json!(4002));
    assert_eq!(room.server.says("closed "), "4002 gone home");
}

#[test]
fn the_code_with_which_a_server_closes_reaches_the_client() {
    Room::open().check("bye", "/bye", &json!({ "code": 4001, "reason": "had enough" }));
}

#[test]
fn a_server_sees_who_comes_and_not_with_which_key() {
    let mut room = Room::open();
    call("ping", room.plain(), "/", &room.stage.key.plaintext);
    let seen: Value = serde_json::from_str(&room.server.says("asked ")).unwrap();
    assert_eq!(seen["x-keyward-key-id"], room.stage.key.id.as_str(), "{seen}");
    assert_eq!(seen["x-forwarded-for"], "127.0.0.1", "{seen}");
    assert_eq!(seen["upgrade"], "websocket", "{seen}");
    assert_eq!(seen.get("api-key"), None, "{seen}");
}

#[test]
fn nobody_comes_in_without_a_key_but_where_it_is_public() {
    let room = Room::open();
    assert_eq!(call("ping", room.plain(), "/", ""), json!({ "status": 401 }));
    assert_eq!(room.server.lines().len(), 1, "{:?}", room.server.lines());
    assert_eq!(call("ping", room.plain(), "/public/", ""), "pong");
}

#[test]
fn a_route_that_names_no_protocol_opens_no_tunnel() {
    let room = Room::open_with("upgrades = []");
    // The server's own answer to a request that does not ask for an upgrade.
    room.check("ping", "/", &json!({ "status": 426 }));
    assert_eq!(room.server.lines().len(), 1, "{:?}", room.server.lines());
}

#[test]
fn an_upgrade_that_no_route_allows_is_an_ordinary_request() {
    let upstream = Upstream::echo();
    let setup = Setup::empty().upstream("api", &[upstream.address()]);
    let stage = Stage::new(&setup.route("all", "path = \"/\"\nupgrades = [\"other\"]"));
    let way = ("ws", stage.plain(), None);
    assert_eq!(call("ping", way, "/", &stage.key.plaintext), json!({ "status": 200 }));
    let seen = upstream.last();
    assert_eq!((seen.header("upgrade"), seen.header("connection")), (None, None));
}

/// Between messages, and while they fly.
#[test]
fn a_revocation_closes_what_is_open_with_1008() {
    for case in ["hold", "chat"] {
        let mut room = Room::open();
        let ca = room.stage.ca();
        let key = &room.stage.key;
        let gateway = room.stage.gateway.id();
        let ways = room.ways(&ca);
        let mut clients = ways.map(|it| Peer::start(&mut client(case, it, "/", &key.plaintext)));
        for client in &mut clients {
            client.says("held");
        }
        let receipt = room.stage.gateway.revoke(&key.id);
        assert_eq!(closed_streams(&receipt, &[&gateway]), 2, "{receipt}");
        for client in &mut clients {
            let outcome: Value = serde_json::from_str(&client.says("outcome ")).unwrap();
            assert_eq!(outcome["code"], 1008, "{case}: {outcome}");
        }
        room.server.says("closed ");
    }
}

#[test]
fn the_tunnel_of_another_key_goes_on_after_a_revocation() {
    let room = Room::open();
    let other = room.stage.gateway.mint("other");
    let client = &mut client("chat", room.plain(), "/", &room.stage.key.plaintext);
    let mut client = Peer::start(client);
    client.says("held");
    room.stage.gateway.revoke(&other.id);
    let before = client.lines().len();
    eventually("it goes on", || client.lines().len() > before + 10);
}
