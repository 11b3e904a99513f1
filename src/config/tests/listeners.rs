//! Claims about the planes that listen.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::config::{Certificate, TlsVersion};

const CERTIFICATE: &str = "{ certificate = 'a.pem', private_key = 'a.key' }";

fn warnings(text: &str) -> Vec<String> {
    Written::new(text).load(&[], &[]).unwrap().warnings
}

#[test]
fn an_admin_listener_off_loopback_needs_a_word() {
    let text = "admin.listen = ['0.0.0.0:8081']";
    check_item(
        text,
        "0.0.0.0:8081 is not on loopback, and would speak plaintext there: set admin.certificates, listen on 127.0.0.1, or, in a private network, set admin.allow_plaintext = true",
    );
    let allowed = warnings(&format!("{text}\nadmin.allow_plaintext = true"));
    assert_eq!(allowed.len(), 1);
    assert!(allowed[0].contains("operators' tokens may cross the network"), "{allowed:?}");
    assert!(faults("admin.listen = ['[::1]:1', '127.1.2.3:1', '[::ffff:127.0.0.1]:1']").is_empty());
}

#[test]
fn an_admin_listener_with_a_certificate_may_be_anywhere() {
    let text = format!("admin.listen = ['0.0.0.0:8081']\nadmin.certificates = [{CERTIFICATE}]");
    let written = Written::new(&text);
    let expected =
        Certificate { certificate: written.path("a.pem"), private_key: written.path("a.key") };
    let loaded = written.load(&[], &[]).unwrap();
    assert_eq!(loaded.config.admin.certificates, [expected]);
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let both = warnings(&format!("{text}\nadmin.allow_plaintext = true"));
    assert_eq!(both.len(), 1);
    assert!(both[0].contains("admin.allow_plaintext: changes nothing"), "{both:?}");
}

#[test]
fn a_certificate_that_is_wrong_is_not_said_to_be_missing() {
    check(
        "admin.listen = ['0.0.0.0:1']\nadmin.certificates = [{ certificate = 'a' }]",
        &["keyward.toml:2:23: admin.certificates[0].private_key: is missing"],
    );
    check(
        "gateway.listen_tls = ['0.0.0.0:1']\ngateway.certificates = [{ privat_key = 'a' }]",
        &[
            "keyward.toml:2:25: gateway.certificates[0].certificate: is missing",
            "keyward.toml:2:25: gateway.certificates[0].private_key: is missing",
            "keyward.toml:2:27: gateway.certificates[0].privat_key: unknown setting; did you mean \"private_key\"?",
        ],
    );
}

#[test]
fn an_address_is_listened_on_once() {
    check(
        "gateway.listen = ['127.0.0.1:8081']",
        &["keyward.toml: admin.listen: 127.0.0.1:8081 is in gateway.listen[0] already"],
    );
    check(
        "admin.listen = []\ngateway.listen = ['[::1]:1', '[::1]:1']",
        &["keyward.toml:2:30: gateway.listen[1]: [::1]:1 is in gateway.listen[0] already"],
    );
    check(
        &format!(
            "gateway.certificates = [{CERTIFICATE}]\ngateway.listen_tls = ['127.0.0.1:8080', '127.0.0.1:8081']"
        ),
        &[
            "keyward.toml: admin.listen: 127.0.0.1:8081 is in gateway.listen_tls[1] already",
            "keyward.toml:2:23: gateway.listen_tls[0]: 127.0.0.1:8080 is in gateway.listen already",
        ],
    );
    assert!(faults("gateway.listen = ['[::1]:0', '[::1]:0']").is_empty());
}

#[test]
fn something_is_listened_on() {
    check(
        "admin.listen = []\ngateway.listen = []",
        &["keyward.toml:2:18: gateway.listen: nothing to listen on: admin.listen is empty too"],
    );
    let secure = format!(
        "admin.listen = []\ngateway.listen = []\ngateway.listen_tls = ['[::1]:1']\ngateway.certificates = [{CERTIFICATE}]"
    );
    assert_eq!(config(&secure).gateway.listen_tls, ["[::1]:1".parse().unwrap()]);
}

