//! Connections are as many as they may be, in all and from one address.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Barrier;
use std::time::Duration;

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::crowd::crowd;
use crate::support::gateway::{Gateway, Key};
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::wait::eventually;

fn start(line: &str) -> (Upstream, Gateway, Key) {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Setup::to(upstream.address()).gateway(line));
    let key = gateway.mint("crm");
    (upstream, gateway, key)
}

#[test]
fn who_finds_no_place_waits_until_there_is_one() {
    let (_upstream, gateway, key) = start("max_connections = 4");
    let ask = Ask::get("/").key(&key);
    let mut seated: Vec<Client> = (0..4).map(|_| gateway.client()).collect();
    for it in &mut seated {
        assert_eq!(it.ask(&ask).status, 200);
    }
    let mut waiting = gateway.client();
    waiting.send(ask.bytes());
    waiting.stream().set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(waiting.try_read().is_err(), "a fifth one was served");
    waiting.stream().set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    for it in &mut seated {
        assert_eq!(it.ask(&ask).status, 200);
    }
    drop(seated);
    assert_eq!(waiting.read().status, 200);
}

#[test]
fn one_address_has_so_many_connections_and_no_more() {
    let (_upstream, gateway, key) = start("max_connections_per_address = 3");
    let ask = Ask::get("/").key(&key);
    let from = |last: u8| Client::connect_from(IpAddr::from([127, 50, 0, last]), gateway.address());
    let mut seated: Vec<Client> = (0..3).map(|_| from(1)).collect();
    for it in &mut seated {
        assert_eq!(it.ask(&ask).status, 200);
    }
    for _ in 0..5 {
        let mut one_more = from(1);
        assert!(one_more.try_ask(&ask).is_err(), "a fourth one was served");
        assert_eq!(from(2).ask(&ask).status, 200, "another address was refused");
    }
    for it in &mut seated {
        assert_eq!(it.ask(&ask).status, 200);
    }
    seated.pop();
    eventually("its place is free again", || from(1).try_ask(&ask).is_ok());
}

#[test]
fn a_place_is_given_back_however_a_connection_ends() {
    let (_upstream, gateway, key) = start("max_connections = 2");
    let endings: [fn(&Client); 4] = [
        |_| {},
        |it| it.send("GET / HTTP/1.1\r\nhost"),
        |it| it.send("not http\r\n\r\n"),
        |it| socket2::SockRef::from(it.stream()).set_linger(Some(Duration::ZERO)).unwrap(),
    ];
    for _ in 0..3 {
        for end in endings {
            let client = gateway.client();
            end(&client);
        }
    }
    let ask = Ask::get("/").key(&key);
    let mut both = [gateway.client(), gateway.client()];
    for it in &mut both {
        assert_eq!(it.ask(&ask).status, 200);
    }
}

#[test]
fn connections_are_spread_over_the_workers() {
    let (_upstream, gateway, key) = start("workers = 2");
    let ask = Ask::get("/").key(&key);
    let arrive = |count: usize| -> Vec<Client> {
        let come = |_| {
            let mut client = gateway.client();
            assert_eq!(client.ask(&ask).status, 200);
            client
        };
        (0..count).map(come).collect()
    };
    let port = |it: &Client| it.stream().local_addr().unwrap().port();
    let assert_spread = || {
        let workers = gateway.clients_by_worker();
        let counts: Vec<usize> = workers.iter().map(BTreeSet::len).collect();
        assert_eq!((counts.len(), counts.iter().sum()), (2, 64), "{counts:?}");
        // Nobody takes one more who has five more than the other, and a quarter.
        assert!(counts.iter().all(|it| *it >= 26), "{counts:?}");
        workers
    };
    let mut clients = arrive(64);
    let workers = assert_spread();
    assert_eq!(gateway.metrics().count("keyward_connections_open"), 64);

    // Whoever comes after one worker has become empty finds a place there, wherever the kernel
    // leads them.
    clients.retain(|it| !workers[0].contains(&port(it)));
    let left = clients.len();
    eventually("half of them are gone", || {
        gateway.metrics().count("keyward_connections_open") == left as u64
    });
    clients.extend(arrive(64 - left));
    assert_spread();
    assert!(gateway.metrics().count("keyward_connections_accepted_total") > 64);
    drop(clients);
    eventually("they are closed", || gateway.metrics().count("keyward_connections_open") == 0);
}

#[test]
fn what_is_answered_is_counted_once_over_all_workers() {
    let (_upstream, gateway, key) = start("");
    let mut clients: Vec<Client> = (0..16).map(|_| gateway.client()).collect();
    for client in &mut clients {
        for _ in 0..25 {
            assert_eq!(client.ask(&Ask::get("/").key(&key)).status, 200);
        }
        client.ask(&Ask::get("/")).assert_problem(401, "missing_key");
        assert_eq!(client.ask(&Ask::get("/public/a")).status, 200);
    }
    drop(clients);
    eventually("all are counted", || {
        let metrics = gateway.metrics();
        let requests = |label: &str| metrics.with("keyward_requests_total", label);
        let decisions = |result: &str| {
            metrics.count(&format!("keyward_auth_decisions_total{{result=\"{result}\"}}"))
        };
        requests("route=\"public\"") == 16
            && requests("code=\"200\"") == 16 * 26
            && requests("code=\"401\"") == 16
            && (decisions("allowed"), decisions("public"), decisions("missing_key"))
                == (400, 16, 16)
    });
}

#[test]
fn one_place_is_enough_for_everyone_in_turn() {
    let (_upstream, gateway, key) = start("max_connections = 1");
    let ask = Ask::get("/").key(&key).header("connection", "close");
    // All are there before the first one asks; who keeps a place that is over keeps it from others.
    let arrived = Barrier::new(16);
    let statuses = crowd(16, |_| {
        let mut client = gateway.client();
        arrived.wait();
        client.ask(&ask).status
    });
    assert_eq!(statuses, [200; 16]);
}
