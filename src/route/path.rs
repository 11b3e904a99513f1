//! Decides how a path is written: one spelling for each.
//!
//! RFC 3986, sections 6.2.2 and 5.2.4: dot segments are resolved, unreserved characters decoded,
//! hex digits in capitals. What has no place in a URI's path (such as bytes beyond ASCII) is
//! escaped. Everything else is left as it came; `%2F` separates nothing.

use std::borrow::Cow;

/// Brings a path, without its query, to normal form; borrowed where nothing has to change.
pub fn normal_form(path: &str) -> Result<Cow<'_, str>, PathFault> {
    if !path.starts_with('/') {
        return Err(PathFault::NotAbsolute);
    }
    match survey(path.as_bytes())? {
        Form::Normal => Ok(Cow::Borrowed(path)),
        Form::Other => rewrite(path).map(Cow::Owned),
    }
}

/// Why a path has no normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// It does not begin with `/`.
    #[error("a path begins with \"/\"")]
    NotAbsolute,
    /// More `..` than there are segments above it.
    #[error("the path climbs out of \"/\"")]
    Climbs,
    /// `\` or `%5C`, which some servers take for a `/`.
    #[error("the path holds a backslash")]
    Backslash,
    /// A control byte, or `%00`.
    #[error("the path holds a control character")]
    Control,
    /// A `%` without two hex digits.
    #[error("the path holds a \"%\" without two hex digits after it")]
    MalformedEscape,
    /// `..;x` or `.;x`, which some servers take for a dot segment with parameters.
    #[error("the path holds a dot segment with parameters")]
    DotParameters,
    /// `?` or `#`: there the path has ended.
    #[error("the path holds a \"?\" or a \"#\"")]
    Delimiter,
}

enum Form {
    Normal,
    Other,
}

/// Whether anything has to change: one pass, up to the first thing that does.
fn survey(path: &[u8]) -> Result<Form, PathFault> {
    let mut rest = path;
    let mut before = b'/';
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match Kind::of(byte)? {
            Kind::Plain if byte == b'.' && before == b'/' && is_dots(rest) => {
                return Ok(Form::Other);
            }
            Kind::Plain => tail,
            Kind::Foreign => return Ok(Form::Other),
            Kind::Escape => match escape(tail)? {
                (Escape::Canonical(_), tail) => tail,
                (Escape::Lower(_) | Escape::Unreserved(_), _) => return Ok(Form::Other),
            },
        };
        before = byte;
    }
    Ok(Form::Normal)
}

/// Whether the segment that begins here is `.` or `..`, with parameters or without.
fn is_dots(rest: &[u8]) -> bool {
    let rest = rest.strip_prefix(b".").unwrap_or_default();
    matches!(rest.strip_prefix(b".").unwrap_or(rest), [] | [b'/' | b';', ..])
}

fn rewrite(path: &str) -> Result<String, PathFault> {
    let mut normal = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let start = normal.len();
        normal.push('/');
        push_decoded(&mut normal, segment.as_bytes())?;
        let end = match normal.get(start + 1..).unwrap_or_default() {
            "." => start,
            ".." => normal.get(..start).unwrap_or_default().rfind('/').ok_or(PathFault::Climbs)?,
            it if it.starts_with('.') && is_dots(it.as_bytes()) => {
                return Err(PathFault::DotParameters);
            }
            _ => continue,
        };
        normal.truncate(end);
        if segments.peek().is_none() {
            normal.push('/');
        }
    }
    Ok(normal)
}

fn push_decoded(normal: &mut String, segment: &[u8]) -> Result<(), PathFault> {
    let mut rest = segment;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match Kind::of(byte)? {
            Kind::Plain => normal.push(char::from(byte)),
            Kind::Foreign => push_escaped(normal, byte),
            Kind::Escape => {
                let (escape, tail) = escape(tail)?;
                rest = tail;
                escape.push_to(normal);
            }
        }
    }
    Ok(())
}

fn push_escaped(normal: &mut String, byte: u8) {
    normal.push('%');
    for digit in [byte >> 4, byte & 0xf] {
        normal.extend(char::from_digit(u32::from(digit), 16).map(|it| it.to_ascii_uppercase()));
    }
}

/// What a byte is in a path.
#[derive(Clone, Copy)]
enum Kind {
    /// Stands for itself.
    Plain,
    /// Begins an escape.
    Escape,
    /// Has to be escaped.
    Foreign,
}

impl Kind {
    /// RFC 3986: a path holds `pchar` and `/`.
    fn of(byte: u8) -> Result<Self, PathFault> {
        match byte {
            b'%' => Ok(Self::Escape),
            b'/' | b':' | b'@' | b'!' | b'$' | b'&'..=b',' | b';' | b'=' => Ok(Self::Plain),
            _ if is_unreserved(byte) => Ok(Self::Plain),
            b'\\' => Err(PathFault::Backslash),
            b'?' | b'#' => Err(PathFault::Delimiter),
            0..=0x1f | 0x7f => Err(PathFault::Control),
            _ => Ok(Self::Foreign),
        }
    }
}

/// The byte that an escape stands for.
#[derive(Clone, Copy)]
enum Escape {
    /// Stays as it is.
    Canonical(u8),
    /// Stays, in capitals.
    Lower(u8),
    /// Is decoded.
    Unreserved(u8),
}

impl Escape {
    fn push_to(self, normal: &mut String) {
        match self {
            Self::Canonical(byte) | Self::Lower(byte) => push_escaped(normal, byte),
            Self::Unreserved(byte) => normal.push(char::from(byte)),
        }
    }
}

/// Reads what follows a `%`; what is left comes back too.
fn escape(text: &[u8]) -> Result<(Escape, &[u8]), PathFault> {
    let (digits, rest) = text.split_first_chunk::<2>().ok_or(PathFault::MalformedEscape)?;
    let [high, low] =
        digits.map(|it| char::from(it).to_digit(16).and_then(|it| u8::try_from(it).ok()));
    let (Some(high), Some(low)) = (high, low) else { return Err(PathFault::MalformedEscape) };
    let escape = match high << 4 | low {
        b'\\' => return Err(PathFault::Backslash),
        0 => return Err(PathFault::Control),
        byte if is_unreserved(byte) => Escape::Unreserved(byte),
        byte if digits.iter().any(u8::is_ascii_lowercase) => Escape::Lower(byte),
        byte => Escape::Canonical(byte),
    };
    Ok((escape, rest))
}

/// RFC 3986, section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
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
        for path in
            ["/...", "/..a", "/.well-known/x", "/a..", "/a./b", "/.a;x", "/..%3B/x", "/..%2Fx"]
        {
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
        for path in ["/a/..;/b", "/a/..;x=1", "/a/.;/b", "/%2e%2e;/b"] {
            check_fault(path, PathFault::DotParameters);
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

    /// Paths made of what is difficult.
    fn paths() -> impl Strategy<Value = String> {
        let pieces = [
            "/", "/", "/", ".", ".", "..", "/../", "%2e", "%2E", "%2f", "%2F", "a", "b", "%41",
            "%7E", "%25", "%c3", ";", "=", "%3b", "\u{fc}", " ", "{", "%", "%5c", "\\",
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
                it if it.starts_with(".;") || it.starts_with("..;") => return None,
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
                let plain = normal.to_lowercase().replace("%2e", ".");
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
        fn no_text_makes_it_fall_over(path in "\\PC*") {
            let _any = normal_form(&path).is_ok();
        }
    }
}
