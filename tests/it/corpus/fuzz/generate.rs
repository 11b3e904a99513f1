//! Makes what one hostile connection sends: requests by the grammar and from the corpus, some of
//! them bent by the grammar, and the whole then damaged byte by byte.

use crate::corpus::case::{Step, cases, themes};
use crate::corpus::fuzz::dice::Dice;

/// Makes inputs.
#[derive(Debug)]
pub struct Maker {
    seed: u64,
    key: String,
    key_id: String,
    /// The corpus, as it is sent.
    known: Vec<Vec<u8>>,
}

impl Maker {
    /// For a run, with a key that is let in.
    pub fn new(seed: u64, key: &str, key_id: &str) -> Self {
        let sent = themes().into_iter().flat_map(|it| cases(&it)).filter_map(|case| {
            let sent: Vec<Vec<u8>> = case.steps.into_iter().filter_map(bytes).collect();
            let text = sent.concat();
            (text.len() < KNOWN_BYTES_MAX).then_some(text)
        });
        let known = sent.map(|it| replaced(&it, b"{key}", key.as_bytes())).collect();
        Self { seed, key: key.to_owned(), key_id: key_id.to_owned(), known }
    }

    /// Input number `number`, always the same.
    pub fn input(&self, number: u64) -> Vec<u8> {
        let mut dice = Dice::new(self.seed, number);
        let mut input = Vec::new();
        for _ in 0..=dice.below(REQUESTS_MAX) {
            if dice.percent(15) {
                input.extend_from_slice(&self.known[dice.below(self.known.len())]);
            } else {
                self.request(&mut dice, &mut input);
            }
        }
        if dice.percent(60) {
            for _ in 0..=dice.below(4) {
                self.damage(&mut dice, &mut input);
            }
        }
        input
    }

    fn request(&self, dice: &mut Dice, into: &mut Vec<u8>) {
        let method =
            dice.pick(&["GET", "GET", "POST", "POST", "PUT", "DELETE", "HEAD", "PATCH", "X"]);
        let version = if dice.percent(4) { "HTTP/1.0" } else { "HTTP/1.1" };
        let marker = dice.next();
        let rest =
            dice.pick(&["", "", "", "?a=b", "/./x/../y", "/%61", "?%0d%0a", "//z", "/\u{e9}"]);
        let origin = if dice.percent(5) { "http://a" } else { "" };
        let mut lines = vec![format!("{method} {origin}{PLACE}{marker:016x}{rest} {version}")];
        let host = dice.pick(&["host: a", "host: a", "Host: a", "host:a"]);
        let mut headers = vec![host.to_owned()];
        if !dice.percent(6) {
            headers.push(format!("api-key: {}", self.key));
        }
        for _ in 0..dice.below(4) {
            headers.push(self.header(dice));
        }
        let body = self.body(dice, &mut headers);
        if dice.percent(12) {
            let bent = dice.pick(BENT).to_owned();
            headers.insert(dice.below(headers.len() + 1), bent);
        }
        let turn = dice.below(headers.len());
        headers.rotate_left(turn);
        lines.append(&mut headers);
        for line in lines {
            into.extend_from_slice(line.as_bytes());
            into.extend_from_slice(b"\r\n");
        }
        into.extend_from_slice(b"\r\n");
        into.extend(body);
    }

    fn header(&self, dice: &mut Dice) -> String {
        match dice.below(6) {
            0 => format!("x-keyward-key-id: {}", self.key_id),
            1 => format!("x-request-id: {FORGED_ID}"),
            2 => format!("x-filler: {}", "f".repeat(dice.below(300))),
            _ => dice.pick(PLAIN).to_owned(),
        }
    }

    /// A body, framed as its headers say.
    fn body(&self, dice: &mut Dice, headers: &mut Vec<String>) -> Vec<u8> {
        let content = match dice.below(5) {
            0 | 1 => return Vec::new(),
            2 => vec![b'b'; dice.below(2_000)],
            3 => b"hello".to_vec(),
            _ => self.forged(dice),
        };
        if dice.percent(45) {
            headers.push(format!("content-length: {}", content.len()));
            return content;
        }
        headers.push("transfer-encoding: chunked".to_owned());
        let mut body = Vec::new();
        for piece in content.chunks(1 + dice.below(content.len() + 1)) {
            let extension = if dice.percent(10) { ";x=\"y;z\"" } else { "" };
            body.extend(format!("{:x}{extension}\r\n", piece.len()).bytes());
            body.extend_from_slice(piece);
            body.extend_from_slice(b"\r\n");
        }
        let trailer = if dice.percent(15) { "x-sum: 1\r\n" } else { "" };
        body.extend(format!("0\r\n{trailer}\r\n").bytes());
        body
    }

