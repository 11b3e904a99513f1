//! Loads what TLS to upstreams needs: whom we believe, and who we are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{ClientConfig, WantsClientCert};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ConfigBuilder, InconsistentKeys, RootCertStore, SupportedProtocolVersion, version};

use crate::config::{self, TlsVersion};

/// How TLS is spoken to one upstream, by all workers.
#[derive(Clone, Debug)]
pub struct Tls {
    /// To `https://` endpoints.
    pub http1: Arc<ClientConfig>,
    /// To `h2s://` endpoints.
    pub http2: Arc<ClientConfig>,
    /// Of all that was read for it.
    mark: blake3::Hash,
}

impl Tls {
    /// Whether what was read for both is the same.
    pub fn is_as(&self, other: &Self) -> bool {
        self.mark == other.mark
    }
}

/// Why TLS to an upstream cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// A file is not there, or is no PEM.
    #[error("{}: {fault}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: pem::Error,
    },
    /// It has none.
    #[error("{}: there is no certificate in it", .0.display())]
    NoCertificate(PathBuf),
    /// What is in it cannot be used.
    #[error("{}: {fault}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: rustls::Error,
    },
    /// The private key belongs to another certificate.
    #[error("{}: this is not the private key of {}", key.display(), certificate.display())]
    OtherKey {
        /// The file with the key.
        key: PathBuf,
        /// The file with the certificate.
        certificate: PathBuf,
    },
    /// The system brings none.
    #[error("this system has no certificate authorities: name some with `ca`")]
    NoAuthorities,
    /// What this library offers does not fit together.
    #[error("TLS cannot be set up: {0}")]
    Unsupported(rustls::Error),
}

/// Reads every file that `settings` names. Endpoints are always verified.
pub fn load(settings: &config::ClientTls, min: TlsVersion) -> Result<Tls, TlsFault> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut seen = blake3::Hasher::new();
    note(&mut seen, format!("{min:?}").as_bytes());
    let authorities = authorities(settings.ca.as_deref())?;
    for it in &authorities.roots {
        note(&mut seen, &it.subject);
        note(&mut seen, &it.subject_public_key_info);
        note(&mut seen, it.name_constraints.as_deref().unwrap_or_default());
    }
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(min))
        .map_err(TlsFault::Unsupported)?
        .with_root_certificates(authorities);
    let mut http1 = identified(builder, settings.identity.as_ref(), &mut seen)?;
    let mut http2 = http1.clone();
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    http2.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Tls { http1: Arc::new(http1), http2: Arc::new(http2), mark: seen.finalize() })
}

/// With its length, so that nothing else can be read as the same.
fn note(seen: &mut blake3::Hasher, bytes: &[u8]) {
    seen.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
}

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match min {
        TlsVersion::Tls12 => BOTH,
        TlsVersion::Tls13 => NEWEST,
    }
}

/// Whom we believe.
fn authorities(own: Option<&Path>) -> Result<RootCertStore, TlsFault> {
    let mut roots = RootCertStore::empty();
    let Some(path) = own else {
        let system = rustls_native_certs::load_native_certs();
        // Systems bring old ones that cannot be read; as long as there are others, nobody cares.
        roots.add_parsable_certificates(system.certs);
        return if roots.is_empty() { Err(TlsFault::NoAuthorities) } else { Ok(roots) };
    };
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|fault| unusable(path, fault))?;
    }
    Ok(roots)
}

/// Who we are.
fn identified(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    identity: Option<&config::Certificate>,
    seen: &mut blake3::Hasher,
) -> Result<ClientConfig, TlsFault> {
    let Some(identity) = identity else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(&identity.certificate)?;
    let path = &identity.private_key;
    let key = PrivateKeyDer::from_pem_file(path);
    let key = key.map_err(|fault| TlsFault::Unreadable { path: path.clone(), fault })?;
    for it in &chain {
        note(seen, it);
    }
    note(seen, key.secret_der());
    builder.with_client_auth_cert(chain, key).map_err(|fault| {
        let is_unfit = fault == rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch);
        let certificate = identity.certificate.clone();
        if is_unfit {
            TlsFault::OtherKey { key: path.clone(), certificate }
        } else {
            unusable(path, fault)
        }
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let unreadable = |fault| TlsFault::Unreadable { path: path.to_owned(), fault };
    let all = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let all = all.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if all.is_empty() { Err(TlsFault::NoCertificate(path.to_owned())) } else { Ok(all) }
}

fn unusable(path: &Path, fault: rustls::Error) -> TlsFault {
    TlsFault::Unusable { path: path.to_owned(), fault }
}

static BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
static NEWEST: &[&SupportedProtocolVersion] = &[&version::TLS13];
