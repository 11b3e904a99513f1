//! A limit on connections holds over all workers, and whoever waits for one is not forgotten.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::gateway::Gateway;
use crate::support::http2::Http2Upstream;
use crate::support::setup::Setup;
use crate::support::upstream::{Conversation, Upstream, ok};
use crate::support::wait::eventually;

/// An upstream that notes how much it had to do at once.
struct Busy {
    upstream: Upstream,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    now: AtomicUsize,
    most: AtomicUsize,
    released: AtomicBool,
}

impl Busy {
    /// Every answer takes `pause`; to `/wait` there is none before it is released.
    fn start(pause: Duration) -> Self {
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let upstream = Upstream::scripted(move |it| script(it, &shared, pause));
        Self { upstream, seen }
    }

    fn url(&self) -> String {
        format!("http://{}", self.upstream.address())
    }

    fn now(&self) -> usize {
        self.seen.now.load(Ordering::SeqCst)
    }

    fn most(&self) -> usize {
        self.seen.most.load(Ordering::SeqCst)
    }

    fn release(&self) {
        self.seen.released.store(true, Ordering::SeqCst);
    }
}

fn script(conversation: &mut Conversation, seen: &Seen, pause: Duration) -> io::Result<()> {
    while let Some(request) = conversation.request()? {
        let now = seen.now.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most.fetch_max(now, Ordering::SeqCst);
        thread::sleep(pause);
        while request.target() == "/wait" && !seen.released.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        // Before the answer: with it comes the next one's turn.
        seen.now.fetch_sub(1, Ordering::SeqCst);
        conversation.send(ok("ok"))?;
    }
    Ok(())
}

fn limited(url: &str, limit: usize, wait: &str) -> Setup {
    let setup = Setup::open_to(url).upstream_line(&format!("max_connections = {limit}"));
    setup.upstream_line(&format!("wait_timeout = {wait:?}"))
}

/// Answers once it is released, and lets through whoever asks for another protocol.
fn switching(released: &Arc<AtomicBool>) -> Upstream {
    let released = Arc::clone(released);
    Upstream::scripted(move |conversation| {
        while let Some(request) = conversation.request()? {
            if request.header("upgrade").is_some() {
                conversation.send(SWITCHED)?;
                return io::copy(conversation.reader(), &mut io::sink()).map(drop);
            }
            while !released.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            conversation.send(ok("ok"))?;
        }
        Ok(())
    })
}

/// How many of these requests fail: so many clients, on connections of their own, one after
/// another each.
fn failures(gateway: &Gateway, clients: usize, requests: usize) -> usize {
    let address = gateway.address();
    let asking = (0..clients).map(|_| {
        thread::spawn(move || {
            let mut client = Client::connect(address);
            (0..requests).filter(|_| client.ask(&Ask::get("/")).status != 200).count()
        })
    });
    let asking: Vec<_> = asking.collect();
    asking.into_iter().map(|it| it.join().unwrap()).sum()
}

#[test]
fn never_more_are_open_than_allowed_and_everybody_gets_their_turn() {
    let busy = Busy::start(Duration::from_millis(5));
    let gateway = Gateway::start(&limited(&busy.url(), 3, "20s"));
    assert_eq!(failures(&gateway, 24, 10), 0);
    assert_eq!(busy.most(), 3);
}

#[test]
fn fewer_than_there_are_workers_go_around() {
    let busy = Busy::start(Duration::from_millis(1));
    let gateway = Gateway::start(&limited(&busy.url(), 1, "20s"));
    assert_eq!(failures(&gateway, 8, 20), 0);
    assert_eq!(busy.most(), 1);
}

#[test]
fn no_worker_starves_while_another_has_a_connection_that_it_does_not_use() {
    let (http1, http2) = (Busy::start(Duration::ZERO), Http2Upstream::start(100));
    for url in [http1.url(), http2.url()] {
        let gateway = Gateway::start(&limited(&url, 1, "20s"));
        for _ in 0..40 {
            // Each time a new client, on whichever worker.
            assert_eq!(Ask::get("/").to(&gateway).status, 200);
        }
    }
    assert_eq!(http1.most(), 1);
}

#[test]
fn who_waits_too_long_is_told_that_there_is_too_much_to_do() {
    let busy = Busy::start(Duration::ZERO);
    let gateway = Gateway::start(&limited(&busy.url(), 1, "200ms"));
    let mut first = gateway.client();
    first.send(Ask::get("/wait").bytes());
    eventually("the first has come", || busy.now() == 1);
    let refused = Ask::get("/").to(&gateway);
    refused.assert_problem(503, "overloaded");
    assert!(refused.head.get("retry-after").is_some());
    busy.release();
    assert_eq!(first.read().status, 200);
    assert_eq!(Ask::get("/").to(&gateway).status, 200);
}

