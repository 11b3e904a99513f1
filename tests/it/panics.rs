//! A panic in one request is a 500 for that request alone.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, Mutex};
use std::thread;

use keyward::config::sources;
use keyward::server::{Origin, Server};
use keyward::telemetry::outlet::Outlet;
use serde_json::json;
use tempfile::TempDir;

use crate::support::address::fresh;
use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::http::Response;
use crate::support::metrics::Metrics;
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::wait::eventually;

/// The program's server in this process, since what it is given here no configuration can say:
/// requests with so many headers that `http` panics when one more is added.
struct Fragile {
    address: SocketAddr,
    admin: SocketAddr,
    token: String,
    _directory: TempDir,
}

impl Fragile {
    /// Serves while `work` is done with it, and drains.
    #[track_caller]
    fn serve(upstream: &Upstream, work: impl FnOnce(&Self)) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keyward.toml");
        let setup = Setup::to(upstream.address()).gateway("workers = 1");
        let setup = setup.gateway("max_header_bytes = \"1MiB\"");
        fs::write(&file, setup.text(fresh(), fresh())).unwrap();
        let mut config = sources::load(Some(&file), &[], std::iter::empty()).unwrap().config;
        config.gateway.head.count_max = 2 * HEADERS_MAX;
        let outlet = Outlet::start(io::sink()).unwrap();
        let server = Server::start(config, outlet.inlets(), Origin::default()).unwrap();
        let stopper = server.stopper();
        let token = fs::read_to_string(directory.path().join("operator.token")).unwrap();
        let (address, admin) = (server.addresses().gateway[0], server.addresses().admin[0]);
        let this = Self { address, admin, token, _directory: directory };
        let serving = thread::spawn(move || server.wait());
        eventually("it is ready", || this.admin(Ask::get("/readyz")).status == 200);
        work(&this);
        stopper.stop();
        assert_eq!(serving.join().unwrap(), 0);
    }

    #[track_caller]
    fn admin(&self, ask: Ask) -> Response {
        let ask = ask.header("host", &self.admin.to_string());
        let bearer = format!("Bearer {}", self.token.trim());
        Client::connect(self.admin).ask(&ask.header("authorization", &bearer))
    }

    #[track_caller]
    fn metrics(&self) -> Metrics {
        let scrape = self.admin(Ask::get("/metrics"));
        Metrics::parse(std::str::from_utf8(&scrape.body).unwrap())
    }
}

/// Has what workers say when they panic kept, beside what is done with it otherwise.
fn listen() -> Arc<Mutex<String>> {
    let (said, others) = (Arc::<Mutex<String>>::default(), panic::take_hook());
    let heard = Arc::clone(&said);
    panic::set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
        let of_worker = thread::current().name().is_some_and(|it| it.starts_with("worker-"));
        if of_worker {
            heard.lock().unwrap().push_str(&panic.to_string());
        } else {
            others(panic);
        }
    }));
    said
}

/// A request with so many headers.
fn full(plaintext: &str, count: usize) -> Ask {
    let start = Ask::get("/full").header("host", "a").header("api-key", plaintext);
    (2..count).fold(start, |ask, it| ask.header(&format!("h{it}"), "1"))
}

#[test]
fn a_panic_in_one_request_is_a_500_for_it_alone() {
    let said = listen();
    let upstream = Upstream::echo();
    Fragile::serve(&upstream, |fragile| {
        let body = json!({ "name": "crm" }).to_string();
        let minted =
            fragile.admin(Ask::post("/v1/keys", body).header("content-type", "application/json"));
        assert_eq!(minted.status, 201, "{minted:?}");
        let (id, key) = (minted.json()["id"].clone(), minted.json()["key"].clone());
        let (id, key) = (id.as_str().unwrap(), key.as_str().unwrap());
        let ask = Ask::get("/").header("api-key", key);
        let mut neighbour = Client::connect(fragile.address);
        assert_eq!(neighbour.ask(&ask).status, 200);
        // The first is lost when its key is looked for; the others, let in, when theirs gets a name.
        for (round, count) in (1..).zip([HEADERS_MAX, HEADERS_MAX - 1, HEADERS_MAX - 1]) {
            let before = upstream.asked();
            let mut client = Client::connect(fragile.address);
            client.ask(&full(key, count)).assert_problem(500, "internal_error");
            if count == HEADERS_MAX {
                assert_eq!(client.ask(&Ask::get("/public/a")).status, 200);
            } else {
                client.assert_closed();
                assert_eq!(upstream.asked(), before);
            }
            assert_eq!(neighbour.ask(&ask).status, 200);
            let metrics = fragile.metrics();
            assert_eq!(metrics.count("keyward_panics_total"), round);
            assert_eq!(metrics.with("keyward_requests_total", "code=\"500\""), round);
            assert_eq!(
                metrics.count("keyward_auth_decisions_total{result=\"allowed\"}"),
                2 * round
            );
        }
        // Nothing of them runs on: nobody is left to be cut.
        let revoked = fragile.admin(Ask::new("DELETE", &format!("/v1/keys/{id}")));
        let receipt = &revoked.json()["propagation"]["gateways"][0];
        assert_eq!(receipt["closed_streams"], 0, "{receipt}");
        neighbour.ask(&ask).assert_problem(401, "revoked_key");
        drop(neighbour);
        let said = said.lock().unwrap();
        assert!(said.contains("panicked at"), "{said}");
        let secret = key.rsplit('_').next().unwrap();
        assert!(!said.contains(secret), "a key stands in a panic");
    });
}

/// As many as `http` has room for: three quarters of 2¹⁵.
const HEADERS_MAX: usize = 24_576;
