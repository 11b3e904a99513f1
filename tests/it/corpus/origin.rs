//! An upstream that remembers every byte, and answers what a strict reader takes for a request.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::corpus::strict::{Found, Side, read};
use crate::support::wait::eventually;

/// The upstream.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    lines: Arc<Mutex<Vec<Arc<Mutex<Line>>>>>,
}

/// What came over one connection.
#[derive(Clone, Debug)]
pub struct Line {
    stream: Arc<TcpStream>,
    peer: SocketAddr,
    pub bytes: Vec<u8>,
    /// Where the first request begins that was not answered.
    pub answered: usize,
    pub is_closed: bool,
}

impl Origin {
    /// Starts one; it lasts as long as the test.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen: Arc<Mutex<Vec<Arc<Mutex<Line>>>>> = Arc::clone(&lines);
        thread::spawn(move || {
            while let Ok((stream, peer)) = listener.accept() {
                let line = Arc::new(Mutex::new(Line::new(Arc::new(stream), peer)));
                seen.lock().unwrap().push(Arc::clone(&line));
                thread::spawn(move || follow(&line));
            }
        });
        Self { address, lines }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every connection as it stands now.
    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap().iter().map(|it| it.lock().unwrap().clone()).collect()
    }

    /// Waits until every connection that was opened before this call has been accepted, and
    /// everything that was sent over them read.
    #[track_caller]
    pub fn catch_up(&self) {
        // Connections are accepted in the order in which they were made.
        let last = TcpStream::connect(self.address).unwrap();
        let last = last.local_addr().unwrap();
        eventually("every connection was accepted", || {
            self.lines().iter().any(|it| it.peer == last)
        });
        eventually("everything was read", || self.lines().iter().all(Line::is_quiet));
    }
}

impl Line {
    fn new(stream: Arc<TcpStream>, peer: SocketAddr) -> Self {
        Self { stream, peer, bytes: Vec::new(), answered: 0, is_closed: false }
    }

    /// Whether it is closed, or at the end of a request with nothing on its way.
    fn is_quiet(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let waits = rustix::net::recv(&*self.stream, &mut [0_u8; 1][..], flags);
        let is_idle = waits.is_err_and(|it| it == Errno::WOULDBLOCK);
        self.is_closed || is_idle && self.answered == self.bytes.len()
    }
}

/// Reads to the end of a connection.
fn follow(line: &Mutex<Line>) {
    let stream = Arc::clone(&line.lock().unwrap().stream);
    // Whoever is on the other side may go away at any time.
    drop(serve(&stream, line));
    line.lock().unwrap().is_closed = true;
}

fn serve(mut stream: &TcpStream, line: &Mutex<Line>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut piece = vec![0; 64 * 1024];
    loop {
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        let mut line = line.lock().unwrap();
        line.bytes.extend_from_slice(&piece[..count]);
        while let Found::Whole(request, length) = read(&line.bytes[line.answered..], Side::Upstream)
        {
            line.answered += length;
            let is_head = request.method() == b"HEAD";
            let body = if is_head { "" } else { "ok" };
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}")?;
        }
    }
}
