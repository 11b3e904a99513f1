//! A WebSocket's ends by hand, for what no library does.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::gateway::{Gateway, Key};
use crate::support::setup::Setup;
use crate::support::upstream::{Conversation, Upstream, ok};

/// An upstream that opens tunnels and goes on speaking until nobody listens. Whoever asks for
/// anything else is answered.
#[derive(Debug)]
pub struct Talker {
    upstream: Upstream,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    opened: AtomicUsize,
    ended: AtomicUsize,
    half_closed: AtomicUsize,
}

impl Talker {
    /// Starts one.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// The same, with more lines in the head with which it opens a tunnel.
    pub fn start_with(lines: &str) -> Self {
        let seen = Arc::new(Seen::default());
        let (shared, lines) = (Arc::clone(&seen), lines.to_owned());
        let upstream = Upstream::scripted(move |conversation| talk(conversation, &shared, &lines));
        Self { upstream, seen }
    }

    /// Where tunnels lead there with a key.
    pub fn setup(&self) -> Setup {
        let setup = Setup::empty().upstream("rooms", &[self.upstream.address()]);
        setup
            .route("rooms", "path = \"/\"\nupgrades = [\"websocket\"]")
            .route("public", "path = \"/public/\"\naccess = \"public\"")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.upstream.address()
    }

    /// How many requests it has read.
    pub fn asked(&self) -> usize {
        self.upstream.asked()
    }

    /// How many tunnels it has agreed to.
    pub fn opened(&self) -> usize {
        self.seen.opened.load(Ordering::SeqCst)
    }

    /// How many of them have ended.
    pub fn ended(&self) -> usize {
        self.seen.ended.load(Ordering::SeqCst)
    }

    /// In how many of them the client has said all that it had to say.
    pub fn half_closed(&self) -> usize {
        self.seen.half_closed.load(Ordering::SeqCst)
    }
}

fn talk(conversation: &mut Conversation, seen: &Arc<Seen>, lines: &str) -> io::Result<()> {
    while let Some(request) = conversation.request()? {
        if request.header("upgrade").is_none() {
            conversation.send(ok(vec![b'a'; FILLING]))?;
            continue;
        }
        conversation.send(format!("{SWITCHING}{lines}\r\n"))?;
        seen.opened.fetch_add(1, Ordering::SeqCst);
        let (mut listening, noted) = (conversation.stream().try_clone()?, Arc::clone(seen));
        thread::spawn(move || {
            if io::copy(&mut listening, &mut io::sink()).is_ok() {
                noted.half_closed.fetch_add(1, Ordering::SeqCst);
            }
        });
        while conversation.send(FRAME).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
        seen.ended.fetch_add(1, Ordering::SeqCst);
        return Ok(());
    }
    Ok(())
}

/// A request to upgrade.
pub fn upgrade(key: &Key) -> Ask {
    let ask = Ask::get("/room").key(key).header("connection", "upgrade");
    let ask = ask.header("upgrade", "websocket").header("sec-websocket-version", "13");
    ask.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

/// A client's end of a tunnel that has carried something.
#[track_caller]
pub fn open(gateway: &Gateway, key: &Key) -> Client {
    let mut client = gateway.client();
    client.send(upgrade(key).bytes());
    assert_opens(&mut client);
    client
}

/// Holds what comes next to being the answer that opens a tunnel, and something through it.
#[track_caller]
pub fn assert_opens(client: &mut Client) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.reader().read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    for _ in 0..5 {
        let mut frame = [0; FRAME.len()];
        client.reader().read_exact(&mut frame).unwrap();
        assert_eq!(&frame, FRAME);
    }
}

const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n";

/// A text.
pub const FRAME: &[u8; 6] = b"\x81\x04drip";

/// The code with which a tunnel is closed whose key was revoked, as its frame has it.
pub const REVOKED: &[u8] = b"\x03\xF0the key was revoked";

/// What an ordinary answer has for a body.
const FILLING: usize = 32 * 1024;
