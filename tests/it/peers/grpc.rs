//! A gRPC client speaks through the gateway to a gRPC server, both of them C-core's.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Stage, certify};
use crate::support::gateway::Key;
use crate::support::peer::{Peer, python, run};
use crate::support::setup::Setup;

fn server(files: &[&Path]) -> (Peer, SocketAddr) {
    let mut peer = Peer::start(python("grpc_peer.py").arg("serve").args(files));
    let address = peer.address();
    (peer, address)
}

fn client(case: &str, to: SocketAddr, key: &str, ca: Option<&Path>) -> Command {
    let mut command = python("grpc_peer.py");
    command.args(["call", case, &to.to_string(), key]).args(ca);
    command
}

/// What a call came to.
#[track_caller]
fn call(case: &str, to: SocketAddr, key: &str, ca: Option<&Path>) -> Value {
    let said = run(&mut client(case, to, key, ca));
    let outcome = said.out.lines().find_map(|it| it.strip_prefix("outcome "));
    let outcome = outcome.unwrap_or_else(|| panic!("{case}: {said:?}"));
    serde_json::from_str(outcome).unwrap()
}

fn setup(server: SocketAddr) -> Setup {
    Setup::empty().upstream_at("api", &[format!("h2://{server}")]).route("all", "path = \"/\"")
}

/// Holds a call to its outcome, in plaintext and over TLS.
#[track_caller]
fn check(case: &str, expected: &Value) {
    let (_server, address) = server(&[]);
    let stage = Stage::new(&setup(address));
    let key = &stage.key.plaintext;
    assert_eq!(call(case, stage.plain(), key, None), *expected, "{case} in plaintext");
    let secure = call(case, stage.secure, key, Some(&stage.ca()));
    assert_eq!(secure, *expected, "{case} over TLS");
}

fn echoed() -> Value {
    json!({
        "same": true,
        "initial": "from the server",
        "trailing": "to the end",
        "binary": [0, 255],
    })
}

#[test]
fn a_unary_call_comes_through_with_all_its_metadata() {
    check("unary", &echoed());
}

#[test]
fn a_message_of_a_mebibyte_comes_back_as_it_was() {
    check("large", &echoed());
}

#[test]
fn a_server_streams_a_thousand_messages() {
    check("server_stream", &json!(true));
}

#[test]
fn a_client_streams_and_is_answered_at_its_end() {
    check("client_stream", &json!({ "messages": 500, "bytes": 500 * 1024 }));
}

#[test]
fn both_sides_stream_in_turns() {
    check("bidi", &json!(true));
}

#[test]
fn large_messages_stream_both_ways_at_once() {
    check("large_stream", &json!(true));
}

#[test]
fn more_calls_at_once_than_a_connection_carries_all_come_through() {
    check("many", &json!(true));
}

#[test]
fn a_call_that_fails_says_so_in_its_trailers_alone() {
    let expected = json!({
        "status": "FAILED_PRECONDITION",
        "message": "not 100 % ready, änderung",
        "trailing": "with a refusal",
    });
    check("fail", &expected);
}

#[test]
fn a_call_that_fails_late_keeps_what_came_before() {
    let expected = json!({
        "status": "DATA_LOSS",
        "message": "after two",
        "trailing": null,
        "heard": ["one", "two"],
    });
    check("fail_late", &expected);
}

#[test]
fn the_server_sees_who_calls_and_not_with_which_key() {
    let (_server, address) = server(&[]);
    let stage = Stage::new(&setup(address));
    let seen = call("upstream_sees", stage.plain(), &stage.key.plaintext, None);
    assert_eq!(seen["x-keyward-key-id"], stage.key.id.as_str(), "{seen}");
    assert_eq!(seen["x-mine"], "kept", "{seen}");
    assert_eq!(seen["x-forwarded-for"], "127.0.0.1", "{seen}");
    assert_eq!(seen.get("api-key"), None, "{seen}");
}

#[test]
fn who_shows_no_key_or_a_wrong_one_is_unauthenticated() {
    let (_server, address) = server(&[]);
    let stage = Stage::new(&setup(address));
    let unknown = Key::unknown().plaintext;
    for key in ["", unknown.as_str()] {
        for (to, ca) in [(stage.plain(), None), (stage.secure, Some(stage.ca()))] {
            let refused = call("unary", to, key, ca.as_deref());
            assert_eq!(refused["status"], "UNAUTHENTICATED", "{refused}");
        }
    }
}

#[test]
fn a_deadline_that_passes_ends_the_call() {
    let (mut server, address) = server(&[]);
    let stage = Stage::new(&setup(address));
    let outcome = call("deadline", stage.plain(), &stage.key.plaintext, None);
    assert_eq!(outcome["status"], "DEADLINE_EXCEEDED", "{outcome}");
    server.says("cancelled deadline");
}

#[test]
fn a_call_that_its_client_gives_up_is_given_up_at_the_server() {
    for is_secure in [false, true] {
        let (mut server, address) = server(&[]);
        let stage = Stage::new(&setup(address));
        let (to, ca) =
            if is_secure { (stage.secure, Some(stage.ca())) } else { (stage.plain(), None) };
        assert_eq!(call("cancel", to, &stage.key.plaintext, ca.as_deref()), json!(3));
        server.says("cancelled given up");
    }
}

#[test]
fn a_call_whose_key_is_revoked_ends_on_both_sides() {
    let (mut server, address) = server(&[]);
    let stage = Stage::new(&setup(address));
    let mut client = Peer::start(&mut client("hold", stage.plain(), &stage.key.plaintext, None));
    client.says("heard drop");
    stage.gateway.revoke(&stage.key.id);
    let outcome: Value = serde_json::from_str(&client.says("outcome ")).unwrap();
    assert!(outcome["status"].is_string(), "{outcome}");
    server.says("cancelled held");
}

#[test]
fn a_call_goes_over_tls_on_both_sides() {
    let files = tempfile::tempdir().unwrap();
    certify(&files, &["127.0.0.1"]);
    let file = |name| files.path().join(name);
    let (_server, address) = server(&[&file("server.pem"), &file("server.key")]);
    let url = format!("h2s://{address}");
    let ca = format!("ca = \"{}\"", file("ca.pem").display());
    let setup = Setup::empty().upstream_at("api", &[url]).upstream_line(&ca);
    let stage = Stage::new(&setup.route("all", "path = \"/\""));
    let outcome = call("unary", stage.secure, &stage.key.plaintext, Some(&stage.ca()));
    assert_eq!(outcome, echoed());
}

#[test]
fn a_server_that_is_gone_is_unavailable() {
    let (server, address) = server(&[]);
    let stage = Stage::new(&setup(address));
    let key = &stage.key.plaintext;
    assert_eq!(call("unary", stage.plain(), key, None), echoed());
    drop(server);
    let refused = call("unary", stage.plain(), key, None);
    assert_eq!(refused["status"], "UNAVAILABLE", "{refused}");
}

#[test]
fn a_gateway_that_drains_finishes_the_call() {
    let (_server, address) = server(&[]);
    let mut stage = Stage::new(&setup(address));
    let mut client =
        Peer::start(&mut client("slow_stream", stage.plain(), &stage.key.plaintext, None));
    client.says("heard ");
    stage.gateway.signal(Signal::TERM);
    assert_eq!(client.says("outcome "), "true");
    assert_eq!(stage.gateway.wait(), Some(0));
}
