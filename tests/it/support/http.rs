//! Reads HTTP/1.1 messages, trusting nothing that the program under test would have to be trusted for.

use std::io::{self, BufRead, ErrorKind, Read};

use serde_json::Value;

/// The first line of a message and its headers, as they came.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub first: String,
    pub headers: Vec<(String, String)>,
}

/// An answer, read to its end.
#[derive(Clone, Debug, Default)]
pub struct Response {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Head {
    /// The next head; `None` where the connection ends before it begins.
    pub fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some(first) = line(reader)? else { return Ok(None) };
        Ok(Some(Self { first, headers: headers(reader)? }))
    }

    /// The value of a header that stands there once.
    #[track_caller]
    pub fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} stands there more than once: {all:?}");
        all.first().copied()
    }

    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fitting = self.headers.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name));
        fitting.map(|(_, value)| value.as_str()).collect()
    }

    /// How the body of a message with this head ends; `bare` where it says nothing of it.
    pub fn framing(&self, bare: Framing) -> Framing {
        if self.get("transfer-encoding").is_some_and(|it| it.eq_ignore_ascii_case("chunked")) {
            return Framing::Chunked;
        }
        self.get("content-length").map_or(bare, |it| Framing::Length(it.parse().unwrap()))
    }

    /// The first line's words.
    pub fn word(&self, place: usize) -> &str {
        self.first.split(' ').nth(place).unwrap_or_default()
    }
}

impl Response {
    /// The answer to a request by `method`, with its body.
    pub fn read(reader: &mut impl BufRead, method: &str) -> io::Result<Self> {
        let head = Self::read_head(reader)?;
        let mut body = Vec::new();
        let framing = head.framing_of_answer(method);
        let trailers = read_body(reader, framing, |bytes| body.extend_from_slice(bytes))?;
        Ok(Self { body, trailers, ..head })
    }

    /// The head of an answer alone. Answers that only say "go on" are passed over.
    pub fn read_head(reader: &mut impl BufRead) -> io::Result<Self> {
        loop {
            let head = Head::read(reader)?.ok_or(ErrorKind::UnexpectedEof)?;
            let status =
                head.word(1).parse().map_err(|_word| io::Error::other(head.first.clone()))?;
            if status >= 200 {
                return Ok(Self { status, head, ..Self::default() });
            }
        }
    }

    /// How its body ends.
    pub fn framing_of_answer(&self, method: &str) -> Framing {
        if method == "HEAD" || matches!(self.status, 204 | 304) {
            return Framing::Length(0);
        }
        self.head.framing(Framing::UntilClose)
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        let read = serde_json::from_slice(&self.body);
        read.unwrap_or_else(|fault| panic!("{fault} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// Holds a refusal to its row: status, code, and the members that every problem has.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str) {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{text}");
        assert_eq!(self.head.get("content-type"), Some("application/problem+json"), "{text}");
        let document = self.json();
        assert_eq!(document["code"], code, "{text}");
        assert_eq!(document["type"], format!("urn:keyward:problem:{code}"), "{text}");
        assert_eq!(document["status"], status, "{text}");
        let is_text = |name: &str| document[name].as_str().is_some_and(|it| !it.is_empty());
        assert!(is_text("title") && is_text("detail"), "{text}");
    }
}

/// Reads a body in pieces; its trailers.
pub fn read_body(
    reader: &mut impl BufRead,
    framing: Framing,
    mut take: impl FnMut(&[u8]),
) -> io::Result<Vec<(String, String)>> {
    match framing {
        Framing::Length(count) => read_exactly(reader, count, &mut take)?,
        Framing::UntilClose => while pass(reader, u64::MAX, &mut take)? > 0 {},
        Framing::Chunked => return read_chunks(reader, &mut take),
    }
    Ok(Vec::new())
}

fn read_chunks(
    reader: &mut impl BufRead,
    take: &mut impl FnMut(&[u8]),
) -> io::Result<Vec<(String, String)>> {
    loop {
        let size = line(reader)?.ok_or(ErrorKind::UnexpectedEof)?;
        let size = size.split(';').next().unwrap_or_default();
        let size =
            u64::from_str_radix(size, 16).map_err(|_digits| io::Error::other(size.to_owned()))?;
        if size == 0 {
            return headers(reader);
        }
        read_exactly(reader, size, take)?;
        let mut end = [0; 2];
        reader.read_exact(&mut end)?;
        assert_eq!(&end, b"\r\n", "a chunk ends with an empty line");
    }
}

fn read_exactly(
    reader: &mut impl BufRead,
    count: u64,
    take: &mut impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut left = count;
    while left > 0 {
        match pass(reader, left, take)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            passed => left -= passed,
        }
    }
    Ok(())
}

fn pass(reader: &mut impl BufRead, most: u64, take: &mut impl FnMut(&[u8])) -> io::Result<u64> {
    let buffer = reader.fill_buf()?;
    let count = buffer.len().min(usize::try_from(most).unwrap_or(usize::MAX));
    take(&buffer[..count]);
    reader.consume(count);
    Ok(count as u64)
}

fn headers(reader: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let text = line(reader)?.ok_or(ErrorKind::UnexpectedEof)?;
        if text.is_empty() {
            return Ok(headers);
        }
        let (name, value) = text.split_once(':').ok_or_else(|| io::Error::other(text.clone()))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// A line without its end; `None` at the end of the connection. Bytes beyond ASCII are kept as
/// Latin-1, so that nothing is lost.
fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    reader.take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let bare = bytes.strip_suffix(b"\r\n").ok_or(ErrorKind::UnexpectedEof)?;
    Ok(Some(bare.iter().copied().map(char::from).collect()))
}

const LINE_BYTES_MAX: u64 = 32 << 20;
