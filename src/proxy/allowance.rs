//! Tells a caller what is left of its limits: draft-ietf-httpapi-ratelimit-headers.

use std::cell::RefCell;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::XRateLimit;
use crate::gate::remaining::{Left, Remaining};

/// Writes a worker's headers, without asking for memory each time.
#[derive(Debug, Default)]
pub struct Allowance {
    ink: RefCell<BytesMut>,
    /// What was said last of the limits themselves: most keys have the same.
    policy: RefCell<Option<(Limits, HeaderValue)>>,
}

/// How many there are of each in which window.
type Limits = [Option<(u64, u32)>; 4];

impl Allowance {
    /// Says what is left. What an upstream says of limits of its own stays, and ours stands beside
    /// it, so that nobody is told more than either allows.
    pub fn tell(&self, headers: &mut HeaderMap, remaining: &Remaining, x_headers: XRateLimit) {
        headers.append(RATELIMIT_POLICY, self.policy(remaining));
        headers.append(RATELIMIT, self.write(|text| each(remaining, text, left)));
        if x_headers == XRateLimit::On
            && let Some(strictest) = strictest(remaining)
        {
            self.tell_x(headers, strictest);
        }
    }

    fn policy(&self, remaining: &Remaining) -> HeaderValue {
        let Remaining { rate, route, quota, in_flight } = remaining;
        let limits = [rate, route, quota, in_flight].map(|it| it.map(|it| (it.limit, it.window_s)));
        let mut said = self.policy.borrow_mut();
        match &*said {
            Some((same, policy)) if *same == limits => policy.clone(),
            Some(_) | None => {
                let fresh = self.write(|text| each(remaining, text, policy));
                said.insert((limits, fresh)).1.clone()
            }
        }
    }

    /// The older fields, of which no draft says what several limits look like.
    fn tell_x(&self, headers: &mut HeaderMap, left: &Left) {
        let theirs = headers.get(X_REMAINING).and_then(|it| it.to_str().ok()?.parse::<u64>().ok());
        if theirs.is_some_and(|it| it <= left.units) {
            return;
        }
        let fields = [
            (X_LIMIT, left.limit),
            (X_REMAINING, left.units),
            (X_RESET, u64::from(left.more_in_s)),
        ];
        for (name, value) in fields {
            headers.insert(name, self.write(|text| text.number(value)));
        }
    }

    fn write(&self, write: impl FnOnce(&mut Text)) -> HeaderValue {
        let mut text = Text { bytes: [0; TEXT_MAX], length: 0 };
        write(&mut text);
        let mut ink = self.ink.borrow_mut();
        if ink.capacity() < TEXT_MAX {
            ink.reserve(CHUNK);
        }
        ink.extend_from_slice(text.written());
        let text = ink.split().freeze();
        HeaderValue::from_maybe_shared(text).unwrap_or(HeaderValue::from_static(""))
    }
}

/// A value on its way.
struct Text {
    bytes: [u8; TEXT_MAX],
    length: usize,
}

impl Text {
    fn written(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    #[inline]
    fn push(&mut self, piece: &[u8]) {
        if let Some(place) = self.bytes.get_mut(self.length..self.length + piece.len()) {
            place.copy_from_slice(piece);
            self.length += piece.len();
        }
    }

    fn number(&mut self, value: u64) {
        match u8::try_from(value) {
            Ok(digit @ 0..=9) => self.push(&[b'0' + digit]),
            Ok(_) | Err(_) => self.push(itoa::Buffer::new().format(value).as_bytes()),
        }
    }
}

/// A field of one limit.
type Field = fn(&mut Text, &[u8], &Left);

fn each(remaining: &Remaining, text: &mut Text, field: Field) {
    let Remaining { rate, route, quota, in_flight } = remaining;
    let named: [(&[u8], &Option<Left>); 4] = [
        (b"\"rate\"", rate),
        (b"\"route\"", route),
        (b"\"quota\"", quota),
        (b"\"in-flight\"", in_flight),
    ];
    let mut between: &[u8] = b"";
    for (name, left) in named {
        if let Some(left) = left {
            text.push(between);
            field(text, name, left);
            between = b", ";
        }
    }
}

fn policy(text: &mut Text, name: &[u8], of: &Left) {
    text.push(name);
    text.push(b";q=");
    text.number(of.limit);
    if of.window_s == 0 {
        text.push(b";qu=\"concurrent-requests\"");
    } else {
        text.push(b";w=");
        text.number(u64::from(of.window_s));
    }
}

fn left(text: &mut Text, name: &[u8], of: &Left) {
    text.push(name);
    text.push(b";r=");
    text.number(of.units);
    if of.window_s != 0 {
        text.push(b";t=");
        text.number(u64::from(of.more_in_s));
    }
}

/// The one with the least left, of those that have a window.
fn strictest(remaining: &Remaining) -> Option<&Left> {
    let Remaining { rate, route, quota, in_flight: _ } = remaining;
    [rate, route, quota].into_iter().flatten().min_by_key(|it| it.units)
}

const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Of one field; four limits of twenty digits each take less.
const TEXT_MAX: usize = 256;

/// So much is asked for at once: it is used again when nothing of it is on its way any more.
const CHUNK: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn left(limit: u64, window_s: u32, units: u64, more_in_s: u32) -> Left {
        Left { limit, window_s, units, more_in_s }
    }

