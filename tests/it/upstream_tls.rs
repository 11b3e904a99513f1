//! TLS to upstreams: a real nginx is spoken to, and who is not who they should be gets nothing.

use std::fs;
use std::net::{SocketAddr, TcpListener};

use crate::support::address::fresh;
use crate::support::ask::Ask;
use crate::support::gateway::Gateway;
use crate::support::http::Response;
use crate::support::issuer::{Identity, Issuer, Validity, line};
use crate::support::nginx::{Clients, Nginx, Speaks, Terms};
use crate::support::process::Process;
use crate::support::setup::Setup;
use crate::support::wait::eventually;

/// An nginx at an address that its certificate names, and who vouches for it.
struct Stage {
    issuer: Issuer,
    address: SocketAddr,
    identity: Identity,
}

impl Stage {
    fn new() -> Self {
        Self::of(Validity::Valid)
    }

    fn of(validity: Validity) -> Self {
        let (issuer, address) = (Issuer::new(), fresh());
        let identity = issuer.certify(&address.ip().to_string(), validity);
        Self { issuer, address, identity }
    }

    fn terms(&self) -> Terms<'_> {
        let (address, identity, clients) = (self.address, &self.identity, Clients::Anyone);
        Terms { address, identity, clients, speaks: Speaks::Both, versions: "TLSv1.2 TLSv1.3" }
    }

    fn nginx(&self) -> Nginx {
        Nginx::start(&self.terms())
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }

    /// A gateway that believes this authority.
    fn setup(&self, scheme: &str) -> Setup {
        Setup::open_to(&self.url(scheme)).upstream_line(&line("ca", &self.issuer.ca()))
    }
}

fn ask(setup: &Setup) -> Response {
    Ask::get("/").to(&Gateway::start(setup))
}

/// That nothing was sent, and what the operator reads.
#[track_caller]
fn assert_unreachable(setup: &Setup, why: &str) {
    let gateway = Gateway::start(setup);
    Ask::get("/").to(&gateway).assert_problem(502, "upstream_unreachable");
    eventually("the log says why", || gateway.log().contains(why));
}

#[track_caller]
fn assert_said(response: &Response, words: &[&str]) {
    let said = String::from_utf8_lossy(&response.body);
    assert_eq!(response.status, 200, "{said}");
    for word in words {
        assert!(said.split(' ').any(|it| it == *word), "{word} is not in {said}");
    }
}

#[test]
fn an_own_authority_is_believed_over_both_versions_of_http() {
    let stage = Stage::new();
    let _nginx = stage.nginx();
    let http1 = ["tls=TLSv1.3", "http=HTTP/1.1", "sni=[]", "host=api.example.com"];
    assert_said(&ask(&stage.setup("https")), &http1);
    let http2 = ["tls=TLSv1.3", "http=HTTP/2.0", "sni=[]"];
    assert_said(&ask(&stage.setup("h2s")), &http2);
}

#[test]
fn a_name_is_asked_for_whatever_the_host_header_says() {
    let issuer = Issuer::new();
    let identity = issuer.certify("localhost", Validity::Valid);
    // Nobody is given it again so soon.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let stage = Stage { issuer, address, identity };
    let _nginx = stage.nginx();
    let url = format!("https://localhost:{}", address.port());
    let setup = Setup::open_to(&url).upstream_line(&line("ca", &stage.issuer.ca()));
    assert_said(&ask(&setup), &["sni=[localhost]", "host=api.example.com"]);
    let setup = setup.upstream_line("host = \"endpoint\"");
    let host = format!("host=localhost:{}", address.port());
    assert_said(&ask(&setup), &["sni=[localhost]", &host]);
    // It is who it says, but not who was asked for.
    assert_unreachable(&stage.setup("https"), "not valid for name");
}

#[test]
fn who_cannot_prove_who_they_are_gets_nothing() {
    let stage = Stage::new();
    let _nginx = stage.nginx();
    let stranger = Issuer::new();
    for scheme in ["https", "h2s"] {
        let setup = Setup::open_to(&stage.url(scheme)).upstream_line(&line("ca", &stranger.ca()));
        assert_unreachable(&setup, "invalid peer certificate");
    }
}

#[test]
fn who_has_expired_gets_nothing() {
    let stage = Stage::of(Validity::Expired);
    let _nginx = stage.nginx();
    assert_unreachable(&stage.setup("https"), "xpired");
}

