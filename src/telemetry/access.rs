//! Writes one line for each request, gathered on its worker and handed over many at a time.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::key::redact::redacted;
use crate::telemetry::outlet::Inlet;

/// What is written of one request. Never a key, never a query.
#[derive(Debug)]
pub struct Record<'a> {
    /// When its last byte was done, `duration` after its head was complete.
    pub time: Timestamp,
    /// By which it is found again elsewhere.
    pub request_id: &'a str,
    /// Who asked, as far as it can be believed.
    pub client_ip: IpAddr,
    /// How.
    pub method: &'a str,
    /// Whom.
    pub host: &'a str,
    /// For what, without the query.
    pub path: &'a str,
    /// What was answered.
    pub status: u16,
    /// The problem's code, where it was refused or failed.
    pub reason: Option<&'a str>,
    /// Whose key.
    pub key_id: Option<&'a str>,
    /// By which route.
    pub route: Option<&'a str>,
    /// The limits that would have refused it, if they did more than to count.
    pub shadow: Option<&'a str>,
    /// How long after its head was complete a key with limits was let in.
    pub admitted: Option<Duration>,
    /// From the end of the head to the last byte of the answer.
    pub duration: Duration,
    /// Of that, waiting for the upstream's head.
    pub upstream: Option<Duration>,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
}

/// Where lines go, from any worker.
#[derive(Clone, Debug)]
pub struct AccessSink(Inlet);

impl AccessSink {
    /// Into that inlet.
    pub fn new(inlet: Inlet) -> Self {
        Self(inlet)
    }
}

/// One worker's lines on their way to the sink.
#[derive(Debug)]
pub struct AccessLog {
    sink: AccessSink,
    buffer: RefCell<Buffer>,
}

#[derive(Debug, Default)]
struct Buffer {
    text: String,
    lines: u64,
}

impl AccessLog {
    /// A worker's own buffer before `sink`.
    pub fn new(sink: AccessSink) -> Self {
        Self { sink, buffer: RefCell::default() }
    }

    /// Adds one line.
    pub fn record(&self, record: &Record<'_>) {
        let mut buffer = self.buffer.borrow_mut();
        if write_record(&mut buffer.text, record).is_ok() {
            buffer.lines += 1;
        }
        if buffer.text.len() >= CHUNK_BYTES {
            self.hand_over(&mut buffer);
        }
    }

    /// Hands over what has gathered; called by the worker's ticker.
    pub fn flush(&self) {
        let mut buffer = self.buffer.borrow_mut();
        if buffer.lines > 0 {
            self.hand_over(&mut buffer);
        }
    }

    fn hand_over(&self, buffer: &mut Buffer) {
        let fresh = Buffer { text: String::with_capacity(CHUNK_BYTES + 1024), lines: 0 };
        let full = std::mem::replace(buffer, fresh);
        self.sink.0.send(full.text.into_bytes(), full.lines);
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

fn write_record(line: &mut String, record: &Record<'_>) -> fmt::Result {
    let texts = [
        ("host", Some(record.host)),
        ("path", Some(record.path)),
        ("route", record.route),
        ("key_id", record.key_id),
        ("reason", record.reason),
        ("shadow", record.shadow),
    ];
    write!(line, r#"{{"ts":"{}","level":"info","event":"access","request_id":"#, record.time)?;
    write_text(line, record.request_id)?;
    write!(line, r#","client_ip":"{}","method":"#, record.client_ip)?;
    write_text(line, record.method)?;
    for (name, value) in texts {
        if let Some(value) = value {
            write!(line, r#","{name}":"#)?;
            write_text(line, value)?;
        }
    }
    if let Some(admitted) = record.admitted {
        write!(line, r#","admitted_us":{}"#, admitted.as_micros())?;
    }
    write!(line, r#","status":{},"duration_us":{}"#, record.status, record.duration.as_micros())?;
    if let Some(upstream) = record.upstream {
        write!(line, r#","upstream_us":{}"#, upstream.as_micros())?;
    }
    writeln!(line, r#","bytes_out":{}}}"#, record.bytes_out)
}

/// A JSON string; what a client wrote cannot end a line or a string. People put keys into paths, and
/// worse places.
fn write_text(line: &mut String, text: &str) -> fmt::Result {
    line.write_char('"')?;
    let text = redacted(text);
    // Counted to the end, so that many bytes are looked at together.
    let is_plain = |it: &u8| (b' '..=b'~').contains(it) && *it != b'"' && *it != b'\\';
    if text.bytes().filter(is_plain).count() == text.len() {
        line.push_str(&text);
        return line.write_char('"');
    }
    for character in text.chars() {
        match character {
            '"' | '\\' => line.extend(['\\', character]),
            it if it.is_control() || it == '\u{2028}' || it == '\u{2029}' => {
                write!(line, "\\u{:04x}", u32::from(it))?;
            }
            it => line.write_char(it)?,
        }
    }
    line.write_char('"')
}

const CHUNK_BYTES: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_whatever_the_client_wrote() {
        let mut line = String::new();
        let record = Record {
            time: Timestamp::from_micros(0),
            request_id: "a\"b",
            client_ip: IpAddr::from([127, 0, 0, 1]),
            method: "GET",
            host: "h\\x",
            path: "/a\n{\"level\":\"error\"}\u{7f}",
            status: 200,
            shadow: None,
            admitted: None,
            reason: None,
            key_id: Some("abc"),
            route: Some("r"),
            duration: Duration::from_micros(5),
            upstream: Some(Duration::from_micros(3)),
            bytes_out: 7,
        };
        write_record(&mut line, &record).unwrap();
        assert_eq!(line.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["path"], record.path);
        assert_eq!(value["request_id"], record.request_id);
    }
}
