//! An endpoint that fails is left out, for a time, and what it did harms hardly anyone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::crowd::crowd;
use crate::support::gateway::{Gateway, Key};
use crate::support::hole::Hole;
use crate::support::setup::Setup;
use crate::support::upstream::{Conversation, Upstream, ok};
use crate::support::wait::eventually;

/// Three endpoints in turn, one of which will fail.
struct Stage {
    others: [Upstream; 2],
    faulty: SocketAddr,
    gateway: Gateway,
    key: Key,
}

/// A request under load: when it began, and whether it got what it wanted.
type Asked = (Instant, bool);

impl Stage {
    fn new(faulty: SocketAddr) -> Self {
        let others = [(); 2].map(|()| Upstream::answering(|_| ok("ok")));
        let endpoints = [others[0].address(), faulty, others[1].address()];
        let setup = Setup::empty().upstream("api", &endpoints);
        let setup = setup
            .upstream_line("balance = \"round_robin\"")
            .upstream_line("connect_timeout = \"500ms\"\nresponse_timeout = \"500ms\"")
            .upstream_line("ejection = { failures = 5, period = \"2s\" }")
            .route("all", "path = \"/\"");
        let gateway = Gateway::start(&setup);
        let key = gateway.mint("crm");
        Self { others, faulty, gateway, key }
    }

    fn of_faulty(&self, name: &str) -> u64 {
        let labels = format!("upstream=\"api\",endpoint=\"http://{}\"", self.faulty);
        self.gateway.metrics().count(&format!("keyward_upstream_{name}{{{labels}}}"))
    }

    /// Asks again and again until told to stop, and counts.
    fn ask(&self, stop: &AtomicBool, count: &AtomicUsize) -> Vec<Asked> {
        let ask = Ask::get("/").key(&self.key);
        let (mut client, mut asked) = (self.gateway.client(), Vec::new());
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let answer = client.try_ask(&ask);
            count.fetch_add(1, Ordering::Relaxed);
            asked.push((begun, answer.as_ref().is_ok_and(|it| it.status == 200)));
            if answer.is_err() {
                client = Client::connect(self.gateway.address());
            }
        }
        asked
    }

    /// Has the endpoint fail under load; it is ejected, and from then on fewer than one request in
    /// a thousand fails, though it is tried again meanwhile.
    #[track_caller]
    fn assert_survives(&self, fail: impl FnOnce()) {
        let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (ejected, asked) = thread::scope(|scope| {
            let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| self.ask(&stop, &count))).collect();
            eventually("everybody gets requests", || self.others[1].asked() > 50);
            assert_eq!(
                (self.of_faulty("endpoint_healthy"), self.of_faulty("ejections_total")),
                (1, 0)
            );
            fail();
            eventually("it is ejected", || self.of_faulty("ejections_total") > 0);
            let (ejected, before) = (Instant::now(), count.load(Ordering::Relaxed));
            eventually("it is tried again", || self.of_faulty("ejections_total") > 1);
            let enough = || count.load(Ordering::Relaxed) > before + 4_000;
            eventually("thousands of requests were sent", enough);
            stop.store(true, Ordering::Relaxed);
            let asked = clients.into_iter().flat_map(|it| it.join().unwrap());
            (ejected, asked.collect::<Vec<_>>())
        });
        assert_eq!(self.of_faulty("endpoint_healthy"), 0);
        let after: Vec<&Asked> = asked.iter().filter(|(begun, _)| *begun >= ejected).collect();
        let failed = after.iter().filter(|(_, is_ok)| !is_ok).count();
        assert!(failed * 1_000 < after.len(), "{failed} of {} failed", after.len());
    }
}

/// A process of its own that answers whoever asks: a gateway before another upstream.
struct Child {
    process: Gateway,
    _upstream: Upstream,
}

