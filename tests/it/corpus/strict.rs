//! Reads requests as RFC 9112 frames them and in no other way: whoever reads differently is wrong.
//!
//! It shares nothing with the program under test, and refuses whatever two readers could read
//! differently.

use std::fmt;

/// Which side of a gateway the bytes were seen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// From a client: chunk extensions are allowed.
    Downstream,
    /// From the gateway, which has no reason for anything unusual.
    Upstream,
}

/// What stands at the beginning of some bytes.
#[derive(Clone, Debug)]
pub enum Found {
    /// A request, and how many bytes it has.
    Whole(Request, usize),
    /// The beginning of one, with as much of it as can be told.
    Begun(Option<Request>),
    /// Nothing at all.
    Nothing,
    /// No request, and why.
    Fault(&'static str),
}

/// A request. Of one that has only begun, the body is what there is of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The first line.
    pub line: Vec<u8>,
    /// Every other line of the head, exactly.
    pub lines: Vec<Vec<u8>>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// The lines below a chunked body.
    pub trailers: Vec<Vec<u8>>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.line.escape_ascii())?;
        self.lines.iter().try_for_each(|it| write!(f, " | {}", it.escape_ascii()))?;
        let body = &self.body[..self.body.len().min(200)];
        write!(f, " || {} bytes: {}", self.body.len(), body.escape_ascii())?;
        self.trailers.iter().try_for_each(|it| write!(f, " | {}", it.escape_ascii()))
    }
}

impl Request {
    /// The method.
    pub fn method(&self) -> &[u8] {
        self.word(0)
    }

    /// The target.
    pub fn target(&self) -> &[u8] {
        self.word(1)
    }

    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        let fields = self.lines.iter().filter_map(|it| split(it));
        let fields = fields.filter(|(it, _)| it.eq_ignore_ascii_case(name.as_bytes()));
        fields.map(|(_, value)| value).collect()
    }

    /// The value of a header that stands there once.
    pub fn one(&self, name: &str) -> Option<&[u8]> {
        let all = self.all(name);
        if all.len() == 1 { all.first().copied() } else { None }
    }

    /// Whether nothing may follow it on its connection.
    pub fn is_last(&self) -> bool {
        let closes = |it: &[u8]| String::from_utf8_lossy(it).to_lowercase().contains("close");
        self.all("connection").into_iter().any(closes) || self.line.ends_with(b"1.0")
    }

    fn word(&self, place: usize) -> &[u8] {
        self.line.split(|it| *it == b' ').nth(place).unwrap_or_default()
    }
}

/// Reads the request at the beginning of `bytes`.
pub fn read(bytes: &[u8], side: Side) -> Found {
    if bytes.is_empty() {
        return Found::Nothing;
    }
    let mut reader = Reader { bytes, at: 0 };
    let mut request = Request::default();
    match reader.request(&mut request, side) {
        Ok(()) => Found::Whole(request, reader.at),
        Err(Stop::Fault(why)) => Found::Fault(why),
        Err(Stop::EndOfHead) => Found::Begun(None),
        Err(Stop::EndOfBody) => Found::Begun(Some(request)),
    }
}

/// Every request in `bytes`, and what stands behind the last one.
pub fn read_all(bytes: &[u8], side: Side) -> (Vec<Request>, Found) {
    let (mut requests, mut rest) = (Vec::new(), bytes);
    loop {
        match read(rest, side) {
            Found::Whole(request, length) => {
                rest = &rest[length..];
                requests.push(request);
            }
            end @ (Found::Begun(_) | Found::Nothing | Found::Fault(_)) => return (requests, end),
        }
    }
}

enum Stop {
    EndOfHead,
    EndOfBody,
    Fault(&'static str),
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

#[derive(Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
}

impl<'a> Reader<'a> {
    fn request(&mut self, request: &mut Request, side: Side) -> Result<(), Stop> {
        let line = self.line()?.ok_or(Stop::EndOfHead)?;
        check_first(line)?;
        request.line = line.to_vec();
        loop {
            let line = self.line()?.ok_or(Stop::EndOfHead)?;
            if line.is_empty() {
                break;
            }
            check_field(line)?;
            request.lines.push(line.to_vec());
        }
        match framing(request)? {
            Framing::Length(length) => self.take(length, &mut request.body),
            Framing::Chunked => self.chunks(request, side),
        }
    }

    /// The next line without its end; `None`: there is no end yet.
    fn line(&mut self) -> Result<Option<&'a [u8]>, Stop> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|it| *it == b'\n');
        let line = match end {
            None => rest.strip_suffix(b"\r").unwrap_or(rest),
            Some(end) => rest[..end]
                .strip_suffix(b"\r")
                .ok_or(Stop::Fault("a line ends without a carriage return"))?,
        };
        if line.iter().any(|it| matches!(it, b'\r' | 0..=8 | 11..=31 | 127)) {
            return Err(Stop::Fault("a control byte"));
        }
        self.at += end.map_or(0, |it| it + 1);
        Ok(end.map(|_| line))
    }

    fn take(&mut self, length: usize, into: &mut Vec<u8>) -> Result<(), Stop> {
        let rest = &self.bytes[self.at..];
        let count = length.min(rest.len());
        into.extend_from_slice(&rest[..count]);
        self.at += count;
        if count < length { Err(Stop::EndOfBody) } else { Ok(()) }
    }

