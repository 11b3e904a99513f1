//! Uploads that an upstream answers and does not read: they end there, and hold nothing up.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::frames::{DATA, Frames, HEADERS, RST_STREAM};
use crate::support::gateway::Gateway;
use crate::support::setup::Setup;
use crate::support::upstream::{Conversation, Upstream, ok};
use crate::support::wait::{PATIENCE, eventually};

/// Answers at once, but an upload: of that it reads nothing, answers when it is told to, and then
/// keeps its connection for as long as the other side does, for a while at least.
struct Stuck {
    upstream: Upstream,
    answers: Arc<AtomicBool>,
    begun: Arc<AtomicUsize>,
}

impl Stuck {
    fn start() -> Self {
        let (answers, begun) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (told, seen) = (Arc::clone(&answers), Arc::clone(&begun));
        let upstream = Upstream::scripted(move |it| serve(it, &told, &seen));
        Self { upstream, answers, begun }
    }

    /// Uploads over `client` until nobody takes any more, and then has the upstream answer.
    #[track_caller]
    fn upload(&self, client: &mut Client) {
        let before = self.begun.load(Ordering::SeqCst);
        let ask = Ask::new("POST", "/stuck").header("content-length", &(256 * MIB).to_string());
        client.send(ask.bytes());
        eventually("it is asked", || self.begun.load(Ordering::SeqCst) > before);
        push(client);
        self.answers.store(true, Ordering::SeqCst);
        let answer = client.read();
        assert_eq!((answer.status, &*answer.body), (200, &b"ok"[..]));
    }
}

fn serve(
    conversation: &mut Conversation,
    told: &AtomicBool,
    begun: &AtomicUsize,
) -> io::Result<()> {
    while let Some(head) = conversation.head()? {
        if head.word(0) == "POST" {
            begun.fetch_add(1, Ordering::SeqCst);
            return answer_unread(conversation, told);
        }
        conversation.body(head)?;
        conversation.send(ok("ok"))?;
    }
    Ok(())
}

fn answer_unread(conversation: &mut Conversation, told: &AtomicBool) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    while !told.load(Ordering::SeqCst) && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
    conversation.send(ok("ok"))?;
    thread::sleep(Duration::from_secs(5));
    Ok(())
}

/// Sends what looks like requests, until nobody takes any more for a while.
fn push(client: &Client) {
    let mut stream = client.stream();
    stream.set_write_timeout(Some(Duration::from_millis(700))).unwrap();
    let smuggled = "\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1_000);
    let mut sent = 0;
    while let Ok(count) = stream.write(smuggled.as_bytes()) {
        sent += count as u64;
        assert!(sent < 256 * MIB, "all of it was taken");
    }
}

#[test]
fn what_is_left_of_an_upload_that_nobody_reads_is_never_a_request() {
    for before in [0, 1] {
        let stuck = Stuck::start();
        let url = format!("http://{}", stuck.upstream.address());
        let gateway = Gateway::start(&Setup::open_to(&url));
        let mut client = gateway.client();
        for _ in 0..before {
            assert_eq!(client.ask(&Ask::get("/first")).status, 200);
        }
        stuck.upload(&mut client);
        // What it sends from now on is no request either, however much of it is still read away.
        drop(client.try_send("GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n".repeat(10_000)));
        client.assert_closed();
        let metrics = || gateway.metrics();
        eventually("it is closed", || metrics().count("keyward_connections_open") == 0);
        assert_eq!(metrics().with("keyward_requests_total", ""), before + 1);
        assert_eq!(stuck.upstream.asked() as u64, before);
        let connections = stuck.upstream.bytes();
        assert_eq!(connections.len(), 1, "something else went up");
        let begins = if before == 0 { &b"POST /stuck "[..] } else { b"GET /first " };
        assert!(connections[0].starts_with(begins));
    }
}

