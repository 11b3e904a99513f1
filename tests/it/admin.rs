//! Operators can do what they may, as often as they ask for it, and read what went wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::crowd::crowd;
use crate::support::gateway::operate::key_of;
use crate::support::gateway::{Gateway, Key};
use crate::support::http::Response;
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::{eventually, rounds};

/// Every call with the permission it needs. `{id}` stands for an id that nothing has.
const CALLS: [(&str, &str, &str); 13] = [
    ("GET", "/metrics", "fleet:read"),
    ("POST", "/v1/keys", "keys:create"),
    ("GET", "/v1/keys", "keys:read"),
    ("GET", "/v1/keys/{id}", "keys:read"),
    ("PATCH", "/v1/keys/{id}", "keys:update"),
    ("DELETE", "/v1/keys/{id}", "keys:revoke"),
    ("POST", "/v1/keys/{id}/limits/preview", "usage:read"),
    ("GET", "/v1/operators", "operators:manage"),
    ("POST", "/v1/operators", "operators:manage"),
    ("DELETE", "/v1/operators/{id}", "operators:manage"),
    ("GET", "/v1/gateways", "fleet:read"),
    ("DELETE", "/v1/gateways/{id}", "fleet:manage"),
    ("POST", "/v1/reload", "config:reload"),
];

const PERMISSIONS: [&str; 11] = [
    "keys:read",
    "keys:create",
    "keys:update",
    "keys:revoke",
    "keys:verify",
    "usage:read",
    "audit:read",
    "fleet:read",
    "fleet:manage",
    "config:reload",
    "operators:manage",
];

fn start() -> Gateway {
    Gateway::start(&Setup::empty())
}

fn asked_by(gateway: &Gateway, token: &str, (method, path, _): (&str, &str, &str)) -> Response {
    let path = path.replace("{id}", "000000000000");
    let body = if matches!(method, "POST" | "PATCH") { json!({}) } else { Value::Null };
    gateway.admin_ask(&gateway.admin_request_by(token, method, &path, &body))
}

#[test]
fn every_call_needs_its_permission_and_no_other() {
    let gateway = start();
    for permission in CALLS.map(|it| it.2).into_iter().collect::<BTreeSet<_>>() {
        let others: Vec<&str> = PERMISSIONS.into_iter().filter(|it| *it != permission).collect();
        let holder = gateway.operator("holds it", &[permission]).plaintext;
        let other = gateway.operator("holds all others", &others).plaintext;
        for call in CALLS {
            let answer = asked_by(&gateway, &holder, call);
            if call.2 == permission {
                assert!(!matches!(answer.status, 401 | 403), "{call:?}: {answer:?}");
                let denied = asked_by(&gateway, &other, call);
                denied.assert_problem(403, "permission_denied");
                assert_eq!(denied.json()["permission"], permission);
            } else {
                answer.assert_problem(403, "permission_denied");
                assert_eq!(answer.json()["permission"], call.2, "{call:?}");
            }
        }
    }
}

#[test]
fn without_a_token_nobody_learns_what_there_is() {
    let gateway = start();
    let bare = |method: &str, path: &str| {
        let ask = Ask::new(method, path).header("host", &gateway.admin_address().to_string());
        gateway.admin_ask(&ask)
    };
    for (method, path, _) in CALLS {
        let answer = bare(method, path);
        answer.assert_problem(401, "missing_token");
        assert_eq!(answer.head.get("www-authenticate"), Some("Bearer"));
    }
    for path in ["/", "/v1", "/v1/nothing", "/v1/keys/a/b", "/etc/passwd"] {
        bare("GET", path).assert_problem(401, "missing_token");
        gateway.admin("GET", path, None).assert_problem(404, "not_found");
    }
    bare("PUT", "/v1/keys").assert_problem(401, "missing_token");
    let put = gateway.admin("PUT", "/v1/keys", None);
    put.assert_problem(405, "method_not_allowed");
    assert_eq!(put.head.get("allow"), Some("POST, GET"));
    for path in ["/livez", "/readyz"] {
        assert_eq!(bare("GET", path).status, 200);
    }
    assert_eq!(bare("GET", "/readyz").json(), json!({ "status": "ready" }));
    let reasons = gateway.admin("GET", "/readyz", None).json();
    let survives = json!(["kill -9", "power loss"]);
    assert_eq!(reasons, json!({ "status": "ready", "reasons": [], "survives": survives }));
    assert!(gateway.log().contains("kill -9, power loss"), "{}", gateway.log());
}

