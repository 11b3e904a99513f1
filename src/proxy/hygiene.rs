//! Removes what concerns one connection only, and what nobody but us may say.

use std::rc::Rc;

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use crate::config::HeaderEdits;
use crate::proxy::outbound::X_REQUEST_ID;
use crate::upstream::trailers::{Permit, Trailers};

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the upstream, from a proxy whose word is believed.
    UpTrusted,
    /// To the upstream, from anyone else.
    Up,
    /// To the client.
    Down,
}

/// Which trailers of a route may pass, one way: by their names, as nobody's word is believed below
/// a body, and no key is looked for there.
#[derive(Debug)]
pub struct Sieve {
    direction: Direction,
    /// What the route removes or sets itself, and where keys stand.
    names: Box<[HeaderName]>,
}

impl Sieve {
    /// For a route that changes a message by `edits`. Keys stand in `keys`.
    pub fn new(direction: Direction, edits: &HeaderEdits, keys: &[HeaderName]) -> Self {
        let set = edits.set.iter().map(|(name, _value)| name);
        let names = set.chain(&edits.remove).chain(keys).cloned();
        Self { direction, names: names.collect() }
    }
}

impl Permit for Sieve {
    fn permits(&self, name: &HeaderName) -> bool {
        let is_ours = is_same(name, &X_REQUEST_ID) || self.names.iter().any(|it| is_same(name, it));
        !is_ours && !NEVER_BELOW.contains(&name.as_str()) && !is_unwanted(name, self.direction)
    }
}

/// Removes hop-by-hop headers and whatever `Connection` names; on the way up also everything of
/// our own family, and the client's claims about other addresses unless it is trusted. Answers
/// which trailers may pass: over HTTP/1.1 those that are announced, and over HTTP/2, where nobody
/// announces them, any; but none that may not stand below a body.
pub fn clean(
    headers: &mut HeaderMap,
    direction: Direction,
    version: Version,
    sieve: &Rc<Sieve>,
) -> Trailers {
    let unwanted = headers.keys().filter(|it| is_unwanted(it, direction));
    let unwanted: Vec<HeaderName> = unwanted.cloned().collect();
    if unwanted.contains(&header::CONNECTION) {
        remove_named(headers);
    }
    let (mut announced, mut wants_trailers) = (Vec::new(), false);
    for name in &unwanted {
        if *name == header::TE && direction != Direction::Down && asks_for_trailers(headers) {
            wants_trailers = true;
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        } else if *name == header::TRAILER {
            announced = announce(headers, sieve);
        } else {
            headers.remove(name);
        }
    }
    if wants_trailers {
        // RFC 9110, 10.1.4: `TE` is said to the next hop alone.
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    match version {
        Version::HTTP_2 => Trailers::permitted(Rc::clone(sieve) as _),
        _ if announced.is_empty() => Trailers::default(),
        _ => Trailers::announced(announced),
    }
}

/// Leaves in `Trailer` only the names that may pass.
fn announce(headers: &mut HeaderMap, sieve: &Sieve) -> Vec<HeaderName> {
    let values = headers.get_all(header::TRAILER).iter();
    let words = values.filter_map(|it| it.to_str().ok()).flat_map(|it| it.split(','));
    let names = words.filter_map(|it| it.trim().parse().ok()).filter(|it| sieve.permits(it));
    let names: Vec<HeaderName> = names.collect();
    let text = names.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", ");
    match HeaderValue::from_str(&text) {
        Ok(value) if !names.is_empty() => drop(headers.insert(header::TRAILER, value)),
        Ok(_) | Err(_) => drop(headers.remove(header::TRAILER)),
    }
    names
}

fn is_same(name: &HeaderName, other: &HeaderName) -> bool {
    let plain = |it: u8| if it == b'_' { b'-' } else { it };
    let (name, other) = (name.as_str().bytes(), other.as_str().bytes());
    name.map(plain).eq(other.map(plain))
}

/// What `Connection` names goes, but never what frames or addresses the message: a client could
/// have us drop what it depends on.
fn remove_named(headers: &mut HeaderMap) {
    let values = headers.get_all(header::CONNECTION).iter();
    let words = values.filter_map(|it| it.to_str().ok()).flat_map(|it| it.split(','));
    let names: Vec<HeaderName> = words.filter_map(|it| it.trim().parse().ok()).collect();
    for name in names {
        if name != header::HOST && name != header::CONTENT_LENGTH && name != header::TE {
            headers.remove(name);
        }
    }
}

