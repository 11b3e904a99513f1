//! Requests at a steady rate, thousands a second for little work: many connections on one thread, and
//! an upstream on another that only counts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::support::ask::Ask;
use crate::support::history::now;

/// Somebody who asks some gateways at a steady rate until this is ended.
#[derive(Debug)]
pub struct Offer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Vec<Asked>>>,
}

/// One gateway, and how often it is asked in a second.
#[derive(Clone, Copy, Debug)]
pub struct Aim {
    pub address: SocketAddr,
    pub per_second: u32,
}

/// A request that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Which of the aims.
    pub aim: usize,
    /// Nanoseconds, as histories know them.
    pub begun: u64,
    pub ended: u64,
    pub said: Said,
}

/// What was said to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Said {
    LetIn,
    RateLimited,
    QuotaExhausted,
    TooManyInFlight,
    /// Another status.
    Other(u16),
    /// Nothing: the connection was lost.
    Nothing,
}

#[derive(Debug)]
struct Shared {
    stopped: AtomicBool,
    begun: Instant,
    request: Vec<u8>,
    /// With the number of the next request.
    aims: Vec<(Aim, AtomicU64)>,
}

impl Offer {
    /// Begins.
    pub fn begin(aims: &[Aim], ask: &Ask) -> Self {
        let shared = Arc::new(Shared {
            stopped: AtomicBool::new(false),
            begun: Instant::now(),
            request: ask.bytes(),
            aims: aims.iter().map(|it| (*it, AtomicU64::new(0))).collect(),
        });
        let own = Arc::clone(&shared);
        let thread = Some(thread::spawn(move || runtime().block_on(offer(own))));
        Self { shared, thread }
    }

    /// Ends; all that was asked, by when it was answered.
    #[track_caller]
    pub fn end(mut self) -> Vec<Asked> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        let mut asked = self.thread.take().unwrap().join().unwrap();
        asked.sort_unstable_by_key(|it| it.ended);
        asked
    }

    /// Asks for so long.
    #[track_caller]
    pub fn run(aims: &[Aim], ask: &Ask, time: Duration) -> Vec<Asked> {
        let this = Self::begin(aims, ask);
        thread::sleep(time);
        this.end()
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }
}

async fn offer(shared: Arc<Shared>) -> Vec<Asked> {
    let mut clients = JoinSet::new();
    for aim in 0..shared.aims.len() {
        for _ in 0..CONNECTIONS {
            clients.spawn(ask_again(Arc::clone(&shared), aim));
        }
    }
    clients.join_all().await.concat()
}

/// One connection after the other, each for as long as it lasts.
async fn ask_again(shared: Arc<Shared>, aim: usize) -> Vec<Asked> {
    let (mut asked, mut kept, mut buffer) = (Vec::new(), None, Vec::new());
    let address = shared.aims[aim].0.address;
    while shared.wait_for_turn(aim).await {
        let begun = now();
        let stream = match kept.take() {
            Some(stream) => Ok(stream),
            None => connect(address).await,
        };
        let Ok(mut stream) = stream else {
            sleep(AWAY).await;
            continue;
        };
        let asking = ask(&mut stream, &shared.request, &mut buffer);
        let said = match timeout(PATIENCE, asking).await {
            Ok(Ok(said)) => said,
            Ok(Err(_)) | Err(_) => Said::Nothing,
        };
        asked.push(Asked { aim, begun, ended: now(), said });
        kept = Some(stream).filter(|_| said != Said::Nothing);
    }
    asked
}

impl Shared {
    /// Whether there is a turn before the end. Nobody catches up on what was missed.
    async fn wait_for_turn(&self, aim: usize) -> bool {
        let (Aim { per_second, .. }, next) = &self.aims[aim];
        let interval = Duration::from_secs(1) / *per_second;
        let passed = self.begun.elapsed().saturating_sub(LATE).as_nanos() / interval.as_nanos();
        next.fetch_max(u64::try_from(passed).unwrap(), Ordering::Relaxed);
        let number = next.fetch_add(1, Ordering::Relaxed);
        let due =
            self.begun + Duration::from_nanos(number * u64::try_from(interval.as_nanos()).unwrap());
        loop {
            let is_stopped = self.stopped.load(Ordering::Relaxed);
            if is_stopped || due <= Instant::now() {
                return !is_stopped;
            }
            sleep_until(due.min(Instant::now() + LATE)).await;
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn ask(stream: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) -> io::Result<Said> {
    stream.write_all(request).await?;
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(said) = read(buffer) {
            return Ok(said);
        }
    }
}

/// What a whole answer says; `None` while it is not whole.
fn read(answer: &[u8]) -> Option<Said> {
    let end = find(answer, b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let length = head.lines().find_map(|it| it.strip_prefix("content-length: ")).unwrap();
    let body = &answer[end..];
    if body.len() < length.parse().unwrap() {
        return None;
    }
    let status: u16 = head[9..12].parse().unwrap();
    let has = |code: &str| status == 429 && find(body, code.as_bytes()).is_some();
    Some(match status {
        200 => Said::LetIn,
        _ if has("\"rate_limited\"") => Said::RateLimited,
        _ if has("\"quota_exhausted\"") => Said::QuotaExhausted,
        _ if has("\"too_many_in_flight\"") => Said::TooManyInFlight,
        _ => Said::Other(status),
    })
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|it| it == what)
}

/// An upstream that answers everything with two letters, and counts.
#[derive(Debug)]
pub struct Counter {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    _runtime: Runtime,
}

impl Counter {
    /// Starts one.
    pub fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        runtime.spawn(accept(listener, Arc::clone(&asked)));
        Self { address, asked, _runtime: runtime }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it has read.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, asked: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        let asked = Arc::clone(&asked);
        tokio::spawn(async move { drop(answer(stream, &asked).await) });
    }
}

async fn answer(mut stream: TcpStream, asked: &AtomicUsize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while stream.read_buf(&mut buffer).await? > 0 {
        // They come one after the other, and without bodies.
        if buffer.ends_with(b"\r\n\r\n") {
            buffer.clear();
            asked.fetch_add(1, Ordering::SeqCst);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
        }
    }
    Ok(())
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// To each aim: as many as may wait for a slice at once, and some more.
const CONNECTIONS: usize = 48;
const LATE: Duration = Duration::from_millis(20);
const AWAY: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(10);
