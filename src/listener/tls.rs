//! Speaks TLS: holds the certificates, and finds for each client the one that it asks for.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureScheme};
use tokio::time::MissedTickBehavior;

use crate::clock::Timestamp;
use crate::config::{Certificate, TlsVersion};
use crate::listener::tls::pair::{Found, Slot};
use crate::tasks::Tasks;

pub mod pair;

/// The certificates of one plane. They can be replaced while connections come in: who is connected
/// already goes on with the one that they have.
pub struct Certificates {
    /// What is read again and again. Nobody who connects waits for it.
    slots: Mutex<Vec<Slot>>,
    served: ArcSwap<Served>,
}

/// Certificates that can be served.
#[derive(Debug)]
pub struct Read(Vec<Slot>);

/// Which protocols are offered in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/2 and HTTP/1.1.
    Any,
    /// HTTP/1.1 alone.
    Http1,
}

/// Every certificate that cannot be used: at least one, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFaults(Vec<String>);

impl CertificateFaults {
    /// One by one, each with the file's name.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for CertificateFaults {
    /// One line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for CertificateFaults {}

impl Certificates {
    /// Reads these files, the first one being the default. One that is expired is one all the
    /// same, and is warned of.
    pub fn load(files: &[Certificate]) -> Result<Arc<Self>, CertificateFaults> {
        let slots = open(files)?;
        let served = ArcSwap::from_pointee(Served::new(&slots));
        Ok(Arc::new(Self { slots: Mutex::new(slots), served }))
    }

    /// Reads other files, to be served by [`Self::replace`].
    pub fn read(files: &[Certificate]) -> Result<Read, CertificateFaults> {
        open(files).map(Read)
    }

    /// Serves what was read from now on.
    pub fn replace(&self, Read(read): Read) {
        let mut slots = self.slots();
        *slots = read;
        self.served.store(Arc::new(Served::new(&slots)));
    }

    /// Looks at every file once. A changed pair is served from now on; one that is not whole, or
    /// cannot be used, leaves the old one in use until it can.
    pub fn reload(&self) {
        let mut slots = self.slots();
        let mut changed = 0;
        for slot in slots.iter_mut() {
            match slot.look(Timestamp::now()) {
                Found::Nothing => {}
                Found::Another => changed += 1,
                Found::Fault(words) => {
                    tracing::warn!(
                        "{words}; the certificate that was read before stays in use, and this is \
                         tried again"
                    );
                }
            }
        }
        if changed > 0 {
            self.served.store(Arc::new(Served::new(&slots)));
        }
    }

    /// Looks at the files again and again, so that whoever renews a certificate need not tell us.
    pub async fn watch(self: Arc<Self>, tasks: Tasks) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = tasks.stopped() => return,
                _ = looks.tick() => {}
            }
            let this = Arc::clone(&self);
            // Files may be far away. A look that panics is one look less.
            tokio::task::spawn_blocking(move || this.reload()).await.unwrap_or_default();
        }
    }

    /// Until when each name is served, in seconds since the epoch; of several for one name each.
    pub fn not_after(&self) -> Vec<(String, i64)> {
        self.served.load().not_after.clone()
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, Vec<Slot>> {
        // A look that panicked has changed a whole pair or none.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.served.load().find(hello.server_name(), hello.signature_schemes())
    }
}

/// How TLS is spoken with clients. Sessions are resumed by tickets alone, which no worker has to
/// look up; and never is anything taken that could have been sent before.
pub fn server_config(
    certificates: Arc<Certificates>,
    min_tls: TlsVersion,
    alpn: Alpn,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let versions: &[_] = match min_tls {
        TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = match alpn {
        Alpn::Any => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Alpn::Http1 => vec![b"http/1.1".to_vec()],
    };
    config.ticketer = Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

fn open(files: &[Certificate]) -> Result<Vec<Slot>, CertificateFaults> {
    let (mut slots, mut faults) = (Vec::new(), Vec::new());
    for files in files {
        match Slot::open(files.clone()) {
            Ok(slot) => slots.push(slot),
            Err(words) => faults.push(words),
        }
    }
    if !faults.is_empty() {
        return Err(CertificateFaults(faults));
    }
    let now = Timestamp::now();
    for slot in &slots {
        slot.warn(now);
    }
    Ok(slots)
}

/// What clients are shown, by the name that they ask for; changed as a whole.
struct Served {
    exact: ByName,
    /// By what follows the asterisk and its dot.
    wildcards: ByName,
    /// Of the first pair, and of whichever is there for whom that one is of no use.
    otherwise: Vec<Arc<CertifiedKey>>,
    not_after: Vec<(String, i64)>,
}

/// In the order of the configuration.
type ByName = HashMap<String, Vec<Arc<CertifiedKey>>, ahash::RandomState>;

impl Served {
    fn new(slots: &[Slot]) -> Self {
        let mut this = Self {
            exact: ByName::default(),
            wildcards: ByName::default(),
            otherwise: slots.iter().map(|it| Arc::clone(&it.pair().key)).collect(),
            not_after: Vec::new(),
        };
        for pair in slots.iter().map(Slot::pair) {
            for name in &pair.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut this.wildcards, parent),
                    None => (&mut this.exact, name.as_str()),
                };
                names.entry(name.to_owned()).or_default().push(Arc::clone(&pair.key));
            }
            this.not_after.extend(pair.names.iter().map(|it| (it.clone(), pair.not_after)));
        }
        this
    }

    /// `name` is in lower case, as rustls gives it. An exact name goes before a wildcard, which
    /// stands for one label; among several of one name, the first that the client can check.
    fn find(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let wildcard = |name: &str| self.wildcards.get(name.split_once('.')?.1);
        let named = name.and_then(|it| self.exact.get(it).or_else(|| wildcard(it)));
        let fitting = |keys: &[Arc<CertifiedKey>]| {
            keys.iter().find(|it| it.key.choose_scheme(schemes).is_some()).map(Arc::clone)
        };
        named.and_then(|it| fitting(it)).or_else(|| fitting(&self.otherwise))
    }
}

/// A changed pair is in use within a second.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
