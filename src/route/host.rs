//! Decides what a host is and which patterns it fits.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// A valid host in its one spelling: lower case, without its port, without the dot of a full
/// name; an IPv6 address in brackets and in its shortest form.
///
/// Borrowed from the request where it was already written so, which is nearly always.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host<'a>(Cow<'a, str>);

impl<'a> Host<'a> {
    /// Reads what a `Host` header or an authority says: the host, and the port where one is named.
    pub fn parse<T>(text: &'a T) -> Result<(Self, Option<u16>), MalformedHost>
    where
        T: AsRef<[u8]> + ?Sized,
    {
        let text = std::str::from_utf8(text.as_ref()).map_err(|_not_utf8| MalformedHost)?;
        if text.starts_with('[') { parse_ipv6(text) } else { parse_name(text) }
    }

    /// The host as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, for keeping.
    pub fn into_owned(self) -> Host<'static> {
        Host(Cow::Owned(self.0.into_owned()))
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text names no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a host name or an IP address (IPv6 in brackets), and at most a port")]
pub struct MalformedHost;

/// What a route asks of a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host and no other.
    Exact(Host<'static>),
    /// `*.example.com`: one label or more before it; holds `.example.com`.
    Wildcard(String),
}

impl FromStr for HostPattern {
    type Err = MalformedHostPattern;

    fn from_str(text: &str) -> Result<Self, MalformedHostPattern> {
        let (base, is_wildcard) = text.strip_prefix("*.").map_or((text, false), |it| (it, true));
        if base.contains('*') {
            return Err(MalformedHostPattern::Star);
        }
        let (host, port) = Host::parse(base).map_err(|MalformedHost| MalformedHostPattern::Host)?;
        if port.is_some() {
            return Err(MalformedHostPattern::Port);
        }
        match is_wildcard {
            false => Ok(Self::Exact(host.into_owned())),
            true if is_address(&host) => Err(MalformedHostPattern::Star),
            true => Ok(Self::Wildcard(format!(".{host}"))),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => host.fmt(f),
            Self::Wildcard(suffix) => write!(f, "*{suffix}"),
        }
    }
}

/// The text is no pattern of hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedHostPattern {
    /// A star elsewhere, or before an address.
    #[error("\"*\" can only be the whole first label of a name, as in \"*.example.com\"")]
    Star,
    /// A port.
    #[error("a route's host is written without a port: it matches on every port")]
    Port,
    /// Not a host.
    #[error("expected a host like \"api.example.com\" or \"*.example.com\"")]
    Host,
}

fn parse_name(text: &str) -> Result<(Host<'_>, Option<u16>), MalformedHost> {
    let (name, port) = match text.split_once(':') {
        None => (text, None),
        Some((name, port)) => (name, Some(parse_port(port)?)),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > HOST_LEN_MAX || !is_name(name) {
        return Err(MalformedHost);
    }
    Ok((Host(in_lower_case(name)), port))
}

fn parse_ipv6(text: &str) -> Result<(Host<'_>, Option<u16>), MalformedHost> {
    let end = text.find(']').ok_or(MalformedHost)?;
    let (shown, rest) = text.split_at_checked(end + 1).ok_or(MalformedHost)?;
    let inner = shown.trim_start_matches('[').trim_end_matches(']');
    let address: Ipv6Addr = inner.parse().map_err(|_address| MalformedHost)?;
    let port = match rest.strip_prefix(':') {
        Some(port) => Some(parse_port(port)?),
        None if rest.is_empty() => None,
        None => return Err(MalformedHost),
    };
    let shortest = format!("[{address}]");
    let host = if shortest == shown { Cow::Borrowed(shown) } else { Cow::Owned(shortest) };
    Ok((Host(host), port))
}

/// Labels of letters, digits, `-` and `_`, none of them empty.
fn is_name(name: &str) -> bool {
    let mut label_len = 0;
    for byte in name.bytes() {
        label_len = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => label_len + 1,
            b'.' if label_len > 0 => 0,
            _ => return false,
        };
    }
    label_len > 0
}

fn in_lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|it| it.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

fn parse_port(text: &str) -> Result<u16, MalformedHost> {
    let is_number = text.len() <= PORT_LEN_MAX && text.bytes().all(|it| it.is_ascii_digit());
    let port = if is_number { text.parse().unwrap_or(0) } else { 0 };
    if port == 0 { Err(MalformedHost) } else { Ok(port) }
}

/// An address, or so like one that no name ends in it: top-level domains are not numbers.
fn is_address(host: &Host<'_>) -> bool {
    let last = host.0.rsplit('.').next().unwrap_or_default();
    host.0.starts_with('[') || last.bytes().all(|it| it.is_ascii_digit())
}

const HOST_LEN_MAX: usize = 255;
const PORT_LEN_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, Option<u16>)>) {
        let actual = Host::parse(text).ok();
        let actual = actual.as_ref().map(|(host, port)| (host.as_str(), *port));
        assert_eq!(actual, expected, "parsing {text:?}");
    }

    #[track_caller]
    fn check_pattern(text: &str, expected: Result<&str, MalformedHostPattern>) {
        let actual = text.parse::<HostPattern>().map(|it| it.to_string());
        assert_eq!(actual.as_deref(), expected.as_ref().copied(), "parsing {text:?}");
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        check("api.example.com", Some(("api.example.com", None)));
        check("localhost:8080", Some(("localhost", Some(8080))));
        check("10.0.0.2:80", Some(("10.0.0.2", Some(80))));
        check("[::1]", Some(("[::1]", None)));
        check("[2001:db8::7]:65535", Some(("[2001:db8::7]", Some(65535))));
        check("my_service-1", Some(("my_service-1", None)));
    }

    #[test]
    fn a_host_has_one_spelling() {
        check("API.Example.COM", Some(("api.example.com", None)));
        check("example.com.:80", Some(("example.com", Some(80))));
        check("[2001:DB8:0:0:0:0:0:7]", Some(("[2001:db8::7]", None)));
    }

    #[test]
    fn what_is_written_well_is_not_copied() {
        for text in ["api.example.com", "example.com.", "a:80", "[::1]:80"] {
            let (host, _port) = Host::parse(text).unwrap();
            assert!(matches!(host.0, Cow::Borrowed(_)), "parsing {text:?}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let texts = [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a..",
            " a",
            "a b",
            "a\t",
            "a/b",
            "a?b",
            "a#b",
            "a@b",
            "u:p@h",
            "a,b",
            "a%2eb",
            "b\u{fc}cher.de",
            "a\\b",
            "a*",
            "*.a",
            "::1",
            "[::1",
            "[::1]x",
            "[]",
            "[::1%25eth0]",
            "[127.0.0.1]",
            "[[::1]]",
            "a]",
            "a\0",
        ];
        for text in texts {
            check(text, None);
        }
        assert_eq!(Host::parse(b"a\xff".as_slice()), Err(MalformedHost));
    }

    #[test]
    fn a_port_is_a_number_from_1_to_65535() {
        for port in ["", "0", "65536", "000080", "+80", "-1", "8o", "80:80", " 80", "80 "] {
            check(&format!("a:{port}"), None);
            check(&format!("[::1]:{port}"), None);
        }
    }

    #[test]
    fn a_host_longer_than_255_bytes_is_refused() {
        let longest = "a".repeat(255);
        check(&longest, Some((&longest, None)));
        check(&format!("{longest}a"), None);
    }

    #[test]
    fn a_star_is_the_whole_first_label_of_a_name() {
        check_pattern("*.Example.com", Ok("*.example.com"));
        check_pattern("api.example.com.", Ok("api.example.com"));
        check_pattern("[::1]", Ok("[::1]"));
        for text in ["*", "*.*", "*.*.com", "a.*.com", "*a.com", "a*.com", "*.[::1]", "*.0.0.1"] {
            check_pattern(text, Err(MalformedHostPattern::Star));
        }
        check_pattern("*.", Err(MalformedHostPattern::Host));
        check_pattern("http://a", Err(MalformedHostPattern::Host));
        check_pattern("a:80", Err(MalformedHostPattern::Port));
        check_pattern("*.a.com:80", Err(MalformedHostPattern::Port));
    }
}
