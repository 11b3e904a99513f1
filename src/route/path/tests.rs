//! Claims about paths.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(path: &str, expected: &str) {
    assert_eq!(normal_form(path).as_deref(), Ok(expected), "{path:?}");
}

#[track_caller]
fn check_fault(path: &str, expected: PathFault) {
    assert_eq!(normal_form(path), Err(expected), "{path:?}");
}

#[test]
fn dot_segments_are_resolved_in_every_spelling() {
    check("/a/./b", "/a/b");
    check("/a/../b", "/b");
    check("/a/%2e%2E/b", "/b");
    check("/a/.%2e/b", "/b");
    check("/a/b/..", "/a/");
    check("/a/.", "/a/");
    check("/a/..", "/");
    check("/.", "/");
    check("/a//../b", "/a/b");
    check("//..", "/");
}

#[test]
fn what_only_begins_with_dots_is_a_name() {
    for path in ["/...", "/..a", "/.well-known/x", "/a..", "/a./b", "/.a;x", "/a..;x", "/...%2Fx"] {
        check(path, path);
    }
}

#[test]
fn unreserved_characters_are_decoded_and_others_are_not() {
    check("/%61%5A%30%2d%2E%5f%7e", "/aZ0-._~");
    check("/a%2fb%3a%20%25%c3%bc", "/a%2Fb%3A%20%25%C3%BC");
    check("/a%2Fb%3A", "/a%2Fb%3A");
    check("/a;v=1/!$&'()*+,=:@", "/a;v=1/!$&'()*+,=:@");
}

#[test]
fn an_escape_is_decoded_once() {
    check("/%252e%252e/a", "/%252e%252e/a");
    check("/%25%32%65", "/%252e");
}

#[test]
fn two_slashes_are_left_alone() {
    check("//", "//");
    check("//a//b//", "//a//b//");
}

#[test]
fn what_a_uri_cannot_hold_is_escaped() {
    check("/\u{fc}", "/%C3%BC");
    check("/{a|b}^`\"<> ", "/%7Ba%7Cb%7D%5E%60%22%3C%3E%20");
}

#[test]
fn a_path_that_climbs_out_is_refused() {
    for path in ["/..", "/../a", "/a/../..", "/a/../../b", "/./..", "/%2e%2e", "/%2E./"] {
        check_fault(path, PathFault::Climbs);
    }
}

#[test]
fn what_servers_read_differently_is_refused() {
    check_fault("/a\\b", PathFault::Backslash);
    check_fault("/a%5cb", PathFault::Backslash);
    check_fault("/a%5C", PathFault::Backslash);
    for path in ["/%00", "/a\0", "/a\n", "/\u{7f}"] {
        check_fault(path, PathFault::Control);
    }
    for path in ["/a/..;/b", "/a/..;x=1", "/a/.;/b", "/%2e%2e;/b", "/a/..%3b/b", "/.%3B"] {
        check_fault(path, PathFault::HiddenDots);
    }
    for path in [
        "/a/..%2Fb",
        "/a/..%2fb",
        "/a/%2e%2e%2fb",
        "/a%2F..",
        "/a%2f../b",
        "/a%2F..%2Fb",
        "/a/.%2Fb",
        "/a/b%2F.",
        "/a/%2F../b",
        "/a/x%2F..;y/b",
        "/a%2f%2e%2E%3bx",
    ] {
        check_fault(path, PathFault::HiddenDots);
    }
    for path in
        ["/a%2F...", "/a%2F..b", "/a..%2Fb", "/a%2F.b", "/a%2Fb..", "/%2F", "/a%3B..", "/a;.."]
    {
        check(path, path);
    }
    for path in ["/%", "/%2", "/%2x", "/%x2/", "/a%", "/%+1", "/%\u{fc}"] {
        check_fault(path, PathFault::MalformedEscape);
    }
    for path in ["", "*", "a", "http://a/", "%2Fa"] {
        check_fault(path, PathFault::NotAbsolute);
    }
    check_fault("/a?b", PathFault::Delimiter);
    check_fault("/a#b", PathFault::Delimiter);
}