#[test]
fn a_key_opens_nothing_on_the_admin_listener() {
    let gateway = start();
    let key = gateway.mint("crm");
    let token = gateway.operator_token();
    let swapped = token.replacen("kwop_", "kw_", 1);
    for shown in [&*key.plaintext, &*swapped, "", "kwop_", &Key::unknown().plaintext] {
        let answer = asked_by(&gateway, shown, CALLS[2]);
        answer.assert_problem(401, "unknown_token");
    }
}

#[test]
fn nobody_grants_what_they_do_not_hold() {
    let gateway = start();
    let manager = gateway.operator("manager", &["operators:manage", "keys:read"]).plaintext;
    let grant = |permissions: &[&str]| {
        let document = json!({ "name": "new", "permissions": permissions });
        gateway.admin_ask(&gateway.admin_request_by(&manager, "POST", "/v1/operators", &document))
    };
    assert_eq!(grant(&["keys:read"]).status, 201);
    let refused = grant(&["keys:read", "keys:revoke"]);
    refused.assert_problem(403, "permission_denied");
    assert_eq!(refused.json()["permission"], "keys:revoke");
}

#[test]
fn a_revoked_operator_is_out_at_once_and_the_last_manager_stays() {
    let gateway = start();
    let other = gateway.operator("other", &PERMISSIONS);
    let operators = gateway.admin("GET", "/v1/operators", None).json();
    let first = operators["items"].as_array().unwrap().iter().find(|it| it["id"] != other.id);
    let first = first.unwrap()["id"].as_str().unwrap().to_owned();
    let revoke = |token: &str, id: &str| {
        let path = format!("/v1/operators/{id}");
        gateway.admin_ask(&gateway.admin_request_by(token, "DELETE", &path, &Value::Null))
    };
    assert_eq!(revoke(&gateway.operator_token(), &other.id).status, 200);
    asked_by(&gateway, &other.plaintext, CALLS[2]).assert_problem(401, "unknown_token");
    revoke(&gateway.operator_token(), &first).assert_problem(409, "state_conflict");
    // Two who each take the other away at once leave one of them.
    let pair = [(); 2].map(|()| gateway.operator("one of two", &PERMISSIONS));
    revoke(&pair[0].plaintext, &first);
    let barrier = Barrier::new(2);
    let statuses = crowd(2, |it| {
        barrier.wait();
        revoke(&pair[it].plaintext, &pair[1 - it].id).status
    });
    assert_eq!(statuses.iter().filter(|it| **it == 200).count(), 1, "{statuses:?}");
}

#[test]
fn a_mint_that_is_sent_five_times_at_once_mints_one_key() {
    let mut gateway = start();
    let mint = |gateway: &Gateway, idempotency: &str, name: &str| {
        let ask =
            gateway.admin_request("POST", "/v1/keys", json!({ "name": name }).to_string().into());
        gateway.admin_ask(&ask.header("idempotency-key", idempotency))
    };
    for round in 0..rounds(20, 500) {
        let (barrier, name) = (Barrier::new(5), format!("round {round}"));
        let answers = crowd(5, |_| {
            barrier.wait();
            mint(&gateway, &format!("key-{round}"), &name)
        });
        let (made, repeated): (Vec<_>, Vec<_>) = answers.iter().partition(|it| it.status == 201);
        assert_eq!((made.len(), repeated.len()), (1, 4));
        let key = key_of(made[0]);
        for answer in repeated {
            assert_eq!((answer.status, &answer.json()["replayed"]), (200, &json!(true)));
            assert_eq!(answer.json()["id"], key.id);
            assert!(!String::from_utf8_lossy(&answer.body).contains(&key.plaintext));
        }
    }
    let all = gateway.admin("GET", "/v1/keys?limit=500", None).json();
    assert_eq!(all["items"].as_array().unwrap().len(), rounds(20, 500));
    mint(&gateway, "key-0", "another body").assert_problem(409, "idempotency_conflict");
    gateway.stop();
    gateway.restart();
    let again = mint(&gateway, "key-0", "round 0");
    assert_eq!((again.status, &again.json()["replayed"]), (200, &json!(true)));
    mint(&gateway, "key-0", "another body").assert_problem(409, "idempotency_conflict");
    // What somebody else calls the same is another matter.
    let other = gateway.operator("other", &["keys:create"]).plaintext;
    let ask = gateway.admin_request_by(&other, "POST", "/v1/keys", &json!({ "name": "round 0" }));
    assert_eq!(gateway.admin_ask(&ask.header("idempotency-key", "key-0")).status, 201);
}

