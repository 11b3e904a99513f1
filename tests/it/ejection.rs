//! An endpoint that fails is left out, for a time, and what it did harms hardly anyone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::gateway::{Gateway, Key};
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