#[test]
fn who_left_while_waiting_takes_nobodys_turn() {
    let busy = Busy::start(Duration::ZERO);
    let gateway = Gateway::start(&limited(&busy.url(), 1, "20s").gateway("workers = 1"));
    let mut first = gateway.client();
    first.send(Ask::get("/wait").bytes());
    eventually("the first has come", || busy.now() == 1);
    for _ in 0..5 {
        gateway.client().send(Ask::get("/").bytes());
    }
    let mut last = gateway.client();
    last.send(Ask::get("/").bytes());
    busy.release();
    assert_eq!(first.read().status, 200);
    assert_eq!(last.read().status, 200);
}

#[test]
fn over_http2_requests_wait_for_a_place_on_the_connections_there_may_be() {
    let upstream = Http2Upstream::start(2);
    let gateway = Gateway::start(&limited(&upstream.url(), 1, "20s").gateway("workers = 1"));
    let clients: Vec<Client> = (0..7)
        .map(|_| {
            let client = gateway.client();
            client.send(Ask::get("/wait").bytes());
            client
        })
        .collect();
    eventually("as many have come as may", || upstream.asked() == 2);
    upstream.release();
    for mut client in clients {
        assert_eq!(client.read().body, b"done");
    }
    assert_eq!(upstream.connections(), 1);
    let strict = Http2Upstream::start(1);
    let gateway = Gateway::start(&limited(&strict.url(), 1, "200ms").gateway("workers = 1"));
    let mut first = gateway.client();
    first.send(Ask::get("/wait").bytes());
    eventually("the first has come", || strict.asked() == 1);
    Ask::get("/").to(&gateway).assert_problem(503, "overloaded");
    strict.release();
    assert_eq!(first.read().status, 200);
}

#[test]
fn an_upgrade_gets_the_only_connection_as_soon_as_it_is_given_back() {
    let released = Arc::<AtomicBool>::default();
    let upstream = switching(&released);
    let setup = Setup::empty().upstream("api", &[upstream.address()]);
    let setup = setup.upstream_line("max_connections = 1\nwait_timeout = \"20s\"");
    let setup = setup
        .gateway("workers = 1")
        .route("all", "path = \"/\"\naccess = \"public\"\nupgrades = [\"websocket\"]");
    let gateway = Gateway::start(&setup);
    let upgrade = Ask::get("/").header("connection", "upgrade").header("upgrade", "websocket");
    let mut first = gateway.client();
    first.send(Ask::get("/").bytes());
    eventually("the first has come", || upstream.asked() == 1);
    let mut waiting = gateway.client();
    waiting.send(upgrade.bytes());
    // Nobody can see that it waits.
    thread::sleep(Duration::from_millis(300));
    assert_eq!((upstream.asked(), upstream.connections()), (1, 1));
    released.store(true, Ordering::SeqCst);
    assert_eq!(first.read().status, 200);
    assert_eq!(waiting.switched(), "HTTP/1.1 101 Switching Protocols");
    assert_eq!((upstream.asked(), upstream.connections()), (2, 2));
    // Once it has ended there is room for the next, and for an upgrade again after it.
    drop(waiting);
    assert_eq!(Ask::get("/").to(&gateway).status, 200);
    let mut idle = gateway.client();
    idle.send(upgrade.bytes());
    assert_eq!(idle.switched(), "HTTP/1.1 101 Switching Protocols");
}

#[test]
fn a_lower_limit_holds_at_once_and_refuses_nobody() {
    let busy = Busy::start(Duration::from_millis(2));
    let gateway = Gateway::start(&limited(&busy.url(), 20, "20s"));
    let clients = (0..20).map(|_| {
        let client = gateway.client();
        client.send(Ask::get("/wait").bytes());
        client
    });
    let clients: Vec<Client> = clients.collect();
    eventually("all have come", || busy.now() == 20);
    busy.release();
    for mut client in clients {
        assert_eq!(client.read().status, 200);
    }
    busy.seen.most.store(0, Ordering::SeqCst);
    gateway.configure(&limited(&busy.url(), 2, "20s"));
    assert_eq!(gateway.admin("POST", "/v1/reload", None).status, 200);
    assert_eq!(failures(&gateway, 16, 10), 0);
    assert!(busy.most() <= 2, "{} at once", busy.most());
}

const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
