//! Removes what concerns one connection only, and what nobody but us may say.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::proxy::outbound::X_REQUEST_ID;
use crate::upstream::trailers::Trailers;

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

/// Removes hop-by-hop headers and whatever `Connection` names; on the way up also everything of
/// our own family, and the client's claims about other addresses unless it is trusted. Answers
/// which trailers may pass: nothing that may not stand above the body, and on the way up no `keys`.
pub fn clean(headers: &mut HeaderMap, direction: Direction, keys: &[HeaderName]) -> Trailers {
    let unwanted = headers.keys().filter(|it| is_unwanted(it, direction));
    let unwanted: Vec<HeaderName> = unwanted.cloned().collect();
    if unwanted.contains(&header::CONNECTION) {
        remove_named(headers);
    }
    let (mut trailers, mut wants_trailers) = (Trailers::default(), false);
    for name in &unwanted {
        if *name == header::TE && direction != Direction::Down && asks_for_trailers(headers) {
            wants_trailers = true;
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        } else if *name == header::TRAILER {
            trailers = announce(headers, |it| may_trail(it, direction, keys));
        } else {
            headers.remove(name);
        }
    }
    if wants_trailers {
        // RFC 9110, 10.1.4: `TE` is said to the next hop alone.
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    trailers
}

/// Leaves in `Trailer` only the names that may pass.
fn announce(headers: &mut HeaderMap, may_pass: impl Fn(&HeaderName) -> bool) -> Trailers {
    let values = headers.get_all(header::TRAILER).iter();
    let words = values.filter_map(|it| it.to_str().ok()).flat_map(|it| it.split(','));
    let names = words.filter_map(|it| it.trim().parse().ok()).filter(may_pass);
    let names: Vec<HeaderName> = names.collect();
    let text = names.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", ");
    match HeaderValue::from_str(&text) {
        Ok(value) if !names.is_empty() => drop(headers.insert(header::TRAILER, value)),
        Ok(_) | Err(_) => drop(headers.remove(header::TRAILER)),
    }
    Trailers::announced(names)
}

/// Below a body nobody's word is believed, and no key is looked for.
fn may_trail(name: &HeaderName, direction: Direction, keys: &[HeaderName]) -> bool {
    match direction {
        Direction::Down => !is_unwanted(name, Direction::Down),
        Direction::Up | Direction::UpTrusted => {
            let ours = [X_REQUEST_ID, header::AUTHORIZATION];
            let is_ours = ours.iter().chain(keys).any(|it| is_same(name, it));
            !is_ours && !is_unwanted(name, Direction::Up)
        }
    }
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
        // Fulfilled here: the client hears of it once its body is asked for.
        "expect" => direction != Direction::Down,
        "proxy-authenticate" => direction == Direction::Down,
        "proxy-authorization" => direction != Direction::Down,
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

fn asks_for_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter();
    let mut words = values.filter_map(|it| it.to_str().ok()).flat_map(|it| it.split(','));
    words.any(|it| it.trim().eq_ignore_ascii_case("trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(direction: Direction, headers: &[(&'static str, &'static str)], left: &[&str]) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        drop(clean(&mut map, direction, &[]));
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
        drop(clean(&mut map, direction, &[HeaderName::from_static("api-key")]));
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
