//! Decides how a path is written: one spelling for each.
//!
//! RFC 3986, sections 6.2.2 and 5.2.4: dot segments are resolved, unreserved characters decoded,
//! hex digits in capitals. What has no place in a URI's path (such as bytes beyond ASCII) is
//! escaped. Everything else is left as it came; `%2F` separates nothing. What has one reading here
//! and may climb elsewhere is refused.

use std::borrow::Cow;

/// Brings a path, without its query, to normal form; borrowed where nothing has to change.
pub fn normal_form(path: &str) -> Result<Cow<'_, str>, PathFault> {
    if !path.starts_with('/') {
        return Err(PathFault::NotAbsolute);
    }
    match survey(path.as_bytes())? {
        Form::Normal => Ok(Cow::Borrowed(path)),
        Form::Other => {
            let normal = rewrite(path)?;
            Ok(if normal == path { Cow::Borrowed(path) } else { Cow::Owned(normal) })
        }
    }
}

/// What comes after a route's prefix in a path that it matches, both in normal form: a path in
/// normal form too. What would begin with two slashes is none: some upstreams would read an
/// authority there, and others the path of another route.
pub fn without_prefix<'p>(path: &'p str, prefix: &str) -> Result<&'p str, PathFault> {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    match path.strip_prefix(prefix).ok_or(PathFault::NotAbsolute)? {
        "" => Ok("/"),
        rest if rest.starts_with("//") => Err(PathFault::Slashes),
        rest if rest.starts_with('/') => Ok(rest),
        _ => Err(PathFault::NotAbsolute),
    }
}

/// Why a path has no normal form, or none that can be forwarded.
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
    /// `..;x`, `..%2Fx` or the like: some servers take parameters off first, and some decode `%2F`
    /// before they resolve dot segments.
    #[error("the path holds what only some servers read as a dot segment")]
    HiddenDots,
    /// Nothing but a slash stands between the route's prefix and another slash.
    #[error("the path goes on with an empty segment")]
    Slashes,
    /// `?` or `#`: there the path has ended.
    #[error("the path holds a \"?\" or a \"#\"")]
    Delimiter,
}

enum Form {
    Normal,
    Other,
}

/// Whether anything has to change, or may have to: one pass, up to the first thing.
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
                (Escape::Canonical(byte), tail) if byte != b'/' && byte != b';' => tail,
                // What stands beside such an escape may hide dots.
                (Escape::Canonical(_) | Escape::Lower(_) | Escape::Unreserved(_), _) => {
                    return Ok(Form::Other);
                }
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
            it if it.split("%2F").any(hides_dots) => return Err(PathFault::HiddenDots),
            _ => continue,
        };
        normal.truncate(end);
        if segments.peek().is_none() {
            normal.push('/');
        }
    }
    Ok(normal)
}

/// Whether what stands between two `%2F` may be read as `.` or `..`.
fn hides_dots(piece: &str) -> bool {
    let Some(rest) = piece.strip_prefix('.') else { return false };
    let rest = rest.strip_prefix('.').unwrap_or(rest);
    rest.is_empty() || rest.starts_with(';') || rest.starts_with("%3B")
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
mod tests;
