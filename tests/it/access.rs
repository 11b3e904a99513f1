//! Each request has one line in the access log, which says what became of it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::address::fresh;
use crate::support::ask::Ask;
use crate::support::crowd::crowd;
use crate::support::gateway::{Gateway, Key};
use crate::support::pipe::Pipe;
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::eventually;

/// The access lines in what a gateway has written; all else that it wrote is JSON too.
#[track_caller]
fn access_lines(text: &str) -> Vec<Value> {
    let read = |line| {
        serde_json::from_str(line).unwrap_or_else(|fault| panic!("{fault} in a line: {line}"))
    };
    text.lines().map(read).filter(|it: &Value| it["event"] == "access").collect()
}

/// The one line about `path`, once it is there.
#[track_caller]
fn line_of(gateway: &Gateway, path: &str) -> Value {
    let mut found = Vec::new();
    eventually("its line is written", || {
        // The last line may not be whole yet.
        let log = gateway.log();
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        found = access_lines(whole);
        found.retain(|it| it["path"] == path);
        !found.is_empty()
    });
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn setup(upstream: &Upstream) -> Setup {
    Setup::to(upstream.address()).log("access = true").log("format = \"json\"")
}

/// Holds a line to these members; `null` stands for one that is not there.
#[track_caller]
fn assert_says(line: &Value, expected: &Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&line[name], value, "{name} in {line}");
    }
}

#[test]
fn a_line_says_who_asked_for_what_and_what_became_of_it() {
    let upstream = Upstream::answering(|_| ok("hello"));
    let gateway = Gateway::start(&setup(&upstream));
    let key = gateway.mint("crm");
    let ask = Ask::post("/v3/contacts?secret=1", "four").key(&key);
    let answer = ask.to(&gateway);
    assert_eq!(answer.status, 200);
    let line = line_of(&gateway, "/v3/contacts");
    assert_says(
        &line,
        &json!({
            "level": "info", "client_ip": "127.0.0.1", "method": "POST",
            "host": "api.example.com", "route": "all", "key_id": key.id, "status": 200,
            "bytes_out": 5, "reason": null,
        }),
    );
    let id = answer.head.get("x-request-id").unwrap();
    assert_eq!(line["request_id"], id);
    assert_eq!(upstream.last().header("x-request-id"), Some(id));
    let (took, waited) = (line["duration_us"].as_u64(), line["upstream_us"].as_u64());
    assert!(took.unwrap() >= waited.unwrap(), "{line}");
    assert!(line["ts"].as_str().unwrap().ends_with('Z'), "{line}");
    assert!(!gateway.log().contains("secret"), "a query was written down");
}

#[test]
fn whatever_becomes_of_a_request_it_has_one_line_with_the_reason() {
    let upstream = Upstream::answering(|_| ok("hello"));
    let setup = setup(&upstream)
        .upstream("gone", &[fresh()])
        .route("gone", "path = \"/gone/\"\nupstream = \"gone\"");
    let gateway = Gateway::start(&setup);
    let (key, revoked) = (gateway.mint("crm"), gateway.mint("former"));
    gateway.revoke(&revoked.id);
    let get = |path: &str| Ask::get(path);
    let cases = [
        (get("/public/1"), 200, json!({ "route": "public", "key_id": null, "reason": null })),
        (get("/let-in").key(&key), 200, json!({ "key_id": key.id, "route": "all" })),
        (get("/naked"), 401, json!({ "reason": "missing_key", "route": "all", "key_id": null })),
        (
            get("/unknown").key(&Key::unknown()),
            401,
            json!({ "reason": "unknown_key", "key_id": null }),
        ),
        (get("/revoked").key(&revoked), 401, json!({ "reason": "revoked_key" })),
        (
            get("/gone/1").key(&key),
            502,
            json!({ "reason": "upstream_unreachable", "route": "gone", "key_id": key.id }),
        ),
        (get("/a b").key(&key), 400, json!({})),
        (Ask::new("TRACE", "/trace").key(&key), 405, json!({ "reason": "method_not_allowed" })),
        (get("/no-host").key(&key).header("host", "a b"), 400, json!({ "reason": "bad_request" })),
    ];
    for (ask, status, expected) in &cases {
        let target = String::from_utf8(ask.bytes()).unwrap();
        let path = target.split(' ').nth(1).unwrap().to_owned();
        let answer = ask.to(&gateway);
        assert_eq!(answer.status, *status, "{path}");
        // What is no HTTP is no request.
        if path == "/a" {
            continue;
        }
        let line = line_of(&gateway, &path);
        assert_says(&line, expected);
        assert_eq!(line["status"], *status);
        assert_eq!(line["bytes_out"], answer.body.len(), "{line}");
        assert_eq!(line["request_id"], answer.head.get("x-request-id").unwrap());
    }
}

