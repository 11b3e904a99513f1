//! Claims about upstreams.

use std::time::Duration;

use super::*;
use crate::config::{Balance, Certificate, Ejection, Health, Percent, Probe, Upstream, UrlScheme};

/// The upstream `u` with these settings, which begin in line 4.
fn with(settings: &str) -> Upstream {
    config(&format!("{UPSTREAM}{settings}")).upstreams.remove(0)
}

/// One setting of an upstream is wrong.
#[track_caller]
fn check_setting(setting: &str, expected: &str) {
    let key = setting.split(" = ").next().unwrap();
    let expected = format!("keyward.toml:4:{}: upstreams[0].{key}: {expected}", key.len() + 4);
    check(&format!("{UPSTREAM}{setting}"), &[&expected]);
}

/// What is wrong with a table of an upstream, by its own paths.
#[track_caller]
fn check_table(setting: &str, expected: &[&str]) {
    let faults = faults(&format!("{UPSTREAM}{setting}"));
    let actual: Vec<_> =
        faults.iter().map(|it| it.split_once(": upstreams[0].").unwrap().1).collect();
    assert_eq!(actual, expected, "of {setting}");
}

#[test]
fn an_endpoint_is_scheme_host_and_port_only() {
    check_endpoint(
        "'127.0.0.1:9000'",
        "expected an endpoint like \"http://127.0.0.1:9000\", found \"127.0.0.1:9000\"",
    );
    check_endpoint(
        "'ftp://u:s3cret@h'",
        "expected an endpoint like \"http://127.0.0.1:9000\", or https, h2 or h2s, found \"ftp://…\"",
    );
    check_endpoint("'http://u:s3cret@h'", "an endpoint takes no user and no password");
    for text in ["http://h/v1", "http://h//", "http://h?x", "http://h/#x"] {
        check_endpoint(
            &format!("'{text}'"),
            "an endpoint is scheme, host and port only, without a path",
        );
    }
    check_endpoint(
        "'http://h:'",
        "expected a host name or an IP address (IPv6 in brackets), and at most a port",
    );
    check_endpoint("1", "expected an endpoint like \"http://127.0.0.1:9000\", found 1");
    let text =
        "[[upstreams]]\nname = 'u'\nendpoints = ['http://H/', { url = 'http://[::1]:9000' }]";
    let upstreams = config(text).upstreams;
    let endpoints: Vec<_> =
        upstreams[0].endpoints.iter().map(|it| (it.host.as_str(), it.port)).collect();
    assert_eq!(endpoints, [("h", 80), ("::1", 9000)]);
}

#[test]
fn a_scheme_says_how_an_endpoint_is_spoken_to_and_its_port() {
    let text = "[[upstreams]]\nname = 'u'\nendpoints = ['http://a', 'https://a', 'h2://a', 'h2s://a', 'h2s://[::1]:1']";
    let endpoints = config(text).upstreams.remove(0).endpoints;
    let actual: Vec<_> = endpoints.iter().map(|it| (it.scheme, it.port)).collect();
    let expected = [
        (UrlScheme::Http, 80),
        (UrlScheme::Https, 443),
        (UrlScheme::H2, 80),
        (UrlScheme::H2s, 443),
        (UrlScheme::H2s, 1),
    ];
    assert_eq!(actual, expected);
}

#[test]
fn a_host_that_no_certificate_can_hold_is_refused_where_one_is_needed() {
    check_endpoint(
        "'https://a-.example.com'",
        "a certificate cannot hold such a host: expected a DNS name or an IP address",
    );
}

#[test]
fn an_endpoint_may_have_a_weight() {
    let text = "[[upstreams]]\nname = 'u'\nendpoints = [{ url = 'http://a', weight = 1000 }, { url = 'http://b' }]";
    let endpoints = config(text).upstreams.remove(0).endpoints;
    let weights: Vec<_> = endpoints.iter().map(|it| it.weight.get()).collect();
    assert_eq!(weights, [1000, 1]);
    let wrong =
        "[[upstreams]]\nname = 'u'\nendpoints = [{ url = 'a', weight = 0 }, { wieght = 1 }]";
    check(
        wrong,
        &[
            "keyward.toml:3:22: upstreams[0].endpoints[0].url: expected an endpoint like \"http://127.0.0.1:9000\", found \"a\"",
            "keyward.toml:3:36: upstreams[0].endpoints[0].weight: expected a number from 1 to 1000, found 0",
            "keyward.toml:3:41: upstreams[0].endpoints[1].url: is missing",
            "keyward.toml:3:43: upstreams[0].endpoints[1].wieght: unknown setting; did you mean \"weight\"?",
        ],
    );
}

