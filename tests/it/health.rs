//! Endpoints are asked whether they are well, and get requests as long as they are.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use crate::support::ask::Ask;
use crate::support::gateway::{Gateway, Key};
use crate::support::setup::Setup;
use crate::support::upstream::{Received, Upstream, ok};
use crate::support::wait::eventually;

/// Answers `/healthz` with a status that the test may change, and counts everything else.
struct Patient {
    upstream: Upstream,
    state: Arc<State>,
}

struct State {
    status: AtomicU16,
    used: AtomicUsize,
}

impl State {
    fn answer(&self, request: &Received) -> Vec<u8> {
        if request.target() != "/healthz?deep=1" {
            self.used.fetch_add(1, Ordering::SeqCst);
            return ok("ok");
        }
        let is_as_agreed = request.method() == "GET"
            && request.header("user-agent") == Some("keyward-health")
            && request.header("host").is_some_and(|it| it.starts_with("127.0.0.1:"));
        let status = if is_as_agreed { self.status.load(Ordering::SeqCst) } else { 400 };
        format!("HTTP/1.1 {status} So\r\ncontent-length: 4\r\n\r\nbody").into()
    }
}

impl Patient {
    fn new() -> Self {
        let state = Arc::new(State { status: AtomicU16::new(200), used: AtomicUsize::new(0) });
        let answering = Arc::clone(&state);
        Self { upstream: Upstream::answering(move |it| answering.answer(it)), state }
    }

    fn says(&self, status: u16) {
        self.state.status.store(status, Ordering::SeqCst);
    }

    fn used(&self) -> usize {
        self.state.used.load(Ordering::SeqCst)
    }
}

fn start(patients: &[&Patient], question: &str) -> (Gateway, Key) {
    let addresses: Vec<_> = patients.iter().map(|it| it.upstream.address()).collect();
    let setup = Setup::empty().upstream("api", &addresses);
    let setup = setup.upstream_line(&format!(
        "health = {{ {question}, interval = \"100ms\", unhealthy_after = 2, healthy_after = 2 }}"
    ));
    let gateway = Gateway::start(&setup.route("all", "path = \"/\""));
    let key = gateway.mint("crm");
    (gateway, key)
}

fn is_well(gateway: &Gateway, patient: &Patient) -> bool {
    let url = format!("http://{}", patient.upstream.address());
    let labels = format!("{{upstream=\"api\",endpoint=\"{url}\"}}");
    gateway.metrics().count(&format!("keyward_upstream_endpoint_healthy{labels}")) == 1
}

/// Forty requests, which all get an answer; how many of them each gets.
#[track_caller]
fn shares(gateway: &Gateway, key: &Key, patients: [&Patient; 2]) -> [usize; 2] {
    let before = patients.map(Patient::used);
    for _ in 0..40 {
        assert_eq!(Ask::get("/").key(key).to(gateway).status, 200);
    }
    [0, 1].map(|it| patients[it].used() - before[it])
}

#[test]
fn an_endpoint_that_says_it_is_not_well_gets_nothing_until_it_says_it_is() {
    let (one, two) = (Patient::new(), Patient::new());
    let (gateway, key) = start(&[&one, &two], "path = \"/healthz?deep=1\"");
    assert!(is_well(&gateway, &one) && is_well(&gateway, &two));
    for (bad, good) in [(500, 200), (404, 302), (401, 204)] {
        one.says(bad);
        eventually("it is not well", || !is_well(&gateway, &one));
        assert!(is_well(&gateway, &two));
        assert_eq!(shares(&gateway, &key, [&one, &two]), [0, 40]);
        one.says(good);
        eventually("it is well", || is_well(&gateway, &one));
        let shares = shares(&gateway, &key, [&one, &two]);
        assert!(shares[0] > 5 && shares[1] > 5, "{shares:?}");
    }
}

#[test]
fn when_no_endpoint_is_well_the_request_is_503_and_nobody_is_asked() {
    let (one, two) = (Patient::new(), Patient::new());
    let (gateway, key) = start(&[&one, &two], "path = \"/healthz?deep=1\"");
    one.says(503);
    two.says(503);
    eventually("none is well", || !is_well(&gateway, &one) && !is_well(&gateway, &two));
    let used = one.used() + two.used();
    for ask in [Ask::get("/"), Ask::post("/", "x")] {
        let answer = ask.key(&key).to(&gateway);
        assert!(answer.head.get("retry-after").is_some());
        answer.assert_problem(503, "no_healthy_endpoint");
    }
    assert_eq!(one.used() + two.used(), used);
    two.says(200);
    eventually("one is well", || is_well(&gateway, &two));
    assert_eq!(shares(&gateway, &key, [&one, &two]), [0, 40]);
}

#[test]
fn an_endpoint_that_takes_connections_is_well_where_no_more_is_asked() {
    let (one, two) = (Patient::new(), Patient::new());
    one.says(500);
    let (gateway, key) = start(&[&one, &two], "tcp = true");
    let shares_of_both = shares(&gateway, &key, [&one, &two]);
    assert!(is_well(&gateway, &one) && shares_of_both[0] > 5, "{shares_of_both:?}");
    let Patient { upstream, state } = one;
    let address = upstream.address();
    drop(upstream);
    let gone = format!("{{upstream=\"api\",endpoint=\"http://{address}\"}}");
    let gone = format!("keyward_upstream_endpoint_healthy{gone}");
    eventually("it is not well", || gateway.metrics().count(&gone) == 0);
    let used = state.used.load(Ordering::SeqCst);
    assert!((0..40).all(|_| Ask::get("/").key(&key).to(&gateway).status == 200));
    assert_eq!(state.used.load(Ordering::SeqCst), used);
    let _listener = TcpListener::bind(address).unwrap();
    eventually("it is well", || gateway.metrics().count(&gone) == 1);
}

#[test]
fn an_endpoint_is_asked_under_the_name_that_is_set_for_its_host() {
    let upstream = Upstream::answering(|request| match request.header("host") {
        Some("api.internal.example") => ok("ok"),
        _ => b"HTTP/1.1 421 Misdirected Request\r\ncontent-length: 0\r\n\r\n".to_vec(),
    });
    let setup = Setup::empty().upstream("api", &[upstream.address()]);
    let setup = setup
        .upstream_line("host = \"api.internal.example\"")
        .upstream_line("health = { path = \"/\", interval = \"50ms\", unhealthy_after = 1 }")
        .route("all", "path = \"/\"");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    for count in [1, 5] {
        eventually("it is asked", || upstream.asked() >= count);
        assert_eq!(upstream.last().header("user-agent"), Some("keyward-health"));
        assert_eq!(upstream.last().header("host"), Some("api.internal.example"));
    }
    assert_eq!(gateway.metrics().with("keyward_upstream_endpoint_healthy", ""), 1);
    assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
}
