//! Removes what concerns one connection only, and what nobody but us may say.

use http::{HeaderMap, HeaderName, header};

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
/// our own family, and the client's claims about other addresses unless it is trusted.
pub fn clean(headers: &mut HeaderMap, direction: Direction) {
    if headers.contains_key(header::CONNECTION) {
        remove_named(headers);
    }
    let mut unwanted: Vec<HeaderName> = Vec::new();
    for name in headers.keys() {
        if is_unwanted(name, direction) {
            unwanted.push(name.clone());
        }
    }
    for name in &unwanted {
        if *name == header::TE && asks_for_trailers(headers) {
            headers.insert(header::TE, http::HeaderValue::from_static("trailers"));
        } else {
            headers.remove(name);
        }
    }
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
        | "upgrade" | "http2-settings" => true,
        "proxy-authenticate" => direction == Direction::Down,
        "proxy-authorization" => direction != Direction::Down,
        "forwarded" | "x-real-ip" => direction == Direction::Up,
        // Nearly every name is decided by its first letter.
        _ if !name.starts_with('x') => false,
        _ => match direction {
            Direction::Down => false,
            Direction::UpTrusted => is_of(name, b"x-keyward-"),
            Direction::Up => OURS_TO_SAY.iter().any(|family| is_of(name, family)),
        },
    }
}

/// Whether a name belongs to a family, in any spelling that some upstream may read as the same.
fn is_of(name: &str, family: &[u8]) -> bool {
    name.len() >= family.len()
        && name.bytes().zip(family).all(|(it, ours)| it == *ours || (it == b'_' && *ours == b'-'))
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
            map.append(*name, http::HeaderValue::from_static(value));
        }
        clean(&mut map, direction);
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
        check(
            Direction::UpTrusted,
            &claims,
            &["forwarded", "x-forwarded-for", "x-real-ip", "x_forwarded_for"],
        );
    }

    #[test]
    fn te_keeps_trailers_and_nothing_else() {
        check(Direction::Up, &[("te", "trailers, gzip")], &["te"]);
        check(Direction::Up, &[("te", "gzip")], &[]);
    }
}
