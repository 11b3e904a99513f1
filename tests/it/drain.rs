//! A gateway that is told to stop finishes what it has begun, and says early that it will go.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::gateway::Gateway;
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::eventually;

/// Takes two seconds for what is slow.
fn slow() -> Upstream {
    Upstream::answering(|request| {
        if request.target() == "/slow" {
            thread::sleep(Duration::from_secs(2));
        }
        ok("done")
    })
}

#[test]
fn requests_in_flight_end_well_and_so_does_the_process() {
    let upstream = slow();
    let mut gateway =
        Gateway::start(&Setup::to(upstream.address()).gateway("drain_delay = \"1s\""));
    let key = gateway.mint("crm");
    let ask = Ask::get("/slow").key(&key);
    let mut in_flight: Vec<_> = (0..20).map(|_| gateway.client()).collect();
    for it in &in_flight {
        it.send(ask.bytes());
    }
    eventually("20 requests are in flight", || upstream.asked() == 20);
    gateway.signal(Signal::TERM);
    eventually("it is not ready any more", || gateway.readiness() == Some(503));
    // Not ready is not gone: who did not look yet is still served.
    assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
    for client in &mut in_flight {
        let answer = client.read();
        assert_eq!((answer.status, &*answer.body), (200, &b"done"[..]));
    }
    assert_eq!(gateway.wait(), Some(0));
}

#[test]
fn under_load_nobody_notices_a_stop_but_by_being_told() {
    let upstream = Upstream::echo();
    let mut gateway =
        Gateway::start(&Setup::to(upstream.address()).gateway("drain_delay = \"1s\""));
    let key = gateway.mint("crm");
    let ask = Ask::get("/").key(&key);
    let served = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let (client, ask, served) = (gateway.client(), ask.clone(), Arc::clone(&served));
            thread::spawn(move || ask_until_told_to_close(client, &ask, &served))
        })
        .collect();
    eventually("there is load", || served.load(Ordering::Relaxed) > 1_000);
    gateway.signal(Signal::TERM);
    let ends: Vec<Result<(), String>> = clients.into_iter().map(|it| it.join().unwrap()).collect();
    assert!(ends.iter().all(Result::is_ok), "{ends:?}");
    assert_eq!(gateway.wait(), Some(0));
}

fn ask_until_told_to_close(
    mut client: Client,
    ask: &Ask,
    served: &AtomicUsize,
) -> Result<(), String> {
    loop {
        let answer = client.try_ask(ask).map_err(|it| it.to_string())?;
        if answer.status != 200 {
            return Err(format!("status {}", answer.status));
        }
        served.fetch_add(1, Ordering::Relaxed);
        if answer.head.get("connection") == Some("close") {
            return Ok(());
        }
    }
}

#[test]
fn an_idle_connections_next_request_is_served_and_told_to_close() {
    let upstream = slow();
    let mut gateway = Gateway::start(&Setup::to(upstream.address()));
    let key = gateway.mint("crm");
    let mut idle: Vec<_> = (0..8).map(|_| gateway.client()).collect();
    for client in &mut idle {
        let answer = client.ask(&Ask::get("/").key(&key));
        assert_eq!((answer.status, answer.head.get("connection")), (200, None));
    }
    gateway.signal(Signal::TERM);
    eventually("nobody listens any more", || TcpStream::connect(gateway.address()).is_err());
    for client in &mut idle {
        let answer = client.ask(&Ask::get("/").key(&key));
        assert_eq!((answer.status, answer.head.get("connection")), (200, Some("close")));
        client.assert_closed();
    }
    assert_eq!(gateway.wait(), Some(0));
}

#[test]
fn who_is_told_no_while_draining_is_told_to_close_too() {
    let upstream = slow();
    let mut gateway = Gateway::start(&Setup::to(upstream.address()));
    let mut client = gateway.client();
    client.ask(&Ask::get("/")).assert_problem(401, "missing_key");
    gateway.signal(Signal::TERM);
    eventually("nobody listens any more", || TcpStream::connect(gateway.address()).is_err());
    let answer = client.ask(&Ask::get("/"));
    answer.assert_problem(401, "missing_key");
    assert_eq!(answer.head.get("connection"), Some("close"));
    drop(client);
    assert_eq!(gateway.wait(), Some(0));
}

