//! Every deadline fires on its own, never before its value and never a second after it.

use std::io::Read;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::support::address::fresh;
use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::gateway::{Gateway, Key};
use crate::support::http::{Framing, read_body};
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};

/// A gateway with one deadline of `LIMIT`; every other one is far away.
fn start(upstream: &Upstream, line: &str) -> (Gateway, Key) {
    let gateway = Gateway::start(&Setup::to(upstream.address()).gateway(line));
    let key = gateway.mint("crm");
    (gateway, key)
}

/// Runs what a deadline is to end. Nobody counts what the machine itself is late by.
#[track_caller]
fn assert_on_time<T>(began: Instant, ended: T) -> T {
    let took = began.elapsed();
    assert!(took >= LIMIT, "it fired after {took:?}");
    assert!(took <= LIMIT + LATE_MAX, "it fired after {took:?}");
    ended
}

#[test]
fn a_head_that_does_not_end_gets_408_at_header_timeout() {
    let upstream = Upstream::echo();
    let (gateway, key) = start(&upstream, "header_timeout = \"1500ms\"");
    let mut client = gateway.client();
    let head = Ask::get("/").key(&key).bytes();
    for _ in 0..2 {
        // Being idle before the first byte does not count.
        thread::sleep(LIMIT);
        client.send(&head[..head.len() / 2]);
        thread::sleep(LIMIT / 4);
        client.send(&head[head.len() / 2..]);
        assert_eq!(client.read().status, 200);
    }
    let began = Instant::now();
    client.send(&head[..head.len() / 2]);
    thread::sleep(LIMIT / 2);
    client.send("a");
    let answer = client.read();
    assert_on_time(began, answer).assert_problem(408, "request_timeout");
    client.assert_closed();
}

#[test]
fn a_connection_without_a_request_is_closed_at_idle_timeout() {
    let upstream = Upstream::echo();
    let (gateway, key) = start(&upstream, "idle_timeout = \"1500ms\"");
    let mut fresh = gateway.client();
    let began = Instant::now();
    fresh.assert_closed();
    assert_on_time(began, ());
    let mut used = gateway.client();
    assert_eq!(used.ask(&Ask::get("/").key(&key)).status, 200);
    let began = Instant::now();
    used.assert_closed();
    assert_on_time(began, ());
}

#[test]
fn a_body_that_stops_coming_gets_408_at_body_timeout() {
    let upstream = Upstream::echo();
    let (gateway, key) = start(&upstream, "body_timeout = \"1500ms\"");
    for framing in ["content-length: 1000", "transfer-encoding: chunked"] {
        let (name, value) = framing.split_once(": ").unwrap();
        let mut client = gateway.client();
        client.send(Ask::new("POST", "/").key(&key).header(name, value).bytes());
        client.send("3\r\nabc\r\n");
        let began = Instant::now();
        let answer = client.read();
        assert_on_time(began, answer).assert_problem(408, "request_timeout");
        client.assert_closed();
    }
    assert_eq!(upstream.asked(), 0);
}

#[test]
fn who_takes_nothing_is_closed_at_write_timeout() {
    let upstream = Upstream::answering(|_| ok(vec![b'x'; 64 << 20]));
    let (gateway, key) = start(&upstream, "write_timeout = \"1500ms\"");
    let mut client = Client::connect_narrow(gateway.address());
    client.send(Ask::get("/").key(&key).bytes());
    assert_eq!(client.read_head().status, 200);
    let began = Instant::now();
    // The gateway's end of it shows when the connection closes; the client reads nothing meanwhile.
    let open = || gateway.metrics().count("keyward_connections_open");
    assert_eq!(open(), 1);
    while open() > 0 {
        thread::sleep(Duration::from_millis(20));
        assert!(began.elapsed() <= LIMIT + LATE_MAX + LATE_MAX, "it was never closed");
    }
    assert_on_time(began, ());
    let read = client.read_to_end();
    assert!(read.len() < 64 << 20, "all of it came");
}

