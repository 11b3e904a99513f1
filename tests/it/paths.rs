//! A request goes to the one route that fits it best, and what was matched is what is forwarded.

use crate::support::ask::Ask;
use crate::support::gateway::{Gateway, Key};
use crate::support::http::Response;
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};

/// A gateway in front of one upstream for each of its routes; each answers with its route's name.
struct Stage {
    upstreams: Vec<Upstream>,
    gateway: Gateway,
    key: Key,
}

impl Stage {
    /// Routes by name, with their lines.
    fn new(routes: &[(&'static str, &str)]) -> Self {
        let names = routes.iter().map(|(name, _)| *name);
        let upstreams: Vec<Upstream> =
            names.map(|name| Upstream::answering(move |_| ok(name))).collect();
        let mut setup = Setup::empty();
        for ((name, lines), upstream) in routes.iter().zip(&upstreams) {
            setup = setup.upstream(name, &[upstream.address()]).route(name, lines);
        }
        let gateway = Gateway::start(&setup);
        let key = gateway.mint("crm");
        Self { upstreams, gateway, key }
    }

    fn ask(&self, ask: Ask) -> Response {
        ask.key(&self.key).to(&self.gateway)
    }

    #[track_caller]
    fn leads(&self, ask: Ask, route: &str) {
        let shown = format!("{ask:?}");
        let answer = self.ask(ask);
        assert_eq!(String::from_utf8_lossy(&answer.body), route, "{shown}");
    }

    #[track_caller]
    fn leads_nowhere(&self, ask: Ask) {
        self.ask(ask).assert_problem(404, "no_route");
    }

    fn asked(&self) -> usize {
        self.upstreams.iter().map(Upstream::asked).sum()
    }
}

#[test]
fn the_longest_prefix_wins_and_an_exact_path_beats_it() {
    let stage = Stage::new(&[
        ("v3", "path = \"/v3/\""),
        ("contacts", "path = \"/v3/contacts\""),
        ("ping", "exact = \"/v3/ping\""),
    ]);
    stage.leads(Ask::get("/v3/"), "v3");
    stage.leads(Ask::get("/v3/other"), "v3");
    stage.leads(Ask::get("/v3/contacts"), "contacts");
    stage.leads(Ask::get("/v3/contacts/7"), "contacts");
    stage.leads(Ask::get("/v3/contacts?x=1"), "contacts");
    stage.leads(Ask::get("/v3/contacts7"), "v3");
    stage.leads(Ask::get("/v3/ping"), "ping");
    stage.leads(Ask::get("/v3/ping?x"), "ping");
    stage.leads(Ask::get("/v3/ping/"), "v3");
    stage.leads_nowhere(Ask::get("/v3"));
    stage.leads_nowhere(Ask::get("/v30"));
    stage.leads_nowhere(Ask::get("/"));
}

#[test]
fn an_exact_host_beats_the_longest_wildcard_and_that_any_host() {
    let stage = Stage::new(&[
        ("any", "path = \"/\""),
        ("wild", "path = \"/\"\nhosts = [\"*.example.com\"]"),
        ("wilder", "path = \"/\"\nhosts = [\"*.eu.example.com\"]"),
        ("exact", "path = \"/\"\nhosts = [\"api.example.com\", \"api.example.org\"]"),
    ]);
    let at = |host: &str| Ask::get("/x").header("host", host);
    stage.leads(at("api.example.com"), "exact");
    stage.leads(at("API.Example.ORG:8080"), "exact");
    stage.leads(at("api.example.com."), "exact");
    stage.leads(at("www.example.com"), "wild");
    stage.leads(at("a.b.example.com"), "wild");
    stage.leads(at("a.eu.example.com"), "wilder");
    stage.leads(at("example.com"), "any");
    stage.leads(at("notexample.com"), "any");
    stage.leads(at("127.0.0.1"), "any");
    stage.leads(at("[::1]:80"), "any");
}

#[test]
fn a_host_of_its_own_counts_before_a_longer_path() {
    let stage = Stage::new(&[
        ("host", "path = \"/\"\nhosts = [\"api.example.com\"]"),
        ("path", "path = \"/v3/contacts/\""),
    ]);
    stage.leads(Ask::get("/v3/contacts/7"), "host");
    stage.leads(Ask::get("/v3/contacts/7").header("host", "b"), "path");
}

#[test]
fn a_method_that_no_route_takes_is_told_which_ones_do() {
    let stage = Stage::new(&[
        ("read", "path = \"/v3/\"\nmethods = [\"GET\", \"HEAD\"]"),
        ("write", "path = \"/v3/\"\nmethods = [\"POST\"]"),
    ]);
    stage.leads(Ask::get("/v3/x"), "read");
    stage.leads(Ask::post("/v3/x", "a"), "write");
    let answer = stage.ask(Ask::new("DELETE", "/v3/x"));
    answer.assert_problem(405, "method_not_allowed");
    let mut allowed: Vec<&str> = answer.head.get("allow").unwrap().split(", ").collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    stage.leads_nowhere(Ask::new("DELETE", "/v4/x"));
}

#[test]
fn what_was_matched_is_what_is_forwarded() {
    let stage = Stage::new(&[("all", "path = \"/\"")]);
    for (sent, forwarded) in [
        ("/v3/a", "/v3/a"),
        ("/v3/./a", "/v3/a"),
        ("/v3/x/../a", "/v3/a"),
        ("/v3/x/%2e%2E/a", "/v3/a"),
        ("/v3/x/.%2e/a", "/v3/a"),
        ("/v3/%2e/a", "/v3/a"),
        ("/v3/a/..", "/v3/"),
        ("/v3/a/.", "/v3/a/"),
        ("/v3/%7euser/%41", "/v3/~user/A"),
        ("/v3/%c3%a9", "/v3/%C3%A9"),
        ("/v3//a///", "/v3//a///"),
        ("/v3/a%2fb", "/v3/a%2Fb"),
        ("/v3/a%3fb", "/v3/a%3Fb"),
        ("/v3/...", "/v3/..."),
        ("/v3/..a", "/v3/..a"),
        ("/v3/a;x=1", "/v3/a;x=1"),
        ("/v3/%252e%252E/a", "/v3/%252e%252E/a"),
        ("/v3/%25%32%65/a", "/v3/%252e/a"),
        ("/v3/%c0%ae%c0%ae/a", "/v3/%C0%AE%C0%AE/a"),
        ("/v3/%c0%afa", "/v3/%C0%AFa"),
        ("/v3/x//../a", "/v3/x/a"),
        ("/v3/a../b.", "/v3/a../b."),
        ("/v3/..%20/a", "/v3/..%20/a"),
        ("/", "/"),
    ] {
        assert_eq!(stage.ask(Ask::get(sent)).status, 200, "{sent}");
        assert_eq!(stage.upstreams[0].last().target(), forwarded, "{sent}");
    }
}

#[test]
fn the_query_is_not_touched() {
    let stage = Stage::new(&[("all", "path = \"/\"")]);
    for query in
        ["?", "?a=%2e%2e/../&b=%zz", "?a?b/./c", "?%41=%c3%a9", "?a=b&a=b&&=", "?[]{}|^`\\'"]
    {
        assert_eq!(stage.ask(Ask::get(&format!("/x/../y{query}"))).status, 200, "{query}");
        assert_eq!(stage.upstreams[0].last().target(), format!("/y{query}"));
    }
}

#[test]
fn a_path_without_a_normal_form_is_refused() {
    let stage = Stage::new(&[("all", "path = \"/\"")]);
    for path in [
        "/..",
        "/../x",
        "/%2e%2e",
        "/v3/../../x",
        "/v3/%5c..%5cx",
        "/v3/a%5Cb",
        "/v3/a\\b",
        "/v3/%00",
        "/v3/%zz",
        "/v3/%2",
        "/v3/%",
        "/v3/..;/x",
        "/v3/..%2Fx",
        "/v3/a%2f..",
        "/v3/..%3B/x",
        "/v3/%u002e",
        "*",
    ] {
        assert_eq!(stage.ask(Ask::get(path)).status, 400, "{path}");
    }
    assert_eq!(stage.asked(), 0);
}

#[test]
fn no_spelling_reaches_another_route() {
    let stage = Stage::new(&[
        ("public", "path = \"/public/\"\naccess = \"public\""),
        ("secret", "path = \"/secret/\""),
    ]);
    let naked = |target: &str| Ask::get(target).to(&stage.gateway);
    assert_eq!(naked("/public/a").status, 200);
    for target in [
        "/public/../secret/a",
        "/public/%2e%2e/secret/a",
        "/public/%2E./secret/a",
        "/public/x/../../secret/a",
        "/%73ecret/a",
        "/secret/%61",
    ] {
        naked(target).assert_problem(401, "missing_key");
    }
    for target in ["//secret/a", "/Secret/a", "/secret%2fa", "/public%2fsecret/a"] {
        naked(target).assert_problem(404, "no_route");
    }
    // Some upstreams decode a slash before they resolve dots, and some take parameters off.
    for target in [
        "/public%2f..%2fsecret/a",
        "/public/..%2Fsecret/a",
        "/public/x%2f..%2f..%2fsecret/a",
        "/public/%2e%2e%2fsecret/a",
        "/public/..;/secret/a",
        "/public/..%3b/secret/a",
    ] {
        naked(target).assert_problem(400, "bad_request");
    }
    assert_eq!(stage.asked(), 1);
}

#[test]
fn an_absolute_target_agrees_with_the_host_or_is_refused() {
    let stage = Stage::new(&[("all", "path = \"/\"")]);
    let ask = |target: &str, host: &str| stage.ask(Ask::get(target).header("host", host));
    assert_eq!(ask("http://api.example.com/a/../b?c", "API.example.com").status, 200);
    assert_eq!(stage.upstreams[0].last().target(), "/b?c");
    assert_eq!(stage.upstreams[0].last().header("host"), Some("API.example.com"));
    assert_eq!(ask("http://api.example.com", "api.example.com").status, 200);
    assert_eq!(stage.upstreams[0].last().target(), "/");
    for (target, host) in [
        ("http://a/", "b"),
        ("http://a:81/", "a"),
        ("http://user@a/", "a"),
        ("http://a@b/", "a"),
        ("http:///", "a"),
        ("http://a/../x", "a"),
    ] {
        assert_eq!(ask(target, host).status, 400, "{target} at {host}");
    }
    assert_eq!(stage.asked(), 2);
}
