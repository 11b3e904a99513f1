//! What is more than the gateway takes hurts nobody else.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::gateway::Gateway;
use crate::support::h2::frames::Request;
use crate::support::h2::peer::Peer;
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::eventually;

/// Answers once it is told to.
fn held(open: &Arc<AtomicBool>) -> Upstream {
    let open = Arc::clone(open);
    Upstream::answering(move |_request| {
        while !open.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(5));
        }
        ok("done")
    })
}

/// The same, but for who asks whether it is well.
fn held_but_well(open: &Arc<AtomicBool>) -> Upstream {
    let open = Arc::clone(open);
    Upstream::answering(move |request| {
        while request.target() != "/healthz" && !open.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(20));
        }
        ok("done")
    })
}

#[test]
fn as_many_requests_are_under_way_as_may_be_over_all_workers_and_the_next_is_told_so() {
    let open = Arc::new(AtomicBool::new(false));
    let upstream = held(&open);
    let setup = Setup::to(upstream.address()).gateway("max_in_flight = 6\nworkers = 4");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    let ask = Ask::get("/").key(&key);
    let mut running: Vec<Client> = (0..6).map(|_| gateway.client()).collect();
    for it in &running {
        it.send(ask.bytes());
    }
    eventually("all of them are upstream", || upstream.asked() == 6);
    for _ in 0..10 {
        let refused = ask.to(&gateway);
        refused.assert_problem(503, "overloaded");
        assert_eq!(refused.head.get("retry-after"), Some("1"));
    }
    assert_eq!(upstream.asked(), 6);
    open.store(true, Ordering::Release);
    for it in &mut running {
        assert_eq!(it.read().status, 200);
    }
    eventually("what has ended makes room", || ask.to(&gateway).status == 200);
}

#[test]
fn with_256_descriptors_1000_connections_leave_the_admin_listener_and_the_store_alone() {
    let upstream = Upstream::echo();
    let directory = tempfile::tempdir().unwrap();
    let way = ["prlimit", "--nofile=256:256"];
    let gateway = Gateway::start_through(&way, directory, &Setup::to(upstream.address()));
    let key = gateway.mint("crm");
    let ask = Ask::get("/").key(&key);
    assert_eq!(ask.to(&gateway).status, 200);
    let mut crowd: Vec<TcpStream> = Vec::new();
    for number in 0..1_000 {
        let mut stream = TcpStream::connect(gateway.address()).unwrap();
        stream.write_all(&ask.bytes()).unwrap();
        crowd.push(stream);
        if number % 100 == 0 {
            let other = gateway.mint("another");
            assert_eq!(gateway.revoke(&other.id)["propagation"]["complete"], true);
            assert_eq!(gateway.readiness(), Some(200));
        }
    }
    for _ in 0..20 {
        assert_eq!(gateway.readiness(), Some(200));
        assert_eq!(gateway.admin("GET", "/v1/keys", None).status, 200);
        thread::sleep(Duration::from_millis(50));
    }
    // Those that have a place are served all the while.
    let mut first = Client::over(crowd.swap_remove(0));
    assert_eq!(first.read().status, 200);
    assert_eq!(first.ask(&ask).status, 200);
    drop(crowd);
    eventually("everybody is served again", || {
        let mut clients: Vec<Client> = (0..50).map(|_| gateway.client()).collect();
        clients.iter_mut().all(|it| it.try_ask(&ask).is_ok_and(|it| it.status == 200))
    });
}

#[test]
fn with_256_descriptors_500_slow_streams_of_http2_are_nobodys_fault_and_hurt_nobody_else() {
    let open = Arc::new(AtomicBool::new(false));
    let upstreams = [held_but_well(&open), held_but_well(&open)];
    let endpoints = [upstreams[0].address(), upstreams[1].address()];
    let health = "{ path = \"/healthz\", interval = \"1s\", unhealthy_after = 2 }";
    let setup = Setup::empty()
        .gateway("max_in_flight = 10000")
        .upstream("api", &endpoints)
        .upstream_line(&format!("ejection = {{ failures = 1 }}\nhealth = {health}"))
        .route("all", "path = \"/\"");
    let way = ["prlimit", "--nofile=256:256"];
    let gateway = Gateway::start_through(&way, tempfile::tempdir().unwrap(), &setup);
    let key = gateway.mint("crm");
    let asked = || {
        let request = Request::get("/slow").with("api-key", &key.plaintext);
        let mut peer = Peer::connect(gateway.address());
        let streams: Vec<u32> = (0..100).map(|_| peer.new_stream()).collect();
        for it in &streams {
            peer.send(request.whole(*it));
        }
        (peer, streams)
    };
    let mut peers: Vec<_> = (0..5).map(|_| asked()).collect();
    for (peer, _) in &mut peers {
        peer.barrier();
    }
    for _ in 0..30 {
        let other = gateway.mint("another");
        assert_eq!(gateway.revoke(&other.id)["propagation"]["complete"], true);
        assert_eq!(gateway.readiness(), Some(200));
        let metrics = gateway.metrics();
        assert_eq!(metrics.with("keyward_upstream_ejections_total", ""), 0);
        assert_eq!(metrics.with("keyward_upstream_endpoint_healthy", ""), 2);
        thread::sleep(Duration::from_millis(100));
    }
    let path = format!("/proc/{}/fd", gateway.pid());
    let descriptors = || std::fs::read_dir(&path).unwrap().count();
    let most = descriptors();
    open.store(true, Ordering::Release);
    let mut answered = [0, 0];
    for (peer, streams) in &mut peers {
        for stream in streams {
            let answer = peer.outcome(*stream).answer();
            if answer.status != 200 {
                answer.assert_problem(503, "overloaded");
            }
            answered[usize::from(answer.status != 200)] += 1;
        }
    }
    assert!(answered[0] > 50 && answered[1] > 200, "{answered:?}");
    assert_eq!(gateway.metrics().with("keyward_upstream_ejections_total", ""), 0);
    assert_eq!(gateway.metrics().with("keyward_upstream_endpoint_healthy", ""), 2);
    // They are not left to those who have no use for them.
    eventually("connections that nobody uses are closed", || descriptors() + 16 <= most);
    let before = upstreams.each_ref().map(Upstream::asked);
    for _ in 0..40 {
        assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
    }
    let after = upstreams.each_ref().map(Upstream::asked);
    assert!((0..2).all(|it| after[it] > before[it] + 5), "{before:?} {after:?}");
}
