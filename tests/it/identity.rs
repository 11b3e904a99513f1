//! The upstream learns who asks from us, and believes nobody else's word for it.

use std::net::IpAddr;

use serde_json::json;

use crate::support::ask::{Ask, HOST};
use crate::support::client::Client;
use crate::support::gateway::{Gateway, Key};
use crate::support::setup::Setup;
use crate::support::upstream::{Received, Upstream};
use crate::support::wait::eventually;

struct Stage {
    upstream: Upstream,
    gateway: Gateway,
    key: Key,
}

impl Stage {
    fn new(line: &str) -> Self {
        let upstream = Upstream::echo();
        let gateway = Gateway::start(&Setup::to(upstream.address()).gateway(line));
        let key = gateway.mint_as(&json!({ "name": "crm", "owner": "acme" }));
        Self { upstream, gateway, key }
    }

    /// What the upstream gets of a request from `peer`.
    #[track_caller]
    fn forwarded_from(&self, peer: [u8; 4], ask: &Ask) -> Received {
        let mut client = Client::connect_from(IpAddr::from(peer), self.gateway.address());
        assert_eq!(client.ask(ask).status, 200, "{ask:?}");
        self.upstream.last()
    }

    #[track_caller]
    fn forwarded(&self, ask: &Ask) -> Received {
        self.forwarded_from([127, 0, 0, 1], ask)
    }
}

#[test]
fn the_upstream_is_told_whose_key_it_was() {
    let stage = Stage::new("");
    let seen = stage.forwarded(&Ask::get("/").key(&stage.key));
    assert_eq!(seen.header("x-keyward-key-id"), Some(&*stage.key.id));
    assert_eq!(seen.header("x-keyward-key-name"), Some("crm"));
    assert_eq!(seen.header("x-keyward-owner"), Some("acme"));
}

#[test]
fn nobody_is_named_where_no_key_was_needed() {
    let stage = Stage::new("");
    let seen = stage.forwarded(&Ask::get("/public/a").key(&stage.key));
    assert!(!seen.head.headers.iter().any(|(name, _)| name.starts_with("x-keyward")), "{seen:?}");
}

#[test]
fn names_are_percent_encoded_outside_visible_ascii() {
    let stage = Stage::new("");
    for (name, encoded) in [
        ("Zoë's CRM", "Zo%C3%AB's%20CRM"),
        ("100% ☃", "100%25%20%E2%98%83"),
        ("a\u{a0}b", "a%C2%A0b"),
        ("x: y, z; \"q\"", "x:%20y,%20z;%20\"q\""),
    ] {
        let key = stage.gateway.mint_as(&json!({ "name": name, "owner": name }));
        let seen = stage.forwarded(&Ask::get("/").key(&key));
        assert_eq!(seen.header("x-keyward-key-name"), Some(encoded));
        assert_eq!(seen.header("x-keyward-owner"), Some(encoded));
    }
}

#[test]
fn nobody_else_speaks_in_our_name() {
    let stage = Stage::new("");
    for name in [
        "x-keyward-owner",
        "X-Keyward-Owner",
        "X_Keyward_Owner",
        "x_keyward-owner",
        "X-KEYWARD_KEY_ID",
        "x-keyward-key-name",
        "x-keyward-anything",
        "x-keyward-",
    ] {
        for path in ["/", "/public/a"] {
            let ask = Ask::get(path).key(&stage.key);
            let seen = stage.forwarded(&ask.header(name, "spoofed").header(name, "spoofed"));
            assert!(
                seen.head.headers.iter().all(|(_, value)| value != "spoofed"),
                "{name}: {seen:?}"
            );
        }
    }
    let ask = Ask::get("/").key(&stage.key).header("connection", "x-keyward-owner");
    assert_eq!(stage.forwarded(&ask).header("x-keyward-owner"), Some("acme"));
}

