//! Heads that two readers could read differently go no further, and disturb nobody.

use crate::support::ask::Ask;
use crate::support::gateway::{Gateway, Key};
use crate::support::http::Response;
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::wait::eventually;

/// A gateway with one worker, so that everybody is everybody's neighbour.
struct Stage {
    upstream: Upstream,
    gateway: Gateway,
    key: Key,
}

impl Stage {
    fn new() -> Self {
        let upstream = Upstream::echo();
        let gateway = Gateway::start(&Setup::to(upstream.address()).gateway("workers = 1"));
        let key = gateway.mint("crm");
        Self { upstream, gateway, key }
    }

    /// Sends bytes over a connection of their own; the answer. The upstream sees nothing of it,
    /// and a neighbour on the same worker goes on.
    #[track_caller]
    fn refused(&self, bytes: impl AsRef<[u8]>) -> Response {
        let mut neighbour = self.gateway.client();
        let ask = Ask::get("/neighbour").key(&self.key);
        assert_eq!(neighbour.ask(&ask).status, 200);
        let before = self.upstream.asked();
        let mut client = self.gateway.client();
        // Who is refused early may find the connection closed while it still sends.
        drop(client.try_send(bytes));
        let answer = client.read();
        assert_eq!(self.upstream.asked(), before, "the upstream was asked");
        assert_eq!(neighbour.ask(&ask).status, 200, "a neighbour noticed");
        answer
    }

    /// A GET with a good key, which would be let in if it were not for `lines`.
    fn get_with(&self, target: &str, lines: &str) -> String {
        format!("GET {target} HTTP/1.1\r\napi-key: {}\r\n{lines}\r\n", self.key.plaintext)
    }
}

#[test]
fn a_head_that_is_in_order_is_forwarded() {
    let stage = Stage::new();
    let mut client = stage.gateway.client();
    client.send(stage.get_with("/", "host: a\r\n"));
    assert_eq!(client.read().status, 200);
    assert_eq!(stage.upstream.last().header("host"), Some("a"));
}

#[test]
fn there_is_exactly_one_valid_host() {
    let stage = Stage::new();
    for lines in [
        "",
        "host: a\r\nhost: a\r\n",
        "host: a\r\nHost: b\r\n",
        "host: \r\n",
        "host: a b\r\n",
        "host: a/b\r\n",
        "host: user@a\r\n",
        "host: a:99999\r\n",
        "host: a:b\r\n",
        "host: a,b\r\n",
        "host: a#\r\n",
        "host: [::1\r\n",
    ] {
        stage.refused(stage.get_with("/", lines)).assert_problem(400, "bad_request");
    }
}

#[test]
fn http_1_0_needs_a_host_too() {
    let stage = Stage::new();
    let request = stage.get_with("/", "").replace("HTTP/1.1", "HTTP/1.0");
    stage.refused(request).assert_problem(400, "bad_request");
}

#[test]
fn a_body_ends_in_one_way_only() {
    let stage = Stage::new();
    for framing in [
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, gzip\r\n",
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: \r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5, 6\r\n",
        "content-length: -5\r\n",
        "content-length: +5\r\n",
        "content-length: 5 5\r\n",
        "content-length: 0x5\r\n",
        "content-length: 99999999999999999999999\r\n",
        "content-length: \r\n",
    ] {
        let head = stage.get_with("/", &format!("host: a\r\n{framing}"));
        let answer = stage.refused(head.replace("GET", "POST") + "0\r\n\r\n");
        answer.assert_problem(400, "bad_request");
        assert_eq!(answer.head.get("connection"), Some("close"), "{framing:?}");
    }
}

#[test]
fn a_line_has_one_reading() {
    let stage = Stage::new();
    for line in [
        "host : a\r\n",
        " host: a\r\n",
        "host: a\r\n folded: b\r\n",
        "host: a\r\nx: a\0b\r\n",
        "host: a\r\nx: a\rb\r\n",
        "host: a\r\nx y: b\r\n",
        "host: a\r\nx\r\n",
        "host: a\r\n: b\r\n",
    ] {
        stage.refused(stage.get_with("/", line)).assert_problem(400, "bad_request");
    }
}

