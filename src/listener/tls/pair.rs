//! Holds one certificate with its private key, and sees when its files have changed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::config::Certificate;

/// A certificate and its key, which fit.
#[derive(Debug)]
pub struct Pair {
    /// What a handshake needs.
    pub key: Arc<CertifiedKey>,
    /// The names that it is for, in lower case: exact ones, and wildcards like `*.example.com`.
    pub names: Vec<String>,
    /// Until when it is valid, in seconds since the epoch.
    pub not_after: i64,
}

/// Where a pair stands, and the one that was read last.
#[derive(Debug)]
pub struct Slot {
    files: Certificate,
    pair: Pair,
    contents: blake3::Hash,
    /// As they were when they were read; `None`: they are to be read again.
    stamps: Option<[Stamp; 2]>,
    fault: Option<Fault>,
}

/// What a look has brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// The same as before, or something of which all was said.
    Nothing,
    /// Another pair, which can be used.
    Another,
    /// Something that cannot be used, said for the first time.
    Fault(String),
}

/// What cannot be used. One look may have met a pair that is being replaced: it is said once the
/// next look finds the same.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Seen(String),
    Said(String),
}

/// By what a file that was changed is told from what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Slot {
    /// Reads a pair for the first time; otherwise which file is to blame, and why.
    pub fn open(files: Certificate) -> Result<Self, String> {
        let stamps = stamps(&files).ok();
        let read = Read::from(&files)?;
        let (pair, contents) = (read.parse(&files)?, read.hash());
        Ok(Self { files, pair, contents, stamps, fault: None })
    }

    /// The pair that was read last.
    pub fn pair(&self) -> &Pair {
        &self.pair
    }

    /// Looks whether there is another one. While the files are young they are read each time: two
    /// changes may share one time.
    pub fn look(&mut self, now: Timestamp) -> Found {
        let stamps = stamps(&self.files).ok();
        if stamps.is_some() && stamps == self.stamps && !stamps.is_some_and(|it| young(&it, now)) {
            return Found::Nothing;
        }
        match self.read(stamps) {
            Ok(found) => {
                self.fault = None;
                found
            }
            Err(words) => self.fail(words),
        }
    }

    fn read(&mut self, stamps: Option<[Stamp; 2]>) -> Result<Found, String> {
        let read = Read::from(&self.files)?;
        let contents = read.hash();
        if contents == self.contents {
            self.stamps = stamps;
            return Ok(Found::Nothing);
        }
        self.pair = read.parse(&self.files)?;
        (self.contents, self.stamps) = (contents, stamps);
        let file = self.files.certificate.display();
        tracing::info!(%file, names = self.pair.names.join(","), "a certificate was replaced");
        self.warn(Timestamp::now());
        Ok(Found::Another)
    }

    fn fail(&mut self, words: String) -> Found {
        self.stamps = None;
        match &self.fault {
            Some(Fault::Said(said)) if *said == words => Found::Nothing,
            Some(Fault::Seen(seen)) if *seen == words => {
                self.fault = Some(Fault::Said(words.clone()));
                Found::Fault(words)
            }
            Some(Fault::Seen(_) | Fault::Said(_)) | None => {
                self.fault = Some(Fault::Seen(words));
                Found::Nothing
            }
        }
    }

    /// Says what clients will not like about it.
    pub fn warn(&self, now: Timestamp) {
        let file = self.files.certificate.display();
        if self.pair.not_after < now.as_micros() / MICROS {
            let since = Timestamp::from_micros(self.pair.not_after.saturating_mul(MICROS));
            tracing::warn!(%file, %since, "a certificate has expired: clients will refuse it");
        }
        if self.pair.names.is_empty() {
            tracing::warn!(%file, "a certificate names no host (subjectAltName): clients will refuse it");
        }
    }
}

/// What stands in the two files.
struct Read {
    certificate: Vec<u8>,
    private_key: Zeroizing<Vec<u8>>,
}

impl Read {
    fn from(files: &Certificate) -> Result<Self, String> {
        let certificate = read(&files.certificate)?;
        Ok(Self { certificate, private_key: Zeroizing::new(read(&files.private_key)?) })
    }

    fn hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(blake3::hash(&self.certificate).as_bytes());
        hasher.update(blake3::hash(&self.private_key).as_bytes());
        hasher.finalize()
    }

    fn parse(&self, files: &Certificate) -> Result<Pair, String> {
        let (file, key_file) = (files.certificate.display(), files.private_key.display());
        let chain: Result<Vec<_>, pem::Error> =
            CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.map_err(|fault| format!("{file}: is not PEM: {fault}"))?;
        let leaf = chain.first().ok_or_else(|| {
            format!("{file}: has no certificate in it (-----BEGIN CERTIFICATE-----)")
        })?;
        let (names, not_after) = describe(leaf).map_err(|fault| format!("{file}: {fault}"))?;
        let key = PrivateKeyDer::from_pem_slice(&self.private_key).map_err(|fault| {
            if matches!(fault, pem::Error::NoItemsFound) {
                format!("{key_file}: has no private key in it (-----BEGIN PRIVATE KEY-----, not encrypted)")
            } else {
                format!("{key_file}: is not PEM: {fault}")
            }
        })?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        let key = key.map_err(|fault| {
            if fault == Error::InconsistentKeys(InconsistentKeys::KeyMismatch) {
                format!("{key_file}: is not the key of {file}")
            } else {
                format!("{file}, {key_file}: cannot be used: {fault}")
            }
        })?;
        Ok(Pair { key: Arc::new(key), names, not_after })
    }
}

/// The names of a certificate, and until when it is valid.
fn describe(leaf: &[u8]) -> Result<(Vec<String>, i64), String> {
    let (_rest, parsed) = X509Certificate::from_der(leaf)
        .map_err(|fault| format!("holds a certificate that cannot be read: {fault}"))?;
    let alternatives = parsed
        .subject_alternative_name()
        .map_err(|fault| format!("holds a certificate whose names cannot be read: {fault}"))?;
    let all = alternatives.iter().flat_map(|it| &it.value.general_names);
    let hosts = all.filter_map(|it| {
        if let GeneralName::DNSName(name) = it { Some(name.to_ascii_lowercase()) } else { None }
    });
    Ok((hosts.collect(), parsed.validity().not_after.timestamp()))
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let fault = |fault: io::Error| format!("{}: cannot be read: {fault}", file.display());
    if fs::metadata(file).map_err(fault)?.len() > FILE_BYTES_MAX {
        return Err(format!("{}: is far too large for what it should hold", file.display()));
    }
    fs::read(file).map_err(fault)
}

fn stamps(files: &Certificate) -> io::Result<[Stamp; 2]> {
    Ok([Stamp::of(&files.certificate)?, Stamp::of(&files.private_key)?])
}

impl Stamp {
    fn of(file: &Path) -> io::Result<Self> {
        let is = fs::metadata(file)?;
        Ok(Self {
            inode: is.ino(),
            bytes: is.len(),
            modified: (is.mtime(), is.mtime_nsec()),
            changed: (is.ctime(), is.ctime_nsec()),
        })
    }
}

/// Whether one of them was changed so lately that a second change could have the same time.
fn young(stamps: &[Stamp; 2], now: Timestamp) -> bool {
    let now = now.as_micros() / MICROS;
    stamps.iter().any(|it| now.abs_diff(it.changed.0) <= YOUNG_SECONDS)
}

const MICROS: i64 = 1_000_000;
const YOUNG_SECONDS: u64 = 2;
const FILE_BYTES_MAX: u64 = 1024 * 1024;
