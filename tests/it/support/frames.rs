//! HTTP/2 by hand, for upstreams that do what no library does.

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// A connection from a gateway.
#[derive(Debug)]
pub struct Frames {
    stream: TcpStream,
}

/// A frame that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frames {
    /// Takes the preface, and sends settings that say nothing.
    pub fn begin(stream: &TcpStream) -> io::Result<Self> {
        let mut stream = stream.try_clone()?;
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface)?;
        assert_eq!(&preface, PREFACE);
        let mut this = Self { stream };
        this.send(SETTINGS, 0, 0, &[])?;
        Ok(this)
    }

    /// The stream of the next request. What keeps the connection going is answered meanwhile.
    pub fn request(&mut self) -> io::Result<u32> {
        loop {
            let frame = self.read()?;
            match frame.kind {
                HEADERS => return Ok(frame.stream),
                SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[])?,
                PING if frame.flags & ACK == 0 => self.send(PING, ACK, 0, &frame.payload)?,
                _ => {}
            }
        }
    }

    /// The body of a request, read to its end.
    pub fn body(&mut self, stream: u32) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let frame = self.read()?;
            if (frame.kind, frame.stream) != (DATA, stream) {
                continue;
            }
            body.extend_from_slice(&frame.payload);
            if frame.flags & END_STREAM != 0 {
                return Ok(body);
            }
        }
    }

    /// The next frame that asks, brings or gives up something. What keeps the connection going is
    /// answered meanwhile.
    pub fn next(&mut self) -> io::Result<Frame> {
        loop {
            let frame = self.read()?;
            match frame.kind {
                HEADERS | DATA | RST_STREAM => return Ok(frame),
                SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[])?,
                PING if frame.flags & ACK == 0 => self.send(PING, ACK, 0, &frame.payload)?,
                _ => {}
            }
        }
    }

    /// Makes room on the connection for what was sent, and none on its stream.
    pub fn make_room(&mut self, frame: &Frame) -> io::Result<()> {
        let count = u32::try_from(frame.payload.len()).unwrap();
        if count == 0 {
            return Ok(());
        }
        self.send(WINDOW_UPDATE, 0, 0, &count.to_be_bytes())
    }

    /// Begins an answer with 200, of which more will come.
    pub fn begin_answer(&mut self, stream: u32) -> io::Result<()> {
        self.send(HEADERS, END_HEADERS, stream, &[0x88])
    }

    /// A part of an answer.
    pub fn part(&mut self, stream: u32, bytes: &[u8]) -> io::Result<()> {
        self.send(DATA, 0, stream, bytes)
    }

    /// Answers a request with 200 and no body.
    pub fn answer(&mut self, stream: u32) -> io::Result<()> {
        // HPACK's static table: `:status: 200`.
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &[0x88])
    }

    /// Refuses a request.
    pub fn refuse(&mut self, stream: u32) -> io::Result<()> {
        self.reset(stream, REFUSED_STREAM)
    }

    /// Resets a request.
    pub fn reset(&mut self, stream: u32, code: u32) -> io::Result<()> {
        self.send(RST_STREAM, 0, stream, &code.to_be_bytes())
    }

    /// Says that nothing beyond `last` was looked at.
    pub fn go_away(&mut self, last: u32) -> io::Result<()> {
        let payload = [last.to_be_bytes(), 0_u32.to_be_bytes()].concat();
        self.send(GOAWAY, 0, 0, &payload)
    }

    fn read(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, it| sum << 8 | u32::from(*it));
        let mut payload = vec![0; number(&head[..3]) as usize];
        self.stream.read_exact(&mut payload)?;
        Ok(Frame { kind: head[3], flags: head[4], stream: number(&head[5..]), payload })
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame)
    }
}

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const REFUSED_STREAM: u32 = 7;
