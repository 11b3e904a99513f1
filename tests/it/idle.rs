//! A connection on which nobody asks costs little, and nobody notices.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::gateway::Gateway;
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;

/// Longer than it takes a connection to come to rest.
const A_REST: Duration = Duration::from_millis(1_700);

#[test]
fn a_connection_at_rest_goes_on_with_its_next_request() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Setup::to(upstream.address()));
    let key = gateway.mint("crm");
    let mut client = gateway.client();
    for _ in 0..3 {
        assert_eq!(client.ask(&Ask::get("/").key(&key)).status, 200);
        assert_eq!(client.ask(&Ask::post("/", "a body").key(&key)).status, 200);
        thread::sleep(A_REST);
    }
    assert_eq!(client.ask(&Ask::get("/").key(&key)).status, 200);
}

#[test]
fn what_came_of_the_next_request_before_the_rest_is_not_lost() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Setup::to(upstream.address()));
    let key = gateway.mint("crm");
    let mut client = gateway.client();
    let (whole, next) = (Ask::get("/one").key(&key).bytes(), Ask::get("/two").key(&key).bytes());
    let (half, rest) = next.split_at(next.len() / 2);
    client.send([&whole, half].concat());
    assert_eq!(client.read().status, 200);
    thread::sleep(A_REST);
    client.send(rest);
    assert_eq!(client.read().status, 200);
    assert_eq!(upstream.last().target(), "/two");
}

#[test]
fn what_is_left_of_a_body_that_was_answered_early_is_never_a_request() {
    let upstream = Upstream::scripted(|conversation| {
        conversation.head()?;
        conversation.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        // It goes on reading, whatever comes.
        std::io::copy(conversation.reader(), &mut std::io::sink()).map(drop)
    });
    let gateway = Gateway::start(&Setup::to(upstream.address()));
    let key = gateway.mint("crm");
    let mut client = gateway.client();
    let mut whole =
        Ask::post("/early", "a body of which only the first bytes are sent").key(&key).bytes();
    whole.truncate(whole.len() - 30);
    client.send(&whole);
    assert_eq!(client.read().status, 200);
    thread::sleep(A_REST);
    drop(client.try_send(Ask::get("/smuggled").key(&key).bytes()));
    client.assert_closed();
    let seen = upstream.bytes().concat();
    assert!(!String::from_utf8_lossy(&seen).contains("/smuggled"));
}

#[test]
fn half_a_head_behind_a_request_gets_408_at_header_timeout() {
    let upstream = Upstream::echo();
    let setup = Setup::to(upstream.address()).gateway("header_timeout = \"2s\"");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    let mut client = gateway.client();
    client.send([&Ask::get("/").key(&key).bytes()[..], b"GET / HTTP/1.1\r\nhost:"].concat());
    assert_eq!(client.read().status, 200);
    client.read().assert_problem(408, "request_timeout");
    client.assert_closed();
}

#[test]
fn a_connection_at_rest_is_closed_at_idle_timeout() {
    let upstream = Upstream::echo();
    let setup = Setup::to(upstream.address()).gateway("idle_timeout = \"3s\"");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    let mut client = gateway.client();
    assert_eq!(client.ask(&Ask::get("/").key(&key)).status, 200);
    let begun = Instant::now();
    client.assert_closed();
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn connections_at_rest_give_back_what_they_needed() {
    const COUNT: u64 = 2_000;
    /// hyper alone takes 18 and more; how little it is exactly, `make idle` measures.
    const KIB_EACH: u64 = 13;
    const BATCH: u64 = 200;
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Setup::to(upstream.address()).gateway("workers = 2"));
    let key = gateway.mint("crm");
    let ask = Ask::get("/").key(&key);
    let served = || {
        let mut client = gateway.client();
        assert_eq!(client.ask(&ask).status, 200);
        client
    };
    drop((0..50).map(|_| served()).collect::<Vec<Client>>());
    let before = gateway.rss_kib();
    // Not all at once: what those at rest have given back, the next ones take.
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..COUNT / BATCH {
        clients.extend((0..BATCH).map(|_| served()));
        thread::sleep(A_REST);
    }
    let each_kib = gateway.rss_kib().saturating_sub(before) / COUNT;
    assert!(each_kib < KIB_EACH, "{each_kib} KiB for each connection");
    for it in &mut clients {
        assert_eq!(it.ask(&ask).status, 200);
    }
}