fn is_unwanted(name: &HeaderName, direction: Direction) -> bool {
    let name = name.as_str();
    match name {
        "connection" | "keep-alive" | "proxy-connection" | "te" | "transfer-encoding"
        | "trailer" | "upgrade" | "http2-settings" => true,
        // The first is fulfilled here: the client hears of it once its body is asked for.
        "expect" | "proxy-authorization" => direction != Direction::Down,
        "proxy-authenticate" => direction == Direction::Down,
        "forwarded" | "x-real-ip" => direction == Direction::Up,
        // Nearly every name is decided by its first letter.
        _ if !name.starts_with('x') => false,
        _ => match direction {
            Direction::Down => false,
            Direction::UpTrusted => is_of(name, b"x-keyward-") || is_misspelt(name),
            Direction::Up => {
                OURS_TO_SAY.iter().any(|family| is_of(name, family)) || is_misspelt(name)
            }
        },
    }
}

/// Whether a name belongs to a family, in any spelling that some upstream may read as the same.
fn is_of(name: &str, family: &[u8]) -> bool {
    name.len() >= family.len()
        && name.bytes().zip(family).all(|(it, ours)| it == *ours || (it == b'_' && *ours == b'-'))
}

/// Whether a name stands beside one that we set, and some upstream may read it as the same.
fn is_misspelt(name: &str) -> bool {
    let ours: [&[u8]; 3] = [b"x-forwarded-", b"x-real-ip", b"x-request-id"];
    name.contains('_') && ours.iter().any(|family| is_of(name, family))
}

/// What nobody else may say of a request.
const OURS_TO_SAY: [&[u8]; 3] = [b"x-keyward-", b"x-forwarded-", b"x-real-ip"];

/// What frames, addresses, routes or qualifies a message has no meaning below it, and who joins
/// trailers with headers would find one there: RFC 9110, 6.5.1.
const NEVER_BELOW: [&str; 31] = [
    "age",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "retry-after",
    "set-cookie",
    "strict-transport-security",
    "vary",
    "via",
    "warning",
    "www-authenticate",
];

