//! An upstream that remembers every byte, and answers what a strict reader takes for a request.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::corpus::strict::{Found, Side, read};

/// The upstream.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    lines: Arc<Mutex<Vec<Arc<Mutex<Line>>>>>,
}

/// What came over one connection.
#[derive(Clone, Debug, Default)]
pub struct Line {
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
            for stream in listener.incoming() {
                let (stream, line) = (stream.unwrap(), Arc::new(Mutex::new(Line::default())));
                seen.lock().unwrap().push(Arc::clone(&line));
                thread::spawn(move || {
                    drop(serve(&stream, &line));
                    line.lock().unwrap().is_closed = true;
                });
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

    /// Whether nothing is under way: every connection is at the end of a request, or closed.
    pub fn is_quiet(&self) -> bool {
        self.lines.lock().unwrap().iter().all(|it| {
            let line = it.lock().unwrap();
            line.is_closed || line.answered == line.bytes.len()
        })
    }
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
