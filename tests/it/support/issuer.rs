//! An authority that only a test believes, and certificates of whom upstreams are.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// The authority. Its files are in a directory of its own.
pub struct Issuer {
    signer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// The files of one certificate.
#[derive(Clone, Debug)]
pub struct Identity {
    pub certificate: PathBuf,
    pub private_key: PathBuf,
}

/// Whether a certificate may still be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    Valid,
    Expired,
}

impl Issuer {
    /// A new one, unlike any other.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of a test");
        let signer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(CA), signer.pem()).unwrap();
        Self { signer, directory }
    }

    /// Its own certificate.
    pub fn ca(&self) -> PathBuf {
        self.directory.path().join(CA)
    }

    /// Certifies who has this name or address.
    pub fn certify(&self, name: &str, validity: Validity) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if validity == Validity::Expired {
            params.not_before = rcgen::date_time_ymd(2019, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.signer).unwrap();
        let file = |kind: &str| self.directory.path().join(format!("{name}.{kind}"));
        let identity = Identity { certificate: file("pem"), private_key: file("key") };
        fs::write(&identity.certificate, certificate.pem()).unwrap();
        fs::write(&identity.private_key, key.serialize_pem()).unwrap();
        identity
    }
}

/// A line of a configuration that names a file.
pub fn line(name: &str, path: &Path) -> String {
    format!("{name} = {:?}", path.display().to_string())
}

const CA: &str = "ca.pem";
