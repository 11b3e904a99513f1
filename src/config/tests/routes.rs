//! Claims about routes.

use super::*;
use crate::config::{HeaderEdits, PathPrefix, Preflight};
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

/// The first setting of a route is wrong.
#[track_caller]
fn check_setting(setting: &str, expected: &str) {
    let (name, _value) = setting.split_once(" = ").unwrap();
    let column = name.len() + 4;
    let expected = format!("keyward.toml:8:{column}: routes[0].{name}: {expected}");
    check_route(&format!("path = '/'\n{setting}"), &[&expected]);
}

/// One entry of a route's table is wrong.
#[track_caller]
fn check_entry(table: &str, entry: &str, expected: &str) {
    let text =
        with_route(&format!("name = 'r'\nupstream = 'u'\npath = '/'\n{table} = {{ {entry} }}"));
    let faults = faults(&text);
    assert_eq!(faults.len(), 1, "{faults:?}");
    let (name, _value) = entry.split_once(" = ").unwrap();
    assert!(faults[0].starts_with("keyward.toml:8:"), "{faults:?}");
    let end = format!(": routes[0].{table}.{}: {expected}", name.trim_matches('\''));
    assert!(faults[0].ends_with(&end), "expected {end} in {faults:?}");
}

#[test]
fn a_route_says_what_is_changed_on_the_way() {
    let config = config(&with_route(
        "name = 'r'
upstream = 'u'
path = '/v3/'
headers = { X-Tenant = 'a, b' }
preflight = 'forward'
upgrades = ['WebSocket', 'acme/2']
strip_prefix = true
set_request_headers = { Authorization = 'Basic YTpi', x-tier = 'gold' }
remove_request_headers = ['Cookie']
max_body = '1MiB'
response_timeout = '5s'
[routes.set_response_headers]
x-frame-options = 'DENY'",
    ));
    let route = &config.routes[0];
    let pair = |name: &str, value: &str| (name.parse().unwrap(), value.parse().unwrap());
    assert_eq!(route.pattern.headers, [pair("x-tenant", "a, b")]);
    assert_eq!(route.preflight, Preflight::Forward);
    assert_eq!(route.upgrades, ["websocket", "acme/2"]);
    assert_eq!(route.prefix, PathPrefix::Stripped);
    let set = vec![pair("authorization", "Basic YTpi"), pair("x-tier", "gold")];
    let remove = vec![http::header::COOKIE];
    assert_eq!(route.request_headers, HeaderEdits { set, remove });
    let set = vec![pair("x-frame-options", "DENY")];
    assert_eq!(route.response_headers, HeaderEdits { set, remove: Vec::new() });
    assert_eq!(route.max_body, Some(1 << 20));
    assert_eq!(route.response_timeout, Some(std::time::Duration::from_secs(5)));
}

#[test]
fn what_a_header_is_set_to_is_not_printed() {
    let set = "set_request_headers = { authorization = 'Basic c3VwZXJzZWNyZXQ' }";
    let good = config(&with_route(&format!("name = 'r'\nupstream = 'u'\npath = '/'\n{set}")));
    assert!(!format!("{good:?}").contains("c3VwZXJzZWNyZXQ"), "{good:?}");
    let visible = "expected a value of visible ASCII characters, without spaces at its ends";
    check_entry("set_request_headers", "authorization = 'Basic s3cret\u{fc}'", visible);
}

#[test]
fn a_route_says_what_is_wrong_with_its_settings() {
    check_setting("preflight = 'open'", "expected \"key\" or \"forward\", found \"open\"");
    check_setting("strip_prefix = 'yes'", "expected true or false, found \"yes\"");
    check_setting(
        "max_body = '1MB'",
        "expected \"unlimited\" or a size like \"512B\", \"32KiB\" or \"19MiB\", found \"1MB\"",
    );
    check_setting(
        "response_timeout = 5",
        "expected \"inherit\" or a time like \"500ms\", \"30s\", \"10m\" or \"1h\", found 5",
    );
    check_setting("response_timeout = '0s'", "expected \"inherit\" or at least 1ms, found \"0s\"");
    check_setting("headers = ['a']", "expected a table like { name = \"value\" }, found a list");
    check_setting(
        "upgrades = 'websocket'",
        "expected a list like [\"…\", \"…\"], found \"websocket\"",
    );
    check_route(
        "path = '/'\nrates = 'unlimited'",
        &["keyward.toml:8:1: routes[0].rates: unknown setting; did you mean \"rate\"?"],
    );
    check_route(
        "exact = '/v3'\nstrip_prefix = true",
        &[
            "keyward.toml:8:16: routes[0].strip_prefix: an exact path has no prefix: nothing would be left of it",
        ],
    );
}

#[test]
fn http_and_tls_are_no_upgrades() {
    for protocol in ["h2c", "H2C", "h2", "HTTP/2.0", "http", "TLS/1.0", "tls/1.3"] {
        let text = format!("path = '/'\nupgrades = ['websocket', '{protocol}']");
        let expected = format!(
            "keyward.toml:8:26: routes[0].upgrades[1]: {:?} would carry requests past the gate: HTTP is spoken with the gateway, and TLS ends there",
            protocol.to_ascii_lowercase()
        );
        check_route(&text, &[&expected]);
    }
    for text in ["", "a b", "a,b", "a/b/c", "/1", "a/", "a\u{fc}", "web socket"] {
        let faults = faults(&with_route(&format!(
            "name = 'r'\nupstream = 'u'\npath = '/'\nupgrades = ['{text}']"
        )));
        assert!(faults[0].contains("expected a protocol like \"websocket\""), "{faults:?}");
    }
}

