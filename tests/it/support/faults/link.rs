//! One connection through a bad network: two sockets, and for each way one thread that takes and
//! one that gives, so that a delay delays and does not slow down.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::weather::{Fault, Now, Weather};

/// Both ends of it.
#[derive(Debug)]
pub struct Link {
    client: TcpStream,
    /// Nobody where it was taken while all vanished.
    server: Option<TcpStream>,
    ended: AtomicBool,
}

/// What goes one way, and when it was taken.
#[derive(Debug)]
struct Piece {
    taken: Instant,
    what: What,
}

#[derive(Debug)]
enum What {
    Bytes(Vec<u8>),
    End,
    Reset,
}

/// What befalls bytes that go one way.
type FaultOf = fn(&Now) -> Fault;

/// One of the two ways.
struct Lane<'a> {
    link: &'a Link,
    weather: &'a Weather,
    to: &'a TcpStream,
    fault: FaultOf,
    /// Whether bytes have vanished here: what comes after them would make no sense.
    is_lost: bool,
    /// How many bytes have gone by since which order to cut.
    passed: (u64, u64),
}

impl Link {
    /// From one who connected to one who was connected to.
    pub fn between(client: TcpStream, server: TcpStream) -> io::Result<Self> {
        server.set_nodelay(true)?;
        for it in [&client, &server] {
            // Who is stuck with a peer that takes nothing finds out that it was reset.
            it.set_write_timeout(Some(WRITE_PAUSE))?;
        }
        Ok(Self { client, server: Some(server), ended: AtomicBool::new(false) })
    }

    /// From one who connected to nobody.
    pub fn to_nowhere(client: TcpStream) -> Self {
        Self { client, server: None, ended: AtomicBool::new(false) }
    }

    /// Until both sides have ended it, or it is reset.
    pub fn serve(&self, weather: &Weather) {
        let Some(server) = &self.server else { return self.swallow() };
        thread::scope(|scope| {
            let to_server: FaultOf = |it| it.to_server;
            let to_client: FaultOf = |it| it.to_client;
            let ways = [(&self.client, server, to_server), (server, &self.client, to_client)];
            for (from, to, fault) in ways {
                let (giving, taking) = sync_channel(PIECES);
                let passed = (weather.now().since, 0);
                let lane = Lane { link: self, weather, to, fault, is_lost: false, passed };
                scope.spawn(move || take(from, &giving));
                scope.spawn(move || lane.give(&taking));
            }
        });
    }

    /// Ends it by a reset to both sides, once all its threads have seen so.
    pub fn reset(&self) {
        self.ended.store(true, Ordering::SeqCst);
        for it in [Some(&self.client), self.server.as_ref()].into_iter().flatten() {
            set_reset(it);
            // This wakes who reads, and tells nobody. It fails where the connection has ended.
            drop(it.shutdown(Shutdown::Read));
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn swallow(&self) {
        let mut buffer = vec![0; PIECE_BYTES];
        while (&self.client).read(&mut buffer).is_ok_and(|it| it > 0) {}
    }
}

/// A socket that is closed from now on is reset.
pub fn set_reset(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

fn take(mut from: &TcpStream, giving: &SyncSender<Piece>) {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let what = match from.read(&mut buffer) {
            Ok(0) => What::End,
            Ok(count) => What::Bytes(buffer[..count].to_vec()),
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => What::Reset,
        };
        let is_last = !matches!(what, What::Bytes(_));
        let is_taken = giving.send(Piece { taken: Instant::now(), what }).is_ok();
        if is_last || !is_taken {
            return;
        }
    }
}

impl Lane<'_> {
    fn give(mut self, taking: &Receiver<Piece>) {
        for piece in taking {
            let fault = self.await_passage(piece.taken);
            if self.link.has_ended() {
                return;
            }
            self.is_lost |= fault == Fault::Vanish;
            if self.is_lost {
                continue;
            }
            match piece.what {
                What::Bytes(bytes) => self.pass(&bytes, fault),
                // It fails where the other side has gone.
                What::End => drop(self.to.shutdown(Shutdown::Write)),
                What::Reset => self.reset(),
            }
        }
    }

    /// Waits until bytes that were taken at a moment may go on; what then befalls them.
    fn await_passage(&self, taken: Instant) -> Fault {
        loop {
            let fault = (self.fault)(&self.weather.now());
            let stays = |now: &Now| (self.fault)(now) == fault && !self.link.has_ended();
            match fault {
                Fault::Hold => self.weather.wait_while(stays),
                Fault::Delay(by) if Instant::now() < taken + by => {
                    self.weather.wait_until(taken + by, stays);
                }
                Fault::None | Fault::Delay(_) | Fault::Vanish | Fault::CutAfter(_) => return fault,
            }
            if self.link.has_ended() {
                return fault;
            }
        }
    }

    fn pass(&mut self, bytes: &[u8], fault: Fault) {
        let since = self.weather.now().since;
        if self.passed.0 != since {
            self.passed = (since, 0);
        }
        let Fault::CutAfter(limit) = fault else {
            if self.write(bytes).is_err() {
                self.reset();
            }
            return;
        };
        let left = usize::try_from(limit.saturating_sub(self.passed.1)).unwrap_or(usize::MAX);
        let count = bytes.len().min(left);
        self.passed.1 += count as u64;
        if self.write(&bytes[..count]).is_err() || count == left {
            self.reset();
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let (mut to, mut left) = (self.to, bytes);
        while !left.is_empty() {
            let is_stuck = |fault: &io::Error| fault.kind() == io::ErrorKind::WouldBlock;
            match to.write(left) {
                Ok(count) => left = &left[count..],
                Err(fault) if is_stuck(&fault) && !self.link.has_ended() => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    fn reset(&self) {
        self.link.reset();
        self.weather.wake();
    }
}

const PIECE_BYTES: usize = 16 * 1024;
const PIECES: usize = 1024;
const WRITE_PAUSE: Duration = Duration::from_millis(50);
