//! Operators speak TLS with the admin listener, and believe only whom they should.

use std::fs;
use std::io::Read;
use std::net::TcpStream;

use crate::support::certificates::{Authority, Pair};
use crate::support::commands::Shell;
use crate::support::gateway::{FILE, Gateway};
use crate::support::process::Process;
use crate::support::setup::Setup;
use crate::support::wait::{PATIENCE, eventually};

const CERTIFICATES: &str =
    "certificates = [{ certificate = \"admin.pem\", private_key = \"admin.key\" }]";

struct Place {
    authority: Authority,
    first: Pair,
    gateway: Gateway,
}

impl Place {
    fn start() -> Self {
        let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
        let first = authority.certify(&["admin.internal", "localhost"]);
        first.put(directory.path(), "admin");
        fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
        let gateway = Gateway::prepare_in(directory, &Setup::empty().admin(CERTIFICATES));
        // Which address it would have was not known before.
        let this = Self { authority, first, gateway };
        let admin = this.gateway.admin_address();
        eventually("it has read the first pair", || TcpStream::connect(admin).is_ok());
        this.renew(&this.first_for_its_address());
        eventually("it is ready", || this.shell().types(&["healthcheck"]).code == Some(0));
        this
    }

    fn first_for_its_address(&self) -> Pair {
        let address = self.gateway.admin_address().ip().to_string();
        self.authority.certify(&["admin.internal", &address])
    }

    fn renew(&self, pair: &Pair) {
        pair.put(self.gateway.directory(), "admin");
    }

    fn shell(&self) -> Shell {
        let url = format!("https://{}", self.gateway.admin_address());
        Shell::of_operator(&self.gateway)
            .with("KEYWARD_ADMIN_URL", &url)
            .with("KEYWARD_ADMIN_CA", "ca.pem")
    }

    fn shown(&self) -> Vec<u8> {
        let connection = self.authority.connect(self.gateway.admin_address(), "admin.internal");
        connection.unwrap().shown()
    }
}

#[test]
fn keys_are_minted_over_tls_and_only_for_who_is_believed() {
    let place = Place::start();
    let shell = place.shell();
    let key = shell.done(&["keys", "create", "--name", "crm"]);
    assert!(key.starts_with("kw_"), "{key}");
    assert_eq!(shell.done(&["healthcheck"]), "ready\n");
    fs::write(place.gateway.file("other.pem"), Authority::new().pem()).unwrap();
    let stranger = shell.clone().with("KEYWARD_ADMIN_CA", "other.pem");
    stranger.fails(&["keys", "list"], 69, &["KEYWARD_ADMIN_CA"]);
    stranger.fails(&["healthcheck"], 69, &["KEYWARD_ADMIN_CA"]);
    // The system's authorities do not know it either; an empty variable names nobody.
    let nobody = shell.clone().with("KEYWARD_ADMIN_CA", "");
    nobody.fails(&["keys", "list"], 69, &["KEYWARD_ADMIN_CA"]);
    let missing = shell.clone().with("KEYWARD_ADMIN_CA", "missing.pem");
    missing.fails(&["keys", "list"], 2, &["KEYWARD_ADMIN_CA", "missing.pem"]);
    let plain = format!("http://{}", place.gateway.admin_address());
    shell.with("KEYWARD_ADMIN_URL", &plain).fails(&["keys", "list"], 69, &[]);
}

#[test]
fn a_certificate_that_is_replaced_is_shown_without_a_word_and_a_broken_one_is_not() {
    let place = Place::start();
    assert_ne!(place.shown(), place.first.der());
    let before = place.shown();
    let next = place.first_for_its_address();
    // Half of it is nothing.
    fs::write(place.gateway.file("admin.pem"), &next.certificate).unwrap();
    let said = "stays in use";
    eventually("it is said", || place.gateway.log().contains(said));
    assert_eq!(place.shown(), before);
    fs::write(place.gateway.file("admin.key"), &next.key).unwrap();
    eventually("the next one is shown", || place.shown() == next.der());
    assert_eq!(place.gateway.log().matches(said).count(), 1, "{}", place.gateway.log());
}

#[test]
fn until_when_a_certificate_is_valid_is_measured() {
    let place = Place::start();
    let address = place.gateway.admin_address();
    let token = place.gateway.operator_token();
    let ask = format!(
        "GET /metrics HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         connection: close\r\n\r\n"
    );
    let mut connection = place.authority.connect(address, "admin.internal").unwrap();
    let answer = connection.exchange(ask.as_bytes());
    let line = "keyward_tls_cert_not_after_timestamp_seconds{san=\"admin.internal\"} ";
    let value = answer.lines().find_map(|it| it.strip_prefix(line));
    let end: u64 = value.unwrap_or_else(|| panic!("{answer}")).parse().unwrap();
    // What is made here lasts until the first day of the year 4096.
    assert_eq!(end, 67_090_118_400);
}

#[test]
fn nobody_waits_for_who_does_not_shake_hands() {
    let place = Place::start();
    let address = place.gateway.admin_address();
    let silent: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert_eq!(place.shell().done(&["healthcheck"]), "ready\n");
    // And they do not stay for ever.
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn a_gateway_whose_certificates_cannot_be_used_does_not_start_and_names_them_all() {
    let directory = tempfile::tempdir().unwrap();
    let admin = crate::support::address::fresh();
    let setup = Setup::empty().admin(
        "certificates = [{ certificate = \"a.pem\", private_key = \"a.key\" }, { certificate = \"b.pem\", private_key = \"b.key\" }]",
    );
    let authority = Authority::new();
    authority.certify(&["a.internal"]).put(directory.path(), "a");
    authority.certify(&["b.internal"]).put(directory.path(), "b");
    fs::copy(directory.path().join("a.key"), directory.path().join("b.key")).unwrap();
    fs::remove_file(directory.path().join("a.key")).unwrap();
    let text = setup.text(crate::support::address::fresh(), admin);
    fs::write(directory.path().join(FILE), text).unwrap();
    let outcome = Process::run(directory.path(), &["serve", "--config", FILE]);
    assert_eq!(outcome.code, Some(78), "{}", outcome.output);
    for words in ["a.key: cannot be read", "b.key: is not the key of "] {
        assert!(outcome.output.contains(words), "{}", outcome.output);
    }
}