#[test]
fn tls_needs_a_certificate() {
    check_one(
        "gateway.listen_tls = ['127.0.0.1:8443']",
        "TLS needs a certificate: set gateway.certificates",
    );
    check_item(
        "gateway.certificates = ['a.pem']",
        "expected tables under [[gateway.certificates]], found \"a.pem\"",
    );
    let unused = warnings(&format!("gateway.certificates = [{CERTIFICATE}]"));
    assert_eq!(unused.len(), 1);
    assert!(unused[0].ends_with("nobody is shown them: gateway.listen_tls is empty"));
}

#[test]
fn certificates_keep_their_order_and_may_be_tables() {
    let text = "[gateway]\nlisten_tls = ['[::1]:1']\nmin_tls = '1.3'\n[[gateway.certificates]]\ncertificate = 'b.pem'\nprivate_key = '/run/b.key'\n[[gateway.certificates]]\ncertificate = 'a.pem'\nprivate_key = 'a.key'\n";
    let written = Written::new(text);
    let gateway = written.load(&[], &[]).unwrap().config.gateway;
    let chains: Vec<_> = gateway.certificates.iter().map(|it| it.certificate.clone()).collect();
    assert_eq!(chains, [written.path("b.pem"), written.path("a.pem")]);
    assert_eq!(gateway.certificates[0].private_key, Path::new("/run/b.key"));
    assert_eq!(gateway.min_tls, TlsVersion::Tls13);
    check_one("gateway.min_tls = '1.1'", "expected \"1.2\" or \"1.3\", found \"1.1\"");
}

#[test]
fn a_private_key_that_everyone_can_read_is_warned_of() {
    let written = Written::new(&format!(
        "gateway.listen_tls = ['[::1]:1']\ngateway.certificates = [{CERTIFICATE}]"
    ));
    let key = written.path("a.key");
    fs::write(&key, "").unwrap();
    for (mode, count) in [(0o600, 0), (0o640, 0), (0o644, 1)] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let warnings = written.load(&[], &[]).unwrap().warnings;
        assert_eq!(warnings.len(), count, "{mode:o}: {warnings:?}");
        let is_named = warnings
            .iter()
            .all(|it| it.contains("gateway.certificates[0].private_key: everyone on this machine"));
        assert!(is_named, "{warnings:?}");
    }
}

#[test]
fn a_flag_can_set_what_speaks_tls() {
    let variables = [
        ("KEYWARD_GATEWAY__LISTEN_TLS", "127.0.0.1:1, [::1]:2"),
        ("KEYWARD_GATEWAY__PROXY_PROTOCOL_FROM", "10.0.0.0/8, 127.0.0.1"),
    ];
    let certificates = format!("gateway.certificates=[{CERTIFICATE}]");
    let gateway = load_with(None, &[&certificates], &variables).unwrap().config.gateway;
    assert_eq!(gateway.listen_tls.len(), 2);
    assert_eq!(gateway.certificates[0].certificate, Path::new("a.pem"));
    let networks = ["10.0.0.0/8".parse().unwrap(), "127.0.0.1/32".parse().unwrap()];
    assert_eq!(gateway.proxy_protocol_from, networks);
}

#[test]
fn who_sends_proxy_headers_is_a_network() {
    check_item(
        "gateway.proxy_protocol_from = ['10.0.0.0/33']",
        "expected a network like \"10.0.0.0/8\" or \"fd00::/8\", found \"10.0.0.0/33\"",
    );
}

#[test]
fn what_is_under_way_has_a_bound() {
    let gateway = config("gateway.max_in_flight = 1\ngateway.max_streams = 10000").gateway;
    assert_eq!((gateway.max_in_flight.get(), gateway.max_streams.get()), (1, 10_000));
    check_one("gateway.max_in_flight = 0", "expected a number from 1 to 10000000, found 0");
    check_one("gateway.max_streams = 10001", "expected a number from 1 to 10000, found 10001");
    check_one(
        "gateway.max_in_flight = 'unlimited'",
        "expected a number from 1 to 10000000, found \"unlimited\"",
    );
}