#[test]
fn of_two_changes_to_one_revision_one_is_made() {
    let gateway = start();
    let key = gateway.mint("crm");
    let path = format!("/v1/keys/{}", key.id);
    for _ in 0..rounds(20, 500) {
        let shown = gateway.admin("GET", &path, None);
        let revision = shown.json()["revision"].as_u64().unwrap();
        let etag = format!("\"{revision}\"");
        assert_eq!(shown.head.get("etag"), Some(&*etag));
        let barrier = Barrier::new(2);
        let mut answers = crowd(2, |number| {
            let change = json!({ "name": format!("{number} after {revision}") });
            let ask = gateway.admin_request("PATCH", &path, change.to_string().into());
            barrier.wait();
            gateway.admin_ask(&ask.header("if-match", &etag))
        });
        answers.sort_by_key(|it| it.status);
        assert_eq!(answers[0].status, 200);
        assert_eq!(answers[0].head.get("etag"), Some(&*format!("\"{}\"", revision + 1)));
        answers[1].assert_problem(412, "revision_conflict");
        assert_eq!(answers[1].json()["revision"], revision + 1);
        assert_eq!(gateway.show(&key.id)["name"], answers[0].json()["name"]);
    }
}

fn mint_and_revoke(gateway: &Gateway, count: usize) {
    for _ in 0..count {
        let key = gateway.mint("passing");
        gateway.revoke(&key.id);
    }
}

