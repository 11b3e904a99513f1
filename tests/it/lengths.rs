//! A body is no longer than its route allows: what is longer never reaches the upstream whole.

use std::io::BufRead;
use std::thread;

use serde_json::json;

use crate::support::ask::Ask;
use crate::support::gateway::{Gateway, Key};
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::wait::eventually;

/// At most 1 KiB below `/small/`, and anything elsewhere.
fn start(upstream: &Upstream) -> (Gateway, Key) {
    let setup = Setup::to(upstream.address()).gateway("workers = 1");
    let setup = setup.route("small", "path = \"/small/\"\nmax_body = \"1KiB\"");
    let setup = setup.route("none", "path = \"/none/\"\nmax_body = \"0B\"");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    (gateway, key)
}

fn chunked(path: &str, key: &Key) -> Vec<u8> {
    Ask::new("POST", path).key(key).header("transfer-encoding", "chunked").bytes()
}

/// So many chunks of 256 bytes, and no last one.
fn chunks(count: usize) -> Vec<u8> {
    let chunk = [&b"100\r\n"[..], &[b'x'; 256], b"\r\n"].concat();
    chunk.repeat(count)
}

#[test]
fn a_body_that_is_not_forwarded_costs_nothing() {
    let upstream = Upstream::echo();
    let (gateway, _key) = start(&upstream);
    let limited = json!({ "name": "limited", "quota": "2/month", "rate": "2/min" });
    let key = gateway.mint_as(&limited);
    let post =
        |key: &Key, bytes: usize| Ask::post("/small/x", vec![0; bytes]).key(key).to(&gateway);
    (0..5).for_each(|_| post(&key, 1025).assert_problem(413, "body_too_large"));
    (0..2).for_each(|_| assert_eq!(post(&key, 1024).status, 200));
    post(&key, 1024).assert_problem(429, "quota_exhausted");
    // Who may not pass is told nothing of lengths.
    gateway.revoke(&key.id);
    post(&key, 1025).assert_problem(401, "revoked_key");
}

#[test]
fn a_body_as_long_as_allowed_goes_through_however_it_is_framed() {
    let upstream = Upstream::echo();
    let (gateway, key) = start(&upstream);
    let ask = Ask::post("/small/x", [0; 1024]).key(&key);
    assert_eq!(ask.to(&gateway).json()["body_bytes"], 1024);
    let mut client = gateway.client();
    client.send([chunked("/small/x", &key), chunks(4), b"0\r\n\r\n".to_vec()].concat());
    assert_eq!(client.read().json()["body_bytes"], 1024);
    assert_eq!(Ask::post("/x", vec![0; 100_000]).key(&key).to(&gateway).status, 200);
    assert_eq!(Ask::get("/none/x").key(&key).to(&gateway).status, 200);
    Ask::post("/none/x", "a").key(&key).to(&gateway).assert_problem(413, "body_too_large");
}

#[test]
fn a_body_goes_through_whatever_the_method() {
    let upstream = Upstream::echo();
    let (gateway, key) = start(&upstream);
    for method in ["GET", "DELETE", "OPTIONS", "QUERY"] {
        let ask = Ask::new(method, "/x").key(&key).header("transfer-encoding", "chunked");
        let mut client = gateway.client();
        client.send([ask.bytes(), chunks(2), b"0\r\n\r\n".to_vec()].concat());
        assert_eq!(client.read().json()["body_bytes"], 512, "{method}");
        client.send([ask.bytes(), b"0\r\n\r\n".to_vec()].concat());
        assert_eq!(client.read().json()["body_bytes"], 0, "{method}");
        let ask = Ask::with_body(method, "/x", "hello").key(&key);
        assert_eq!(client.ask(&ask).json()["body_bytes"], 5, "{method}");
    }
}