#[test]
fn nobody_says_below_the_body_what_they_may_not_say_above_it() {
    let stage = Stage::new("trusted_proxies = [\"127.200.0.0/16\"]");
    for name in [
        "x-keyward-owner",
        "X_Keyward_Owner",
        "api-key",
        "api_key",
        "x-forwarded-for",
        "X_Forwarded_For",
        "forwarded",
        "x-real-ip",
        "x-request-id",
        "connection",
    ] {
        for peer in [[127, 0, 0, 1], [127, 200, 0, 1]] {
            let ask = Ask::new("POST", "/").key(&stage.key).header("trailer", "x-check");
            let ask = ask.header("trailer", name).header("transfer-encoding", "chunked");
            let mut client = Client::connect_from(IpAddr::from(peer), stage.gateway.address());
            client.send(ask.bytes());
            client.send(format!("2\r\nhi\r\n0\r\n{name}: spoofed\r\nx-check: 9\r\n\r\n"));
            assert_eq!(client.read().status, 200, "{name}");
            let seen = stage.upstream.last();
            assert_eq!(seen.header("trailer"), Some("x-check"));
            assert_eq!(seen.trailers, [("x-check".to_owned(), "9".to_owned())], "{name}");
        }
    }
}

#[test]
fn a_trusted_proxy_speaks_in_our_name_no_more_than_anyone() {
    let stage = Stage::new("trusted_proxies = [\"127.0.0.0/8\"]");
    let ask = Ask::get("/").key(&stage.key).header("x_keyward_owner", "spoofed");
    let seen = stage.forwarded(&ask.header("x-keyward-owner", "spoofed"));
    assert_eq!(seen.header("x-keyward-owner"), Some("acme"));
    assert_eq!(seen.header("x_keyward_owner"), None);
    let ask = Ask::get("/").key(&stage.key).header("x_forwarded_for", "10.1.2.3");
    let seen = stage.forwarded(&ask.header("x_real_ip", "10.1.2.3").header("X_Request_Id", "1"));
    for name in ["x_forwarded_for", "x_real_ip", "x_request_id"] {
        assert_eq!(seen.header(name), None);
    }
}

#[test]
fn the_upstream_is_told_where_a_request_came_from() {
    let stage = Stage::new("");
    let seen = stage.forwarded_from([127, 9, 8, 7], &Ask::get("/").key(&stage.key));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.9.8.7"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some(HOST));
    assert_eq!(seen.header("host"), Some(HOST));
}

