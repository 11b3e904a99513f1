//! An authority of a test's own, and what it certifies.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::wait::PATIENCE;

/// Signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate, as PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Whom they believe who believe it.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem().as_bytes()).unwrap()).unwrap();
        roots
    }

    /// Certifies a new key, for names and addresses.
    pub fn certify(&self, names: &[&str]) -> Pair {
        let alternatives: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(alternatives).unwrap();
        // With the authority's own name OpenSSL takes it for signed by itself.
        params.distinguished_name.push(DnType::CommonName, names[0]);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Shakes hands with whoever listens at `address`, and believes who is certified as `name`.
    pub fn connect(&self, address: SocketAddr, name: &str) -> io::Result<Tls> {
        let roots = self.roots();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Tls(stream))
    }
}

/// A connection over TLS.
pub struct Tls(StreamOwned<ClientConnection, TcpStream>);

impl Tls {
    /// The certificate that was shown.
    pub fn shown(&self) -> Vec<u8> {
        self.0.conn.peer_certificates().unwrap()[0].to_vec()
    }

    /// Sends `bytes`, and reads all that comes before the end.
    pub fn exchange(&mut self, bytes: &[u8]) -> String {
        self.0.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        self.0.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Sends bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// What comes next, as much as there is at once.
    #[track_caller]
    pub fn read_some(&mut self) -> String {
        let mut bytes = vec![0; 16 * 1024];
        let count = self.0.read(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    /// What still comes, and whether it was said that nothing is missing.
    #[track_caller]
    pub fn read_to_end(&mut self) -> (String, Ending) {
        let mut bytes = Vec::new();
        let ending = match self.0.read_to_end(&mut bytes) {
            Ok(_) => Ending::Said,
            Err(fault) => {
                let kinds = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
                assert!(kinds.contains(&fault.kind()), "{fault}, waiting for the end");
                Ending::CutOff
            }
        };
        (String::from_utf8_lossy(&bytes).into_owned(), ending)
    }
}

/// How a connection over TLS ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a word that nothing is missing.
    Said,
    /// Without.
    CutOff,
}

impl Pair {
    /// Puts both into `directory`, as `NAME.pem` and `NAME.key`.
    pub fn put(&self, directory: &Path, name: &str) {
        fs::write(directory.join(format!("{name}.pem")), &self.certificate).unwrap();
        fs::write(directory.join(format!("{name}.key")), &self.key).unwrap();
    }

    /// The certificate, as it is shown.
    pub fn der(&self) -> Vec<u8> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap().to_vec()
    }
}
