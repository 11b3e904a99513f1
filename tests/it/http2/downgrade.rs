//! What an upstream over HTTP/1.1 gets of a request over HTTP/2, byte for byte.

use crate::http2::case::Stage;
use crate::support::h2::frames::{
    CANCEL, END_HEADERS, END_STREAM, PROTOCOL_ERROR, Request, data, headers, reset,
};
use crate::support::h2::hpack::literal;
use crate::support::h2::peer::Peer;
use crate::support::wait::eventually;

#[test]
fn what_http_1_1_says_otherwise_is_said_so() {
    let stage = Stage::new();
    let mut peer = Peer::connect(stage.gateway().address());
    let request = Request::get("/good?a=b").with_all(&[
        ("cookie", "a=1"),
        ("x-a", "1"),
        ("cookie", "b=2; c=3"),
        ("cookie", "d=4"),
        ("te", "trailers"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
        ("x-keyward-owner", "me"),
        ("x_keyward_key_id", "1"),
        ("x-forwarded-for", "9.9.9.9"),
        ("expect", "100-continue"),
    ]);
    assert_eq!(peer.ask(&request).answer().status, 200);
    let bytes = stage.upstream().bytes().concat();
    let head = String::from_utf8(bytes).unwrap();
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    assert_eq!(lines.remove(0), "GET /good?a=b HTTP/1.1");
    assert_eq!(lines.split_off(lines.len() - 2), ["", ""]);
    lines.retain(|it| !it.starts_with("x-request-id: "));
    lines.sort_unstable();
    let source = peer.address().ip().to_string();
    let forwarded = format!("x-forwarded-for: {source}");
    let expected = [
        "connection: te",
        "cookie: a=1; b=2; c=3; d=4",
        "host: api.example.com",
        "te: trailers",
        "x-a: 1",
        &forwarded,
        "x-forwarded-host: api.example.com",
        "x-forwarded-proto: http",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_body_without_a_length_is_sent_in_chunks_with_its_trailers() {
    let stage = Stage::new();
    let mut peer = Peer::connect(stage.gateway().address());
    let stream = peer.new_stream();
    let sum = headers(stream, END_HEADERS | END_STREAM, literal("x-sum", "1"));
    let post = Request::post("/good").with("trailer", "x-sum").head(stream);
    peer.send([post, data(stream, 0, "abc"), sum].concat());
    assert_eq!(peer.outcome(stream).answer().status, 200);
    let last = stage.upstream().last();
    assert_eq!(
        (last.header("transfer-encoding"), last.header("content-length")),
        (Some("chunked"), None)
    );
    assert_eq!(last.body, b"abc");
    assert_eq!(last.trailers, [("x-sum".to_owned(), "1".to_owned())]);
}

/// Sends a body that ends so, and holds that its upstream never sees an end of it.
#[track_caller]
fn check_cut(length: Option<&str>, tail: impl Fn(u32) -> Vec<u8>) {
    let stage = Stage::new();
    let mut peer = Peer::connect(stage.gateway().address());
    let stream = peer.new_stream();
    let post =
        length.iter().fold(Request::post("/part"), |it, text| it.with("content-length", text));
    peer.send([post.head(stream), data(stream, 0, "abc")].concat());
    let sent = || stage.upstream().bytes().concat();
    eventually("the body's beginning goes up", || sent().windows(3).any(|it| it == b"abc"));
    peer.send(tail(stream));
    let before = stage.upstream().connections();
    assert_eq!(peer.ask(&Request::get("/good")).answer().status, 200);
    // That connection is never used again.
    assert_eq!(stage.upstream().connections(), before + 1);
    let bytes = stage.upstream().bytes();
    assert!(bytes[0].starts_with(b"POST /part ") && bytes[1].starts_with(b"GET /good "));
    assert!(!bytes[0].ends_with(b"0\r\n\r\n"));
    let body = if length.is_some() { &b"\r\n\r\nabc"[..] } else { b"\r\n\r\n3\r\nabc\r\n" };
    assert!(bytes[0].ends_with(body), "{}", String::from_utf8_lossy(&bytes[0]));
    assert_eq!(stage.upstream().asked(), 1);
}

#[test]
fn a_body_whose_stream_is_reset_goes_up_without_an_end() {
    for length in [None, Some("10")] {
        check_cut(length, |stream| reset(stream, CANCEL));
        check_cut(length, |stream| reset(stream, PROTOCOL_ERROR));
    }
}

#[test]
fn a_body_of_another_length_than_was_said_goes_up_without_an_end() {
    check_cut(Some("10"), |stream| data(stream, END_STREAM, "def"));
    check_cut(Some("10"), |stream| data(stream, 0, "defghijklmn"));
    check_cut(Some("10"), |stream| {
        headers(stream, END_HEADERS | END_STREAM, literal("x-sum", "1"))
    });
}

#[test]
fn a_body_with_malformed_trailers_goes_up_without_an_end() {
    let below = |name: &'static str| {
        move |stream| headers(stream, END_HEADERS | END_STREAM, literal(name, "1"))
    };
    check_cut(None, below("connection"));
    check_cut(None, below("transfer-encoding"));
    check_cut(None, |stream| headers(stream, END_HEADERS, literal("x-sum", "1")));
}
