//! Requests reach an endpoint that is there, in the shape in which they were sent, and once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::address::fresh;
use crate::support::ask::Ask;
use crate::support::crowd::crowd;
use crate::support::gateway::{Gateway, Key};
use crate::support::http::Framing;
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::eventually;

fn start(upstream: &Upstream) -> (Gateway, Key) {
    let gateway = Gateway::start(&Setup::to(upstream.address()));
    let key = gateway.mint("crm");
    (gateway, key)
}

#[test]
fn two_endpoints_take_turns() {
    let (one, two) = (Upstream::echo(), Upstream::echo());
    let setup = Setup::empty().upstream("api", &[one.address(), two.address()]);
    let setup = setup.upstream_line("balance = \"round_robin\"").route("all", "path = \"/\"");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    let mut client = gateway.client();
    for _ in 0..100 {
        assert_eq!(client.ask(&Ask::get("/").key(&key)).status, 200);
    }
    assert_eq!((one.asked(), two.asked()), (50, 50));
}

#[test]
fn the_less_busy_endpoint_gets_the_request() {
    let waits = Arc::new(AtomicBool::new(true));
    let is_held = Arc::clone(&waits);
    let busy = Upstream::scripted(move |conversation| {
        while conversation.request()?.is_some() {
            eventually("the test lets go", || !is_held.load(Ordering::Relaxed));
            conversation.send(ok("busy"))?;
        }
        Ok(())
    });
    let idle = Upstream::echo();
    let setup = Setup::empty().upstream("api", &[busy.address(), idle.address()]);
    let gateway = Gateway::start(&setup.route("all", "path = \"/\""));
    let key = gateway.mint("crm");
    let ask = Ask::get("/").key(&key);
    let mut held = Vec::new();
    // Of two equally idle ones either may be drawn; of two it is soon the first that hangs.
    while busy.asked() == 0 {
        let client = gateway.client();
        client.send(ask.bytes());
        let before = busy.asked() + idle.asked();
        held.push(client);
        eventually("one of them is asked", || {
            busy.asked() + idle.asked() > before || busy.asked() > 0
        });
    }
    let before = idle.asked();
    for _ in 0..100 {
        assert_eq!(ask.to(&gateway).status, 200);
    }
    assert_eq!((busy.asked(), idle.asked() - before), (1, 100));
    waits.store(false, Ordering::Relaxed);
    for it in &mut held {
        assert_eq!(it.read().status, 200);
    }
}

#[test]
fn one_endpoint_down_is_not_noticed() {
    for balance in ["round_robin", "least_requests"] {
        let up = Upstream::echo();
        let setup = Setup::empty().upstream("api", &[fresh(), up.address()]);
        let setup = setup.upstream_line(&format!("balance = {balance:?}"));
        let gateway = Gateway::start(&setup.route("all", "path = \"/\""));
        let key = gateway.mint("crm");
        for _ in 0..50 {
            assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
            assert_eq!(Ask::post("/", "x").key(&key).to(&gateway).status, 200);
        }
        assert_eq!(up.asked(), 100);
    }
}

#[test]
fn no_endpoint_up_is_told_as_such() {
    let gateway = Gateway::start(&Setup::to(fresh()));
    let key = gateway.mint("crm");
    for ask in [Ask::get("/"), Ask::post("/", "x")] {
        ask.key(&key).to(&gateway).assert_problem(502, "upstream_unreachable");
    }
    assert_eq!(gateway.metrics().count("keyward_upstream_errors_total"), 2);
}

#[test]
fn an_upstream_that_does_not_speak_http_has_failed() {
    for answer in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx y: z\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nhello",
    ] {
        let upstream = Upstream::scripted(move |conversation| {
            conversation.request()?;
            conversation.send(answer)
        });
        let (gateway, key) = start(&upstream);
        Ask::get("/").key(&key).to(&gateway).assert_problem(502, "upstream_failed");
    }
}