#[test]
fn an_upstream_that_does_not_answer_gets_504_at_response_timeout() {
    let upstream = Upstream::scripted(|conversation| {
        while conversation.request()?.is_some() {}
        Ok(())
    });
    let setup = Setup::empty().upstream("api", &[upstream.address()]);
    let setup = setup.upstream_line("response_timeout = \"1500ms\"").route("all", "path = \"/\"");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    for ask in [Ask::get("/"), Ask::post("/", "body")] {
        let began = Instant::now();
        let answer = ask.key(&key).to(&gateway);
        assert_on_time(began, answer).assert_problem(504, "upstream_timeout");
    }
}

#[test]
fn response_timeout_begins_when_the_request_has_ended() {
    let upstream = Upstream::echo();
    let setup = Setup::empty().upstream("api", &[upstream.address()]);
    let setup = setup.upstream_line("response_timeout = \"1500ms\"").route("all", "path = \"/\"");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    let mut client = gateway.client();
    client.send(Ask::new("POST", "/").key(&key).header("content-length", "8").bytes());
    for _ in 0..8 {
        thread::sleep(LIMIT / 4);
        client.send("x");
    }
    assert_eq!(client.read().status, 200);
}

#[test]
fn an_upstream_that_cannot_be_connected_to_gets_502_at_connect_timeout() {
    let full = FullBacklog::new();
    let setup = Setup::empty().upstream("api", &[full.listener.local_addr().unwrap()]);
    let setup = setup.upstream_line("connect_timeout = \"1500ms\"").route("all", "path = \"/\"");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    let began = Instant::now();
    let answer = Ask::get("/").key(&key).to(&gateway);
    assert_on_time(began, answer).assert_problem(502, "upstream_unreachable");
}

/// A listener that nobody accepts from, with a queue that is full: further connections hang.
struct FullBacklog {
    listener: TcpListener,
    _waiting: Vec<Socket>,
}

impl FullBacklog {
    fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&fresh().into()).unwrap();
        socket.listen(0).unwrap();
        let listener = TcpListener::from(socket);
        let waiting = (0..4).map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            drop(socket.connect(&listener.local_addr().unwrap().into()));
            socket
        });
        Self { _waiting: waiting.collect(), listener }
    }
}

#[test]
fn a_slow_but_steady_upload_is_not_cut() {
    let upstream = Upstream::echo();
    let setup = Setup::to(upstream.address())
        .gateway("header_timeout = \"1s\"\nbody_timeout = \"1s\"\nwrite_timeout = \"1s\"")
        .gateway("idle_timeout = \"1s\"");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    let mut client = gateway.client();
    client.send(Ask::new("POST", "/").key(&key).header("content-length", "4096").bytes());
    // 1 KiB/s.
    for _ in 0..16 {
        thread::sleep(Duration::from_millis(250));
        client.send([b'x'; 256]);
    }
    assert_eq!(client.read().json()["body_bytes"], 4096);
}

#[test]
fn a_slow_but_steady_download_is_not_cut() {
    let upstream = Upstream::answering(|_| ok(vec![b'x'; 16 << 20]));
    let setup = Setup::to(upstream.address()).gateway("write_timeout = \"4s\"");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    let mut client = Client::connect_narrow(gateway.address());
    client.send(Ask::get("/").key(&key).bytes());
    assert_eq!(client.read_head().status, 200);
    // 1 KiB/s, for three times the deadline.
    let mut piece = [0; 256];
    for _ in 0..48 {
        thread::sleep(Duration::from_millis(250));
        client.reader().get_mut().read_exact(&mut piece).unwrap();
        assert_eq!(piece, [b'x'; 256]);
    }
    assert_eq!(gateway.metrics().count("keyward_connections_open"), 1);
}