    fn chunks(&mut self, request: &mut Request, side: Side) -> Result<(), Stop> {
        loop {
            let line = self.line()?.ok_or(Stop::EndOfBody)?;
            let length = chunk_size(line, side)?;
            if length == 0 {
                return self.trailers(request);
            }
            self.take(length, &mut request.body)?;
            let rest = &self.bytes[self.at..];
            if rest.starts_with(b"\r\n") {
                self.at += 2;
            } else if rest.is_empty() || rest == b"\r" {
                return Err(Stop::EndOfBody);
            } else {
                return Err(Stop::Fault("a chunk is longer than it says"));
            }
        }
    }

    fn trailers(&mut self, request: &mut Request) -> Result<(), Stop> {
        loop {
            let line = self.line()?.ok_or(Stop::EndOfBody)?;
            if line.is_empty() {
                return Ok(());
            }
            check_field(line)?;
            let name = split(line).map_or(&b""[..], |it| it.0).to_ascii_lowercase();
            if FRAMES.iter().any(|it| name == it.as_bytes()) {
                return Err(Stop::Fault("a trailer frames or addresses"));
            }
            request.trailers.push(line.to_vec());
        }
    }
}

/// `METHOD SP origin-form SP HTTP/1.1`
fn check_first(line: &[u8]) -> Result<(), Stop> {
    let words: Vec<&[u8]> = line.split(|it| *it == b' ').collect();
    let [method, target, version] = words[..] else {
        return Err(Stop::Fault("a first line has three words"));
    };
    if !is_token(method) {
        return Err(Stop::Fault("a method is a token"));
    }
    let is_path = target.starts_with(b"/") && target.iter().all(u8::is_ascii_graphic);
    if !is_path && target != b"*" || target.contains(&b'#') {
        return Err(Stop::Fault("a target is a path"));
    }
    if version != b"HTTP/1.1" && version != b"HTTP/1.0" {
        return Err(Stop::Fault("the version is HTTP/1.1"));
    }
    Ok(())
}

fn check_field(line: &[u8]) -> Result<(), Stop> {
    match split(line) {
        Some((name, _)) if is_token(name) => Ok(()),
        Some(_) => Err(Stop::Fault("a name is a token")),
        None => Err(Stop::Fault("a header has a colon")),
    }
}

/// Exactly one host, and one way to find the end.
fn framing(request: &Request) -> Result<Framing, Stop> {
    if request.all("host").len() != 1 {
        return Err(Stop::Fault("there is one host"));
    }
    let lengths = request.all("content-length");
    let codings = request.all("transfer-encoding");
    match (&lengths[..], &codings[..]) {
        ([], []) => Ok(Framing::Length(0)),
        ([length], []) => number(length, 10).map(Framing::Length),
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => {
            if request.line.ends_with(b"1.0") {
                return Err(Stop::Fault("HTTP/1.0 knows no chunks"));
            }
            Ok(Framing::Chunked)
        }
        _ => Err(Stop::Fault("a body ends in more than one way")),
    }
}

fn chunk_size(line: &[u8], side: Side) -> Result<usize, Stop> {
    let digits = line.split(|it| *it == b';').next().unwrap_or_default();
    if side == Side::Upstream && digits != line {
        return Err(Stop::Fault("a chunk extension"));
    }
    number(digits, 16)
}

/// Digits and nothing else, and no more of them than can be meant.
fn number(text: &[u8], radix: u32) -> Result<usize, Stop> {
    let are_digits = text.iter().all(|it| char::from(*it).is_digit(radix));
    let text = std::str::from_utf8(text).ok().filter(|_| are_digits);
    let value = text.and_then(|it| usize::from_str_radix(it, radix).ok());
    value.ok_or(Stop::Fault("a length is a number"))
}

fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|it| *it == b':')?;
    Some((&line[..colon], line[colon + 1..].trim_ascii()))
}

fn is_token(text: &[u8]) -> bool {
    let others = b"!#$%&'*+-.^_`|~";
    !text.is_empty() && text.iter().all(|it| it.is_ascii_alphanumeric() || others.contains(it))
}

/// What may never stand below a body.
const FRAMES: [&str; 5] = ["content-length", "transfer-encoding", "host", "connection", "trailer"];

#[test]
fn it_reads_nothing_in_two_ways() {
    for (bytes, expected) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "whole"),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi", "whole"),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nhi", "begun"),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            "whole",
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n",
            "begun",
        ),
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r", "begun"),
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhix", "fault"),
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2;x\r\nhi\r\n", "fault"),
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0x2\r\nhi\r\n", "fault"),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nhost: a\r\n",
            "fault",
        ),
        ("GET / HTTP/1.1\r\nhost: a", "begun"),
        ("", "nothing"),
        ("GET / HTTP/1.1\nhost: a\r\n\r\n", "fault"),
        ("GET / HTTP/1.1\r\nhost: a\r\n b\r\n\r\n", "fault"),
        ("GET / HTTP/1.1\r\nhost : a\r\n\r\n", "fault"),
        ("GET / HTTP/1.1\r\nhost: a\0\r\n\r\n", "fault"),
        ("GET / HTTP/1.1\r\n\r\n", "fault"),
        ("GET http://a/ HTTP/1.1\r\nhost: a\r\n\r\n", "fault"),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +2\r\n\r\nhi", "fault"),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nhi", "fault"),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
            "fault",
        ),
    ] {
        let found = match read(bytes.as_bytes(), Side::Upstream) {
            Found::Whole(_, length) => {
                assert_eq!(length, bytes.len());
                "whole"
            }
            Found::Begun(_) => "begun",
            Found::Nothing => "nothing",
            Found::Fault(_) => "fault",
        };
        assert_eq!(found, expected, "{bytes:?}");
    }
}