#[test]
fn no_route_changes_what_is_not_its_own() {
    for (name, why) in [
        ("host", "what an upstream sees in Host is set by its host"),
        ("Content-Length", "\"content-length\" frames the message, which is the gateway's to do"),
        (
            "transfer_encoding",
            "\"transfer_encoding\" frames the message, which is the gateway's to do",
        ),
        ("trailer", "\"trailer\" frames the message, which is the gateway's to do"),
        ("te", "\"te\" is about one connection, and never goes any further"),
        ("upgrade", "\"upgrade\" is about one connection, and never goes any further"),
        ("connection", "\"connection\" is about one connection, and never goes any further"),
        ("Api_Key", "\"api_key\" carries a key, which is always removed"),
        (
            "x-keyward-owner",
            "\"x-keyward-owner\" is the gateway's own word, which no route changes",
        ),
        (
            "X_Keyward_Owner",
            "\"x_keyward_owner\" is the gateway's own word, which no route changes",
        ),
        ("x-request-id", "\"x-request-id\" is the gateway's own word, which no route changes"),
        (
            "x-forwarded_for",
            "\"x-forwarded_for\" is the gateway's own word, which no route changes",
        ),
        ("'x y'", "expected the name of a header, found \"x y\""),
    ] {
        for table in ["set_request_headers", "set_response_headers"] {
            if !name.contains(' ') {
                check_entry(table, &format!("{name} = 'x'"), why);
            }
        }
        for list in ["remove_request_headers", "remove_response_headers"] {
            let text = format!("path = '/'\n{list} = ['{}']", name.trim_matches('\''));
            let column = list.len() + 5;
            check_route(&text, &[&format!("keyward.toml:8:{column}: routes[0].{list}[0]: {why}")]);
        }
    }
}

#[test]
fn the_values_of_headers_are_visible() {
    let visible = "expected a value of visible ASCII characters, without spaces at its ends";
    for value in ["''", "' a'", "'a '", "\"a\\tb\"", "\"a\\r\\nx: y\"", "\"a\\u0000\"", "'\u{fc}'"]
    {
        for table in ["headers", "set_request_headers", "set_response_headers"] {
            check_entry(table, &format!("x-a = {value}"), visible);
        }
    }
    check_entry("headers", "x-a = 1", &format!("{visible}, found 1"));
}

#[test]
fn a_header_is_named_once() {
    let twice = "is named twice: capitals make no other name of it";
    let text = "path = '/'\nset_request_headers = { x-a = '1', X-A = '2' }";
    let faults = faults(&with_route(&format!("name = 'r'\nupstream = 'u'\n{text}")));
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].ends_with(twice), "{faults:?}");
    check_route(
        "path = '/'\nset_request_headers = { x-a = '1' }\nremove_request_headers = ['X-A']",
        &[
            "keyward.toml:9:27: routes[0].remove_request_headers[0]: \"x-a\" is in routes[0].set_request_headers too, which replaces it anyway",
        ],
    );
    let many: Vec<String> = (0..65).map(|it| format!("x-{it} = '1'")).collect();
    check_setting(
        &format!("headers = {{ {} }}", many.join(", ")),
        "expected at most 64 headers, found 65",
    );
}

#[test]
fn no_route_depends_on_what_is_taken_out() {
    for (name, why) in [
        ("host", "a route's hosts are named in hosts"),
        ("api-key", "\"api-key\" carries a key: no route depends on it"),
        ("Api_Key", "\"api_key\" carries a key: no route depends on it"),
        ("x-keyward-owner", "\"x-keyward-owner\" is ours to say: from a client it is removed"),
        (
            "content-length",
            "\"content-length\" is about one connection or message: no route depends on it",
        ),
    ] {
        check_entry("headers", &format!("{name} = 'x'"), why);
    }
}

#[test]
fn routes_that_ask_for_other_headers_clash_where_a_request_may_have_both() {
    let route = |name: &str, header: &str| {
        format!(
            "[[routes]]\nname = '{name}'\npath = '/'\nupstream = 'u'\nheaders = {{ {header} }}\n"
        )
    };
    let (x, y) = (route("x", "x = '1'"), route("y", "y = '1'"));
    let actual = faults(&format!("{UPSTREAM}{x}{y}"));
    assert_eq!(actual.len(), 1, "{actual:?}");
    assert!(
        actual[0].contains("routes[1]: asks for other headers than routes[0] at "),
        "{actual:?}"
    );
    assert!(
        actual[0].ends_with("a third route that asks for both would say to which"),
        "{actual:?}"
    );
    let both = route("both", "x = '1', y = '1'");
    assert_eq!(config(&format!("{UPSTREAM}{x}{y}{both}")).routes.len(), 3);
    assert_eq!(faults(&format!("{UPSTREAM}{x}{x}")).len(), 2);
    assert_eq!(
        faults(&format!("{UPSTREAM}{}", route("x", "x = '1'") + &route("z", "X = '1'"))).len(),
        1
    );
}
