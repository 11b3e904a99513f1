//! Claims about what people see, as exact text.

use serde_json::json;

use super::*;
use crate::cli::documents::read;

fn text(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
    let mut bytes = Vec::new();
    write(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn propagation_of(unconfirmed: &[&str]) -> Value {
    let gateway = |id, applied, closed| json!({ "id": id, "name": "web-1", "state": "confirmed", "applied_ms": applied, "closed_streams": closed });
    json!({
        "complete": unconfirmed.is_empty(),
        "elapsed_ms": 4,
        "gateways": [gateway("gw_a", 3, 2), gateway("gw_b", 4, 0)],
        "unconfirmed": unconfirmed,
    })
}

#[test]
fn keys_are_a_line_each() {
    let items: Vec<Credential> = read(&json!([
        {
            "id": "7Hq2Kd9XbM3r", "name": "billing sync", "last_digits": "Q2Zt", "owner": "acme",
            "state": "active", "created_at": "2026-11-21T22:50:01.123456Z", "last_used_at": null,
            "rate": "100/s", "quota": "5/day shadow", "max_in_flight": 50,
        },
        {
            "id": "000000000001", "name": "n\u{1b}[2J", "last_digits": "aaaa", "owner": null,
            "state": "revoked", "created_at": "2026-11-20T00:00:00Z",
            "last_used_at": "2026-11-21T00:00:00Z",
            "rate": null, "quota": null, "max_in_flight": "unlimited",
        },
        { "id": "000000000002", "name": "n", "last_digits": "bbbb", "state": "active" },
    ]))
    .unwrap();
    assert_eq!(
        keys(&items),
        "\
ID            NAME          DIGITS  OWNER  STATE    LIMITS                                        CREATED              LAST USED
7Hq2Kd9XbM3r  billing sync  …Q2Zt   acme   active   rate 100/s, quota 5/day shadow, in flight 50  2026-11-21 22:50:01  -
000000000001  n\u{fffd}[2J         …aaaa   -      revoked  in flight unlimited                           2026-11-20 00:00:00  2026-11-21 00:00:00
000000000002  n             …bbbb   -      active   -                                             -                    -
"
    );
}

#[test]
fn operators_are_a_line_each() {
    let items: Vec<Credential> = read(&json!([{
        "id": "7Hq2Kd9XbM3r", "name": "first", "state": "active",
        "permissions": ["keys:read", "keys:create"], "created_at": "2026-11-21T22:50:01Z",
    }, {
        "id": "7Hq2Kd9XbM3s", "name": "b", "state": "active", "permissions": Permission::ALL,
    }]))
    .unwrap();
    assert_eq!(
        operators(&items),
        "\
ID            NAME   STATE   PERMISSIONS            CREATED              LAST USED
7Hq2Kd9XbM3r  first  active  keys:read keys:create  2026-11-21 22:50:01  -
7Hq2Kd9XbM3s  b      active  all                    -                    -
"
    );
}

#[test]
fn gateways_are_a_line_each() {
    let items: Vec<Gateway> = read(&json!([{
        "id": "gw_a", "name": "web-1", "version": "0.1.0", "started_at": "2026-11-21T22:50:01Z",
        "state": "live", "lag_ms": 1.5, "keys": 12, "complete": true,
    }]))
    .unwrap();
    assert_eq!(
        gateways(&items),
        "\
ID    NAME   VERSION  STATE  LAG MS  KEYS  KNOWS ALL  STARTED
gw_a  web-1  0.1.0    live   1.5     12    yes        2026-11-21 22:50:01
"
    );
}

#[test]
fn a_receipt_names_every_gateway() {
    let document = json!({
        "id": "7Hq2Kd9XbM3r", "state": "revoked", "revoked_at": "2026-11-21T22:50:01Z",
        "propagation": propagation_of(&["gw_c"]),
    });
    assert_eq!(
        receipt(&read(&document).unwrap()),
        "\
7Hq2Kd9XbM3r is revoked at 2026-11-21T22:50:01Z, confirmed by 2 of 3 gateways in 4 ms
  GATEWAY  NAME   STATE          MS  CLOSED STREAMS
  gw_a     web-1  confirmed      3   2
  gw_b     web-1  confirmed      4   0
  gw_c     -      not confirmed  -   -
"
    );
}

#[test]
fn who_has_not_confirmed_is_said_loudly() {
    let missing: Propagation = read(&propagation_of(&["gw_c"])).unwrap();
    assert_eq!(
        text(|to| propagation(to, Some(&missing))),
        "\
known by 2 of 3 gateways in 4 ms
keyward: warning: not confirmed by gw_c: until it hears from the store, or its time to serve \
known keys is over, it may go on with what it knew; ask again, or, if it is certainly gone, \
`keyward fleet forget` it
"
    );
}

#[test]
fn words_about_a_new_key_do_not_hold_its_plaintext() {
    let document = json!({
        "id": "7Hq2Kd9XbM3r", "name": "billing sync", "last_digits": "Q2Zt", "key": "kw_secret",
        "propagation": propagation_of(&[]),
    });
    let credential: Credential = read(&document).unwrap();
    assert_eq!(
        minted("key", &credential),
        "\
minted key 7Hq2Kd9XbM3r for \"billing sync\", ending in Q2Zt; it is shown this once and kept nowhere
"
    );
    assert!(!format!("{credential:?}").contains("kw_secret"));
}

#[test]
fn a_problem_is_one_line_and_one_for_each_error() {
    let document = json!({
        "type": "urn:keyward:problem:bad_request", "title": "Bad request", "status": 400,
        "detail": "the body has 2 faults", "code": "bad_request", "request_id": "0190-a",
        "errors": [
            { "path": "name", "detail": "expected 1 to 128 characters" },
            { "path": "routes[0]", "detail": "there is no such route" },
        ],
    });
    assert_eq!(
        text(|to| problem(to, &read(&document).unwrap())),
        "\
keyward: Bad request: 2 faults (bad_request, request 0190-a)
  name: expected 1 to 128 characters
  routes[0]: there is no such route
"
    );
}

#[test]
fn a_problem_without_errors_says_its_detail() {
    let document = json!({ "title": "Nothing is here", "detail": "no key x", "code": "not_found" });
    let said = text(|to| problem(to, &read(&document).unwrap()));
    assert_eq!(said, "keyward: Nothing is here: no key x (not_found)\n");
}

#[test]
fn a_document_is_a_line_for_each_member_or_as_it_is() {
    let shown = json!({ "created_at": "t", "id": "a", "owner": null, "propagation": {} });
    assert_eq!(document(&shown, Output::Table), "id          a\nowner       -\ncreated_at  t\n");
    assert_eq!(document(&json!({ "id": "a" }), Output::Json), "{\n  \"id\": \"a\"\n}\n");
}
