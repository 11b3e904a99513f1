//! Requests that go on until somebody ends them, and an upstream that never does.

use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::gateway::{Gateway, Key};
use crate::support::upstream::{Conversation, Upstream, ok};
use crate::support::wait::eventually;

/// An upstream whose answers do not end. By the end of the path: `drip` is an answer that goes on
/// slowly, as events do, `flood` one of 1 GiB as fast as it is taken, `swallow` takes a body and does not
/// answer, `wait` does not answer; everything else is answered at once.
#[derive(Debug)]
pub struct Endless {
    upstream: Upstream,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    begun: AtomicUsize,
    flooded: AtomicU64,
}

/// How a request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A slow download that the client reads.
    Download,
    /// A large download of which the client reads nothing.
    Blocked,
    /// An upload that has not come to its end.
    Upload,
    /// A request that has not been answered.
    Poll,
}

/// A request that goes on.
#[derive(Debug)]
pub struct Stream {
    client: Client,
    kind: Kind,
}

/// One of each kind, and a second one of most.
pub const KINDS: [Kind; 7] = [
    Kind::Download,
    Kind::Download,
    Kind::Blocked,
    Kind::Upload,
    Kind::Upload,
    Kind::Poll,
    Kind::Poll,
];

impl Endless {
    /// Starts one.
    pub fn start() -> Self {
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let upstream = Upstream::scripted(move |conversation| script(conversation, &shared));
        Self { upstream, seen }
    }

    /// The upstream.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Opens requests of these kinds below `path`, and waits until each has come through.
    #[track_caller]
    pub fn open(&self, kinds: &[Kind], target: &Target<'_>) -> Vec<Stream> {
        let before = self.seen.begun.load(Ordering::SeqCst);
        let streams: Vec<Stream> = kinds.iter().map(|it| Stream::open(*it, target)).collect();
        eventually("every request has come through", || {
            self.seen.begun.load(Ordering::SeqCst) == before + kinds.len()
        });
        if kinds.contains(&Kind::Blocked) {
            self.wait_until_blocked();
        }
        streams
    }

    /// Waits until nobody takes any more of a flood.
    #[track_caller]
    fn wait_until_blocked(&self) {
        let (mut last, mut times) = (0, 0);
        eventually("the flood is held up", || {
            let now = self.seen.flooded.load(Ordering::SeqCst);
            times = if now == last && now > 0 { times + 1 } else { 0 };
            last = now;
            times > 10
        });
    }
}

/// Where requests go, with which key, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub gateway: &'a Gateway,
    pub key: Option<&'a Key>,
    pub path: &'a str,
    pub source: [u8; 4],
}

impl<'a> Target<'a> {
    /// Everywhere, from this machine's first address.
    pub fn of(gateway: &'a Gateway, key: &'a Key) -> Self {
        Self { gateway, key: Some(key), path: "/", source: [127, 0, 0, 1] }
    }
}

impl Stream {
    fn open(kind: Kind, target: &Target<'_>) -> Self {
        let Target { gateway, key, path, source } = *target;
        let client = match kind {
            Kind::Blocked => Client::connect_narrow(gateway.address()),
            Kind::Download | Kind::Upload | Kind::Poll => {
                Client::connect_from(IpAddr::from(source), gateway.address())
            }
        };
        let word = match kind {
            Kind::Download => "drip",
            Kind::Blocked => "flood",
            Kind::Upload => "swallow",
            Kind::Poll => "wait",
        };
        let target = format!("{path}{word}");
        let ask = match kind {
            Kind::Upload => Ask::new("POST", &target).header("content-length", &GIB.to_string()),
            Kind::Download | Kind::Blocked | Kind::Poll => Ask::get(&target),
        };
        let ask = key.into_iter().fold(ask, Ask::key);
        client.send(ask.bytes());
        if kind == Kind::Upload {
            client.send([0; 1024]);
        }
        let mut this = Self { client, kind };
        if kind == Kind::Download {
            assert_eq!(this.client.read_head().status, 200);
        }
        this
    }

    /// Holds that it was ended, and told why where it still could be.
    #[track_caller]
    pub fn assert_cut(mut self) {
        match self.kind {
            Kind::Download | Kind::Blocked => {
                let rest = self.client.read_to_end();
                assert!((rest.len() as u64) < GIB, "it came whole");
                assert!(!rest.ends_with(b"0\r\n\r\n"), "it ended as if it were whole");
            }
            Kind::Upload | Kind::Poll => {
                self.client.read().assert_problem(401, "revoked_key");
            }
        }
    }

    /// Holds that it goes on.
    #[track_caller]
    pub fn assert_runs(&mut self) {
        match self.kind {
            Kind::Download => {
                for _ in 0..3 {
                    let mut piece = [0; DRIP.len()];
                    io::Read::read_exact(self.client.reader(), &mut piece).unwrap();
                    assert_eq!(&piece, DRIP);
                }
            }
            // Only those who take nothing can tell nothing.
            Kind::Blocked => {}
            Kind::Upload => {
                self.client.send([0; 1024]);
                self.assert_silent();
            }
            Kind::Poll => self.assert_silent(),
        }
    }

    fn assert_silent(&self) {
        let stream = self.client.stream();
        stream.set_nonblocking(true).unwrap();
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).unwrap();
        assert_eq!(peeked.map_err(|it| it.kind()), Err(ErrorKind::WouldBlock));
    }
}

fn script(conversation: &mut Conversation, seen: &Seen) -> io::Result<()> {
    while let Some(head) = conversation.head()? {
        let target = head.word(1).to_owned();
        let word = target.rsplit('/').next().unwrap_or_default();
        if ["drip", "flood", "swallow", "wait"].contains(&word) {
            seen.begun.fetch_add(1, Ordering::SeqCst);
        }
        conversation.body(head)?;
        match word {
            "drip" => drip(conversation)?,
            "flood" => flood(conversation, seen)?,
            "swallow" | "wait" => {
                conversation.head()?;
                return Ok(());
            }
            _ => conversation.send(ok("ok"))?,
        }
    }
    Ok(())
}

fn drip(conversation: &mut Conversation) -> io::Result<()> {
    conversation.send(concat!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n",
        "transfer-encoding: chunked\r\n\r\n"
    ))?;
    loop {
        conversation.send(DRIP)?;
        thread::sleep(Duration::from_millis(20));
    }
}

fn flood(conversation: &mut Conversation, seen: &Seen) -> io::Result<()> {
    conversation.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {GIB}\r\n\r\n"))?;
    let piece = vec![0; 64 * 1024];
    let mut stream = conversation.stream();
    for _ in 0..GIB / piece.len() as u64 {
        let written = stream.write(&piece)?;
        seen.flooded.fetch_add(written as u64, Ordering::SeqCst);
    }
    Ok(())
}

const DRIP: &[u8; 9] = b"4\r\ndrip\r\n";
const GIB: u64 = 1 << 30;
