//! A browser may ask without a key whether a request would be allowed, where the route lets it.

use crate::support::ask::Ask;
use crate::support::gateway::{Gateway, Key};
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;

struct Stage {
    upstream: Upstream,
    gateway: Gateway,
    key: Key,
}

impl Stage {
    fn new(routes: &[(&str, &str)]) -> Self {
        let upstream = Upstream::echo();
        let setup = Setup::empty().upstream("api", &[upstream.address()]);
        let setup = setup.gateway("accept_bearer = true");
        let setup = routes.iter().fold(setup, |setup, (name, lines)| setup.route(name, lines));
        let gateway = Gateway::start(&setup);
        let key = gateway.mint("crm");
        Self { upstream, gateway, key }
    }

    #[track_caller]
    fn passes(&self, ask: &Ask) {
        let before = self.upstream.asked();
        let answer = ask.to(&self.gateway);
        assert_eq!(answer.status, 200, "{ask:?}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!(self.upstream.asked(), before + 1);
        assert_eq!(self.upstream.last().method(), "OPTIONS");
    }

    #[track_caller]
    fn is_refused(&self, ask: &Ask, status: u16, code: &str) {
        let before = self.upstream.asked();
        ask.to(&self.gateway).assert_problem(status, code);
        assert_eq!(self.upstream.asked(), before, "{ask:?}");
    }
}

/// What a browser asks before it sends a request by `method`.
fn preflight(path: &str, method: &str) -> Ask {
    let ask = Ask::new("OPTIONS", path).header("origin", "https://app.example.com");
    let ask = ask.header("access-control-request-method", method);
    ask.header("access-control-request-headers", "api-key,content-type")
}

const FORWARD: &str = "path = \"/v3/\"\npreflight = \"forward\"";

#[test]
fn a_preflight_needs_no_key_where_the_route_says_so() {
    let stage = Stage::new(&[("open", FORWARD), ("shut", "path = \"/v4/\"")]);
    stage.passes(&preflight("/v3/x?q", "PUT"));
    let seen = stage.upstream.last();
    assert_eq!(seen.target(), "/v3/x?q");
    assert_eq!(seen.header("origin"), Some("https://app.example.com"));
    assert_eq!(seen.header("access-control-request-method"), Some("PUT"));
    assert_eq!(seen.header("access-control-request-headers"), Some("api-key,content-type"));
    stage.is_refused(&preflight("/v4/x", "PUT"), 401, "missing_key");
    stage.passes(&preflight("/v4/x", "PUT").key(&stage.key));
}

#[test]
fn a_preflights_key_is_neither_looked_at_nor_passed_on() {
    let stage = Stage::new(&[("open", FORWARD)]);
    let unknown = Key::unknown();
    for key in [&stage.key, &unknown] {
        let ask = preflight("/v3/x", "PUT").key(key).header("x-keyward-owner", "spoofed");
        let bearer = format!("Bearer {}", key.plaintext);
        for ask in [ask.clone(), ask.clone().key(key), ask.header("authorization", &bearer)] {
            stage.passes(&ask);
            let seen = stage.upstream.last();
            for name in ["api-key", "authorization", "x-keyward-key-id", "x-keyward-owner"] {
                assert!(seen.head.all(name).is_empty(), "{name}: {seen:?}");
            }
        }
    }
}

#[test]
fn what_is_no_preflight_needs_a_key() {
    let stage = Stage::new(&[("open", FORWARD)]);
    let options = || Ask::new("OPTIONS", "/v3/x");
    let origin = |ask: Ask| ask.header("origin", "https://app.example.com");
    let asks = |ask: Ask| ask.header("access-control-request-method", "PUT");
    let length = |ask: Ask| ask.header("content-length", "2");
    for ask in [
        options(),
        origin(options()),
        asks(options()),
        asks(asks(origin(options()))),
        origin(asks(origin(options()))),
        origin(options()).header("access-control-request-method", "PUT, GET"),
        asks(origin(Ask::get("/v3/x"))),
        asks(origin(Ask::post("/v3/x", "hi"))),
        asks(origin(Ask::with_body("OPTIONS", "/v3/x", "hi"))),
        length(asks(origin(options()))).header("expect", "100-continue"),
    ] {
        stage.is_refused(&ask, 401, "missing_key");
    }
    stage.passes(&options().key(&stage.key));
    let chunked = asks(origin(options())).header("transfer-encoding", "chunked");
    let mut client = stage.gateway.client();
    client.send(chunked.bytes());
    client.send("0\r\n\r\n");
    client.read().assert_problem(401, "missing_key");
}

#[test]
fn a_preflight_goes_where_the_request_would_go_that_it_asks_for() {
    let stage = Stage::new(&[
        ("write", "path = \"/v3/\"\nmethods = [\"PUT\", \"POST\"]\npreflight = \"forward\""),
        ("read", "path = \"/v3/\"\nmethods = [\"GET\"]"),
        ("rest", "path = \"/\""),
        ("options", "path = \"/v3/own\"\nmethods = [\"OPTIONS\"]\naccess = \"public\""),
        ("own", "path = \"/v3/own\"\nmethods = [\"PUT\"]"),
        ("asking", "path = \"/h/\"\nheaders = { x-a = \"1\" }\npreflight = \"forward\""),
        ("only", "path = \"/only/\"\nhosts = [\"only.example\"]\nmethods = [\"PUT\"]"),
    ]);
    let count = |route: &str, code: u16| {
        let sample =
            format!(r#"keyward_requests_total{{route="{route}",method="OPTIONS",code="{code}"}}"#);
        stage.gateway.metrics().count(&sample)
    };
    // The route names other methods, and another route takes OPTIONS.
    stage.passes(&preflight("/v3/x", "PUT"));
    stage.passes(&preflight("/v3/x", "POST"));
    assert_eq!(count("write", 200), 2);
    // The route of the request says `key`: an OPTIONS like any other, which finds its own route.
    stage.is_refused(&preflight("/v3/x", "GET"), 401, "missing_key");
    stage.is_refused(&preflight("/v3/x", "DELETE"), 401, "missing_key");
    assert_eq!(count("rest", 401), 2);
    stage.passes(&preflight("/v3/own", "PUT"));
    assert_eq!(count("options", 200), 1);
    // It does not bring the headers of the request.
    stage.is_refused(&preflight("/h/x", "GET"), 401, "missing_key");
    // A route that does not take OPTIONS, and says nothing of preflights.
    let ask = preflight("/only/x", "PUT").header("host", "only.example");
    stage.is_refused(&ask, 401, "missing_key");
    assert_eq!(count("rest", 401), 4);
}

#[test]
fn a_preflight_does_not_open_its_route_to_others() {
    let stage = Stage::new(&[(
        "put",
        "path = \"/v3/\"\nmethods = [\"PUT\"]\npreflight = \"forward\"\nstrip_prefix = true",
    )]);
    stage.passes(&preflight("/v3/x", "PUT"));
    assert_eq!(stage.upstream.last().target(), "/x");
    stage.is_refused(&preflight("/v3/x", "GET"), 405, "method_not_allowed");
    stage.is_refused(&preflight("/v4/x", "PUT"), 404, "no_route");
    stage.is_refused(&Ask::new("OPTIONS", "/v3/x").key(&stage.key), 405, "method_not_allowed");
    stage.is_refused(&Ask::with_body("PUT", "/v3/x", "hi"), 401, "missing_key");
}