#[test]
fn drain_timeout_ends_what_does_not_end() {
    let let_go = Arc::new(AtomicBool::new(false));
    let held = Arc::clone(&let_go);
    let upstream = Upstream::answering(move |_| {
        eventually("the test is over", || held.load(Ordering::Relaxed));
        ok("late")
    });
    let setup = Setup::to(upstream.address()).gateway("drain_timeout = \"1s\"");
    let mut gateway = Gateway::start(&setup);
    let mut client = gateway.client();
    client.send(Ask::get("/").key(&gateway.mint("crm")).bytes());
    eventually("the upstream has it", || upstream.asked() == 1);
    let began = Instant::now();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(), Some(0));
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1), "it did not wait");
    assert!(took <= Duration::from_secs(4), "it waited for {took:?}");
    assert!(client.try_read().is_err());
    let_go.store(true, Ordering::Relaxed);
}

#[test]
fn a_second_signal_does_not_wait() {
    let upstream = slow();
    let mut gateway =
        Gateway::start(&Setup::to(upstream.address()).gateway("drain_delay = \"1h\""));
    gateway.signal(Signal::INT);
    eventually("it is not ready any more", || gateway.readiness() == Some(503));
    gateway.signal(Signal::INT);
    assert!(gateway.wait().is_some(), "it was killed by the signal");
}

#[test]
fn whoever_waits_in_the_kernel_when_it_stops_is_served() {
    let upstream = Upstream::echo();
    let mut gateway = Gateway::start(&Setup::to(upstream.address()).gateway("workers = 1"));
    let ask = Ask::get("/").key(&gateway.mint("crm"));
    // Asked of a process that stands still, who connects and what is said to it wait together.
    gateway.freeze();
    let mut waiting: Vec<Client> = (0..WAITING).map(|_| gateway.client()).collect();
    for it in &waiting {
        it.send(ask.bytes());
    }
    gateway.signal(Signal::TERM);
    gateway.signal(Signal::CONT);
    let ends = waiting.iter_mut().map(|it| it.try_read().map(|it| it.status));
    let ends: Vec<Option<u16>> = ends.map(Result::ok).collect();
    let served = ends.iter().filter(|it| **it == Some(200)).count();
    assert_eq!(served, WAITING, "the others were turned away");
    assert_eq!(gateway.wait(), Some(0));
}

/// More than a task of tokio may accept in one go.
const WAITING: usize = 1_000;

#[test]
fn who_was_accepted_while_it_stops_is_served() {
    let upstream = Upstream::echo();
    // One socket, so that one moment decides who is let in and who is not.
    let mut gateway = Gateway::start(&Setup::to(upstream.address()).gateway("workers = 1"));
    let ask = Ask::get("/").key(&gateway.mint("crm"));
    let address = gateway.address();
    let begin = Arc::new(Barrier::new(CALLERS + 1));
    let clients: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (ask, begin) = (ask.clone(), Arc::clone(&begin));
            thread::spawn(move || {
                begin.wait();
                connect_until_nobody_listens(address, &ask)
            })
        })
        .collect();
    begin.wait();
    eventually("there is load", || upstream.asked() > 200);
    gateway.signal(Signal::TERM);
    let ends: Vec<_> = clients.into_iter().map(|it| it.join().unwrap()).collect();
    // The kernel itself resets whoever it let in between the last look into the queue and the end
    // of the socket: that is a moment in which hardly anybody comes.
    let reset = ends.iter().filter(|it| **it == Err(ErrorKind::ConnectionReset)).count();
    let served = ends.iter().filter(|it| it.is_ok()).count();
    assert_eq!(served + reset, CALLERS, "{ends:?}");
    assert!(reset <= CALLERS / 4, "{ends:?}");
    assert_eq!(gateway.wait(), Some(0));
}

fn connect_until_nobody_listens(address: SocketAddr, ask: &Ask) -> Result<(), ErrorKind> {
    while let Ok(stream) = TcpStream::connect(address) {
        match Client::over(stream).try_ask(ask).map(|it| it.status).map_err(|it| it.kind()) {
            Ok(200) => {}
            Err(ErrorKind::ConnectionReset) => {
                assert!(TcpStream::connect(address).is_err(), "a reset, and somebody listens");
                return Err(ErrorKind::ConnectionReset);
            }
            other => return Err(other.err().unwrap_or(ErrorKind::Other)),
        }
    }
    Ok(())
}

const CALLERS: usize = 16;
