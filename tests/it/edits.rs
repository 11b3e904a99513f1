//! A route changes the headers that it says, on the way up and on the way down, and no others.

use serde_json::json;

use crate::support::ask::Ask;
use crate::support::gateway::{Gateway, Key};
use crate::support::http::Response;
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;

/// A gateway with one route that has `lines` beside its path.
fn start(upstream: &Upstream, lines: &str) -> (Gateway, Key) {
    let setup = Setup::empty().upstream("api", &[upstream.address()]);
    let gateway = Gateway::start(&setup.route("all", &format!("path = \"/\"\n{lines}")));
    let key = gateway.mint_as(&json!({ "name": "crm", "owner": "acme" }));
    (gateway, key)
}

#[test]
fn request_headers_are_removed_and_set() {
    let upstream = Upstream::echo();
    let (gateway, key) = start(
        &upstream,
        "set_request_headers = { authorization = \"Basic YTpi\", X-Tier = \"gold\" }
         remove_request_headers = [\"Cookie\", \"x-debug\"]",
    );
    let ask = Ask::get("/").key(&key).header("cookie", "a=b").header("cookie", "c=d");
    let ask = ask.header("X-Debug", "1").header("x-tier", "lead").header("X-Tier", "tin");
    let ask = ask.header("authorization", "Bearer theirs").header("x-other", "1");
    assert_eq!(ask.to(&gateway).status, 200);
    let seen = upstream.last();
    assert_eq!(seen.header("authorization"), Some("Basic YTpi"));
    assert_eq!(seen.header("x-tier"), Some("gold"));
    assert_eq!(seen.header("x-other"), Some("1"));
    for name in ["cookie", "x-debug", "api-key"] {
        assert!(seen.head.all(name).is_empty(), "{name}: {seen:?}");
    }
    assert_eq!(seen.header("x-keyward-owner"), Some("acme"));
    assert!(!gateway.log().contains("YTpi"), "{}", gateway.log());
}

#[test]
fn connection_cannot_take_out_what_a_route_sets() {
    let upstream = Upstream::echo();
    let (gateway, key) = start(&upstream, "set_request_headers = { x-tier = \"gold\" }");
    let ask = Ask::get("/").key(&key).header("connection", "x-tier").header("x-tier", "tin");
    assert_eq!(ask.to(&gateway).status, 200);
    assert_eq!(upstream.last().header("x-tier"), Some("gold"));
}

#[test]
fn nobody_says_below_the_body_what_the_route_removes_or_sets() {
    let upstream = Upstream::echo();
    let (gateway, key) = start(
        &upstream,
        "set_request_headers = { x-tier = \"gold\" }\nremove_request_headers = [\"x-debug\"]",
    );
    for name in ["x-tier", "X_Tier", "x-debug", "x_debug", "host", "content-length", "cookie"] {
        let ask = Ask::new("POST", "/").key(&key).header("transfer-encoding", "chunked");
        let ask = ask.header("trailer", &format!("x-check, {name}"));
        let mut client = gateway.client();
        client.send(ask.bytes());
        client.send(format!("2\r\nhi\r\n0\r\n{name}: 7\r\nx-check: 9\r\n\r\n"));
        assert_eq!(client.read().status, 200, "{name}");
        assert_eq!(upstream.last().trailers, [("x-check".to_owned(), "9".to_owned())], "{name}");
    }
}

#[test]
fn response_headers_are_removed_and_set() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nserver: secret/1.0\r\nx-powered-by: a\r\n\
          x-powered-by: b\r\ncache-control: public\r\nx-other: 1\r\nx-request-id: theirs\r\n\r\nok"
            .to_vec()
    });
    let (gateway, key) = start(
        &upstream,
        "set_response_headers = { Cache-Control = \"no-store\", x-frame-options = \"DENY\" }
         remove_response_headers = [\"Server\", \"x-powered-by\"]",
    );
    let answer = Ask::get("/").key(&key).to(&gateway);
    assert_eq!((answer.status, &*answer.body), (200, &b"ok"[..]));
    assert_eq!(answer.head.get("cache-control"), Some("no-store"));
    assert_eq!(answer.head.get("x-frame-options"), Some("DENY"));
    assert_eq!(answer.head.get("x-other"), Some("1"));
    for name in ["server", "x-powered-by"] {
        assert!(answer.head.all(name).is_empty(), "{name}: {answer:?}");
    }
    let id = answer.head.get("x-request-id").unwrap();
    assert_eq!(upstream.last().header("x-request-id"), Some(id));
}

