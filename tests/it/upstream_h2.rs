//! Requests over HTTP/2 to upstreams: many on one connection, and none lost when it ends.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::frames::Frames;
use crate::support::gateway::Gateway;
use crate::support::http2::Http2Upstream;
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::eventually;

/// One worker, so that it can be said how many connections there are to be.
fn start(url: &str) -> Gateway {
    Gateway::start(&Setup::open_to(url).gateway("workers = 1"))
}

/// Requests that are under way, each over a connection of its own.
fn send(gateway: &Gateway, count: usize, ask: &Ask) -> Vec<Client> {
    let sent = (0..count).map(|_| {
        let client = gateway.client();
        client.send(ask.bytes());
        client
    });
    sent.collect()
}

#[test]
fn many_requests_share_one_connection() {
    let upstream = Http2Upstream::start(1_000);
    let gateway = start(&upstream.url());
    let clients = send(&gateway, 60, &Ask::get("/wait"));
    eventually("all have come", || upstream.asked() == 60);
    assert_eq!(upstream.connections(), 1);
    upstream.release();
    for mut client in clients {
        assert_eq!(client.read().body, b"done");
    }
    let metrics = gateway.metrics();
    assert_eq!(metrics.count("keyward_upstream_connections_opened_total"), 1);
    assert_eq!(metrics.count("keyward_upstream_connections_reused_total"), 59);
}

#[test]
fn another_connection_is_opened_only_when_the_others_take_no_more() {
    let upstream = Http2Upstream::start(10);
    let gateway = start(&upstream.url());
    let mut clients = send(&gateway, 10, &Ask::get("/wait"));
    eventually("all have come", || upstream.asked() == 10);
    assert_eq!(upstream.connections(), 1);
    clients.extend(send(&gateway, 15, &Ask::get("/wait")));
    eventually("all have come", || upstream.asked() == 25);
    // Both are used up to what they take; whoever came while the second was being opened waited.
    assert_eq!(upstream.connections(), 3);
    upstream.release();
    for mut client in clients {
        assert_eq!(client.read().status, 200);
    }
    assert_eq!(Ask::get("/").to(&gateway).status, 200);
    assert_eq!(upstream.connections(), 3);
}

#[test]
fn a_head_is_as_http2_wants_it() {
    let upstream = Http2Upstream::start(100);
    let gateway = start(&upstream.url());
    let ask = Ask::get("/a/echo?b=c").header("te", "trailers").header("connection", "te, x-hop");
    let seen = ask.header("x-hop", "1").header("expect", "100-continue").to(&gateway).json();
    assert_eq!(seen["scheme"], "http");
    assert_eq!(seen["authority"], "api.example.com");
    assert_eq!(seen["path"], "/a/echo?b=c");
    let headers: Vec<(String, String)> = serde_json::from_value(seen["headers"].clone()).unwrap();
    let value = |name: &str| headers.iter().find(|it| it.0 == name).map(|it| it.1.as_str());
    assert_eq!(value("te"), Some("trailers"));
    assert_eq!(value("x-forwarded-host"), Some("api.example.com"));
    assert!(value("x-request-id").is_some());
    for gone in ["host", "connection", "x-hop", "expect", "content-length"] {
        assert_eq!(value(gone), None, "{gone}");
    }
}

