//! Checks the files of TLS: certificates, private keys and authorities.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::config::reader::Field;
use crate::config::values;
use crate::config::{Certificate, ClientTls};

/// A listener's, in the order in which they were written.
pub fn certificates(field: &Field<'_>) -> Vec<Certificate> {
    field.sections().iter().filter_map(certificate).collect()
}

/// An upstream's: whom it is believed by, and who we are to it.
pub fn client_tls(section: &Field<'_>) -> ClientTls {
    let ca = section.field("ca").read(None, |it| values::file(it).map(Some));
    let (certificate, private_key) = (section.field("certificate"), section.field("private_key"));
    let identity = match (certificate.is_written(), private_key.is_written()) {
        (false, false) => None,
        (true, false) => {
            certificate.fault("has no private_key beside it");
            None
        }
        (false, true) => {
            private_key.fault("has no certificate beside it");
            None
        }
        (true, true) => self::certificate(section),
    };
    ClientTls { ca, identity }
}

fn certificate(table: &Field<'_>) -> Option<Certificate> {
    let (chain, key) = (table.field("certificate"), table.field("private_key"));
    let (certificate, private_key) = (chain.required(values::file), key.required(values::file));
    if private_key.as_deref().is_some_and(is_open_to_all) {
        key.warn("everyone on this machine can read it: chmod o-rwx");
    }
    Some(Certificate { certificate: certificate?, private_key: private_key? })
}

/// A group may: that is how some systems hand keys to services.
fn is_open_to_all(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|it| it.permissions().mode() & READ_BY_OTHERS != 0)
}

const READ_BY_OTHERS: u32 = 0o004;