#[test]
fn refusals_are_ours_and_no_route_changes_them() {
    let upstream = Upstream::echo();
    let (gateway, _key) = start(
        &upstream,
        "set_response_headers = { cache-control = \"public\", x-tier = \"gold\" }
         remove_response_headers = [\"content-type\", \"www-authenticate\"]",
    );
    let answer = Ask::get("/").to(&gateway);
    answer.assert_problem(401, "missing_key");
    assert_eq!(answer.head.get("cache-control"), Some("no-store"));
    assert!(answer.head.get("www-authenticate").is_some());
    assert_eq!(answer.head.get("x-tier"), None);
}

#[test]
fn a_route_waits_as_long_as_it_says_whatever_its_upstream_says() {
    let upstream = Upstream::scripted(|conversation| {
        let Some(request) = conversation.request()? else { return Ok(()) };
        if request.target().starts_with("/patient") {
            std::thread::sleep(std::time::Duration::from_secs(3));
            return conversation.send(crate::support::upstream::ok("late"));
        }
        conversation.head()?;
        Ok(())
    });
    let setup = Setup::empty().upstream("api", &[upstream.address()]);
    let setup = setup.upstream_line("response_timeout = \"1s\"");
    let setup = setup.route("patient", "path = \"/patient\"\nresponse_timeout = \"60s\"");
    let setup = setup.route("inherits", "path = \"/\"\nresponse_timeout = \"inherit\"");
    let setup = setup.upstream("slow", &[upstream.address()]);
    let setup = setup.route("hasty", "path = \"/hasty\"\nresponse_timeout = \"300ms\"");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    let ask = |path: &str| Ask::get(path).key(&key).to(&gateway);
    assert_eq!(ask("/patient").body, b"late");
    ask("/").assert_problem(504, "upstream_timeout");
    ask("/hasty").assert_problem(504, "upstream_timeout");
}

/// An answer to `ask`, and the next one over the same connection.
fn two_answers(gateway: &Gateway, key: &Key, ask: &Ask) -> [Response; 2] {
    let mut client = gateway.client();
    [client.ask(ask), client.ask(&Ask::get("/next").key(key))]
}

#[test]
fn an_answer_without_a_body_keeps_its_headers_and_its_connection() {
    let upstream = Upstream::answering(|request| match (request.method(), request.target()) {
        ("HEAD", "/chunked") => {
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx: 1\r\n\r\n".to_vec()
        }
        ("HEAD", _) => b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\nx: 1\r\n\r\n".to_vec(),
        (_, "/304") => {
            b"HTTP/1.1 304 Not Modified\r\ncontent-length: 1000\r\netag: \"e\"\r\nx: 1\r\n\r\n"
                .to_vec()
        }
        (_, "/204") => b"HTTP/1.1 204 No Content\r\nx: 1\r\n\r\n".to_vec(),
        _ => crate::support::upstream::ok("next"),
    });
    let (gateway, key) = start(&upstream, "");
    for (ask, status, length) in [
        (Ask::new("HEAD", "/"), 200, Some("1000")),
        (Ask::new("HEAD", "/chunked"), 200, None),
        (Ask::get("/304"), 304, Some("1000")),
        (Ask::get("/204"), 204, None),
    ] {
        let [answer, next] = two_answers(&gateway, &key, &ask.clone().key(&key));
        assert_eq!(answer.status, status, "{ask:?}");
        assert_eq!(answer.head.get("content-length"), length, "{ask:?}");
        assert_eq!(answer.head.get("x"), Some("1"), "{ask:?}");
        assert_eq!(next.body, b"next", "{ask:?}");
    }
    // One for each worker at most: nothing was left on a connection that another answer followed.
    assert!(upstream.connections() <= 4, "{} connections", upstream.connections());
}

#[test]
fn upgrade_goes_neither_up_nor_down_where_nobody_may() {
    let upstream = Upstream::echo();
    let (gateway, key) = start(&upstream, "upgrades = []");
    for protocol in ["websocket", "h2c", "h2c, websocket"] {
        let ask = Ask::get("/").key(&key).header("connection", "Upgrade, HTTP2-Settings");
        let ask = ask.header("upgrade", protocol).header("http2-settings", "AAMAAABkAAQ");
        assert_eq!(ask.to(&gateway).status, 200, "{protocol}");
        let seen = upstream.last();
        for name in ["connection", "upgrade", "http2-settings"] {
            assert!(seen.head.all(name).is_empty(), "{name}: {seen:?}");
        }
    }
}
