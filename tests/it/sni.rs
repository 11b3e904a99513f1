//! Clients see the certificate of the name that they ask for, also while one is being replaced.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::support::address::fresh;
use crate::support::certificates::{Authority, Pair};
use crate::support::gateway::Gateway;
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::eventually;

const NAMES: [&str; 3] = ["one.example.com", "two.example.com", "*.example.org"];

struct Place {
    authority: Authority,
    pairs: [Pair; 3],
    address: SocketAddr,
    gateway: Gateway,
    _upstream: Upstream,
}

impl Place {
    fn start() -> Self {
        let (authority, upstream) = (Authority::new(), Upstream::answering(|_| ok("ok")));
        let (directory, address) = (tempfile::tempdir().unwrap(), fresh());
        let pairs = NAMES.map(|it| authority.certify(&[it]));
        let named = |number: usize| {
            pairs[number].put(directory.path(), &number.to_string());
            format!("{{ certificate = \"{number}.pem\", private_key = \"{number}.key\" }}")
        };
        let named = [named(0), named(1), named(2)].join(", ");
        let setup = Setup::to(upstream.address())
            .gateway(&format!("listen_tls = [\"{address}\"]"))
            .gateway(&format!("certificates = [{named}]"));
        let gateway = Gateway::start_in(directory, &setup);
        Self { authority, pairs, address, gateway, _upstream: upstream }
    }

    fn shown(&self, name: &str) -> Vec<u8> {
        self.authority.connect(self.address, name).unwrap().shown()
    }
}

#[test]
fn each_name_is_answered_with_its_own_certificate() {
    let place = Place::start();
    for (name, pair) in NAMES.iter().zip(&place.pairs) {
        let name = name.replace('*', "anything");
        assert_eq!(place.shown(&name), pair.der(), "{name}");
    }
    // Who asks for another name is shown the first one, and does not believe it.
    let stranger = place.authority.connect(place.address, "elsewhere.net");
    let fault = stranger.map(drop).unwrap_err().to_string();
    assert!(fault.contains("not valid for name"), "{fault}");
}

#[test]
fn while_one_is_replaced_nobodys_handshake_fails() {
    let place = Place::start();
    let (stopped, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let ask = b"GET /public/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    thread::scope(|scope| {
        for name in ["one.example.com", "two.example.com", "web.example.org"] {
            let (place, stopped, count) = (&place, &stopped, &count);
            let served = move || {
                let mut connection = place.authority.connect(place.address, name).unwrap();
                let answer = connection.exchange(ask);
                assert!(answer.starts_with("HTTP/1.1 200"), "{name}: {answer}");
                count.fetch_add(1, Ordering::SeqCst);
            };
            scope.spawn(move || again_and_again(stopped, served));
        }
        let go_on = || {
            let before = count.load(Ordering::SeqCst);
            eventually("there is load", || count.load(Ordering::SeqCst) > before + 30);
        };
        for _ in 0..3 {
            go_on();
            let next = place.authority.certify(&[NAMES[1]]);
            // One file after the other, as most tools do.
            put(place.gateway.directory(), "1.pem", &next.certificate);
            go_on();
            put(place.gateway.directory(), "1.key", &next.key);
            eventually("the next one is shown", || place.shown(NAMES[1]) == next.der());
            go_on();
        }
        stopped.store(true, Ordering::SeqCst);
    });
    assert_eq!(place.shown(NAMES[0]), place.pairs[0].der());
    assert_eq!(place.shown("web.example.org"), place.pairs[2].der());
}

fn put(directory: &Path, name: &str, text: &str) {
    fs::write(directory.join(name), text).unwrap();
}

fn again_and_again(stopped: &AtomicBool, work: impl Fn()) {
    while !stopped.load(Ordering::SeqCst) {
        work();
    }
}