impl Child {
    fn start() -> Self {
        let upstream = Upstream::answering(|_| ok("ok"));
        let setup = Setup::empty().upstream("api", &[upstream.address()]);
        let setup = setup.route("all", "path = \"/\"\naccess = \"public\"");
        Self { process: Gateway::start(&setup), _upstream: upstream }
    }
}

/// Answers as it should until `is_faulty`, then as `fault` says.
fn turning_bad(
    is_faulty: &Arc<AtomicBool>,
    fault: impl Fn(&mut Conversation) -> std::io::Result<()> + Send + Sync + 'static,
) -> Upstream {
    let is_faulty = Arc::clone(is_faulty);
    Upstream::scripted(move |conversation| {
        while conversation.request()?.is_some() {
            if is_faulty.load(Ordering::Relaxed) {
                return fault(conversation);
            }
            conversation.send(ok("ok"))?;
        }
        Ok(())
    })
}

#[track_caller]
fn assert_fault_survived(
    fault: impl Fn(&mut Conversation) -> std::io::Result<()> + Send + Sync + 'static,
) {
    let is_faulty = Arc::<AtomicBool>::default();
    let upstream = turning_bad(&is_faulty, fault);
    Stage::new(upstream.address()).assert_survives(|| is_faulty.store(true, Ordering::Relaxed));
}

#[test]
fn an_endpoint_that_is_killed_is_left_out() {
    let mut child = Child::start();
    let stage = Stage::new(child.process.address());
    stage.assert_survives(|| child.process.kill9());
}

#[test]
fn an_endpoint_that_is_frozen_is_left_out_and_comes_back_when_it_thaws() {
    let child = Child::start();
    let stage = Stage::new(child.process.address());
    stage.assert_survives(|| child.process.signal(Signal::STOP));
    child.process.signal(Signal::CONT);
    let ask = Ask::get("/").key(&stage.key);
    eventually("it gets requests again", || {
        ask.to(&stage.gateway);
        stage.of_faulty("endpoint_healthy") == 1
    });
    let before = stage.others[0].asked() + stage.others[1].asked();
    // In turn again, on every worker.
    for _ in 0..12 {
        let mut client = stage.gateway.client();
        for _ in 0..10 {
            assert_eq!(client.ask(&ask).status, 200);
        }
    }
    let others = stage.others[0].asked() + stage.others[1].asked() - before;
    assert!((70..=90).contains(&others), "the two others got {others} of 120");
}

#[test]
fn an_endpoint_that_resets_connections_is_left_out() {
    assert_fault_survived(|conversation| {
        conversation.reset_at_end();
        Ok(())
    });
}

#[test]
fn an_endpoint_that_answers_garbage_is_left_out() {
    assert_fault_survived(|conversation| conversation.send("SSH-2.0-OpenSSH_9.6\r\n\r\n"));
}

#[test]
fn an_endpoint_that_answers_too_slowly_is_left_out() {
    assert_fault_survived(|conversation| {
        thread::sleep(Duration::from_secs(5));
        conversation.send(ok("late"))
    });
}