#[test]
fn a_client_certificate_is_shown_to_who_asks_for_one() {
    let (stage, clients) = (Stage::new(), Issuer::new());
    let ca = clients.ca();
    let _nginx = Nginx::start(&Terms { clients: Clients::CertifiedBy(&ca), ..stage.terms() });
    let own = clients.certify("gateway", Validity::Valid);
    for scheme in ["https", "h2s"] {
        let setup = stage.setup(scheme);
        assert_eq!(ask(&setup).status, 400);
        let setup = setup.upstream_line(&line("certificate", &own.certificate));
        let setup = setup.upstream_line(&line("private_key", &own.private_key));
        assert_said(&ask(&setup), &["client=SUCCESS"]);
    }
}

#[test]
fn no_version_below_the_lowest_is_spoken() {
    let stage = Stage::new();
    let _nginx = Nginx::start(&Terms { versions: "TLSv1.2", ..stage.terms() });
    assert_said(&ask(&stage.setup("https")), &["tls=TLSv1.2"]);
    let strict = stage.setup("https").gateway("min_tls = \"1.3\"");
    assert_unreachable(&strict, "cannot connect over TLS");
}

#[test]
fn who_does_not_agree_to_http2_over_tls_is_not_spoken_to() {
    let stage = Stage::new();
    let _nginx = Nginx::start(&Terms { speaks: Speaks::Http1, ..stage.terms() });
    assert_said(&ask(&stage.setup("https")), &["http=HTTP/1.1"]);
    assert_unreachable(&stage.setup("h2s"), "does not agree to this version");
}

#[test]
fn connections_over_tls_are_used_again() {
    let stage = Stage::new();
    let _nginx = stage.nginx();
    for scheme in ["https", "h2s"] {
        let gateway = Gateway::start(&stage.setup(scheme));
        let mut client = gateway.client();
        for _ in 0..20 {
            assert_eq!(client.ask(&Ask::get("/")).status, 200);
        }
        assert_eq!(gateway.metrics().count(OPENED), 1);
    }
}

/// What a reload answers.
#[track_caller]
fn reload(gateway: &Gateway) {
    let answer = gateway.admin("POST", "/v1/reload", None);
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn who_is_believed_no_more_gets_nothing_over_connections_that_are_open() {
    let (stage, stranger) = (Stage::new(), Issuer::new());
    let _nginx = stage.nginx();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("believed.pem");
    for scheme in ["https", "h2s"] {
        fs::copy(stage.issuer.ca(), &ca).unwrap();
        let setup = Setup::open_to(&stage.url(scheme)).upstream_line(&line("ca", &ca));
        let gateway = Gateway::start(&setup);
        let mut client = gateway.client();
        assert_eq!(client.ask(&Ask::get("/")).status, 200);
        // Nothing is different.
        reload(&gateway);
        assert_eq!(client.ask(&Ask::get("/")).status, 200);
        assert_eq!(gateway.metrics().count(OPENED), 1, "{scheme}");
        // The file's name is the same, and what is in it is not.
        fs::copy(stranger.ca(), &ca).unwrap();
        reload(&gateway);
        for _ in 0..3 {
            client.ask(&Ask::get("/")).assert_problem(502, "upstream_unreachable");
        }
        eventually("the log says why", || gateway.log().contains("invalid peer certificate"));
        fs::copy(stage.issuer.ca(), &ca).unwrap();
        reload(&gateway);
        assert_eq!(client.ask(&Ask::get("/")).status, 200);
        assert_eq!(gateway.metrics().count(OPENED), 2, "{scheme}");
    }
}

/// How it ends, and what it says.
#[track_caller]
fn assert_does_not_start(setup: &Setup, says: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("keyward.toml"), setup.text(fresh(), fresh())).unwrap();
    let outcome = Process::run(directory.path(), &["serve", "--config", "keyward.toml"]);
    assert_eq!(outcome.code, Some(78), "{}", outcome.output);
    for text in says {
        assert!(outcome.output.contains(text), "{text} is not in {}", outcome.output);
    }
}

#[test]
fn what_cannot_be_loaded_is_named_at_the_start() {
    let issuer = Issuer::new();
    let [own, other] = ["own", "other"].map(|it| issuer.certify(it, Validity::Valid));
    let setup = || Setup::open_to("https://127.0.0.1:1");
    let missing = issuer.ca().with_file_name("nobody.pem");
    assert_does_not_start(&setup().upstream_line(&line("ca", &missing)), &["nobody.pem", "api"]);
    let key = setup().upstream_line(&line("ca", &own.private_key));
    assert_does_not_start(&key, &["own.key", "no certificate"]);
    let setup = setup().upstream_line(&line("ca", &issuer.ca()));
    let setup = setup.upstream_line(&line("certificate", &own.certificate));
    let unfit = setup.upstream_line(&line("private_key", &other.private_key));
    assert_does_not_start(&unfit, &["other.key", "not the private key of", "own.pem"]);
}

const OPENED: &str = "keyward_upstream_connections_opened_total";