#[test]
fn a_fault_is_found_behind_a_change() {
    check_fault("/%61/\\", PathFault::Backslash);
    check_fault("/%61/%", PathFault::MalformedEscape);
}

#[test]
fn what_is_in_normal_form_is_not_copied() {
    for path in ["/", "/v3/contacts/17", "/a%2Fb", "/.well-known/x", "//"] {
        assert!(matches!(normal_form(path), Ok(Cow::Borrowed(_))), "{path:?}");
    }
}

#[track_caller]
fn check_without(path: &str, prefix: &str, expected: Result<&str, PathFault>) {
    assert_eq!(without_prefix(path, prefix), expected, "{path:?} without {prefix:?}");
}

#[test]
fn what_comes_after_a_prefix_begins_with_one_slash() {
    check_without("/v3/x", "/v3/", Ok("/x"));
    check_without("/v3/x", "/v3", Ok("/x"));
    check_without("/v3/", "/v3/", Ok("/"));
    check_without("/v3/", "/v3", Ok("/"));
    check_without("/v3", "/v3", Ok("/"));
    check_without("/v3/v3/x/", "/v3/", Ok("/v3/x/"));
    check_without("/v3/x//y", "/v3/", Ok("/x//y"));
    check_without("/x", "/", Ok("/x"));
    check_without("/a//x", "/a//", Ok("/x"));
    check_without("/v3/%2Fevil", "/v3/", Ok("/%2Fevil"));
}

#[test]
fn what_comes_after_a_prefix_names_no_authority() {
    check_without("/v3//evil", "/v3/", Err(PathFault::Slashes));
    check_without("/v3//evil", "/v3", Err(PathFault::Slashes));
    check_without("/v3///", "/v3/", Err(PathFault::Slashes));
    check_without("//evil", "/", Err(PathFault::Slashes));
    check_without("/v30", "/v3", Err(PathFault::NotAbsolute));
    check_without("/v4", "/v3", Err(PathFault::NotAbsolute));
}

#[test]
fn overlong_and_double_escapes_are_no_dots_and_no_slashes() {
    // UTF-8 written longer than it may be: no reader of valid UTF-8 takes it for a character.
    for path in ["/a/%C0%AE%C0%AE/b", "/a/%C0%AFb", "/a/%E0%80%AE/", "/a/%F0%80%80%AF"] {
        check(path, path);
    }
    check("/a/%c0%ae%c0%ae/b", "/a/%C0%AE%C0%AE/b");
    check("/a/%252E%252e/b", "/a/%252E%252e/b");
    check("/a/%25%32%45%25%32%45/b", "/a/%252E%252E/b");
    check("/a/%u002e%u002e/b".replace("%u", "%25u").as_str(), "/a/%25u002e%25u002e/b");
    check("/a/\u{2025}/\u{ff0e}\u{ff0e}/", "/a/%E2%80%A5/%EF%BC%8E%EF%BC%8E/");
}

#[test]
fn dots_beside_anything_else_are_no_dot_segment() {
    for path in [
        "/a/.../b",
        "/a/....//b",
        "/a/..%09/b",
        "/a/..%20/b",
        "/a/%20../b",
        "/a/..:/b",
        "/a/..,/b",
        "/a/..%23/b",
        "/a/..%3Fx/b",
    ] {
        check(path, path);
    }
}

/// Paths made of what is difficult.
fn paths() -> impl Strategy<Value = String> {
    let pieces = [
        "/", "/", "/", ".", ".", "..", "/../", "%2e", "%2E", "%2f", "%2F", "a", "b", "%41", "%7E",
        "%25", "%c3", ";", "=", "%3b", "\u{fc}", " ", "{", "%", "%5c", "\\",
    ];
    let piece = (0..pieces.len()).prop_map(move |at| pieces[at]);
    proptest::collection::vec(piece, 0..14).prop_map(|it| format!("/{}", it.concat()))
}