#[test]
fn trace_and_connect_are_never_let_through() {
    let stage = Stage::new();
    let request = stage.get_with("/", "host: a\r\n").replacen("GET", "TRACE", 1);
    stage.refused(request).assert_problem(405, "method_not_allowed");
    let request = stage.get_with("/", "host: a\r\n").replacen("GET", "CONNECT", 1);
    stage.refused(request).assert_problem(405, "method_not_allowed");
    let request = stage.get_with("a:443", "host: a:443\r\n").replacen("GET", "CONNECT", 1);
    stage.refused(request).assert_problem(405, "method_not_allowed");
}

#[test]
fn a_method_is_not_endless() {
    let stage = Stage::new();
    for length in [33, 1_000, 70_000] {
        let request = stage.get_with("/", "host: a\r\n").replacen("GET", &"M".repeat(length), 1);
        stage.refused(request).assert_problem(400, "bad_request");
    }
}

#[test]
fn a_target_is_as_long_as_the_limit_and_no_longer() {
    let stage = Stage::new();
    let target = |length: usize| format!("/{}", "a".repeat(length - 1));
    let get = |length| stage.get_with(&target(length), "host: a\r\n");
    let mut client = stage.gateway.client();
    client.send(get(8 << 10));
    assert_eq!(client.read().status, 200);
    stage.refused(get((8 << 10) + 1)).assert_problem(414, "uri_too_long");
    stage.refused(get(65 << 10)).assert_problem(414, "uri_too_long");
    let host = "a".repeat(8 << 10);
    let absolute = stage.get_with(&format!("http://{host}/"), &format!("host: {host}\r\n"));
    stage.refused(absolute).assert_problem(414, "uri_too_long");
}

#[test]
fn headers_are_as_large_as_the_limit_and_no_larger() {
    let stage = Stage::new();
    let get = |length| stage.get_with("/", &format!("host: a\r\nx: {}\r\n", "a".repeat(length)));
    let mut client = stage.gateway.client();
    client.send(get(31 << 10));
    assert_eq!(client.read().status, 200);
    stage.refused(get(32 << 10)).assert_problem(431, "headers_too_large");
    stage.refused(get(100 << 10)).assert_problem(431, "headers_too_large");
}

#[test]
fn headers_are_as_many_as_the_limit_and_no_more() {
    let stage = Stage::new();
    let lines = |count: usize| -> String {
        let lines: Vec<String> = (0..count).map(|it| format!("x-{it}: 1\r\n")).collect();
        lines.concat()
    };
    // Besides these there are a host and a key.
    let mut client = stage.gateway.client();
    client.send(stage.get_with("/", &format!("host: a\r\n{}", lines(98))));
    assert_eq!(client.read().status, 200);
    for count in [99, 150, 2_000] {
        let request = stage.get_with("/", &format!("host: a\r\n{}", lines(count)));
        stage.refused(request).assert_problem(431, "headers_too_large");
    }
}

#[test]
fn what_is_not_http_gets_400() {
    let stage = Stage::new();
    let hello = [&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][..], &[7; 200]].concat();
    for bytes in [
        b"hello\r\n\r\n".as_slice(),
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"GET / HTTP/9.9\r\nhost: a\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GET / HTTP/1.1 \r\nhost: a\r\n\r\n",
        &hello,
    ] {
        stage.refused(bytes).assert_problem(400, "bad_request");
    }
}