    fn told(
        remaining: &Remaining,
        before: &[(&'static str, &'static str)],
    ) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in before {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        Allowance::default().tell(&mut headers, remaining, XRateLimit::On);
        let text = |it: &HeaderValue| it.to_str().unwrap().to_owned();
        headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
    }

    fn values<'a>(told: &'a [(String, String)], name: &str) -> Vec<&'a str> {
        told.iter().filter(|it| it.0 == name).map(|it| it.1.as_str()).collect()
    }

    #[test]
    fn every_limit_is_told_with_what_is_left_of_it() {
        let rate = Remaining { rate: Some(left(100, 1, 42, 1)), ..Remaining::default() };
        let told_rate = told(&rate, &[]);
        assert_eq!(values(&told_rate, "ratelimit-policy"), [r#""rate";q=100;w=1"#]);
        assert_eq!(values(&told_rate, "ratelimit"), [r#""rate";r=42;t=1"#]);
        let all = Remaining {
            route: Some(left(5, 60, 0, 12)),
            quota: Some(left(1_000, 86_400, 7, 3_600)),
            in_flight: Some(left(50, 0, 49, 0)),
            ..rate
        };
        let told = told(&all, &[]);
        assert_eq!(
            values(&told, "ratelimit-policy"),
            [
                r#""rate";q=100;w=1, "route";q=5;w=60, "quota";q=1000;w=86400, "in-flight";q=50;qu="concurrent-requests""#
            ]
        );
        assert_eq!(
            values(&told, "ratelimit"),
            [r#""rate";r=42;t=1, "route";r=0;t=12, "quota";r=7;t=3600, "in-flight";r=49"#]
        );
        assert_eq!(values(&told, "x-ratelimit-limit"), ["5"]);
        assert_eq!(values(&told, "x-ratelimit-remaining"), ["0"]);
        assert_eq!(values(&told, "x-ratelimit-reset"), ["12"]);
    }

    #[test]
    fn what_an_upstream_says_of_its_own_limits_is_not_made_more_permissive() {
        let ours = Remaining { rate: Some(left(100, 1, 42, 1)), ..Remaining::default() };
        let before = [
            ("ratelimit", r#""day";r=3;t=60"#),
            ("x-ratelimit-remaining", "3"),
            ("x-ratelimit-limit", "10"),
        ];
        let strict = told(&ours, &before);
        assert_eq!(values(&strict, "ratelimit"), [r#""day";r=3;t=60"#, r#""rate";r=42;t=1"#]);
        assert_eq!(values(&strict, "x-ratelimit-remaining"), ["3"]);
        assert_eq!(values(&strict, "x-ratelimit-limit"), ["10"]);
        let loose =
            told(&ours, &[("x-ratelimit-remaining", "5000"), ("x-ratelimit-limit", "9000")]);
        assert_eq!(values(&loose, "x-ratelimit-remaining"), ["42"]);
        assert_eq!(values(&loose, "x-ratelimit-limit"), ["100"]);
    }

    #[test]
    fn memory_is_used_again_once_nothing_of_it_is_on_its_way() {
        let allowance = Allowance::default();
        let remaining = Remaining { rate: Some(left(100, 1, 42, 1)), ..Remaining::default() };
        let mut places = std::collections::HashSet::new();
        for _ in 0..100_000 {
            let mut headers = HeaderMap::new();
            allowance.tell(&mut headers, &remaining, XRateLimit::Off);
            let place = headers.get(RATELIMIT).unwrap().as_bytes().as_ptr() as usize;
            places.insert(place / CHUNK);
        }
        // Else it were hundreds.
        assert!(places.len() <= 8, "{places:?}");
    }
}