#[test]
fn an_answer_is_framed_by_us_whatever_the_upstream_says_of_its_length() {
    for answer in [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\n\r\nhello",
    ] {
        let upstream = Upstream::scripted(move |conversation| {
            conversation.request()?;
            conversation.send(answer)
        });
        let (gateway, key) = start(&upstream);
        let mut client = gateway.client();
        let got = client.ask(&Ask::get("/").key(&key));
        assert_eq!((got.status, &*got.body), (200, &b"hello"[..]), "{answer}");
        assert_eq!(got.head.word(0), "HTTP/1.1", "{answer}");
        let lengths = got.head.all("content-length");
        assert!(lengths.is_empty() || lengths == ["5"], "{answer}");
        // And the connection is good for the next.
        assert_eq!(client.ask(&Ask::get("/").key(&key)).status, 200);
    }
}

/// Answers the first request of its first eight connections once all eight have come, and every
/// other request with `answer` and the end of the connection.
fn ends_after_one(answer: &'static str) -> Upstream {
    let warm = Arc::new(AtomicUsize::new(0));
    Upstream::scripted(move |conversation| {
        if conversation.number() < 8 {
            conversation.request()?;
            warm.fetch_add(1, Ordering::SeqCst);
            eventually("all have come", || warm.load(Ordering::SeqCst) == 8);
            conversation.send(ok("ok"))?;
        }
        conversation.request()?;
        conversation.send(answer)
    })
}

#[test]
fn without_retries_what_may_have_been_sent_is_sent_once_more_at_most_and_never_after_a_byte() {
    for (answer, sent) in [("", 2), ("SSH-2.0-OpenSSH_9.6\r\n\r\n", 1), ("HTTP/1.1 200 OK\r\n", 1)]
    {
        let upstream = ends_after_one(answer);
        let setup = Setup::to(upstream.address()).gateway("workers = 1");
        let gateway = Gateway::start(&setup.upstream_line("retries = 0"));
        let ask = Ask::get("/").key(&gateway.mint("crm"));
        let warm = crowd(8, |_| ask.to(&gateway).status);
        assert_eq!((warm, upstream.asked()), (vec![200; 8], 8));
        ask.to(&gateway).assert_problem(502, "upstream_failed");
        assert_eq!(upstream.asked() - 8, sent, "{answer:?}");
        assert_eq!(upstream.connections() - 8, sent - 1, "{answer:?}");
    }
}

#[test]
fn an_answer_that_breaks_off_is_seen_to_break_off() {
    for head in ["content-length: 100", "transfer-encoding: chunked"] {
        let upstream = Upstream::scripted(move |conversation| {
            conversation.request()?;
            conversation.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n"))
        });
        let (gateway, key) = start(&upstream);
        let mut client = gateway.client();
        assert!(client.try_ask(&Ask::get("/").key(&key)).is_err(), "{head}");
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole() {
    let upstream = Upstream::scripted(|conversation| {
        conversation.request()?;
        conversation.send("HTTP/1.1 200 OK\r\n\r\nhello")
    });
    let (gateway, key) = start(&upstream);
    let mut client = gateway.client();
    for _ in 0..2 {
        assert_eq!(client.ask(&Ask::get("/").key(&key)).body, b"hello");
    }
}

#[test]
fn answers_without_a_body_have_none() {
    let upstream = Upstream::answering(|request| {
        let (status, more) = match (request.method(), request.target()) {
            ("HEAD", _) => ("200 OK", "content-length: 1000\r\n"),
            (_, "/204") => ("204 No Content", ""),
            (_, "/304") => ("304 Not Modified", "etag: \"a\"\r\ncontent-length: 1000\r\n"),
            _ => ("200 OK", "content-length: 0\r\n"),
        };
        format!("HTTP/1.1 {status}\r\n{more}\r\n").into_bytes()
    });
    let (gateway, key) = start(&upstream);
    let mut client = gateway.client();
    for (method, target, status) in
        [("HEAD", "/", 200), ("GET", "/204", 204), ("GET", "/304", 304), ("GET", "/empty", 200)]
    {
        let answer = client.ask(&Ask::new(method, target).key(&key));
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{method} {target}");
    }
    let head = client.ask(&Ask::new("HEAD", "/").key(&key)).head;
    assert_eq!(head.get("content-length"), Some("1000"));
    assert_eq!(upstream.connections(), 1, "a connection was thrown away");
}

#[test]
fn bodies_keep_their_framing_both_ways() {
    let upstream = Upstream::answering(|request| match request.target() {
        "/chunked" => {
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
                .to_vec()
        }
        _ => ok("abcde"),
    });
    let (gateway, key) = start(&upstream);
    let mut client = gateway.client();
    for (target, framing) in [("/chunked", Framing::Chunked), ("/length", Framing::Length(5))] {
        let ask = Ask::new("POST", target).key(&key).header("transfer-encoding", "chunked");
        client.send([&*ask.bytes(), b"4;ext=1\r\nwxyz\r\n1\r\n!\r\n0\r\n\r\n"].concat());
        let answer = client.read();
        assert_eq!((answer.framing_of_answer("POST"), &*answer.body), (framing, &b"abcde"[..]));
        let seen = upstream.last();
        assert_eq!(seen.header("transfer-encoding"), Some("chunked"));
        assert_eq!((seen.header("content-length"), &*seen.body), (None, &b"wxyz!"[..]));
    }
    assert_eq!(client.ask(&Ask::post("/length", "12345").key(&key)).body, b"abcde");
    let seen = upstream.last();
    assert_eq!(seen.header("content-length"), Some("5"));
    assert_eq!((seen.header("transfer-encoding"), &*seen.body), (None, &b"12345"[..]));
}

#[test]
fn trailers_go_through_both_ways() {
    let upstream = Upstream::answering(|_| TRAILING.to_vec());
    let (gateway, key) = start(&upstream);
    let ask = Ask::new("POST", "/").key(&key).header("transfer-encoding", "chunked");
    let ask = ask.header("trailer", "x-check").header("te", "trailers").header("connection", "te");
    let mut client = gateway.client();
    client.send([&*ask.bytes(), b"2\r\nhi\r\n0\r\nx-check: 9\r\n\r\n"].concat());
    let answer = client.read();
    assert_eq!(answer.body, b"ok");
    let seen = upstream.last();
    assert_eq!(seen.trailers, [("x-check".to_owned(), "9".to_owned())]);
    assert_eq!((seen.header("te"), seen.header("connection")), (Some("trailers"), Some("te")));
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "7".to_owned())]);
}