#[test]
fn an_endpoint_is_named_once_whatever_its_weight() {
    let text = "[[upstreams]]\nname = 'u'\nendpoints = ['http://a', { url = 'http://A:80/', weight = 2 }, 'h2://a']";
    check(
        text,
        &["keyward.toml:3:26: upstreams[0].endpoints[1]: the same endpoint is named twice"],
    );
}

#[test]
fn an_upstream_says_what_it_lacks_and_what_it_cannot_have() {
    let at = "keyward.toml:1:1: upstreams[0]";
    check(
        "[[upstreams]]\n",
        &[
            &format!(
                "{at}.endpoints: expected at least one endpoint like \"http://127.0.0.1:9000\""
            ),
            &format!("{at}.name: is missing"),
        ],
    );
    check(
        &format!("{UPSTREAM}balance = 'fair'\nretires = 1"),
        &[
            "keyward.toml:4:11: upstreams[0].balance: expected \"least_requests\" or \"round_robin\" or \"random\" or \"hash\", found \"fair\"",
            "keyward.toml:5:1: upstreams[0].retires: unknown setting; did you mean \"retries\"?",
        ],
    );
    check(
        &format!("{UPSTREAM}{UPSTREAM}"),
        &["keyward.toml:5:8: upstreams[1].name: \"u\" is the name of upstreams[0] already"],
    );
}

#[test]
fn endpoints_are_chosen_in_one_of_four_ways() {
    assert_eq!(with("").balance, Balance::LeastRequests);
    let ways = [
        ("least_requests", Balance::LeastRequests),
        ("round_robin", Balance::RoundRobin),
        ("random", Balance::Random),
        ("hash", Balance::Hash),
    ];
    for (word, balance) in ways {
        assert_eq!(with(&format!("balance = '{word}'")).balance, balance);
    }
}

#[test]
fn who_we_are_to_an_upstream_is_a_certificate_and_its_key() {
    let text = "[[upstreams]]\nname = 'u'\nendpoints = ['https://h']\nca = 'ca.pem'\ncertificate = 'a.pem'\nprivate_key = '/run/a.key'";
    let written = Written::new(text);
    let loaded = written.load(&[], &[]).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let tls = &loaded.config.upstreams[0].tls;
    assert_eq!(tls.ca, Some(written.path("ca.pem")));
    let expected =
        Certificate { certificate: written.path("a.pem"), private_key: "/run/a.key".into() };
    assert_eq!(tls.identity, Some(expected));
    check_setting("certificate = 'a.pem'", "has no private_key beside it");
    check_setting("private_key = 'a.key'", "has no certificate beside it");
    check_setting("ca = ''", "expected a path of a file, found \"\"");
}

#[test]
fn files_for_tls_to_an_upstream_that_speaks_none_are_warned_of() {
    let loaded = Written::new(&format!("{UPSTREAM}ca = 'ca.pem'")).load(&[], &[]).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("upstreams[0]: ca, certificate and private_key are for"));
}

#[test]
fn connections_to_an_endpoint_may_have_a_bound() {
    let upstream = with("max_connections = 8\nwait_timeout = '0s'");
    assert_eq!(upstream.max_connections.map(std::num::NonZero::get), Some(8));
    assert_eq!(upstream.wait_timeout, Duration::ZERO);
    assert_eq!(with("max_connections = 'unlimited'").max_connections, None);
    check_setting(
        "max_connections = 0",
        "expected \"unlimited\" or a number from 1 to 10000000, found 0",
    );
    check_setting(
        "wait_timeout = 'off'",
        "expected a time like \"500ms\", \"30s\", \"10m\" or \"1h\", found \"off\"",
    );
}

#[test]
fn retries_are_a_few_and_their_budget_a_share() {
    let retries = with("retries = 10\nretry_budget = '100%'").retries;
    assert_eq!((retries.per_request, retries.budget), (10, Percent(100)));
    let none = with("retries = 0\nretry_budget = '0%'").retries;
    assert_eq!((none.per_request, none.budget), (0, Percent(0)));
    check_setting("retries = 11", "expected a number from 0 to 10, found 11");
    check_setting("retries = -1", "expected a number from 0 to 10, found -1");
    check_setting("retry_budget = 20", "expected a share from \"0%\" to \"100%\", found 20");
    check_setting(
        "retry_budget = '101%'",
        "expected a share from \"0%\" to \"100%\", found \"101%\"",
    );
}