#[test]
fn whoever_goes_away_has_a_line_with_what_they_took() {
    let upstream = Upstream::scripted(|conversation| {
        conversation.request()?;
        conversation.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhello")?;
        conversation.request().map(drop)
    });
    let gateway = Gateway::start(&setup(&upstream));
    let key = gateway.mint("crm");
    let mut client = gateway.client();
    client.send(Ask::get("/half").key(&key).bytes());
    assert_eq!(client.read_head().status, 200);
    let mut hello = [0; 5];
    std::io::Read::read_exact(client.reader(), &mut hello).unwrap();
    drop(client);
    let line = line_of(&gateway, "/half");
    assert_says(&line, &json!({ "status": 200, "bytes_out": 5, "key_id": key.id }));
}

#[test]
fn whoever_goes_away_before_there_is_an_answer_was_not_answered() {
    let upstream = Upstream::scripted(|conversation| {
        while conversation.request()?.is_some() {}
        Ok(())
    });
    let gateway = Gateway::start(&setup(&upstream));
    let key = gateway.mint("crm");
    let client = gateway.client();
    client.send(Ask::get("/never").key(&key).bytes());
    eventually("it is forwarded", || upstream.asked() > 0);
    drop(client);
    assert_says(&line_of(&gateway, "/never"), &json!({ "status": 499, "bytes_out": 0 }));
    assert_eq!(gateway.metrics().with("keyward_requests_total", "code=\"499\""), 1);
}

/// Sends so many requests over many connections; the ids that their answers name.
fn ask_many(gateway: &Gateway, key: &Key, count: usize, path: &str) -> BTreeSet<String> {
    let ids = crowd(CONNECTIONS, |_| {
        let mut client = gateway.client();
        let ask = || {
            let answer = client.ask(&Ask::get(path).key(key));
            assert_eq!(answer.status, 200);
            answer.head.get("x-request-id").unwrap().to_owned()
        };
        std::iter::repeat_with(ask).take(count / CONNECTIONS).collect::<Vec<_>>()
    });
    let all: BTreeSet<String> = ids.into_iter().flatten().collect();
    assert_eq!(all.len(), count, "two requests had one id");
    all
}

/// The ids in access lines, each of which is there once.
#[track_caller]
fn ids_of(lines: &[Value]) -> BTreeSet<String> {
    let ids: BTreeSet<String> =
        lines.iter().map(|it| it["request_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), lines.len(), "a request has two lines");
    ids
}

#[test]
fn no_line_is_lost_when_it_stops() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let mut gateway = Gateway::start(&setup(&upstream));
    let key = gateway.mint("crm");
    let asked = ask_many(&gateway, &key, 3_200, "/");
    gateway.stop();
    assert_eq!(ids_of(&access_lines(&gateway.log())), asked);
}

#[test]
fn lines_that_nobody_takes_hold_up_nobody_and_are_counted() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let mut pipe = Pipe::new();
    let mut gateway = Gateway::start_into(&pipe, &setup(&upstream).log("level = \"off\""));
    let key = gateway.mint("crm");
    // Far more than the pipe and the buffers before it take, while nobody reads.
    let path = format!("/{}", "a".repeat(6_000));
    let asked = ask_many(&gateway, &key, 1_600, &path);
    eventually("what waited for too long is dropped", || {
        gateway.metrics().count("keyward_access_log_dropped_total") > 0
    });
    let reader = std::thread::spawn(move || pipe.read_to_end());
    let last = ask_many(&gateway, &key, 16, "/last");
    eventually("there is room again", || {
        let before = gateway.metrics().count("keyward_access_log_dropped_total");
        ask_many(&gateway, &key, 16, "/more");
        gateway.metrics().count("keyward_access_log_dropped_total") == before
    });
    let dropped = gateway.metrics().count("keyward_access_log_dropped_total");
    gateway.stop();
    let lines = access_lines(&reader.join().unwrap());
    let written = ids_of(&lines);
    let of_flood = asked.intersection(&written).count() + last.intersection(&written).count();
    assert!(of_flood > 0, "what was taken is written");
    let missing = asked.len() + last.len() - of_flood;
    assert!(missing as u64 <= dropped, "{missing} are missing, {dropped} were counted");
}

const CONNECTIONS: usize = 16;