/// The same, said naively: every byte on its own, a stack of segments; `None` is any fault.
fn reference(path: &str) -> Option<String> {
    let mut stack: Vec<String> = Vec::new();
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    for (at, segment) in segments.iter().enumerate() {
        let segment = reference_segment(segment.as_bytes())?;
        let is_last = at + 1 == segments.len();
        match segment.as_str() {
            "." => {}
            ".." => drop(stack.pop()?),
            it if reference_hides(it) => return None,
            _ => {
                stack.push(segment);
                continue;
            }
        }
        if is_last {
            stack.push(String::new());
        }
    }
    Some(format!("/{}", stack.join("/")))
}

/// Every spelling of a slash and of what begins parameters is taken for what it may be.
fn reference_hides(segment: &str) -> bool {
    let plain = segment.replace("%2F", "/").replace("%3B", ";");
    let names = plain.split('/').map(|it| it.split(';').next().unwrap());
    names.into_iter().any(|it| it == "." || it == "..")
}

fn reference_segment(segment: &[u8]) -> Option<String> {
    let mut text = String::new();
    let mut at = 0;
    while at < segment.len() {
        let (byte, escaped) = match segment[at] {
            b'%' => {
                let digits = std::str::from_utf8(segment.get(at + 1..at + 3)?).ok()?;
                (u8::from_str_radix(digits, 16).ok()?, true)
            }
            byte => (byte, false),
        };
        at += if escaped { 3 } else { 1 };
        let stays = "-._~".contains(char::from(byte)) || byte.is_ascii_alphanumeric();
        match byte {
            0 | b'\\' => return None,
            _ if stays => text.push(char::from(byte)),
            b';' | b'=' if !escaped => text.push(char::from(byte)),
            _ => text.extend(format!("%{byte:02X}").chars()),
        }
    }
    Some(text)
}

proptest! {
    #[test]
    fn a_normal_form_is_its_own_normal_form(path in paths()) {
        if let Ok(normal) = normal_form(&path) {
            let again = normal_form(&normal);
            prop_assert!(matches!(again, Ok(Cow::Borrowed(_))));
            prop_assert_eq!(again.unwrap(), &*normal);
        }
    }

    #[test]
    fn no_spelling_of_a_dot_segment_is_left(path in paths()) {
        if let Ok(normal) = normal_form(&path) {
            let plain = normal.to_lowercase().replace("%2e", ".").replace("%2f", "/");
            prop_assert!(plain.split('/').all(|it| it != "." && it != ".."));
            prop_assert!(normal.starts_with('/') && normal.is_ascii());
        }
    }

    #[test]
    fn a_stack_of_segments_says_the_same(path in paths()) {
        let actual = normal_form(&path).ok().map(Cow::into_owned);
        prop_assert_eq!(actual, reference(&path));
    }

    #[test]
    fn what_is_left_of_a_normal_form_is_one(path in paths(), prefix in paths()) {
        let (Ok(path), Ok(prefix)) = (normal_form(&path), normal_form(&prefix)) else {
            return Ok(());
        };
        // Every prefix of its segments, beside the one that was drawn.
        let ends = path.match_indices('/').map(|(at, _slash)| at);
        let own = ends.flat_map(|at| [&path[..at], &path[..=at]]).filter(|it| !it.is_empty());
        for prefix in own.chain([&*prefix]) {
            let Ok(left) = without_prefix(&path, prefix) else { continue };
            prop_assert!(left.starts_with('/') && !left.starts_with("//"));
            prop_assert!(matches!(normal_form(left), Ok(Cow::Borrowed(it)) if it == left));
            let base = prefix.strip_suffix('/').unwrap_or(prefix);
            let joined = [base, left].concat();
            prop_assert_eq!(joined.trim_end_matches('/'), path.trim_end_matches('/'));
        }
    }

    #[test]
    fn no_text_makes_it_fall_over(path in "\\PC*") {
        let _any = normal_form(&path).is_ok();
    }
}