fn asks_for_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter();
    let mut words = values.filter_map(|it| it.to_str().ok()).flat_map(|it| it.split(','));
    words.any(|it| it.trim().eq_ignore_ascii_case("trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sieve(direction: Direction) -> Rc<Sieve> {
        let name = |it: &str| it.parse().unwrap();
        let set = vec![(name("x-set"), HeaderValue::from_static("1"))];
        let edits = HeaderEdits { set, remove: vec![name("x-removed")] };
        let direction = if direction == Direction::Down { direction } else { Direction::Up };
        Rc::new(Sieve::new(direction, &edits, &[name("api-key")]))
    }

    #[track_caller]
    fn check(direction: Direction, headers: &[(&'static str, &'static str)], left: &[&str]) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        drop(clean(&mut map, direction, Version::HTTP_11, &sieve(direction)));
        let mut names: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, left);
    }

    #[test]
    fn what_concerns_one_connection_goes_no_further() {
        let hops = [
            ("connection", "keep-alive, x-mine"),
            ("keep-alive", "timeout=5"),
            ("x-mine", "1"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("transfer-encoding", "chunked"),
            ("proxy-connection", "close"),
            ("accept", "*/*"),
        ];
        check(Direction::Up, &[("expect", "100-continue")], &[]);
        check(Direction::Up, &hops, &["accept"]);
        check(Direction::Down, &hops, &["accept"]);
    }

    #[test]
    fn connection_cannot_name_what_frames_or_addresses_a_message() {
        let named =
            [("connection", "host, content-length"), ("host", "a"), ("content-length", "3")];
        check(Direction::Up, &named, &["content-length", "host"]);
    }

    #[test]
    fn nobody_else_speaks_in_our_name() {
        let ours = [
            ("x-keyward-owner", "me"),
            ("x_keyward_owner", "me"),
            ("x-keyward_key-id", "1"),
            ("x-keywardish", "1"),
        ];
        check(Direction::Up, &ours, &["x-keywardish"]);
    }

    #[test]
    fn only_a_trusted_proxy_may_say_where_a_request_comes_from() {
        let claims = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x_forwarded_for", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
        ];
        check(Direction::Up, &claims, &[]);
        check(Direction::UpTrusted, &claims, &["forwarded", "x-forwarded-for", "x-real-ip"]);
    }

    #[track_caller]
    fn check_trailer(direction: Direction, announced: &'static str, left: Option<&str>) {
        let mut map = HeaderMap::new();
        map.append("trailer", HeaderValue::from_static(announced));
        drop(clean(&mut map, direction, Version::HTTP_11, &sieve(direction)));
        assert_eq!(map.get("trailer").map(|it| it.to_str().unwrap()), left, "{announced}");
    }

    #[test]
    fn nothing_is_announced_that_may_not_pass() {
        check_trailer(Direction::Up, "x-sum, x-keyward-owner", Some("x-sum"));
        for direction in [Direction::Up, Direction::UpTrusted] {
            check_trailer(direction, "x_keyward_owner", None);
            check_trailer(direction, "api-key, Api_Key,authorization", None);
            check_trailer(direction, "x-forwarded-for, x_forwarded_for, forwarded", None);
            check_trailer(direction, "x-request-id, x_request_id, connection, x-real-ip", None);
        }
        check_trailer(Direction::Down, "x-sum, connection, trailer", Some("x-sum"));
        for direction in [Direction::Up, Direction::UpTrusted, Direction::Down] {
            check_trailer(direction, "x-set, X_Set, x-removed, x_removed", None);
            check_trailer(direction, "content-length, transfer-encoding, host, content-type", None);
        }
    }

    /// Which of these trailers pass, of a message of some version with such headers.
    #[track_caller]
    fn check_trailers(version: Version, announced: Option<&'static str>, left: &[&str]) {
        for direction in [Direction::Up, Direction::UpTrusted, Direction::Down] {
            let mut headers = HeaderMap::new();
            headers.extend(announced.map(|it| (header::TRAILER, HeaderValue::from_static(it))));
            let trailers = clean(&mut headers, direction, version, &sieve(direction));
            let mut fields = HeaderMap::new();
            for name in NAMES {
                fields.append(name, HeaderValue::from_static("1"));
            }
            let mut frame = http_body::Frame::<bytes::Bytes>::trailers(fields);
            trailers.clean(&mut frame);
            let fields = frame.into_trailers().unwrap();
            let names: Vec<&str> = fields.keys().map(HeaderName::as_str).collect();
            assert_eq!(names, left, "{version:?} {direction:?}");
        }
    }

    const NAMES: [&str; 14] = [
        "grpc-status",
        "grpc-message",
        "acme-details-bin",
        "x-request-id",
        "api-key",
        "api_key",
        "x-set",
        "x_removed",
        "connection",
        "te",
        "content-length",
        "transfer-encoding",
        "host",
        "authorization",
    ];

    #[test]
    fn over_http_2_trailers_pass_by_their_names_alone() {
        let passing = &NAMES[..3];
        check_trailers(Version::HTTP_2, None, passing);
        check_trailers(Version::HTTP_2, Some("grpc-status"), passing);
    }

    #[test]
    fn over_http_1_1_only_announced_trailers_pass() {
        check_trailers(Version::HTTP_11, None, &[]);
        check_trailers(Version::HTTP_11, Some("grpc-status, host, x-set"), &["grpc-status"]);
        check_trailers(Version::HTTP_11, Some("acme-other"), &[]);
    }

    #[test]
    fn nobody_speaks_in_our_name_below_a_body() {
        let up = sieve(Direction::Up);
        for name in ["x-keyward-owner", "x_keyward_owner", "x-forwarded-for", "x-real-ip"] {
            assert!(!up.permits(&name.parse().unwrap()), "{name}");
        }
    }

    #[test]
    fn no_other_spelling_stands_beside_what_we_set() {
        let names = [("x_request_id", "1"), ("x-real_ip", "1"), ("x_forwarded_proto", "https")];
        for direction in [Direction::Up, Direction::UpTrusted] {
            check(direction, &names, &[]);
        }
    }

    #[test]
    fn te_keeps_trailers_and_nothing_else() {
        check(Direction::Up, &[("te", "trailers, gzip")], &["connection", "te"]);
        check(Direction::Up, &[("connection", "te"), ("te", "trailers")], &["connection", "te"]);
        check(Direction::Up, &[("te", "gzip")], &[]);
        check(Direction::Down, &[("te", "trailers")], &[]);
    }
}