    /// A request as it would look had it been let in: nobody may ever take it for one.
    fn forged(&self, dice: &mut Dice) -> Vec<u8> {
        let (marker, id) = (dice.next(), &self.key_id);
        let head =
            format!("GET /forged/{marker:016x} HTTP/1.1\r\nhost: a\r\nx-keyward-key-id: {id}");
        format!("{head}\r\nx-request-id: {FORGED_ID}\r\n\r\n").into_bytes()
    }

    fn damage(&self, dice: &mut Dice, input: &mut Vec<u8>) {
        // Damage near the end leaves more requests before it whole.
        let from = if dice.percent(70) { input.len() / 2 } else { 0 };
        let at = from + dice.below(input.len() - from + 1);
        let end = (at + 1 + dice.below(24)).min(input.len());
        match dice.below(9) {
            0 if at < input.len() => input[at] ^= 1 << dice.below(8),
            1 => drop(input.drain(at..end.max(at))),
            2 => {
                let piece = input[at..end.max(at)].to_vec();
                insert(input, at, &piece);
            }
            3 => {
                let other = dice.below(input.len() + 1);
                let piece = input[other..(other + 200).min(input.len())].to_vec();
                insert(input, at, &piece);
            }
            4 => another_number(dice, input, at),
            5 => another_line_end(dice, input, at),
            6 if dice.percent(30) => input.truncate(at),
            7 => {
                let forged = self.forged(dice);
                insert(input, at, &forged);
            }
            _ => insert(input, at, dice.pick(WORDS)),
        }
    }
}

/// What a step sends.
fn bytes(step: Step) -> Option<Vec<u8>> {
    match step {
        Step::Send(bytes) => Some(bytes),
        Step::Wait | Step::End => None,
    }
}

fn insert(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    drop(input.splice(at..at, piece.iter().copied()));
}

/// The next digit behind `at` becomes another one.
fn another_number(dice: &mut Dice, input: &mut [u8], at: usize) {
    let digit = input[at..].iter().position(u8::is_ascii_digit);
    if let Some(digit) = digit {
        input[at + digit] = *dice.pick(&[&b'0', &b'1', &b'9', &b'f', &b' ', &b'-', &b'+', &b'x']);
    }
}

/// The next line end behind `at` becomes another one.
fn another_line_end(dice: &mut Dice, input: &mut Vec<u8>, at: usize) {
    let line_end = input[at..].windows(2).position(|it| it == b"\r\n");
    if let Some(line_end) = line_end.map(|it| at + it) {
        let other =
            dice.pick::<[u8]>(&[b"\n", b"\r", b"\r\r\n", b"\n\n", b"\r\n ", b"\r\n\t", b"\0", b""]);
        drop(input.splice(line_end..line_end + 2, other.iter().copied()));
    }
}

/// `text` with every `from` replaced.
fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.windows(from.len()).position(|it| it == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// Before the marker in every target that the grammar makes.
pub const PLACE: &str = "/m/";

/// Said by clients alone.
pub const FORGED_ID: &str = "f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0";

const REQUESTS_MAX: usize = 8;
const KNOWN_BYTES_MAX: usize = 4_000;

const PLAIN: &[&str] = &[
    "accept: */*",
    "x-filler: a, b",
    "connection: keep-alive",
    "connection: x-filler",
    "te: trailers",
    "trailer: x-sum",
    "expect: 100-continue",
    "cookie: a=b",
    "x-forwarded-for: 1.1.1.1",
];

/// Lines that make a good head a doubtful one.
const BENT: &[&str] = &[
    "content-length: 0",
    "content-length: 5",
    "Content-Length: +5",
    "content-length: 5, 5",
    "content-length:",
    "content-length: 18446744073709551616",
    "transfer-encoding: chunked",
    "transfer-encoding: identity",
    "Transfer-Encoding: gzip, chunked",
    "transfer-encoding:\tchunked",
    "transfer-encoding : chunked",
    "transfer_encoding: chunked",
    "host: b",
    "host:",
    "connection: close",
    "connection: close, content-length, host, transfer-encoding",
    "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AA",
    "upgrade: websocket\r\nconnection: upgrade",
    "api-key: kw_x",
    "x: y\r\n folded",
    "x: y\nz: w",
    ": empty",
    "no-colon",
];

/// What is put in anywhere.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"\x0b",
    b"\x7f",
    b"\xff",
    b"\"",
    b"#",
    b"-",
    b"+",
    b"0x",
    b"0",
    b"00000000000000000",
    b"ffffffffffffffff",
    b"0\r\n\r\n",
    b"\r\n\r\n",
    b"chunked",
    b", identity",
    b"Transfer-Encoding: chunked\r\n",
    b"transfer-encoding: identity\r\n",
    b"content-length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"connection: close\r\n",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"HTTP/2.0",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    b"http://b/",
    b"..",
    b"%",
    b"CONNECT ",
];