#[test]
fn an_upload_that_nobody_reads_does_not_keep_the_only_permit() {
    let stuck = Stuck::start();
    let url = format!("http://{}", stuck.upstream.address());
    let setup = Setup::open_to(&url).upstream_line("max_connections = 1");
    let gateway = Gateway::start(&setup);
    for round in 1..=3 {
        stuck.answers.store(false, Ordering::SeqCst);
        stuck.upload(&mut gateway.client());
        assert_eq!(Ask::get("/next").to(&gateway).status, 200, "in round {round}");
        assert_eq!(stuck.upstream.asked(), round);
    }
}

/// What an upstream over HTTP/2 does with the bytes of uploads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// It makes room on the connection and not on the stream, and answers once that is full.
    Connection,
    /// It makes none, and answers at once.
    None,
}

/// Answers every upload without ever resetting it, and notes with which code each is given up.
fn answering_unread(room: Room, resets: &Arc<Mutex<Vec<u8>>>) -> Upstream {
    let resets = Arc::clone(resets);
    Upstream::scripted(move |conversation| {
        let mut frames = Frames::begin(conversation.stream())?;
        let mut taken = BTreeMap::<u32, usize>::new();
        loop {
            let frame = frames.next()?;
            let answers = match frame.kind {
                HEADERS => room == Room::None,
                DATA if room == Room::Connection => {
                    frames.make_room(&frame)?;
                    let taken = taken.entry(frame.stream).or_default();
                    *taken += frame.payload.len();
                    *taken == WINDOW
                }
                _ => false,
            };
            if answers {
                frames.answer(frame.stream)?;
            }
            if frame.kind == RST_STREAM {
                resets.lock().unwrap().push(frame.payload[3]);
            }
        }
    })
}

#[test]
fn uploads_that_an_upstream_over_http2_does_not_read_are_reset_there() {
    /// More than it may have at once.
    const COUNT: usize = 120;
    for room in [Room::Connection, Room::None] {
        let resets = Arc::<Mutex<Vec<u8>>>::default();
        let upstream = answering_unread(room, &resets);
        let setup = Setup::open_to(&format!("h2://{}", upstream.address()));
        let gateway = Gateway::start(&setup.gateway("workers = 1"));
        let ask = Ask::new("POST", "/").header("content-length", &(10 * MIB).to_string());
        for round in 0..COUNT {
            let mut client = gateway.client();
            client.send([ask.bytes(), vec![b'a'; 2 * WINDOW]].concat());
            assert_eq!(client.read().status, 200, "{room:?}, in round {round}");
        }
        eventually("all are given up", || resets.lock().unwrap().len() == COUNT);
        assert!(resets.lock().unwrap().iter().all(|it| *it == CANCEL), "{resets:?}");
        assert_eq!(upstream.connections(), 1, "{room:?}");
    }
}

const MIB: u64 = 1 << 20;
/// Of a stream and of a connection whose owner says nothing of it (RFC 9113, 6.9.2).
const WINDOW: usize = 65_535;
const CANCEL: u8 = 8;

#[test]
fn who_gives_up_on_a_client_that_sends_nothing_more_has_not_failed() {
    let impatient = || {
        Upstream::scripted(|conversation| {
            let Some(head) = conversation.head()? else { return Ok(()) };
            if head.first.starts_with("POST ") {
                thread::sleep(Duration::from_millis(200));
                return Ok(());
            }
            conversation.send(ok("ok"))
        })
    };
    let (one, two) = (impatient(), impatient());
    let setup = Setup::empty().upstream("api", &[one.address(), two.address()]);
    let setup = setup.upstream_line("ejection = { failures = 1, at_most = \"100%\" }");
    let gateway = Gateway::start(&setup.route("all", "path = \"/\"\naccess = \"public\""));
    for _ in 0..6 {
        let mut client = gateway.client();
        let ask = Ask::new("POST", "/").header("content-length", "1000").bytes();
        client.send([&ask[..], b"abc"].concat());
        client.read().assert_problem(502, "upstream_failed");
    }
    assert_eq!(gateway.metrics().with("keyward_upstream_ejections_total", ""), 0);
    assert_eq!(gateway.metrics().with("keyward_upstream_endpoint_healthy", ""), 2);
    assert_eq!(Ask::get("/").to(&gateway).status, 200);
}
