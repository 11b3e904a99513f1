//! Writes HTTP/2 frames down, good ones and others (RFC 9113, 4.1 and 6).

use std::io::{self, Read};

use crate::support::h2::hpack::literal;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The next frame.
    pub fn read(reader: &mut impl Read) -> io::Result<Self> {
        let mut header = [0; 9];
        reader.read_exact(&mut header)?;
        let [high, middle, low, kind, flags, stream @ ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        reader.read_exact(&mut payload)?;
        Ok(Self { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Four bytes of the payload.
    pub fn number(&self, place: usize) -> u32 {
        u32::from_be_bytes(self.payload[place..place + 4].try_into().unwrap())
    }
}

/// The head of a request in the making.
#[derive(Clone, Debug)]
pub struct Request(Vec<(Vec<u8>, Vec<u8>)>);

impl Request {
    /// A good one.
    pub fn new(method: &str, path: &str) -> Self {
        let fields = [(":method", method), (":scheme", "http"), (":authority", HOST)];
        Self(Vec::new()).with_all(&fields).with(":path", path)
    }

    /// A GET.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A POST.
    pub fn post(path: &str) -> Self {
        Self::new("POST", path)
    }

    /// With one more field.
    pub fn with(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.0.push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// With more fields.
    pub fn with_all(self, fields: &[(&str, &str)]) -> Self {
        fields.iter().fold(self, |this, (name, value)| this.with(name, value))
    }

    /// Without any field of this name.
    pub fn without(mut self, name: &str) -> Self {
        self.0.retain(|(it, _)| it != name.as_bytes());
        self
    }

    /// With another value of a field that stands there.
    pub fn set(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let field = self.0.iter_mut().find(|(it, _)| it == name.as_bytes()).unwrap();
        value.as_ref().clone_into(&mut field.1);
        self
    }

    /// Its fields, compressed by nothing.
    pub fn block(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(name, value)| literal(name, value)).collect()
    }

    /// The whole of a request without a body.
    pub fn whole(&self, stream: u32) -> Vec<u8> {
        headers(stream, END_HEADERS | END_STREAM, self.block())
    }

    /// Its head; a body follows.
    pub fn head(&self, stream: u32) -> Vec<u8> {
        headers(stream, END_HEADERS, self.block())
    }
}

/// Any frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let header = [length[1], length[2], length[3], kind, flags];
    [&header[..], &stream.to_be_bytes(), payload].concat()
}

/// The header of a frame that says it is of some length.
pub fn header(length: u32, kind: u8, flags: u8, stream: u32) -> Vec<u8> {
    let length = length.to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat()
}

/// HEADERS.
pub fn headers(stream: u32, flags: u8, block: impl AsRef<[u8]>) -> Vec<u8> {
    frame(HEADERS, flags, stream, block)
}

/// CONTINUATION.
pub fn continuation(stream: u32, flags: u8, block: impl AsRef<[u8]>) -> Vec<u8> {
    frame(CONTINUATION, flags, stream, block)
}

/// DATA.
pub fn data(stream: u32, flags: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(DATA, flags, stream, payload)
}

/// `RST_STREAM`.
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, code.to_be_bytes())
}

/// PRIORITY: `stream` depends on another.
pub fn priority(stream: u32, on: u32) -> Vec<u8> {
    frame(PRIORITY, 0, stream, [&on.to_be_bytes()[..], &[15]].concat())
}

/// SETTINGS.
pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let bytes = values
        .iter()
        .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat());
    frame(SETTINGS, 0, 0, bytes.collect::<Vec<u8>>())
}

/// PING.
pub fn ping(number: u64) -> Vec<u8> {
    frame(PING, 0, 0, number.to_be_bytes())
}

/// GOAWAY.
pub fn go_away(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, [last.to_be_bytes(), code.to_be_bytes()].concat())
}

/// `WINDOW_UPDATE`.
pub fn window_update(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, more.to_be_bytes())
}

/// With which a client begins.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Where requests go.
pub const HOST: &str = "api.example.com";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WITH_PRIORITY: u8 = 0x20;

pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const INTERNAL_ERROR: u32 = 2;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const COMPRESSION_ERROR: u32 = 9;

pub const HEADER_TABLE_SIZE: u16 = 1;
pub const ENABLE_PUSH: u16 = 2;
pub const INITIAL_WINDOW_SIZE: u16 = 4;
pub const MAX_FRAME_SIZE: u16 = 5;
