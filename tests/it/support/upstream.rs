//! Upstreams for tests: each connection has a thread, and a script that says what it answers.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::json;
use socket2::SockRef;

use crate::support::http::{Framing, Head, read_body};

/// A server that a gateway forwards to. It stops accepting when this is dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    accepted: AtomicUsize,
    asked: AtomicUsize,
    latest: Mutex<VecDeque<Received>>,
    bytes: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub head: Head,
    /// The beginning of its body.
    pub body: Vec<u8>,
    pub body_bytes: u64,
    pub trailers: Vec<(String, String)>,
}

/// One connection from a gateway.
#[derive(Debug)]
pub struct Conversation {
    reader: BufReader<Recording>,
    shared: Arc<Shared>,
    number: usize,
}

/// Remembers the first bytes of what it reads.
#[derive(Debug)]
struct Recording {
    stream: TcpStream,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Upstream {
    /// Follows `script` on every connection, and closes it at the script's end.
    pub fn scripted(
        script: impl Fn(&mut Conversation) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::scripted_at("127.0.0.1:0".parse().unwrap(), script)
    }

    /// The same at an address of the test's choice.
    pub fn scripted_at(
        address: SocketAddr,
        script: impl Fn(&mut Conversation) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        // A crowd at once waits its turn: without room its SYNs would be lost, and sent a second later.
        SockRef::from(&listener).listen(CROWD).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (script, seen) = (Arc::new(script), Arc::clone(&shared));
        thread::spawn(move || {
            let open = || !seen.stopped.load(Ordering::Relaxed);
            while let (Ok((stream, _)), true) = (listener.accept(), open()) {
                let mut conversation = Conversation::new(stream, &seen);
                let script = Arc::clone(&script);
                // Whoever is on the other side may go away at any time.
                thread::spawn(move || drop(script(&mut conversation)));
            }
        });
        Self { address, shared }
    }

    /// Answers every request with the bytes that `answer` makes of it.
    pub fn answering(answer: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::answering_at("127.0.0.1:0".parse().unwrap(), answer)
    }

    /// The same at an address of the test's choice.
    pub fn answering_at(
        address: SocketAddr,
        answer: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::scripted_at(address, move |conversation| {
            while let Some(request) = conversation.request()? {
                conversation.send(answer(&request))?;
            }
            Ok(())
        })
    }

    /// Answers every request with what it was, as JSON: method, target, headers, `body_bytes`.
    pub fn echo() -> Self {
        Self::answering(|request| {
            let Received { head, body_bytes, .. } = request;
            let (method, target) = (request.method(), request.target());
            let document = json!({ "method": method, "target": target, "headers": head.headers, "body_bytes": body_bytes });
            ok(document.to_string())
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many requests it has read.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// The request that was read last.
    #[track_caller]
    pub fn last(&self) -> Received {
        self.shared.latest.lock().unwrap().back().cloned().unwrap()
    }

    /// The first bytes that came over each connection, exactly.
    pub fn bytes(&self) -> Vec<Vec<u8>> {
        let connections = self.shared.bytes.lock().unwrap();
        connections.iter().map(|it| it.lock().unwrap().clone()).collect()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // Nobody but a connection wakes it.
        drop(TcpStream::connect(self.address));
    }
}

impl Received {
    /// How it asks.
    pub fn method(&self) -> &str {
        self.head.word(0)
    }

    /// For what, with the query.
    pub fn target(&self) -> &str {
        self.head.word(1)
    }

    /// A header that stands there at most once.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }
}

impl Conversation {
    fn new(stream: TcpStream, shared: &Arc<Shared>) -> Self {
        stream.set_nodelay(true).unwrap();
        let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
        let bytes = Arc::new(Mutex::new(Vec::new()));
        shared.bytes.lock().unwrap().push(Arc::clone(&bytes));
        let reader = BufReader::with_capacity(64 * 1024, Recording { stream, bytes });
        Self { reader, shared: Arc::clone(shared), number }
    }

    /// Which connection this is, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The next request with its body; `None` where the gateway closes instead.
    pub fn request(&mut self) -> io::Result<Option<Received>> {
        let Some(head) = self.head()? else { return Ok(None) };
        self.body(head).map(Some)
    }

    /// The head of the next request.
    pub fn head(&mut self) -> io::Result<Option<Head>> {
        Head::read(&mut self.reader)
    }

    /// The body that belongs to `head`. From here on the request counts as read.
    pub fn body(&mut self, head: Head) -> io::Result<Received> {
        let mut received = Received { head, body: Vec::new(), body_bytes: 0, trailers: Vec::new() };
        let framing = received.head.framing(Framing::Length(0));
        received.trailers = read_body(&mut self.reader, framing, |bytes| {
            let kept = BODY_BYTES_KEPT.saturating_sub(received.body.len()).min(bytes.len());
            received.body.extend_from_slice(&bytes[..kept]);
            received.body_bytes += bytes.len() as u64;
        })?;
        self.note(received.clone());
        Ok(received)
    }

    fn note(&self, received: Received) {
        let mut latest = self.shared.latest.lock().unwrap();
        if latest.len() == REQUESTS_KEPT {
            latest.pop_front();
        }
        latest.push_back(received);
        self.shared.asked.fetch_add(1, Ordering::SeqCst);
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream().write_all(bytes.as_ref())
    }

    /// The socket itself.
    pub fn stream(&self) -> &TcpStream {
        &self.reader.get_ref().stream
    }

    /// Where requests are read from.
    pub fn reader(&mut self) -> &mut impl io::BufRead {
        &mut self.reader
    }

    /// Has the connection end with a reset.
    pub fn reset_at_end(&self) {
        SockRef::from(self.stream()).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl Read for Recording {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        let mut bytes = self.bytes.lock().unwrap();
        let kept = BYTES_KEPT.saturating_sub(bytes.len()).min(count);
        bytes.extend_from_slice(&buffer[..kept]);
        Ok(count)
    }
}

/// An ordinary answer.
pub fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

const REQUESTS_KEPT: usize = 10_000;
const BODY_BYTES_KEPT: usize = 64 * 1024;
const BYTES_KEPT: usize = 64 * 1024;
/// How many connections may wait to be accepted.
const CROWD: i32 = 1024;