#[test]
fn bodies_and_trailers_go_through_both_ways() {
    let upstream = Http2Upstream::start(100);
    let gateway = start(&upstream.url());
    let body = vec![b'a'; 1 << 20];
    let seen = Ask::post("/echo", &body).to(&gateway).json();
    assert_eq!(seen["body_bytes"], 1 << 20);
    assert_eq!(seen["method"], "POST");
    let mut client = gateway.client();
    let ask = Ask::new("POST", "/echo").header("transfer-encoding", "chunked");
    client.send(ask.header("trailer", "x-check").bytes());
    client.send("3\r\nabc\r\n0\r\nx-check: 9\r\n\r\n");
    let seen = client.read().json();
    assert_eq!((&seen["body_bytes"], &seen["trailers"]), (&json!(3), &json!([["x-check", "9"]])));
    let ask = Ask::get("/trailing").header("te", "trailers").header("connection", "te");
    let answer = client.ask(&ask);
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"body"[..]));
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    assert_eq!(client.ask(&Ask::new("HEAD", "/")).status, 200);
    assert_eq!(client.ask(&Ask::get("/hints")).body, b"done");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn who_goes_away_ends_their_own_request_alone() {
    let upstream = Http2Upstream::start(100);
    let gateway = start(&upstream.url());
    let [leaving, mut staying] = [(); 2].map(|()| send(&gateway, 1, &Ask::get("/wait")).remove(0));
    eventually("both have come", || upstream.asked() == 2);
    drop(leaving);
    eventually("one is given up", || upstream.resets() == 1);
    upstream.release();
    assert_eq!(staying.read().body, b"done");
    assert_eq!((upstream.connections(), upstream.resets()), (1, 1));
}

#[test]
fn an_answer_that_is_cut_short_never_seems_whole() {
    let upstream = Http2Upstream::start(100);
    let gateway = start(&upstream.url());
    let mut client = gateway.client();
    client.send(Ask::get("/cut").bytes());
    assert_eq!(client.read_head().status, 200);
    let rest = client.read_to_end();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{:?}", String::from_utf8_lossy(&rest));
    Ask::get("/lengths").to(&gateway).assert_problem(502, "upstream_failed");
    assert_eq!(Ask::get("/").to(&gateway).status, 200);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn what_was_not_looked_at_before_a_goaway_is_sent_again() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let upstream = Upstream::scripted(move |conversation| {
        let mut frames = Frames::begin(conversation.stream())?;
        let is_first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        if !is_first {
            loop {
                let stream = frames.request()?;
                frames.answer(stream)?;
            }
        }
        let streams = (0..10).map(|_| frames.request()).collect::<Result<Vec<_>, _>>()?;
        frames.go_away(streams[3])?;
        for stream in &streams[..4] {
            frames.answer(*stream)?;
        }
        // It stays open until the other side has nothing more to ask.
        frames.request().map(drop)
    });
    let gateway = start(&format!("h2://{}", upstream.address()));
    let mut clients = send(&gateway, 5, &Ask::get("/"));
    clients.extend(send(&gateway, 5, &Ask::post("/", "hello")));
    for mut client in clients {
        assert_eq!(client.read().status, 200);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[test]
fn what_was_refused_is_sent_again() {
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refused);
    let upstream = Upstream::scripted(move |conversation| {
        let mut frames = Frames::begin(conversation.stream())?;
        loop {
            let stream = frames.request()?;
            if counted.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                frames.refuse(stream)?;
            } else {
                frames.answer(stream)?;
            }
        }
    });
    let gateway = start(&format!("h2://{}", upstream.address()));
    for method in ["GET", "DELETE", "POST"] {
        assert_eq!(Ask::new(method, "/").to(&gateway).status, 200, "{method}");
    }
    assert_eq!(refused.load(Ordering::SeqCst), 6);
}

