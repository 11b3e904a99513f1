//! Decides whom to believe that they are the admin listener that was meant.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::cli::failure::Failure;

/// How TLS is spoken with an admin listener: it is believed to whom the authorities in the file
/// `ca` have certified its name, or, without one, the system's.
pub fn client_config(ca: Option<&Path>) -> Result<ClientConfig, Failure> {
    believing(match ca {
        Some(file) => of_file(file)?,
        None => of_system(),
    })
}

/// The same where no TLS is spoken: reading the system's authorities would take a while.
pub fn nobody() -> Result<ClientConfig, Failure> {
    believing(RootCertStore::empty())
}

fn believing(roots: RootCertStore) -> Result<ClientConfig, Failure> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|fault| Failure::Failed(format!("TLS cannot be spoken: {fault}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn of_file(file: &Path) -> Result<RootCertStore, Failure> {
    let usage = |words: String| {
        let name = file.display();
        Failure::Usage(format!("KEYWARD_ADMIN_CA: {name} {words}"))
    };
    let text = fs::read(file).map_err(|fault| usage(format!("cannot be read ({fault})")))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|fault| usage(format!("is not PEM ({fault})")))?;
        roots
            .add(certificate)
            .map_err(|fault| usage(format!("holds a certificate that cannot be used ({fault})")))?;
    }
    if roots.is_empty() {
        return Err(usage(
            "has no certificate in it: it should hold those of the authorities that are believed"
                .to_owned(),
        ));
    }
    Ok(roots)
}

/// Those that cannot be used are left out, as everybody does.
fn of_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}