/// What strangers say to look like somebody else.
const SPOOFS: [&[(&str, &str)]; 8] = [
    &[("X-Forwarded-For", "10.1.2.3")],
    &[("X-Forwarded-For", "10.1.2.3"), ("X-Forwarded-For", "10.1.2.3")],
    &[("Forwarded", "for=10.1.2.3;proto=https;host=other.example")],
    &[("X-Real-IP", "10.1.2.3"), ("X_Real_IP", "10.1.2.3")],
    &[("X_Forwarded_For", "10.1.2.3"), ("x-forwarded_for", "10.1.2.3")],
    &[("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "other.example")],
    &[("X-Forwarded-For", "10.1.2.3"), ("Connection", "x-forwarded-for")],
    &[("X-Forwarded-Server", "10.1.2.3"), ("X-Forwarded-Port", "1")],
];

fn spoofed(ask: Ask, lines: &[(&str, &str)]) -> Ask {
    lines.iter().fold(ask, |ask, (name, value)| ask.header(name, value))
}

#[test]
fn a_stranger_cannot_look_like_somebody_else_to_the_upstream() {
    // Somebody is trusted, and it is not the one who asks.
    let stage = Stage::new("trusted_proxies = [\"127.200.0.0/16\"]");
    for lines in SPOOFS {
        let seen = stage.forwarded(&spoofed(Ask::get("/").key(&stage.key), lines));
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"), "{lines:?}");
        assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
        assert_eq!(seen.header("x-forwarded-host"), Some(HOST));
        let shown = format!("{seen:?}");
        assert!(!shown.contains("10.1.2.3") && !shown.contains("other.example"), "{shown}");
    }
}

#[test]
fn a_stranger_cannot_look_like_somebody_else_to_the_gate() {
    let stage = Stage::new("trusted_proxies = [\"127.200.0.0/16\"]");
    let key =
        stage.gateway.mint_as(&json!({ "name": "office", "allow_addresses": ["10.1.2.3/32"] }));
    for lines in SPOOFS {
        let answer = spoofed(Ask::get("/").key(&key), lines).to(&stage.gateway);
        answer.assert_problem(403, "address_not_allowed");
    }
    assert_eq!(stage.upstream.asked(), 0);
    let chain = Ask::get("/").key(&key).header("x-forwarded-for", "10.1.2.3");
    stage.forwarded_from([127, 200, 0, 1], &chain);
    let claim = Ask::get("/").key(&key).header("x-forwarded-for", "10.1.2.3, 10.9.9.9");
    let mut proxy = Client::connect_from(IpAddr::from([127, 200, 0, 1]), stage.gateway.address());
    proxy.ask(&claim).assert_problem(403, "address_not_allowed");
}

#[test]
fn who_a_trusted_proxy_cannot_name_is_not_taken_for_the_proxy() {
    let stage = Stage::new("trusted_proxies = [\"127.200.0.0/16\"]");
    let inside =
        stage.gateway.mint_as(&json!({ "name": "in", "allow_addresses": ["127.0.0.0/8"] }));
    let from_proxy = |ask: Ask| {
        let proxy = IpAddr::from([127, 200, 0, 1]);
        Client::connect_from(proxy, stage.gateway.address()).ask(&ask.key(&inside))
    };
    assert_eq!(from_proxy(Ask::get("/")).status, 200);
    for chain in ["unknown", "127.1.2.3, unix:", "127.1.2.3, ", "127.1.2.3,,127.200.0.2"] {
        let answer = from_proxy(Ask::get("/").header("x-forwarded-for", chain));
        answer.assert_problem(403, "address_not_allowed");
    }
}

#[test]
fn a_network_of_ipv4_addresses_is_one_however_it_is_written() {
    let stage = Stage::new("");
    let networks = ["::ffff:127.9.0.0/112", "::ffff:127.8.0.1"];
    let key = stage.gateway.mint_as(&json!({ "name": "in", "allow_addresses": networks }));
    for (peer, status) in [([127, 9, 8, 7], 200), ([127, 8, 0, 1], 200), ([127, 8, 0, 2], 403)] {
        let mut client = Client::connect_from(IpAddr::from(peer), stage.gateway.address());
        assert_eq!(client.ask(&Ask::get("/").key(&key)).status, status, "{peer:?}");
    }
}

#[test]
fn a_bearer_key_does_not_go_up_whatever_stands_before_it() {
    let stage = Stage::new("accept_bearer = true");
    for separator in [" ", "\t", " \t ", "   "] {
        for path in ["/public/a", "/"] {
            let value = format!("Bearer{separator}{}", stage.key.plaintext);
            let seen = stage.forwarded(&Ask::get(path).header("authorization", &value));
            assert_eq!(seen.header("authorization"), None, "{separator:?}");
        }
    }
}

#[test]
fn a_trusted_proxys_chain_is_kept_and_appended_to() {
    let stage = Stage::new("trusted_proxies = [\"127.200.0.0/16\"]");
    let from_proxy = |ask: Ask| stage.forwarded_from([127, 200, 0, 1], &ask.key(&stage.key));
    let seen = from_proxy(Ask::get("/").header("x-forwarded-for", "198.51.100.7, 10.0.0.9"));
    assert_eq!(seen.header("x-forwarded-for"), Some("198.51.100.7, 10.0.0.9, 127.200.0.1"));
    let lines = Ask::get("/").header("x-forwarded-for", "198.51.100.7");
    let seen = from_proxy(lines.header("X-Forwarded-For", "10.0.0.9"));
    assert_eq!(seen.header("x-forwarded-for"), Some("198.51.100.7, 10.0.0.9, 127.200.0.1"));
    let told = Ask::get("/").header("x-forwarded-proto", "https");
    let seen = from_proxy(told.header("x-forwarded-host", "www.example.com"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("www.example.com"));
}

#[test]
fn the_access_log_names_who_asked_and_not_the_proxy_between() {
    let upstream = Upstream::echo();
    let setup = Setup::to(upstream.address()).log("access = true");
    let gateway = Gateway::start(&setup.gateway("trusted_proxies = [\"127.200.0.0/16\"]"));
    let key = gateway.mint("crm");
    for (peer, named) in [([127, 200, 0, 1], "198.51.100.7"), ([127, 9, 9, 9], "127.9.9.9")] {
        let path = format!("/from-{named}");
        let ask = Ask::get(&path).key(&key).header("x-forwarded-for", "198.51.100.7");
        let mut client = Client::connect_from(IpAddr::from(peer), gateway.address());
        assert_eq!(client.ask(&ask).status, 200);
        eventually("it is in the access log", || gateway.log().contains(&path));
        let log = gateway.log();
        let line = log.lines().find(|it| it.contains(&path)).unwrap();
        assert!(line.contains(&format!("\"client_ip\":\"{named}\"")), "{line}");
    }
}

#[test]
fn a_request_id_is_made_unless_a_trusted_proxy_brings_one() {
    let stage = Stage::new("trusted_proxies = [\"127.200.0.0/16\"]");
    let long = "i".repeat(129);
    for (peer, brought, is_kept) in [
        ([127, 200, 0, 1], "id-1", true),
        ([127, 200, 0, 1], &long[1..], true),
        ([127, 200, 0, 1], &*long, false),
        ([127, 200, 0, 1], "two words", false),
        ([127, 0, 0, 1], "id-1", false),
    ] {
        let ask = Ask::get("/").key(&stage.key).header("x-request-id", brought);
        let mut client = Client::connect_from(IpAddr::from(peer), stage.gateway.address());
        let answer = client.ask(&ask);
        let told = answer.head.get("x-request-id").unwrap().to_owned();
        assert_eq!(stage.upstream.last().header("x-request-id"), Some(&*told));
        assert_eq!(told == brought, is_kept, "{brought} from {peer:?} became {told}");
    }
}

#[test]
fn every_request_has_an_id_of_its_own() {
    let stage = Stage::new("");
    let mut client = stage.gateway.client();
    let ids = (0..100).map(|_| client.ask(&Ask::get("/").key(&stage.key)).head);
    let mut ids: Vec<String> = ids.map(|it| it.get("x-request-id").unwrap().to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 100);
}

#[test]
fn a_trace_goes_through() {
    let stage = Stage::new("");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let ask = Ask::get("/").key(&stage.key).header("traceparent", trace);
    let seen = stage.forwarded(&ask.header("tracestate", "a=1").header("cookie", "a=b"));
    assert_eq!(seen.header("traceparent"), Some(trace));
    assert_eq!(seen.header("tracestate"), Some("a=1"));
    assert_eq!(seen.header("cookie"), Some("a=b"));
}

#[test]
fn what_concerns_one_connection_does_not_go_up() {
    let stage = Stage::new("");
    let hops = [
        ("connection", "keep-alive, x-mine"),
        ("x-mine", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic YTpi"),
        ("te", "gzip"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
    ];
    let seen = stage.forwarded(&spoofed(Ask::get("/").key(&stage.key), &hops));
    for (name, _) in hops {
        assert!(seen.head.all(name).is_empty(), "{name}: {seen:?}");
    }
    let named =
        Ask::get("/").key(&stage.key).header("connection", "host, x-request-id, x-forwarded-for");
    let seen = stage.forwarded(&named);
    assert_eq!(seen.header("host"), Some(HOST));
    assert!(seen.header("x-request-id").is_some() && seen.header("x-forwarded-for").is_some());
}

#[test]
fn what_concerns_one_connection_does_not_come_down() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive, x-mine\r\nx-mine: 1\r\n\
          keep-alive: timeout=5\r\nproxy-authenticate: Basic\r\nupgrade: h2c\r\nx-kept: 1\r\n\
          set-cookie: a=1\r\nset-cookie: b=2\r\n\r\nok"
            .to_vec()
    });
    let gateway = Gateway::start(&Setup::to(upstream.address()));
    let answer = Ask::get("/").key(&gateway.mint("crm")).to(&gateway);
    for name in ["connection", "x-mine", "keep-alive", "proxy-authenticate", "upgrade"] {
        assert!(answer.head.all(name).is_empty(), "{name}: {:?}", answer.head);
    }
    assert_eq!(answer.head.get("x-kept"), Some("1"));
    assert_eq!(answer.head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.body, b"ok");
}