#[test]
fn a_length_beyond_the_limit_is_refused_at_once() {
    let upstream = Upstream::echo();
    let (gateway, key) = start(&upstream);
    let mut client = gateway.client();
    let ask = Ask::post("/small/x", [0; 1025]).key(&key);
    client.ask(&ask).assert_problem(413, "body_too_large");
    // It was read away: the connection goes on.
    assert_eq!(client.ask(&Ask::get("/small/x").key(&key)).status, 200);
    assert_eq!(upstream.asked(), 1);
    // Nothing of it has to come first.
    let endless = Ask::new("POST", "/small/x").key(&key).header("content-length", "1099511627776");
    for ask in [endless.clone(), endless.header("expect", "100-continue")] {
        let client = &mut gateway.client();
        client.send(ask.bytes());
        let mut line = String::new();
        client.reader().read_line(&mut line).unwrap();
        assert_eq!(line, "HTTP/1.1 413 Payload Too Large\r\n");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn who_is_refused_does_not_learn_how_long_a_body_may_be() {
    let upstream = Upstream::echo();
    let (gateway, _key) = start(&upstream);
    let ask = Ask::post("/small/x", [0; 2048]);
    ask.to(&gateway).assert_problem(401, "missing_key");
    ask.key(&Key::unknown()).to(&gateway).assert_problem(401, "unknown_key");
}

#[test]
fn a_body_that_grows_too_long_never_ends_well_upstream() {
    let upstream = Upstream::echo();
    let (gateway, key) = start(&upstream);
    // A connection that is there already is not used again.
    assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
    for body in [
        [chunks(5), b"0\r\n\r\n".to_vec()].concat(),
        [b"1000\r\n".to_vec(), vec![b'x'; 4096], b"\r\n0\r\n\r\n".to_vec()].concat(),
        chunks(64),
    ] {
        let mut client = gateway.client();
        client.send(chunked("/small/x", &key));
        drop(client.try_send(&body));
        let answer = client.read();
        answer.assert_problem(413, "body_too_large");
        assert_eq!(answer.head.get("connection"), Some("close"));
        client.assert_closed();
        assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
    }
    assert_eq!(upstream.asked(), 4, "a body that was too long came to its end");
    for bytes in upstream.bytes() {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((_, body)) = text.split_once("POST /small/x") {
            assert!(!body.contains("\r\n0\r\n"), "a last chunk was sent: {text}");
            assert!(body.matches('x').count() < 1024 + 100, "{text}");
            assert!(!body.contains("GET /"), "the connection was used again: {text}");
        }
    }
    assert_eq!(gateway.metrics().count("keyward_upstream_errors_total"), 0, "it was blamed");
}

#[test]
fn what_comes_slowly_is_counted_too() {
    let upstream = Upstream::echo();
    let (gateway, key) = start(&upstream);
    let mut client = gateway.client();
    client.send(chunked("/small/x", &key));
    client.send(chunks(4));
    eventually("the upstream has what is allowed", || {
        let chunk = [b'x'; 256];
        upstream.bytes().iter().any(|it| it.windows(256).filter(|it| *it == chunk).count() == 4)
    });
    client.send("1\r\ny\r\n");
    client.read().assert_problem(413, "body_too_large");
    assert!(upstream.bytes().iter().all(|it| !it.contains(&b'y') || !it.ends_with(b"0\r\n\r\n")));
    assert_eq!(upstream.asked(), 0);
}

#[test]
fn an_answer_that_has_begun_is_broken_off() {
    let upstream = Upstream::scripted(|conversation| {
        conversation.head()?;
        conversation.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")?;
        // Reads on until the gateway has had enough.
        let mut rest = Vec::new();
        drop(std::io::Read::read_to_end(conversation.reader(), &mut rest));
        thread::sleep(std::time::Duration::from_millis(100));
        conversation.send("0\r\n\r\n")
    });
    let (gateway, key) = start(&upstream);
    let mut client = gateway.client();
    client.send(chunked("/small/x", &key));
    client.send(chunks(1));
    assert_eq!(client.read_head().status, 200);
    drop(client.try_send(chunks(8)));
    let rest = client.read_to_end();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{:?}", String::from_utf8_lossy(&rest));
}
