//! Claims about upstreams and routes.

use super::*;
use crate::config::Balance;
use crate::route::table::PathPattern;

#[test]
fn an_endpoint_is_scheme_host_and_port_only() {
    check_endpoint("'https://h'", "\"https://\" is not yet known to this version");
    check_endpoint(
        "'127.0.0.1:9000'",
        "expected an endpoint like \"http://127.0.0.1:9000\", found \"127.0.0.1:9000\"",
    );
    check_endpoint(
        "'ftp://u:s3cret@h'",
        "expected an endpoint like \"http://127.0.0.1:9000\", found \"ftp://…\"",
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
    check_endpoint("{}", "url is missing");
    let text =
        "[[upstreams]]\nname = 'u'\nendpoints = ['http://H/', { url = 'http://[::1]:9000' }]";
    let upstreams = config(text).upstreams;
    let endpoints: Vec<_> =
        upstreams[0].endpoints.iter().map(|it| (it.host.as_str(), it.port)).collect();
    assert_eq!(endpoints, [("h", 80), ("::1", 9000)]);
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
        &format!("{UPSTREAM}balance = 'random'\nretries = 1"),
        &[
            "keyward.toml:4:11: upstreams[0].balance: \"random\" is not yet known to this version",
            "keyward.toml:5:1: upstreams[0].retries: \"retries\" is not yet known to this version",
        ],
    );
    check(
        &format!("{UPSTREAM}{UPSTREAM}"),
        &["keyward.toml:5:8: upstreams[1].name: \"u\" is the name of upstreams[0] already"],
    );
    assert_eq!(config(UPSTREAM).upstreams[0].balance, Balance::LeastRequests);
}

#[test]
fn a_route_has_a_path_or_an_exact_one() {
    check_route(
        "",
        &[
            "keyward.toml:4:1: routes[0]: expected a path, which is a prefix like \"/v3/\", or exact = \"/v3/ping\"",
        ],
    );
    check_route(
        "path = '/'\nexact = '/'",
        &["keyward.toml:8:9: routes[0].exact: expected path or exact, found both"],
    );
    check_route(
        "exact = 'v3'",
        &["keyward.toml:7:9: routes[0].exact: a path begins with \"/\", found \"v3\""],
    );
    check_route(
        "path = '/a?b'",
        &["keyward.toml:7:8: routes[0].path: the path holds a \"?\" or a \"#\", found \"/a?b\""],
    );
    let config = config(&with_route("name = 'r'\nupstream = 'u'\nexact = '/v3'"));
    assert_eq!(config.routes[0].pattern.path, PathPattern::Exact("/v3".to_owned()));
}

#[test]
fn a_route_names_hosts_and_methods_that_exist() {
    check_route(
        "path = '/'\nhosts = ['a*', 'h:80']\nmethods = ['get', 'TRACE']",
        &[
            "keyward.toml:8:10: routes[0].hosts[0]: \"*\" can only be the whole first label of a name, as in \"*.example.com\", found \"a*\"",
            "keyward.toml:8:16: routes[0].hosts[1]: a route's host is written without a port: it matches on every port, found \"h:80\"",
            "keyward.toml:9:12: routes[0].methods[0]: expected a method like \"GET\", in capitals, found \"get\"",
            "keyward.toml:9:19: routes[0].methods[1]: TRACE is never let through",
        ],
    );
    check_route(
        "path = '/'\naccess = 'open'",
        &["keyward.toml:8:10: routes[0].access: expected \"key\" or \"public\", found \"open\""],
    );
}

#[test]
fn routes_that_clash_are_both_named() {
    let route = |name: &str| format!("[[routes]]\nname = '{name}'\npath = '/'\nupstream = 'u'\n");
    let text = format!("{UPSTREAM}{}{}{}", route("a"), route("b"), route("c"));
    let message = "asks for the same host, path and method as routes[0]";
    let actual = faults(&text);
    assert_eq!(actual.len(), 2, "{actual:?}");
    assert!(
        actual[0].starts_with(&format!("keyward.toml:8:1: routes[1]: {message} at")),
        "{actual:?}"
    );
    assert!(actual[0].contains("keyward.toml:4:1"), "{actual:?}");
    assert!(
        actual[1].starts_with(&format!("keyward.toml:12:1: routes[2]: {message} at")),
        "{actual:?}"
    );
}

#[test]
fn a_wrong_route_is_not_said_to_clash() {
    let route = "[[routes]]\nname = 'a'\npath = '/'\nupstream = 'u'\n";
    let wrong = "[[routes]]\nname = 'b'\npath = '/'\nupstream = 'u'\nhosts = ['a b']\n";
    assert_eq!(faults(&format!("{UPSTREAM}{route}{wrong}")).len(), 1);
}
