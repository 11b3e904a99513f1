//! Decides whether a request was meant for this listener, by its `Host` and its `Origin`.
//!
//! A page of another site can make a browser send requests here: by a name of its own that
//! resolves to this address, or straight. The first is told by `Host`, the second by `Origin`.

use std::net::{IpAddr, SocketAddr};

use http::request::Parts;
use http::{HeaderMap, HeaderName, header};

use crate::admin::rejection::Rejection;
use crate::route::host::Host;

/// What `Host` may say besides the listener's own addresses and localhost.
#[derive(Clone, Debug)]
pub struct Hosts(Vec<String>);

type HostAndPort<'a> = (Host<'a>, Option<u16>);

impl Hosts {
    /// These names, in lower case and without a port.
    pub fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    /// Checks a request that came in at the address `own`.
    pub fn check(&self, head: &Parts, own: SocketAddr) -> Result<(), Rejection> {
        let host = host(head)?;
        if !self.includes(&host, own) {
            return Err(Rejection::WrongHost);
        }
        match one(&head.headers, &header::ORIGIN) {
            One::Nothing => Ok(()),
            One::Value(origin) if is_same(origin, &host) => Ok(()),
            One::Value(_) | One::Several => Err(Rejection::ForeignOrigin),
        }
    }

    /// Names and localhost count with any port, since forwarding a port changes it; an address
    /// only with the listener's own.
    fn includes(&self, (host, port): &HostAndPort<'_>, own: SocketAddr) -> bool {
        let host = host.as_str();
        LOCALHOST.contains(&host)
            || self.0.iter().any(|it| it == host)
            || (host == as_host(own.ip())
                && port.map_or_else(|| is_usual(own), |it| it == own.port()))
    }
}

/// Exactly one valid `Host`; in absolute form it agrees with the authority.
fn host(head: &Parts) -> Result<HostAndPort<'_>, Rejection> {
    let fault = |detail: &str| Rejection::fault("Host", detail);
    let One::Value(value) = one(&head.headers, &header::HOST) else {
        return Err(fault("there must be exactly one"));
    };
    let host = Host::parse(value).map_err(|it| fault(&it.to_string()))?;
    match head.uri.authority().map(|it| Host::parse(it.as_str())) {
        None => Ok(host),
        Some(Ok(named)) if named == host => Ok(host),
        Some(_) => Err(fault("the request target names another host")),
    }
}

/// Whether a page of `origin` is one of ours.
fn is_same(origin: &[u8], host: &HostAndPort<'_>) -> bool {
    let origin = std::str::from_utf8(origin).ok().and_then(|it| it.split_once("://"));
    let Some((scheme, rest)) = origin else { return false };
    let default_port = match scheme {
        "http" => HTTP_PORT,
        "https" => HTTPS_PORT,
        _ => return false,
    };
    let port = |it: Option<u16>| it.unwrap_or(default_port);
    Host::parse(rest).is_ok_and(|it| it.0 == host.0 && port(it.1) == port(host.1))
}

/// Whether a client need not name the port: the listener speaks either HTTP or TLS.
fn is_usual(own: SocketAddr) -> bool {
    [HTTP_PORT, HTTPS_PORT].contains(&own.port())
}

fn as_host(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

enum One<'a> {
    Nothing,
    Value(&'a [u8]),
    Several,
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> One<'a> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => One::Nothing,
        (Some(value), None) => One::Value(value.as_bytes()),
        (Some(_), Some(_)) => One::Several,
    }
}

const LOCALHOST: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const OWN: &str = "10.0.0.7:8081";

    #[track_caller]
    fn check(headers: &[(&str, &str)], expected: Option<&str>) {
        let mut request = Request::builder().uri("/v1/keys");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let hosts = Hosts::new(vec!["admin.example.com".to_owned()]);
        let actual = hosts.check(&head, OWN.parse().unwrap()).err().map(|it| it.row().code);
        assert_eq!(actual, expected, "{headers:?}");
    }

    #[test]
    fn a_listener_goes_by_its_address_by_localhost_and_by_its_names() {
        for host in [OWN, "localhost:1", "LOCALHOST", "127.0.0.1:8081", "Admin.example.com:443"] {
            check(&[("host", host)], None);
        }
        for host in ["10.0.0.7", "10.0.0.7:80", "10.0.0.8:8081", "evil.example", "localhost.evil"] {
            check(&[("host", host)], Some("wrong_host"));
        }
    }

    #[test]
    fn there_is_exactly_one_host() {
        check(&[], Some("bad_request"));
        check(&[("host", OWN), ("host", OWN)], Some("bad_request"));
        check(&[("host", "a b")], Some("bad_request"));
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        check(&[("host", "localhost:8081"), ("origin", "http://localhost:8081")], None);
        check(&[("host", "admin.example.com"), ("origin", "https://admin.example.com")], None);
        for origin in ["http://localhost:3000", "https://localhost:8080", "http://evil", "null"] {
            let headers = [("host", "localhost:8081"), ("origin", origin)];
            check(&headers, Some("permission_denied"));
        }
    }
}
