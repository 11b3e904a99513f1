//! What all workers share of one endpoint.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::sync::Mutex;

use crate::config::{self, UrlScheme};
use crate::tasks::descriptors::Descriptors;
use crate::telemetry::histogram::add;
use crate::upstream::cap::Cap;
use crate::upstream::standing::Standing;

/// One address of an upstream, with what each worker has under way there.
#[derive(Debug)]
pub struct Endpoint {
    address: config::Endpoint,
    mark: u64,
    in_flight: Box<[Lane]>,
    standing: Standing,
    cap: Arc<Cap>,
    whereabouts: Whereabouts,
    /// Held by whoever looks up its name because nobody knows it yet.
    looking_up: Mutex<()>,
    /// Which address could be connected to last.
    preferred: AtomicUsize,
}

/// One worker's count, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Lane {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// Where an endpoint can be connected to.
#[derive(Debug)]
enum Whereabouts {
    /// It is an address.
    Fixed(Arc<[SocketAddr]>),
    /// It is a name, and these are what it was looked up as last; none before the first time.
    Named(ArcSwap<Arc<[SocketAddr]>>),
}

impl Endpoint {
    /// Nothing is under way yet, and it counts as well.
    pub fn new(address: config::Endpoint, workers: usize, descriptors: Descriptors) -> Self {
        let whereabouts = match address.host.parse::<IpAddr>() {
            Ok(ip) => Whereabouts::Fixed(Arc::new([SocketAddr::new(ip, address.port)])),
            Err(_a_name) => Whereabouts::Named(ArcSwap::from_pointee(Arc::default())),
        };
        Self {
            mark: mark(&address),
            address,
            in_flight: (0..workers).map(|_| Lane::default()).collect(),
            standing: Standing::default(),
            cap: Cap::new(workers, descriptors),
            whereabouts,
            looking_up: Mutex::const_new(()),
            preferred: AtomicUsize::new(0),
        }
    }

    /// Where it is.
    pub fn address(&self) -> &config::Endpoint {
        &self.address
    }

    /// Whether it is the one that is meant: the weight is no part of it, and may change.
    pub fn is(&self, other: &config::Endpoint) -> bool {
        let config::Endpoint { scheme, host, port, .. } = &self.address;
        (*scheme, host, *port) == (other.scheme, &other.host, other.port)
    }

    /// A number of its own, the same in every process: what keys are hashed with.
    pub fn mark(&self) -> u64 {
        self.mark
    }

    /// Whether it may get requests.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// How many connections there are, and may be.
    pub fn cap(&self) -> &Arc<Cap> {
        &self.cap
    }

    /// What to connect to, in this order; empty if its name was never looked up with success.
    pub fn addresses(&self) -> Arc<[SocketAddr]> {
        match &self.whereabouts {
            Whereabouts::Fixed(addresses) => Arc::clone(addresses),
            Whereabouts::Named(addresses) => Arc::clone(&addresses.load()),
        }
    }

    /// Held while its name is looked up: not by everybody at once.
    pub fn looking_up(&self) -> &Mutex<()> {
        &self.looking_up
    }

    /// Which of its addresses is tried first.
    pub fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed)
    }

    /// This one could be connected to.
    pub fn prefer(&self, place: usize) {
        self.preferred.store(place, Ordering::Relaxed);
    }

    /// Whether a connection to `address` still leads there. While nothing is known of the name,
    /// nothing is known to be gone.
    pub fn has_address(&self, address: SocketAddr) -> bool {
        match &self.whereabouts {
            Whereabouts::Fixed(_) => true,
            Whereabouts::Named(addresses) => {
                let known = addresses.load();
                known.is_empty() || known.contains(&address)
            }
        }
    }

    /// Whether it is a name, which may come to mean other addresses.
    pub fn is_named(&self) -> bool {
        matches!(self.whereabouts, Whereabouts::Named(_))
    }

    /// Its name was looked up; whether that was news. The order is taken over in any case.
    pub fn set_addresses(&self, found: &Arc<[SocketAddr]>) -> bool {
        let Whereabouts::Named(addresses) = &self.whereabouts else { return false };
        let before = addresses.swap(Arc::new(Arc::clone(found)));
        before.len() != found.len() || found.iter().any(|it| !before.contains(it))
    }

    /// Requests under way, over all workers.
    pub fn in_flight(&self) -> u64 {
        let lanes = self.in_flight.iter();
        lanes
            .map(|it| {
                it.begun.load(Ordering::Relaxed).saturating_sub(it.ended.load(Ordering::Relaxed))
            })
            .sum()
    }

    /// A worker begins a request.
    pub fn begin(&self, worker: usize) {
        if let Some(lane) = self.in_flight.get(worker) {
            add(&lane.begun, 1);
        }
    }

    /// It ended.
    pub fn end(&self, worker: usize) {
        if let Some(lane) = self.in_flight.get(worker) {
            add(&lane.ended, 1);
        }
    }
}

impl fmt::Display for Endpoint {
    /// As it stands in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config::Endpoint { scheme, host, port, .. } = &self.address;
        let scheme = match scheme {
            UrlScheme::Http => "http",
            UrlScheme::Https => "https",
            UrlScheme::H2 => "h2",
            UrlScheme::H2s => "h2s",
        };
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{host}{close}:{port}")
    }
}

/// What an endpoint is called in `Host`.
pub fn host(address: &config::Endpoint) -> HeaderValue {
    let bare = &address.host;
    let host = if bare.contains(':') { format!("[{bare}]") } else { bare.clone() };
    let text = if address.port == address.scheme.default_port() {
        host
    } else {
        format!("{host}:{}", address.port)
    };
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("localhost"))
}

/// Gateways of one fleet are to send a key to the same endpoint, whatever they were built with.
fn mark(address: &config::Endpoint) -> u64 {
    let digest = blake3::hash(format!("{} {}", address.host, address.port).as_bytes());
    let first = digest.as_bytes().first_chunk().copied();
    u64::from_le_bytes(first.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn endpoint(host: &str) -> Endpoint {
        let scheme = UrlScheme::Http;
        let address =
            config::Endpoint { scheme, host: host.to_owned(), port: 80, weight: NonZeroU32::MIN };
        Endpoint::new(address, 1, Descriptors::new(1))
    }

    fn addresses(hosts: &[u8]) -> Arc<[SocketAddr]> {
        hosts.iter().map(|it| SocketAddr::from(([10, 0, 0, *it], 80))).collect()
    }

    #[test]
    fn a_name_has_the_addresses_that_were_found_last() {
        let endpoint = endpoint("api.internal");
        assert!(endpoint.addresses().is_empty());
        assert!(endpoint.has_address(addresses(&[9])[0]), "nothing is known to be gone");
        assert!(endpoint.set_addresses(&addresses(&[1, 2])));
        assert!(!endpoint.set_addresses(&addresses(&[2, 1])), "the same in another order");
        assert_eq!(endpoint.addresses(), addresses(&[2, 1]));
        assert!(endpoint.set_addresses(&addresses(&[2, 3])));
        assert!(endpoint.has_address(addresses(&[3])[0]));
        assert!(!endpoint.has_address(addresses(&[1])[0]));
    }

    #[test]
    fn an_address_is_where_it_is() {
        for host in ["10.0.0.1", "::1"] {
            let endpoint = endpoint(host);
            assert!(!endpoint.is_named() && !endpoint.set_addresses(&addresses(&[7])));
            assert_eq!(endpoint.addresses()[0].ip().to_string(), host);
        }
        assert_eq!(endpoint("::1").to_string(), "http://[::1]:80");
    }
}