/// Walks a list by its cursors; how often each id was in it.
#[track_caller]
fn walk(gateway: &Gateway, question: &str) -> BTreeMap<String, usize> {
    let (mut found, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let page = gateway.admin("GET", &format!("/v1/keys?{question}{cursor}"), None);
        assert_eq!(page.status, 200, "{page:?}");
        let page = page.json();
        for item in page["items"].as_array().unwrap() {
            *found.entry(item["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

#[test]
fn a_list_shows_every_key_once_while_others_are_minted_and_revoked() {
    let gateway = start();
    let standing: BTreeSet<String> = gateway.mint_many(400).into_iter().map(|it| it.id).collect();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let minting = scope.spawn(|| {
            crowd(8, |_| mint_and_revoke(&gateway, 125));
            ended.store(true, Ordering::SeqCst);
        });
        let mut walks = 0;
        while !ended.load(Ordering::SeqCst) || walks < 2 {
            for question in ["limit=37", "limit=7&state=active", "limit=500"] {
                let found = walk(&gateway, question);
                assert!(found.values().all(|it| *it == 1), "{question}: shown twice");
                let shown: BTreeSet<String> = found.into_keys().collect();
                assert!(standing.is_subset(&shown), "{question}: some were not shown");
            }
            walks += 1;
        }
        minting.join().unwrap();
    });
    assert_eq!(walk(&gateway, "limit=50").len(), 1_400);
    assert_eq!(walk(&gateway, "limit=50&state=revoked").len(), 1_000);
}

#[test]
fn five_faults_in_one_body_are_five_errors() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let gateway = Gateway::start(&Setup::to(upstream.address()));
    let body = json!({
        "name": "",
        "owner": 5,
        "expires_at": "2001-01-01T00:00:00Z",
        "routes": ["all", "nowhere"],
        "colour": "red",
    });
    let answer = gateway.admin("POST", "/v1/keys", Some(&body));
    answer.assert_problem(400, "bad_request");
    let document = answer.json();
    let errors = document["errors"].as_array().unwrap();
    let mut paths: Vec<&str> = errors.iter().map(|it| it["path"].as_str().unwrap()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["colour", "expires_at", "name", "owner", "routes[1]"]);
    assert!(errors.iter().all(|it| it["detail"].as_str().is_some_and(|it| !it.is_empty())));
    assert_eq!(walk(&gateway, "limit=50").len(), 0);
}

#[test]
fn every_change_leaves_a_line_that_says_who_did_what() {
    let gateway = Gateway::start(&Setup::empty().log("format = \"json\""));
    let other = gateway.operator("Otto", &["keys:create", "keys:update", "keys:revoke"]);
    let ask = |method: &str, path: &str, body: &Value| {
        let ask = gateway.admin_request_by(&other.plaintext, method, path, body);
        let mut client = Client::connect_from([127, 0, 0, 9].into(), gateway.admin_address());
        client.ask(&ask)
    };
    let key = key_of(&ask("POST", "/v1/keys", &json!({ "name": "crm" })));
    let path = format!("/v1/keys/{}", key.id);
    assert_eq!(ask("PATCH", &path, &json!({ "disabled": true })).status, 200);
    assert_eq!(ask("DELETE", &path, &Value::Null).status, 200);
    assert_eq!(gateway.admin("DELETE", &format!("/v1/operators/{}", other.id), None).status, 200);
    let expected = [
        ("operator.create", &other.id, "first operator"),
        ("key.create", &key.id, "Otto"),
        ("key.update", &key.id, "Otto"),
        ("key.revoke", &key.id, "Otto"),
        ("operator.revoke", &other.id, "first operator"),
    ];
    let lines = || -> Vec<Value> {
        let log = gateway.log();
        let lines = log.lines().filter_map(|it| serde_json::from_str::<Value>(it).ok());
        lines.filter(|it| it["event"] == "audit" && it["operator.id"] != "keyward").collect()
    };
    eventually("every line is there", || lines().len() == expected.len());
    for (line, (action, id, who)) in lines().iter().zip(expected) {
        assert_eq!(line["action"], action);
        assert_eq!((&line["record.id"], &line["operator.name"]), (&json!(id), &json!(who)));
        let address = if who == "Otto" { "127.0.0.9" } else { "127.0.0.1" };
        assert_eq!(line["address"], address);
    }
}

#[test]
fn a_page_of_another_site_gets_nowhere() {
    let gateway = start();
    let own = gateway.admin_address().to_string();
    let ask = |host: &str, origin: Option<&str>| {
        let bearer = format!("Bearer {}", gateway.operator_token());
        let ask = Ask::get("/v1/keys").header("host", host).header("authorization", &bearer);
        let ask = origin.into_iter().fold(ask, |ask, it| ask.header("origin", it));
        gateway.admin_ask(&ask)
    };
    for host in ["evil.example", "127.0.0.1.evil.example", "169.254.169.254"] {
        ask(host, None).assert_problem(421, "wrong_host");
    }
    for origin in ["http://evil.example", "null", "https://localhost:1"] {
        ask(&own, Some(origin)).assert_problem(403, "permission_denied");
    }
    assert_eq!(ask(&own, Some(&format!("http://{own}"))).status, 200);
    assert_eq!(ask("localhost", None).status, 200);
}

#[test]
fn whoever_tries_too_many_tokens_waits_and_whoever_has_one_does_not() {
    let gateway = start();
    let wrong = Key::unknown().plaintext;
    let mut refusals = 0;
    for _ in 0..200 {
        let answer = asked_by(&gateway, &wrong, CALLS[2]);
        if answer.status == 429 {
            answer.assert_problem(429, "too_many_attempts");
            assert!(answer.head.get("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
            refusals += 1;
        } else {
            answer.assert_problem(401, "unknown_token");
        }
        assert_eq!(gateway.admin("GET", "/v1/keys", None).status, 200);
    }
    assert!(refusals > 0);
    let mut other = Client::connect_from([127, 0, 0, 9].into(), gateway.admin_address());
    other
        .ask(&gateway.admin_request_by(&wrong, "GET", "/v1/keys", &Value::Null))
        .assert_problem(401, "unknown_token");
}

#[test]
fn whoever_is_woken_at_night_can_read_how_the_store_is() {
    let gateway = Gateway::start(&Setup::empty());
    let key = gateway.mint("crm");
    gateway.revoke(&key.id);
    let metrics = gateway.metrics();
    // The first operator, a key, and that it was revoked.
    assert_eq!(metrics.count("keyward_changes_applied"), 3);
    assert_eq!(metrics.count("keyward_store_write_duration_seconds_count"), 2);
    assert_eq!(metrics.count("keyward_receipts_duration_seconds_count"), 2);
    assert_eq!(metrics.count("keyward_gateways{state=\"live\"}"), 1);
    assert_eq!(metrics.count("keyward_gateways{state=\"unconfirmed\"}"), 0);
    assert_eq!(metrics.count("keyward_receipts_incomplete_total"), 0);
    assert_eq!(metrics.count("keyward_admin_failures_total{code=\"store_unreachable\"}"), 0);
    let scrape = gateway.admin("GET", "/metrics", None).body;
    let scrape = String::from_utf8(scrape).unwrap();
    let left = scrape.lines().find_map(|it| it.strip_prefix("keyward_lease_left_seconds "));
    let left: f64 = left.unwrap().parse().unwrap();
    assert!((10.0..=20.0).contains(&left), "{left} of a lease of 20 s");
}

#[test]
fn a_gateway_that_drains_says_so_to_whoever_lists_gateways() {
    let setup = Setup::empty().gateway("drain_delay = \"5m\"").store("lease = \"4s\"");
    let mut gateway = Gateway::start(&setup);
    let state = || gateway.admin("GET", "/v1/gateways", None).json()["items"][0]["state"].clone();
    assert_eq!(state(), "live");
    gateway.signal(Signal::TERM);
    eventually("it says that it drains", || state() == "draining");
    // Whoever must revoke a key now need not look for another gateway.
    let key = gateway.mint("late");
    gateway.revoke(&key.id);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(), Some(0));
}