#[test]
fn trailers_do_not_cost_a_connection() {
    let upstream = Upstream::answering(|request| match request.target() {
        "/down" => TRAILING.to_vec(),
        _ => ok("ok"),
    });
    let gateway = Gateway::start(&Setup::to(upstream.address()).gateway("workers = 1"));
    let key = gateway.mint("crm");
    let mut client = gateway.client();
    for _ in 0..4 {
        let ask = Ask::new("POST", "/up").key(&key).header("transfer-encoding", "chunked");
        client.send(ask.header("trailer", "x-check").bytes());
        client.send("2\r\nhi\r\n0\r\nx-check: 9\r\n\r\n");
        assert_eq!(client.read().status, 200);
        let ask = Ask::get("/down").key(&key).header("te", "trailers").header("connection", "te");
        assert_eq!(client.ask(&ask).trailers.len(), 1);
    }
    assert_eq!(upstream.connections(), 1, "a connection was thrown away");
}

#[test]
fn the_upstream_sees_the_host_that_it_is_to_see() {
    let upstream = Upstream::echo();
    for (line, host) in [
        ("host = \"client\"", "api.example.com".to_owned()),
        ("host = \"endpoint\"", upstream.address().to_string()),
        ("host = \"inner.example.com\"", "inner.example.com".to_owned()),
    ] {
        let setup = Setup::empty().upstream("api", &[upstream.address()]).upstream_line(line);
        let gateway = Gateway::start(&setup.route("all", "path = \"/\""));
        let answer = Ask::get("/").key(&gateway.mint("crm")).to(&gateway);
        assert_eq!(answer.status, 200);
        assert_eq!(upstream.last().header("host"), Some(&*host));
        assert_eq!(upstream.last().header("x-forwarded-host"), Some("api.example.com"));
    }
}

#[test]
fn interim_answers_do_not_end_a_request() {
    let upstream = Upstream::answering(|_| {
        [b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".to_vec(), ok("done")].concat()
    });
    let (gateway, key) = start(&upstream);
    let answer = Ask::get("/").key(&key).to(&gateway);
    assert_eq!((answer.status, &*answer.body), (200, &b"done"[..]));
}

/// An answer with a trailer.
const TRAILING: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
    2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n";