#[test]
fn an_endpoint_that_says_that_it_cannot_is_left_out() {
    assert_fault_survived(|conversation| {
        conversation.send("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
    });
}

#[test]
fn clients_that_go_away_have_nobody_ejected() {
    let slow = || {
        Upstream::answering(|request| {
            if request.target() == "/slow" {
                thread::sleep(Duration::from_secs(1));
            }
            ok("ok")
        })
    };
    let (one, two) = (slow(), slow());
    let setup = Setup::empty().upstream("api", &[one.address(), two.address()]);
    let setup = setup.upstream_line("ejection = { failures = 1 }").route("all", "path = \"/\"");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    for _ in 0..20 {
        let asked = one.asked() + two.asked();
        let client = gateway.client();
        client.send(Ask::get("/slow").key(&key).bytes());
        eventually("it is asked", || one.asked() + two.asked() > asked);
    }
    eventually("they are gone", || gateway.metrics().count("keyward_connections_open") == 0);
    assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
    assert_eq!(gateway.metrics().with("keyward_upstream_ejections_total", ""), 0);
    assert_eq!(gateway.metrics().with("keyward_upstream_endpoint_healthy", ""), 2);
}

#[test]
fn the_only_endpoint_is_never_left_out() {
    let upstream = Upstream::answering(|request| match request.target() {
        "/bad" => b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n".to_vec(),
        _ => ok("ok"),
    });
    let setup = Setup::empty().upstream("api", &[upstream.address()]);
    let setup = setup.upstream_line("ejection = { failures = 1, at_most = \"100%\" }");
    let gateway = Gateway::start(&setup.route("all", "path = \"/\""));
    let key = gateway.mint("crm");
    for _ in 0..10 {
        assert_eq!(Ask::get("/bad").key(&key).to(&gateway).status, 502);
    }
    assert_eq!(upstream.asked(), 10, "it was asked again where there is no other");
    assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
    assert_eq!(gateway.metrics().with("keyward_upstream_ejections_total", ""), 0);
}

/// Two endpoints in turn, by one worker.
fn in_turn(endpoints: &[SocketAddr], lines: &str) -> Setup {
    let setup = Setup::empty().gateway("workers = 1").upstream("api", endpoints);
    setup.upstream_line("balance = \"round_robin\"").upstream_line(lines)
}

fn opened(setup: Setup) -> Gateway {
    Gateway::start(&setup.route("all", "path = \"/\"\naccess = \"public\""))
}

fn ejections(gateway: &Gateway) -> u64 {
    gateway.metrics().with("keyward_upstream_ejections_total", "")
}

#[test]
fn who_waits_for_a_connection_is_refused_in_time_and_has_nobody_ejected() {
    let is_released = Arc::<AtomicBool>::default();
    let upstreams = [(); 2].map(|()| {
        let is_released = Arc::clone(&is_released);
        Upstream::scripted(move |conversation| {
            while conversation.request()?.is_some() {
                conversation.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")?;
                eventually("it is released", || is_released.load(Ordering::SeqCst));
                conversation.send("ok")?;
            }
            Ok(())
        })
    });
    let lines = "max_connections = 1\nwait_timeout = \"1500ms\"\nresponse_timeout = \"500ms\"\n\
                 ejection = { failures = 1 }";
    let gateway = opened(in_turn(&upstreams.each_ref().map(Upstream::address), lines));
    let mut holding = [(); 2].map(|()| gateway.client());
    for it in &mut holding {
        it.send(Ask::get("/").bytes());
        assert_eq!(it.read_head().status, 200);
    }
    assert_eq!(upstreams.each_ref().map(Upstream::asked), [1, 1]);
    crowd(6, |number| {
        let ask = if number % 2 == 0 { Ask::get("/") } else { Ask::post("/", "x") };
        ask.to(&gateway).assert_problem(503, "overloaded");
    });
    assert_eq!(ejections(&gateway), 0);
    is_released.store(true, Ordering::SeqCst);
    for _ in 0..10 {
        assert_eq!(Ask::get("/").to(&gateway).status, 200);
    }
}

/// Whoever is asked after `first` has as long to answer as is set.
#[track_caller]
fn assert_time_begins_anew(first: SocketAddr) {
    let second = Upstream::answering(|_| {
        thread::sleep(Duration::from_millis(1_500));
        ok("ok")
    });
    let lines = "connect_timeout = \"1500ms\"\nresponse_timeout = \"2500ms\"\n\
                 ejection = { failures = 1, period = \"60s\" }";
    let gateway = opened(in_turn(&[first, second.address()], lines));
    let healthy = |it: SocketAddr| {
        let labels = format!("{{upstream=\"api\",endpoint=\"http://{it}\"}}");
        gateway.metrics().count(&format!("keyward_upstream_endpoint_healthy{labels}"))
    };
    let mut client = gateway.client();
    for _ in 0..2 {
        assert_eq!(client.ask(&Ask::get("/")).status, 200);
    }
    assert_eq!(gateway.metrics().count("keyward_upstream_retries_total"), 1);
    assert_eq!((healthy(first), healthy(second.address())), (0, 1));
}

#[test]
fn who_is_asked_after_one_that_cannot_be_connected_to_has_time_of_their_own() {
    let hole = Hole::at("127.0.0.1:0".parse().unwrap());
    assert_time_begins_anew(hole.address());
}

#[test]
fn who_is_asked_after_one_that_broke_off_late_has_time_of_their_own() {
    let breaking = Upstream::scripted(|conversation| {
        conversation.request()?;
        thread::sleep(Duration::from_millis(1_500));
        Ok(())
    });
    assert_time_begins_anew(breaking.address());
}

#[test]
fn nobody_stays_out_where_nobody_is_ejected_any_more() {
    let is_faulty = Arc::new(AtomicBool::new(true));
    let faulty = turning_bad(&is_faulty, |conversation| {
        conversation.send("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
    });
    let sound = Upstream::answering(|_| ok("ok"));
    let endpoints = [faulty.address(), sound.address()];
    let route =
        |lines| in_turn(&endpoints, lines).route("all", "path = \"/\"\naccess = \"public\"");
    let gateway = Gateway::start(&route("ejection = { failures = 1, period = \"5m\" }"));
    for _ in 0..10 {
        assert_eq!(Ask::get("/").to(&gateway).status, 200);
    }
    assert_eq!((ejections(&gateway), faulty.asked()), (1, 1));
    is_faulty.store(false, Ordering::Relaxed);
    gateway.configure(&route("ejection = \"off\""));
    assert_eq!(gateway.admin("POST", "/v1/reload", None).status, 200);
    eventually("it is back", || {
        gateway.metrics().with("keyward_upstream_endpoint_healthy", "") == 2
    });
    let before = faulty.asked();
    for _ in 0..10 {
        assert_eq!(Ask::get("/").to(&gateway).status, 200);
    }
    assert_eq!(faulty.asked() - before, 5);
    // Whatever it does from now on.
    is_faulty.store(true, Ordering::Relaxed);
    let failed = (0..10).filter(|_| Ask::post("/", "x").to(&gateway).status == 503).count();
    assert_eq!((failed, ejections(&gateway)), (5, 1));
}

#[test]
fn a_frozen_endpoint_is_tried_with_one_request_at_a_time() {
    let child = Child::start();
    let sound = Upstream::answering(|_| ok("ok"));
    let setup = Setup::empty().upstream("api", &[child.process.address(), sound.address()]);
    let lines = "response_timeout = \"3s\"\nejection = { failures = 1, period = \"1s\" }";
    let gateway = opened(setup.upstream_line(lines));
    child.process.freeze();
    let stop = AtomicBool::new(false);
    let (begun, ended, asked) = thread::scope(|scope| {
        let ask = || {
            let (mut client, mut asked) = (gateway.client(), Vec::new());
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                asked.push((begun, client.ask(&Ask::get("/")).status));
                thread::sleep(Duration::from_millis(10));
            }
            asked
        };
        let clients: Vec<_> = (0..6).map(|_| scope.spawn(ask)).collect();
        eventually("it is ejected", || ejections(&gateway) > 0);
        let begun = Instant::now();
        eventually("it is tried twice", || ejections(&gateway) > 2);
        let ended = Instant::now();
        stop.store(true, Ordering::Relaxed);
        let asked = clients.into_iter().flat_map(|it| it.join().unwrap());
        (begun, ended, asked.collect::<Vec<(Instant, u16)>>())
    });
    let failed = asked.iter().filter(|it| it.0 >= begun && it.1 != 200).count();
    // One that is under way at either end counts too.
    let most = usize::try_from((ended - begun).as_secs()).unwrap() / 3 + 2;
    assert!((2..=most).contains(&failed), "{failed} of {}, at most {most}", asked.len());
}
