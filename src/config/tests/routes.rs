//! Claims about routes.

use super::*;
use crate::route::table::PathPattern;

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