#[test]
fn what_was_refused_is_sent_again_with_its_body() {
    let (refused, bodies) = (AtomicBool::new(false), Arc::new(Mutex::new(Vec::new())));
    let seen = Arc::clone(&bodies);
    let upstream = Upstream::scripted(move |conversation| {
        let mut frames = Frames::begin(conversation.stream())?;
        loop {
            let stream = frames.request()?;
            let body = frames.body(stream)?;
            if refused.fetch_xor(true, Ordering::SeqCst) {
                seen.lock().unwrap().push(body);
                frames.answer(stream)?;
            } else {
                frames.refuse(stream)?;
            }
        }
    });
    let gateway = start(&format!("h2://{}", upstream.address()));
    let body = "hello ".repeat(5_000);
    assert_eq!(Ask::post("/", &body).to(&gateway).status, 200);
    let mut client = gateway.client();
    client.send(Ask::new("POST", "/").header("transfer-encoding", "chunked").bytes());
    client.send("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
    assert_eq!(client.read().status, 200);
    assert_eq!(*bodies.lock().unwrap(), [body.as_bytes(), b"hello world"]);
}

/// Resets every request as what it has failed at.
fn failing(asked: &Arc<AtomicUsize>) -> Upstream {
    let asked = Arc::clone(asked);
    Upstream::scripted(move |conversation| {
        let mut frames = Frames::begin(conversation.stream())?;
        loop {
            let stream = frames.request()?;
            asked.fetch_add(1, Ordering::SeqCst);
            frames.reset(stream, INTERNAL_ERROR)?;
        }
    })
}

#[test]
fn what_the_upstream_fails_at_is_sent_again_only_as_often_as_retries_says() {
    for retries in [0, 1, 2] {
        let asked = Arc::<AtomicUsize>::default();
        let upstream = failing(&asked);
        let setup = Setup::open_to(&format!("h2://{}", upstream.address()));
        let setup = setup.upstream_line(&format!("retries = {retries}\nretry_budget = \"100%\""));
        let gateway = Gateway::start(&setup);
        // Over a fresh connection at first, and then over one that was used.
        for number in 1..=5 {
            Ask::get("/").to(&gateway).assert_problem(502, "upstream_failed");
            let count = asked.load(Ordering::SeqCst);
            assert!((number..=number * (1 + retries)).contains(&count), "{count} with {retries}");
        }
        assert_eq!(asked.load(Ordering::SeqCst) > 5, retries > 0);
        let before = asked.load(Ordering::SeqCst);
        Ask::post("/", "x").to(&gateway).assert_problem(502, "upstream_failed");
        assert_eq!(asked.load(Ordering::SeqCst), before + 1);
    }
}

#[test]
fn an_endpoint_that_resets_what_it_fails_at_is_ejected() {
    let asked = Arc::<AtomicUsize>::default();
    let (faulty, sound) = (failing(&asked), Http2Upstream::start(100));
    let urls = [format!("h2://{}", faulty.address()), sound.url()];
    let setup = Setup::empty().gateway("workers = 1").upstream_at("api", &urls);
    let setup = setup
        .upstream_line("ejection = { failures = 3, period = \"60s\" }\nbalance = \"round_robin\"")
        .upstream_line("retry_budget = \"100%\"")
        .route("all", "path = \"/\"\naccess = \"public\"");
    let gateway = Gateway::start(&setup);
    for _ in 0..20 {
        assert_eq!(Ask::get("/").to(&gateway).status, 200);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    assert_eq!(gateway.metrics().with("keyward_upstream_ejections_total", ""), 1);
}

#[test]
fn who_does_not_speak_http2_is_not_spoken_to() {
    let upstream = Upstream::answering(|_| ok("hello"));
    let gateway = start(&format!("h2://{}", upstream.address()));
    Ask::get("/").to(&gateway).assert_problem(502, "upstream_unreachable");
    eventually("the log says why", || gateway.log().contains("does not speak HTTP/2"));
}

#[test]
fn no_request_is_lost_while_connections_come_and_go() {
    // Every connection says goodbye after some requests, and goes on answering what it took.
    let upstream = Upstream::scripted(|conversation| {
        let mut frames = Frames::begin(conversation.stream())?;
        let mut last = 0;
        for _ in 0..25 {
            last = frames.request()?;
            frames.answer(last)?;
        }
        frames.go_away(last)?;
        frames.request().map(drop)
    });
    let gateway = start(&format!("h2://{}", upstream.address()));
    let address = gateway.address();
    let asking = (0..4).map(|_| {
        thread::spawn(move || {
            let mut client = Client::connect(address);
            (0..250).filter(|_| client.ask(&Ask::get("/")).status != 200).count()
        })
    });
    let asking: Vec<_> = asking.collect();
    let failed: usize = asking.into_iter().map(|it| it.join().unwrap()).sum();
    assert_eq!(failed, 0);
    assert!(upstream.connections() >= 40, "{}", upstream.connections());
}

/// RFC 9113, 7.
const INTERNAL_ERROR: u32 = 2;