#[test]
fn what_is_no_request_is_counted_and_logged_with_an_id() {
    let upstream = Upstream::echo();
    let setup = Setup::to(upstream.address()).log("access = true");
    let gateway = Gateway::start(&setup.gateway("header_timeout = \"500ms\""));
    let key = gateway.mint("crm");
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(65 << 10));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: 1\r\n".repeat(2_000));
    for (bytes, status, code) in [
        ("hello\r\n\r\n", 400, "bad_request"),
        (&*long, 414, "uri_too_long"),
        (&*many, 431, "headers_too_large"),
        ("GET / HTTP", 408, "request_timeout"),
    ] {
        let sample =
            format!(r#"keyward_requests_total{{route="_none",method="_OTHER",code="{status}"}}"#);
        let before = gateway.metrics().count(&sample);
        let mut client = gateway.client();
        // Also behind a request that was served.
        assert_eq!(client.ask(&Ask::get("/").key(&key)).status, 200);
        drop(client.try_send(bytes));
        let answer = client.read();
        answer.assert_problem(status, code);
        let id = answer.head.get("x-request-id").unwrap().to_owned();
        assert_eq!(answer.json()["request_id"], *id);
        assert_eq!(answer.head.get("connection"), Some("close"));
        client.assert_closed();
        assert_eq!(gateway.metrics().count(&sample), before + 1, "{code}");
        eventually("it is in the access log", || {
            let written = gateway.log();
            let line = written.lines().find(|it| it.contains("\"access\"") && it.contains(&id));
            line.is_some_and(|it| it.contains(code) && it.contains(&format!("\"status\":{status}")))
        });
    }
}

#[test]
fn a_key_of_10_mb_is_refused_unread() {
    let stage = Stage::new();
    let key = "k".repeat(10 << 20);
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\napi-key: {key}\r\n\r\n");
    stage.gateway.forget_peak();
    let before = stage.gateway.rss_kib();
    stage.refused(request).assert_problem(431, "headers_too_large");
    let grown = stage.gateway.peak_rss_kib().saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB of it were held in memory");
}

#[test]
fn a_head_that_never_ends_reaches_nobody() {
    let stage = Stage::new();
    let client = stage.gateway.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\napi-k");
    drop(client);
    let ask = Ask::get("/").key(&stage.key);
    assert_eq!(ask.to(&stage.gateway).status, 200);
    assert_eq!(stage.upstream.asked(), 1);
}

#[test]
fn a_length_beside_chunks_is_not_believed_and_ends_the_connection() {
    let stage = Stage::new();
    let inner = stage.get_with("/smuggled", "host: a\r\n");
    let (length, chunked) = (inner.len(), "transfer-encoding: chunked");
    for framing in [
        format!("content-length: {length}\r\n{chunked}\r\n"),
        format!("{chunked}\r\ncontent-length: {length}\r\n"),
    ] {
        let head = stage.get_with("/outer", &format!("host: a\r\n{framing}"));
        let mut client = stage.gateway.client();
        client.send(head.replacen("GET", "POST", 1) + "0\r\n\r\n" + &inner);
        assert_eq!(client.read().status, 200);
        client.assert_closed();
        let seen = stage.upstream.last();
        assert_eq!(seen.target(), "/outer");
        assert_eq!(seen.header("content-length"), None);
        assert_eq!(seen.body_bytes, 0);
    }
    assert_eq!(stage.upstream.asked(), 2);
}

#[test]
fn a_connection_outlives_a_refusal_whose_body_was_read_to_its_end() {
    let stage = Stage::new();
    let mut client = stage.gateway.client();
    for (framing, body) in [
        ("content-length", "5\r\nhello"),
        ("transfer-encoding", "chunked\r\n5\r\nhello\r\n0\r\n\r\n"),
    ] {
        let (value, body) = body.split_once("\r\n").unwrap();
        client.send(Ask::new("POST", "/").header(framing, value).bytes());
        client.send(body);
        let answer = client.read();
        answer.assert_problem(401, "missing_key");
        assert_eq!(answer.head.get("connection"), None, "{framing}");
    }
    assert_eq!(client.ask(&Ask::get("/").key(&stage.key)).status, 200);
}

#[test]
fn nothing_behind_a_refused_body_is_a_request() {
    let stage = Stage::new();
    let inner = stage.get_with("/smuggled", "host: a\r\n");
    for framing in [
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
    ] {
        // Read as chunks, the body ends well.
        for body in ["5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\nz\r\n", "0\r\n\r\n"] {
            let head = stage.get_with("/", &format!("host: a\r\n{framing}"));
            let mut client = stage.gateway.client();
            client.send(head.replacen("GET", "POST", 1) + body + &inner);
            let answer = client.read();
            answer.assert_problem(400, "bad_request");
            assert_eq!(answer.head.get("connection"), Some("close"), "{framing:?} {body:?}");
            client.assert_closed();
        }
    }
    assert_eq!(stage.upstream.asked(), 0);
}
