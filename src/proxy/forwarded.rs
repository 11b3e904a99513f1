//! Decides who a request comes from, where proxies stand in between, and what is said of it.

use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;

use crate::proxy::Downstream;
use crate::proxy::hygiene::Direction;

/// Whose word on other addresses is believed.
#[derive(Clone, Debug)]
pub struct Trust(Vec<IpNet>);

impl Trust {
    /// Proxies in these networks are trusted.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether `address` is a trusted proxy.
    pub fn includes(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|it| it.contains(&address))
    }

    /// The address of the caller: the peer's, or behind trusted proxies the rightmost address of
    /// the forwarded chain that is none of theirs. What is left of a trusted word is a claim.
    ///
    /// A proxy that says nothing asks for itself. One that says what is no address has been asked
    /// by somebody whom it cannot or will not name, and that is not the proxy: where addresses
    /// open doors, this one opens none.
    pub fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if self.0.is_empty() || !self.includes(peer) {
            return peer;
        }
        let lines: Vec<&HeaderValue> = headers.get_all(X_FORWARDED_FOR).iter().collect();
        if lines.iter().all(|it| it.as_bytes().trim_ascii().is_empty()) {
            return peer;
        }
        let lines = lines.into_iter().rev();
        let mut caller = UNKNOWN;
        for word in lines.flat_map(|it| it.to_str().unwrap_or_default().rsplit(',')) {
            caller = address(word.trim()).unwrap_or(UNKNOWN);
            if !self.includes(caller) {
                break;
            }
        }
        caller
    }

    /// How far a peer's claims go.
    pub fn direction(&self, peer: IpAddr) -> Direction {
        let is_trusted = !self.0.is_empty() && self.includes(peer);
        if is_trusted { Direction::UpTrusted } else { Direction::Up }
    }
}

/// Says upstream who asked, for which host, over what. What was not believed is gone already; a
/// trusted proxy's chain is kept and appended to.
pub fn tell(headers: &mut HeaderMap, downstream: &Downstream, direction: Direction) {
    let (peer, scheme) = (&downstream.peer_text, &downstream.scheme);
    let host = headers.get(header::HOST).cloned();
    if direction == Direction::UpTrusted {
        let chain: Vec<&[u8]> =
            headers.get_all(X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
        let chain = [chain.as_slice(), &[peer.as_bytes()]].concat().join(&b", "[..]);
        let chain = HeaderValue::from_bytes(&chain).unwrap_or_else(|_own| peer.clone());
        headers.insert(X_FORWARDED_FOR, chain);
        headers.entry(X_FORWARDED_PROTO).or_insert_with(|| scheme.clone());
        host.map(|it| headers.entry(X_FORWARDED_HOST).or_insert(it));
    } else {
        headers.insert(X_FORWARDED_FOR, peer.clone());
        headers.insert(X_FORWARDED_PROTO, scheme.clone());
        host.map(|it| headers.insert(X_FORWARDED_HOST, it));
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`.
fn address(word: &str) -> Option<IpAddr> {
    let plain = word.parse().ok();
    let with_port = || word.parse::<std::net::SocketAddr>().ok().map(|it| it.ip());
    let bracketed = || word.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    plain.or_else(with_port).or_else(bracketed).map(|it: IpAddr| it.to_canonical())
}

/// Nobody's address.
const UNKNOWN: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, lines: &[&'static str], expected: &str) {
        let trust = Trust::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_static(line));
        }
        let caller = trust.caller(peer.parse().unwrap(), &headers);
        assert_eq!(caller, expected.parse::<IpAddr>().unwrap(), "{peer} with {lines:?}");
    }

    #[test]
    fn nobody_but_a_trusted_proxy_is_believed() {
        check("192.0.2.1", &["198.51.100.7"], "192.0.2.1");
        check("10.0.0.1", &["198.51.100.7"], "198.51.100.7");
        check("::ffff:10.0.0.1", &["198.51.100.7"], "198.51.100.7");
    }

    #[test]
    fn what_stands_left_of_the_first_untrusted_address_is_a_claim() {
        check("10.0.0.1", &["1.1.1.1, 198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &["1.1.1.1, 198.51.100.7, 10.0.0.2"], "198.51.100.7");
        check("10.0.0.1", &["1.1.1.1", "198.51.100.7", "10.0.0.2"], "198.51.100.7");
        check("10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7");
        check("fd00::1", &["[2001:db8::1]:80"], "2001:db8::1");
    }

    #[test]
    fn a_proxy_that_says_nothing_asks_for_itself() {
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["", " "], "10.0.0.1");
        check("10.0.0.1", &["10.0.0.2"], "10.0.0.2");
    }

    #[test]
    fn who_is_not_named_is_nobody_and_not_the_proxy() {
        check("10.0.0.1", &["198.51.100.7, unknown"], "::");
        check("10.0.0.1", &["unix:"], "::");
        check("10.0.0.1", &["198.51.100.7, , 10.0.0.2"], "::");
        check("10.0.0.1", &["198.51.100.7", ""], "::");
        check("10.0.0.1", &["fe80::1%eth0"], "::");
        check("10.0.0.1", &["unknown, 198.51.100.7"], "198.51.100.7");
        check("192.0.2.1", &["unknown"], "192.0.2.1");
    }
}