#[test]
fn times_of_an_upstream_have_bounds() {
    let upstream = with("resolve_every = '100ms'\nslow_start = '30s'");
    assert_eq!(upstream.resolve_every, Duration::from_millis(100));
    assert_eq!(upstream.slow_start, Some(Duration::from_secs(30)));
    assert_eq!(with("slow_start = 'off'").slow_start, None);
    check_setting("resolve_every = '99ms'", "expected at least 100ms, found \"99ms\"");
    check_setting("slow_start = '0s'", "expected at least 1ms, found \"0s\"");
    check_setting("slow_start = 'slow'", "expected \"off\" or a time like \"30s\", found \"slow\"");
}

#[test]
fn endpoints_are_asked_for_a_path_or_a_connection() {
    assert_eq!(with("").health, None);
    let expected = Health {
        probe: Probe::Http("/healthz?full=1".parse().unwrap()),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        unhealthy_after: 3.try_into().unwrap(),
        healthy_after: 2.try_into().unwrap(),
    };
    assert_eq!(with("health = { path = '/healthz?full=1' }").health, Some(expected));
    let often =
        "health = { tcp = true, interval = '1s', unhealthy_after = 1, healthy_after = 1000 }";
    let expected = Health {
        probe: Probe::Tcp,
        interval: Duration::from_secs(1),
        // Never longer than the interval, which nobody would have to say twice.
        timeout: Duration::from_secs(1),
        unhealthy_after: 1.try_into().unwrap(),
        healthy_after: 1000.try_into().unwrap(),
    };
    assert_eq!(with(often).health, Some(expected));
    let table = format!("{UPSTREAM}[upstreams.health]\ntcp = true\n");
    assert_eq!(config(&table).upstreams[0].health.as_ref().unwrap().probe, Probe::Tcp);
}

#[test]
fn a_question_that_nobody_can_answer_is_refused() {
    check_table(
        "health = true",
        &["health: expected a table like { path = \"/healthz\" } or { tcp = true }, found true"],
    );
    let neither = "expected a path to ask for like \"/healthz\", or tcp = true";
    check_table("health = {}", &[&format!("health: {neither}")]);
    check_table(
        "health = { path = '/', tcp = true }",
        &["health.tcp: expected path or tcp, found both"],
    );
    check_table(
        "health = { tcp = false }",
        &["health.tcp: false asks nothing: leave it out, and write path"],
    );
    for path in ["", "healthz", "*", "http://h/", "/a b", "/a#b", "/ä"] {
        check_table(
            &format!("health = {{ path = '{path}' }}"),
            &[&format!("health.path: expected a path like \"/healthz\", found {path:?}")],
        );
    }
    check_table(
        "health = { path = '/', interval = '1s', timeout = '1001ms' }",
        &["health.timeout: expected at most the interval, 1s, found \"1001ms\""],
    );
    check_table(
        "health = { path = '/', interval = '9ms', healthy_after = 0, unhealty_after = 1 }",
        &[
            "health.interval: expected at least 10ms, found \"9ms\"",
            "health.healthy_after: expected a number from 1 to 1000, found 0",
            "health.unhealty_after: unknown setting; did you mean \"unhealthy_after\"?",
        ],
    );
}

#[test]
fn ejection_is_on_unless_it_is_off() {
    let default = Ejection {
        failures: 5.try_into().unwrap(),
        period: Duration::from_secs(10),
        at_most: Percent(50),
    };
    assert_eq!(with("").ejection, Some(default));
    assert_eq!(with("ejection = {}").ejection, Some(default));
    assert_eq!(with("ejection = 'off'").ejection, None);
    let strict = with("ejection = { failures = 1, at_most = '100%' }").ejection;
    let expected = Ejection { failures: 1.try_into().unwrap(), at_most: Percent(100), ..default };
    assert_eq!(strict, Some(expected));
    check_table(
        "ejection = 'on'",
        &["ejection: expected \"off\" or a table like { failures = 5 }, found \"on\""],
    );
    check_table(
        "ejection = { failures = 0, period = '0s', at_most = '0%', faliures = 1 }",
        &[
            "ejection.failures: expected a number from 1 to 1000, found 0",
            "ejection.period: expected at least 1ms, found \"0s\"",
            "ejection.at_most: expected a share from \"1%\" to \"100%\", found \"0%\"",
            "ejection.faliures: unknown setting; did you mean \"failures\"?",
        ],
    );
}