#[test]
fn a_slow_answer_is_not_cut_once_it_has_begun() {
    let upstream = Upstream::scripted(|conversation| {
        conversation.request()?;
        conversation.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")?;
        for _ in 0..4 {
            thread::sleep(LIMIT / 2);
            conversation.send("x")?;
        }
        Ok(())
    });
    let lines = "header_timeout = \"1s\"\nbody_timeout = \"1s\"\nwrite_timeout = \"1s\"\nidle_timeout = \"1s\"";
    let setup = Setup::empty().gateway(lines).upstream("api", &[upstream.address()]);
    let setup = setup.upstream_line("response_timeout = \"1s\"\nidle_timeout = \"1s\"");
    let gateway = Gateway::start(&setup.route("all", "path = \"/\""));
    let answer = Ask::get("/").key(&gateway.mint("crm")).to(&gateway);
    assert_eq!(answer.body, b"xxxx");
}

/// Answers before the request's body has come to its end, and goes on for twice the deadline.
fn answers_early() -> Upstream {
    Upstream::scripted(|conversation| {
        conversation.head()?;
        conversation.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        for _ in 0..40 {
            thread::sleep(LIMIT / 20);
            conversation.send("1\r\nx\r\n")?;
        }
        conversation.send("0\r\n\r\n")
    })
}

#[test]
fn an_answer_that_begins_before_the_upload_has_ended_is_not_cut() {
    let upstream = answers_early();
    let setup = Setup::empty().upstream("api", &[upstream.address()]);
    let setup = setup.upstream_line("response_timeout = \"1500ms\"").route("all", "path = \"/\"");
    let gateway = Gateway::start(&setup);
    let mut client = gateway.client();
    let ask = Ask::new("POST", "/").key(&gateway.mint("crm")).header("content-length", "8");
    client.send(ask.bytes());
    let head = client.read_head();
    assert_eq!(head.status, 200);
    // The end of the upload comes when the answer has begun.
    client.send("12345678");
    let mut body = Vec::new();
    read_body(client.reader(), Framing::Chunked, |bytes| body.extend_from_slice(bytes)).unwrap();
    assert_eq!(body.len(), 40);
}

#[test]
fn an_upload_that_stops_is_cut_at_body_timeout_though_the_answer_goes_on() {
    let upstream = answers_early();
    let (gateway, key) = start(&upstream, "body_timeout = \"1500ms\"");
    let mut client = gateway.client();
    client.send(Ask::new("POST", "/").key(&key).header("content-length", "8").bytes());
    assert_eq!(client.read_head().status, 200);
    let began = Instant::now();
    client.send("1234");
    let rest = client.read_to_end();
    assert_on_time(began, ());
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it ended as if it were whole");
}

#[test]
fn an_unused_connection_to_an_upstream_is_closed_at_its_idle_timeout() {
    let upstream = Upstream::scripted(|conversation| {
        conversation.request()?;
        conversation.send(ok("hello"))?;
        let began = Instant::now();
        let next = conversation.request()?;
        assert!(next.is_none());
        ENDED.lock().unwrap().push(began.elapsed());
        Ok(())
    });
    let setup = Setup::empty().upstream("api", &[upstream.address()]);
    let setup = setup.upstream_line("idle_timeout = \"1500ms\"").route("all", "path = \"/\"");
    let gateway = Gateway::start(&setup);
    assert_eq!(Ask::get("/").key(&gateway.mint("crm")).to(&gateway).status, 200);
    crate::support::wait::eventually("it is closed", || !ENDED.lock().unwrap().is_empty());
    let took = ENDED.lock().unwrap()[0];
    assert!(took >= LIMIT && took <= LIMIT + LATE_MAX, "{took:?}");
}

static ENDED: std::sync::Mutex<Vec<Duration>> = std::sync::Mutex::new(Vec::new());
const LIMIT: Duration = Duration::from_millis(1_500);
const LATE_MAX: Duration = Duration::from_secs(1);
