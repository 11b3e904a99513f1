//! Claims about which certificate is shown, and about files that change.

use std::fs;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;

/// Files in a directory of their own.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn named(&self, name: &str) -> Certificate {
        let file = |kind: &str| self.0.path().join(format!("{name}.{kind}"));
        Certificate { certificate: file("pem"), private_key: file("key") }
    }

    /// Writes a fresh pair for these names.
    fn make(&self, name: &str, hosts: &[&str]) -> Certificate {
        let (certificate, key) = pair(hosts);
        self.put(name, &certificate, &key)
    }

    fn put(&self, name: &str, certificate: &str, key: &str) -> Certificate {
        let files = self.named(name);
        fs::write(&files.certificate, certificate).unwrap();
        fs::write(&files.private_key, key).unwrap();
        files
    }
}

fn pair(hosts: &[&str]) -> (String, String) {
    signed_with(&rcgen::PKCS_ECDSA_P256_SHA256, hosts)
}

fn signed_with(algorithm: &'static rcgen::SignatureAlgorithm, hosts: &[&str]) -> (String, String) {
    let hosts: Vec<String> = hosts.iter().map(|it| (*it).to_owned()).collect();
    let key = KeyPair::generate_for(algorithm).unwrap();
    let certificate = CertificateParams::new(hosts).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// The names of the certificate that is shown to who asks for `name`.
fn shown(certificates: &Certificates, name: &str) -> Vec<String> {
    let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
    let key = certificates.served.load().find(Some(name), &schemes).unwrap();
    names_of(certificates, &key)
}

fn names_of(certificates: &Certificates, key: &Arc<CertifiedKey>) -> Vec<String> {
    let slots = certificates.slots();
    let slot = slots.iter().find(|it| it.pair().key.cert == key.cert).unwrap();
    slot.pair().names.clone()
}

fn fault(files: &[Certificate]) -> String {
    Certificates::load(files).map(drop).unwrap_err().to_string()
}

#[test]
fn each_name_has_its_certificate_and_every_other_the_first_one() {
    let files = Files::new();
    let all = [
        files.make("first", &["first.example.com"]),
        files.make("wild", &["*.Example.com", "example.org"]),
        files.make("exact", &["api.example.com"]),
    ];
    let certificates = Certificates::load(&all).unwrap();
    let check =
        |name, expected: &str| assert_eq!(shown(&certificates, name)[0], expected, "{name}");
    check("first.example.com", "first.example.com");
    check("api.example.com", "api.example.com");
    check("web.example.com", "*.example.com");
    check("example.org", "*.example.com");
    check("a.b.example.com", "first.example.com");
    check("example.com", "first.example.com");
    check("elsewhere.net", "first.example.com");
    let nameless = certificates.served.load();
    let nameless = nameless.find(None, &[SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
    assert_eq!(names_of(&certificates, &nameless), ["first.example.com"]);
}

#[test]
fn of_two_for_one_name_the_one_that_the_client_can_check_is_shown() {
    let files = Files::new();
    let (certificate, key) = signed_with(&rcgen::PKCS_ECDSA_P384_SHA384, &["api.example.com"]);
    let all = [
        files.put("p384", &certificate, &key),
        files.make("p256", &["api.example.com", "and.more"]),
    ];
    let certificates = Certificates::load(&all).unwrap();
    assert_eq!(shown(&certificates, "api.example.com"), ["api.example.com", "and.more"]);
}

#[test]
fn what_cannot_be_used_is_named_with_its_file_all_at_once() {
    let files = Files::new();
    let (certificate, _) = pair(&["a.example.com"]);
    let (_, other_key) = pair(&["a.example.com"]);
    let mixed = files.put("mixed", &certificate, &other_key);
    let empty = files.put("empty", "", &other_key);
    let keyless = files.put("keyless", &certificate, "nothing");
    let garbled = files.put(
        "garbled",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        &other_key,
    );
    let missing = files.named("missing");
    let words = fault(&[mixed, empty, keyless, garbled, missing]);
    let lines: Vec<&str> = words.lines().collect();
    let expected = [
        ("mixed.key: is not the key of ", "mixed.pem"),
        ("empty.pem: has no certificate in it", ""),
        ("keyless.key: has no private key in it", ""),
        ("garbled.pem: holds a certificate that cannot be read", ""),
        ("missing.pem: cannot be read: ", "No such file"),
    ];
    assert_eq!(lines.len(), expected.len(), "{words}");
    for (line, (begin, more)) in lines.iter().zip(expected) {
        assert!(line.contains(begin) && line.contains(more), "{line}");
    }
}

#[test]
fn a_pair_that_is_replaced_is_served_once_it_is_whole() {
    let files = Files::new();
    let named = files.make("a", &["old.example.com"]);
    let certificates = Certificates::load(std::slice::from_ref(&named)).unwrap();
    let (certificate, key) = pair(&["new.example.com"]);
    fs::write(&named.certificate, certificate).unwrap();
    for _ in 0..5 {
        certificates.reload();
        assert_eq!(shown(&certificates, "new.example.com"), ["old.example.com"]);
    }
    fs::write(&named.private_key, key).unwrap();
    certificates.reload();
    assert_eq!(shown(&certificates, "old.example.com"), ["new.example.com"]);
    fs::remove_file(&named.private_key).unwrap();
    certificates.reload();
    assert_eq!(shown(&certificates, "old.example.com"), ["new.example.com"]);
}

#[test]
fn what_stays_broken_is_said_once_and_not_at_the_first_look() {
    let files = Files::new();
    let named = files.make("a", &["a.example.com"]);
    let mut slot = Slot::open(named.clone()).unwrap();
    let now = Timestamp::now();
    assert_eq!(slot.look(now), Found::Nothing);
    fs::write(&named.certificate, "nothing").unwrap();
    assert_eq!(slot.look(now), Found::Nothing);
    assert!(matches!(slot.look(now), Found::Fault(words) if words.contains("a.pem")));
    assert_eq!(slot.look(now), Found::Nothing);
    let (certificate, key) = pair(&["b.example.com"]);
    files.put("a", &certificate, &key);
    assert_eq!(slot.look(now), Found::Another);
    assert_eq!(slot.pair().names, ["b.example.com"]);
}

#[test]
fn other_files_are_served_all_or_none() {
    let files = Files::new();
    let certificates = Certificates::load(&[files.make("a", &["a.example.com"])]).unwrap();
    let b = files.make("b", &["b.example.com"]);
    assert!(Certificates::read(&[b.clone(), files.named("missing")]).is_err());
    assert_eq!(shown(&certificates, "b.example.com"), ["a.example.com"]);
    certificates.replace(Certificates::read(&[b]).unwrap());
    assert_eq!(shown(&certificates, "a.example.com"), ["b.example.com"]);
}

#[test]
fn a_certificate_that_has_expired_is_served_and_its_end_is_known() {
    let files = Files::new();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["a.example.com".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    let named = files.put("a", &certificate.pem(), &key.serialize_pem());
    let certificates = Certificates::load(&[named]).unwrap();
    let end = (String::from("a.example.com"), 1_577_836_800);
    assert_eq!(certificates.not_after(), [end]);
}
