//! Routes may ask for headers, and may keep the prefix of a path from the upstream.

use crate::support::ask::Ask;
use crate::support::gateway::{Gateway, Key};
use crate::support::http::Response;
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;

/// A gateway whose routes lead to one upstream, which says what it gets.
struct Stage {
    upstream: Upstream,
    gateway: Gateway,
    key: Key,
}

impl Stage {
    fn new(routes: &[(&str, &str)]) -> Self {
        let upstream = Upstream::echo();
        let setup = Setup::empty().upstream("api", &[upstream.address()]);
        let setup = routes.iter().fold(setup, |setup, (name, lines)| setup.route(name, lines));
        let gateway = Gateway::start(&setup);
        let key = gateway.mint("crm");
        Self { upstream, gateway, key }
    }

    fn ask(&self, ask: Ask) -> Response {
        ask.key(&self.key).to(&self.gateway)
    }

    /// What the upstream sees as the target.
    #[track_caller]
    fn target_of(&self, sent: &str) -> String {
        let answer = self.ask(Ask::get(sent));
        assert_eq!(answer.status, 200, "{sent}: {}", String::from_utf8_lossy(&answer.body));
        self.upstream.last().target().to_owned()
    }

    /// How many requests a route has answered.
    fn count(&self, route: &str) -> u64 {
        let sample =
            format!(r#"keyward_requests_total{{route="{route}",method="GET",code="200"}}"#);
        self.gateway.metrics().count(&sample)
    }
}

#[test]
fn the_route_that_asks_for_more_headers_goes_first() {
    let stage = Stage::new(&[
        ("any", "path = \"/v3/\""),
        ("acme", "path = \"/v3/\"\nheaders = { X-Tenant = \"acme\" }"),
        ("beta", "path = \"/v3/\"\nheaders = { x-tenant = \"acme\", x-beta = \"1\" }"),
        ("only", "path = \"/only/\"\nheaders = { x-tenant = \"acme\" }"),
    ]);
    for (lines, route) in [
        (&[][..], "any"),
        (&[("x-tenant", "acme")], "acme"),
        (&[("X-TENANT", "acme")], "acme"),
        (&[("x-beta", "1")], "any"),
        (&[("x-beta", "1"), ("x-tenant", "acme")], "beta"),
        // The whole value, once, as it is written.
        (&[("x-tenant", "Acme")], "any"),
        (&[("x-tenant", "acme, other")], "any"),
        (&[("x-tenant", "acme"), ("x-tenant", "acme")], "any"),
        (&[("x-tenant", "other"), ("x-tenant", "acme")], "any"),
    ] {
        let before = stage.count(route);
        let ask = lines.iter().fold(Ask::get("/v3/x"), |ask, (name, it)| ask.header(name, it));
        assert_eq!(stage.ask(ask).status, 200, "{lines:?}");
        assert_eq!(stage.count(route), before + 1, "{lines:?} did not go to {route}");
    }
    stage.ask(Ask::get("/only/x")).assert_problem(404, "no_route");
    assert_eq!(stage.ask(Ask::get("/only/x").header("x-tenant", "acme")).status, 200);
}

#[test]
fn a_header_that_a_route_asks_for_goes_on() {
    let stage = Stage::new(&[("acme", "path = \"/\"\nheaders = { x-tenant = \"acme\" }")]);
    assert_eq!(stage.ask(Ask::get("/x").header("x-tenant", "acme")).status, 200);
    assert_eq!(stage.upstream.last().header("x-tenant"), Some("acme"));
}

#[test]
fn a_stripped_prefix_is_seen_by_nobody_behind() {
    let stage = Stage::new(&[
        ("slash", "path = \"/v3/\"\nstrip_prefix = true"),
        ("bare", "path = \"/v4\"\nstrip_prefix = true"),
        ("kept", "path = \"/v5/\"\nstrip_prefix = false"),
    ]);
    for (sent, seen) in [
        ("/v3/", "/"),
        ("/v3/x", "/x"),
        ("/v3/x?q=/v3/&%zz", "/x?q=/v3/&%zz"),
        ("/v3/?", "/?"),
        ("/v3/v3/x/", "/v3/x/"),
        ("/v3/x//y", "/x//y"),
        ("/v4", "/"),
        ("/v4?q", "/?q"),
        ("/v4/", "/"),
        ("/v4/x", "/x"),
        ("/v5/x", "/v5/x"),
        // What was matched, in normal form, is what is stripped.
        ("/a/../v3/x", "/x"),
        ("/%763/x/../y", "/y"),
        ("/v3/./x", "/x"),
        ("/v3/a%2fb", "/a%2Fb"),
        ("/v3/%2f%2fevil.example", "/%2F%2Fevil.example"),
        ("/v3/http://evil.example/", "/http://evil.example/"),
        ("/v3/@evil.example", "/@evil.example"),
        ("/v3/:80", "/:80"),
        ("http://api.example.com/v3/x?q", "/x?q"),
    ] {
        assert_eq!(stage.target_of(sent), seen, "{sent}");
    }
}

#[test]
fn nothing_that_is_left_of_a_path_names_a_host_or_climbs() {
    let stage = Stage::new(&[
        ("open", "path = \"/v3/\"\nstrip_prefix = true\naccess = \"public\""),
        ("admin", "path = \"/v3/admin/\"\nstrip_prefix = true"),
        ("whole", "path = \"/\"\nhosts = [\"whole.example\"]\nstrip_prefix = true"),
    ]);
    let naked = |target: &str| Ask::get(target).to(&stage.gateway);
    for target in [
        "/v3//evil.example/x",
        "/v3//admin/x",
        "/v3///x",
        "/v3//",
        "/v3/x/..//admin/x",
        "/v3/%2e//admin/x",
        "/v3/..%2fadmin/x",
        "/v3/x%2f..%2fadmin/x",
        "/v3/\\evil.example",
        "/v3/%5cevil.example",
        "/v3/../..",
        "/v3/..;/admin/x",
    ] {
        naked(target).assert_problem(400, "bad_request");
    }
    for target in ["/v3/admin/x", "/v3/x/../admin/x", "/v3/%61dmin/x", "/v3/./admin/x"] {
        naked(target).assert_problem(401, "missing_key");
    }
    naked("/v3/../x").assert_problem(404, "no_route");
    let whole = Ask::get("//evil.example").header("host", "whole.example");
    stage.ask(whole).assert_problem(400, "bad_request");
    assert_eq!(stage.upstream.asked(), 0);
}

#[test]
fn the_access_log_shows_the_path_that_was_asked_for() {
    let upstream = Upstream::echo();
    let setup = Setup::empty().upstream("api", &[upstream.address()]).log("access = true");
    let gateway = Gateway::start(&setup.route("v3", "path = \"/v3/\"\nstrip_prefix = true"));
    let key = gateway.mint("crm");
    assert_eq!(Ask::get("/v3/seen").key(&key).to(&gateway).status, 200);
    crate::support::wait::eventually("it is in the access log", || {
        gateway.log().contains(r#""path":"/v3/seen""#)
    });
}
