//! Connections are as many as they may be, in all and from one address.

use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use crate::support::ask::Ask;
use crate::support::client::Client;
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
    seated.iter_mut().for_each(|it| assert_eq!(it.ask(&ask).status, 200));
    let mut waiting = gateway.client();
    waiting.send(ask.bytes());
    waiting.stream().set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(waiting.try_read().is_err(), "a fifth one was served");
    waiting.stream().set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    seated.iter_mut().for_each(|it| assert_eq!(it.ask(&ask).status, 200));
    drop(seated);
    assert_eq!(waiting.read().status, 200);
}

#[test]
fn one_address_has_so_many_connections_and_no_more() {
    let (_upstream, gateway, key) = start("max_connections_per_address = 3");
    let ask = Ask::get("/").key(&key);
    let from = |last: u8| Client::connect_from(IpAddr::from([127, 50, 0, last]), gateway.address());
    let mut seated: Vec<Client> = (0..3).map(|_| from(1)).collect();
    seated.iter_mut().for_each(|it| assert_eq!(it.ask(&ask).status, 200));
    for _ in 0..5 {
        let mut one_more = from(1);
        assert!(one_more.try_ask(&ask).is_err(), "a fourth one was served");
        assert_eq!(from(2).ask(&ask).status, 200, "another address was refused");
    }
    seated.iter_mut().for_each(|it| assert_eq!(it.ask(&ask).status, 200));
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
    for _ in 0..10 {
        for end in endings {
            let client = gateway.client();
            end(&client);
        }
    }
    let ask = Ask::get("/").key(&key);
    let mut both = [gateway.client(), gateway.client()];
    both.iter_mut().for_each(|it| assert_eq!(it.ask(&ask).status, 200));
}

#[test]
fn connections_are_spread_over_the_workers() {
    let (_upstream, gateway, key) = start("workers = 2");
    let ask = Ask::get("/").key(&key);
    let mut clients: Vec<Client> = (0..64).map(|_| gateway.client()).collect();
    clients.iter_mut().for_each(|it| assert_eq!(it.ask(&ask).status, 200));
    assert_eq!(gateway.metrics().get("keyward_connections_open") as u64, 64);
    assert!(gateway.metrics().get("keyward_connections_accepted_total") as u64 >= 64);
    drop(clients);
    eventually("they are closed", || gateway.metrics().get("keyward_connections_open") == 0.0);
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
        let requests = |label: &str| metrics.with("keyward_requests_total", label) as u64;
        let decisions = |result: &str| {
            metrics.get(&format!("keyward_auth_decisions_total{{result=\"{result}\"}}")) as u64
        };
        requests("route=\"public\"") == 16
            && requests("code=\"200\"") == 16 * 26
            && requests("code=\"401\"") == 16
            && (decisions("allowed"), decisions("public"), decisions("missing_key"))
                == (400, 16, 16)
    });
}

#[test]
fn a_connection_that_was_never_accepted_still_gets_its_turn() {
    let (_upstream, gateway, key) = start("max_connections = 1");
    let ask = Ask::get("/").key(&key);
    let first = gateway.client();
    let waiting: Vec<TcpStream> =
        (0..8).map(|_| TcpStream::connect(gateway.address()).unwrap()).collect();
    drop(first);
    for stream in waiting {
        let mut client = Client::over(stream);
        client.send(ask.bytes());
        assert_eq!(client.read().status, 200);
    }
}
