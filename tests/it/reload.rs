//! A gateway goes over to another configuration while it serves, as a whole or not at all.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::ask::Ask;
use crate::support::certificates::Authority;
use crate::support::client::Client;
use crate::support::commands::Shell;
use crate::support::gateway::{FILE, Gateway};
use crate::support::load::Load;
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::{eventually, rounds};

fn upstream(word: &'static str) -> Upstream {
    Upstream::answering(move |_| ok(word))
}

fn body(gateway: &Gateway, ask: &Ask) -> String {
    String::from_utf8(ask.to(gateway).body).unwrap()
}

#[test]
fn another_configuration_is_in_force_when_the_call_is_answered() {
    let (one, two) = (upstream("one"), upstream("two"));
    let gateway = Gateway::start(&Setup::to(one.address()));
    let key = gateway.mint("crm");
    let ask = Ask::get("/x").key(&key);
    assert_eq!(body(&gateway, &ask), "one");

    let next = Setup::empty()
        .upstream("api", &[two.address()])
        .route("all", "path = \"/\"")
        .route("more", "path = \"/more/\"\naccess = \"public\"")
        .gateway("max_headers = 50");
    gateway.configure(&next);
    let answer = gateway.admin("POST", "/v1/reload", None);
    assert_eq!(answer.status, 200, "{answer:?}");
    let expected = json!({
        "applied": ["upstreams.api", "routes.more", "routes.public"],
        "waits_for_restart": ["gateway.max_headers"],
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(body(&gateway, &ask), "two");
    assert_eq!(Ask::get("/more/x").to(&gateway).status, 200);
    Ask::get("/public/x").to(&gateway).assert_problem(401, "missing_key");
    // Keys know of the new routes.
    let bound = gateway.mint_as(&json!({ "name": "bound", "routes": ["more"] }));
    Ask::get("/x").key(&bound).to(&gateway).assert_problem(403, "route_not_allowed");

    // Nothing has changed since, and what waits is still to be had.
    let again = gateway.admin("POST", "/v1/reload", None).json();
    assert_eq!(again, json!({ "applied": [], "waits_for_restart": ["gateway.max_headers"] }));
    let metrics = gateway.metrics();
    assert_eq!(metrics.count("keyward_config_reloads_total{result=\"success\"}"), 2);
    eventually("both are in the audit's lines", || {
        gateway.log().matches("config.reload").count() == 2
    });
}

#[test]
fn a_configuration_with_faults_changes_nothing_and_every_fault_is_said() {
    let one = upstream("one");
    let gateway = Gateway::start(&Setup::to(one.address()));
    let key = gateway.mint("crm");
    let text = fs::read_to_string(gateway.file(FILE)).unwrap();
    let broken = text.replace("path = \"/public/\"", "path = \"/elsewhere/\"\nnonsense = 1");
    fs::write(gateway.file(FILE), format!("{broken}\n[keyz]\n")).unwrap();
    let answer = gateway.admin("POST", "/v1/reload", None);
    answer.assert_problem(400, "bad_request");
    let document = answer.json();
    let errors = document["errors"].as_array().unwrap();
    let paths: Vec<&str> = errors.iter().map(|it| it["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["routes[1].nonsense", "keyz"], "{document}");
    assert!(errors[0]["detail"].as_str().unwrap().contains("keyward.toml:"), "{document}");
    assert_eq!(Ask::get("/public/x").to(&gateway).status, 200);
    assert_eq!(body(&gateway, &Ask::get("/elsewhere/x").key(&key)), "one");

    gateway.signal(Signal::HUP);
    eventually("the log says every fault", || {
        let log = gateway.log();
        log.matches("routes[1].nonsense").count() == 2 && log.matches("\"keyz\"").count() == 2
    });
    let failures = || gateway.metrics().count("keyward_config_reloads_total{result=\"failure\"}");
    eventually("both are counted", || failures() == 2);
    fs::write(gateway.file(FILE), text.replace("/public/", "/open/")).unwrap();
    gateway.signal(Signal::HUP);
    eventually("the next one is in force", || Ask::get("/open/x").to(&gateway).status == 200);
}

#[test]
fn the_command_shows_what_has_changed() {
    let one = upstream("one");
    let setup = Setup::to(one.address());
    let gateway = Gateway::start(&setup);
    let shell = Shell::of_operator(&gateway);
    assert_eq!(shell.done(&["reload"]), "nothing has changed\n");
    let next = setup.gateway("drain_timeout = \"1s\"").route("more", "path = \"/more/\"");
    gateway.configure(&next);
    let expected = "routes.more: applied\ngateway.drain_timeout: waits for a restart\n";
    assert_eq!(shell.done(&["reload"]), expected);
    fs::write(gateway.file(FILE), "nonsense = 1").unwrap();
    shell.fails(&["reload"], 1, &["nonsense"]);
}

#[test]
fn of_constant_load_no_request_fails_while_routes_and_upstreams_change() {
    let upstreams = [upstream("one"), upstream("two")];
    let setup = |round: usize| {
        let extra = format!("path = \"/extra-{round}/\"");
        Setup::to(upstreams[round % 2].address()).route("extra", &extra)
    };
    let gateway = Gateway::start(&setup(0));
    let key = gateway.mint("crm");
    let load = Load::begin(gateway.address(), &Ask::get("/").key(&key));
    for round in 1..=rounds(10, 50) {
        gateway.configure(&setup(round));
        let answer = gateway.admin("POST", "/v1/reload", None);
        assert_eq!(answer.json()["applied"], json!(["upstreams.api", "routes.extra"]));
        let word = ["one", "two"][round % 2];
        assert_eq!(body(&gateway, &Ask::get("/").key(&key)), word, "in round {round}");
        load.go_on(30);
        assert_eq!(load.failed(), 0, "in round {round}");
    }
    load.end();
}

#[test]
fn other_certificates_are_shown_once_they_are_named() {
    let (authority, one) = (Authority::new(), upstream("one"));
    let address = crate::support::address::fresh();
    let setup = |name: &str| {
        Setup::to(one.address()).gateway(&format!("listen_tls = [\"{address}\"]")).gateway(
            &format!(
                "certificates = [{{ certificate = \"{name}.pem\", private_key = \"{name}.key\" }}]"
            ),
        )
    };
    let directory = tempfile::tempdir().unwrap();
    let pairs = ["a", "b"].map(|it| (it, authority.certify(&["api.example.com"])));
    for (name, pair) in &pairs {
        pair.put(directory.path(), name);
    }
    let gateway = Gateway::start_in(directory, &setup("a"));
    let key = gateway.mint("crm");
    let shown = || authority.connect(address, "api.example.com").unwrap().shown();
    assert_eq!(shown(), pairs[0].1.der());
    gateway.configure(&setup("b"));
    let answer = gateway.admin("POST", "/v1/reload", None);
    assert_eq!(answer.json()["applied"], json!(["gateway.certificates"]));
    assert_eq!(shown(), pairs[1].1.der());

    // What cannot be used is refused with its file's name, and nothing else is changed either.
    gateway.configure(&setup("c").route("more", "path = \"/more/\"\naccess = \"public\""));
    let answer = gateway.admin("POST", "/v1/reload", None);
    answer.assert_problem(400, "bad_request");
    let error = answer.json()["errors"][0].clone();
    assert_eq!(error["path"], "gateway.certificates");
    assert!(error["detail"].as_str().unwrap().contains("c.pem"), "{error}");
    assert_eq!(shown(), pairs[1].1.der());
    Ask::get("/more/x").to(&gateway).assert_problem(401, "missing_key");
    assert_eq!(Ask::get("/x").key(&key).to(&gateway).status, 200);
}

#[test]
fn while_certificates_are_replaced_and_reloaded_nobodys_handshake_fails() {
    const NAME: &str = "api.example.com";
    let (authority, one) = (Authority::new(), upstream("one"));
    let (directory, address) = (tempfile::tempdir().unwrap(), crate::support::address::fresh());
    authority.certify(&[NAME]).put(directory.path(), "a");
    let setup = Setup::to(one.address())
        .gateway(&format!("listen_tls = [\"{address}\"]"))
        .gateway("certificates = [{ certificate = \"a.pem\", private_key = \"a.key\" }]");
    let gateway = Gateway::start_in(directory, &setup);
    let ask = format!("GET /public/ HTTP/1.1\r\nhost: {NAME}\r\nconnection: close\r\n\r\n");
    let (stopped, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let last = thread::scope(|scope| {
        // Whatever goes wrong here ends those who ask.
        let stop = Stop(&stopped);
        let asking = || {
            while !stopped.load(Ordering::SeqCst) {
                let answer = authority.connect(address, NAME).unwrap().exchange(ask.as_bytes());
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                served.fetch_add(1, Ordering::SeqCst);
            }
        };
        let clients = [(); 3].map(|()| scope.spawn(asking));
        let mut last = authority.certify(&[NAME]);
        for round in 0..50 {
            let before = served.load(Ordering::SeqCst);
            last.put(gateway.directory(), "a");
            let answer = gateway.admin("POST", "/v1/reload", None);
            assert_eq!(answer.status, 200, "in round {round}: {answer:?}");
            let shown = authority.connect(address, NAME).unwrap().shown();
            assert_eq!(shown, last.der(), "in round {round}");
            let is_asked = || served.load(Ordering::SeqCst) > before + 3;
            eventually("somebody is served", || {
                is_asked() || clients.iter().any(ScopedJoinHandle::is_finished)
            });
            if round < 49 {
                last = authority.certify(&[NAME]);
            }
        }
        drop(stop);
        last
    });
    assert_eq!(authority.connect(address, NAME).unwrap().shown(), last.der());
}

/// Has somebody stop when this is dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn an_endpoint_that_is_left_out_stays_so() {
    let bad = Upstream::answering(|_| b"HTTP/1.1 502 Bad\r\ncontent-length: 0\r\n\r\n".to_vec());
    let good = upstream("good");
    let setup = |line: &str| {
        let setup = Setup::empty().upstream("api", &[bad.address(), good.address()]);
        setup
            .upstream_line("balance = \"round_robin\"\nretries = 0")
            .upstream_line("ejection = { failures = 1, period = \"10m\" }")
            .upstream_line(line)
            .route("all", "path = \"/\"\naccess = \"public\"")
    };
    let gateway = Gateway::start(&setup(""));
    let name = format!("{{upstream=\"api\",endpoint=\"http://{}\"}}", bad.address());
    let healthy = || gateway.metrics().count(&format!("keyward_upstream_endpoint_healthy{name}"));
    assert_eq!(healthy(), 1);
    eventually("it is ejected", || {
        Ask::get("/").to(&gateway);
        healthy() == 0
    });
    let asked = bad.asked();
    // Something else is changed, and then the upstream itself.
    let elsewhere = setup("").route("more", "path = \"/more/\"");
    for next in [elsewhere, setup("response_timeout = \"20s\"")] {
        gateway.configure(&next);
        let answer = gateway.admin("POST", "/v1/reload", None);
        assert_ne!(answer.json()["applied"], json!([]), "{answer:?}");
        assert_eq!(healthy(), 0);
        for _ in 0..20 {
            assert_eq!(body(&gateway, &Ask::get("/")), "good");
        }
    }
    assert_eq!(bad.asked(), asked);
}

#[test]
fn an_upstream_that_is_gone_keeps_no_connection_but_those_in_use() {
    let (released, closed) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let asked = AtomicUsize::new(0);
    let (open, ended) = (Arc::clone(&released), Arc::clone(&closed));
    let old = Upstream::scripted(move |conversation| {
        while let Some(request) = conversation.request()? {
            asked.fetch_add(1, Ordering::SeqCst);
            let is_held = || match request.target() {
                "/hold" => !open.load(Ordering::SeqCst),
                // Each on a connection of its own.
                _ => asked.load(Ordering::SeqCst) < 9,
            };
            while is_held() {
                thread::sleep(Duration::from_millis(5));
            }
            conversation.send(ok("old"))?;
        }
        ended.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let new = upstream("new");
    let gateway = Gateway::start(&Setup::open_to(&format!("http://{}", old.address())));
    let mut holding = gateway.client();
    holding.send(Ask::get("/hold").bytes());
    let mut others: Vec<Client> = (0..8).map(|_| gateway.client()).collect();
    for it in &others {
        it.send(Ask::get("/").bytes());
    }
    for it in &mut others {
        assert_eq!(it.read().body, b"old");
    }
    assert_eq!((old.connections(), closed.load(Ordering::SeqCst)), (9, 0));
    let other = Setup::empty().upstream("other", &[new.address()]);
    gateway.configure(&other.route("all", "path = \"/\"\naccess = \"public\""));
    assert_eq!(gateway.admin("POST", "/v1/reload", None).status, 200);
    for it in &mut others {
        assert_eq!(it.ask(&Ask::get("/")).body, b"new");
    }
    eventually("what nobody uses is closed", || closed.load(Ordering::SeqCst) == 8);
    released.store(true, Ordering::SeqCst);
    assert_eq!(holding.read().body, b"old");
    eventually("so is the last one", || closed.load(Ordering::SeqCst) == 9);
    assert_eq!(old.connections(), 9);
}
