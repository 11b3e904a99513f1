//! Who shows no good key is told why, in one form, and no key goes any further.

use rusqlite::Connection;
use serde_json::Value;

use crate::support::ask::Ask;
use crate::support::gateway::{Gateway, Key};
use crate::support::http::Response;
use crate::support::setup::Setup;
use crate::support::streams::Endless;
use crate::support::upstream::Upstream;
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
        let key = gateway.mint("crm");
        Self { upstream, gateway, key }
    }

    #[track_caller]
    fn refused(&self, ask: &Ask, code: &str) -> Response {
        let before = self.upstream.asked();
        let answer = ask.to(&self.gateway);
        answer.assert_problem(401, code);
        let challenge = r#"ApiKey realm="keyward", header="api-key""#;
        assert_eq!(answer.head.get("www-authenticate"), Some(challenge));
        assert_eq!(self.upstream.asked(), before, "the upstream was asked");
        answer
    }

    #[track_caller]
    fn let_in(&self, ask: &Ask) {
        assert_eq!(ask.to(&self.gateway).status, 200, "{ask:?}");
    }
}

#[test]
fn a_good_key_is_let_in_and_goes_no_further() {
    let stage = Stage::new("");
    for name in ["api-key", "Api-Key", "API-KEY"] {
        stage.let_in(&Ask::get("/").header(name, &stage.key.plaintext));
    }
    let seen = stage.upstream.bytes().concat();
    let secret = stage.key.plaintext.rsplit('_').next().unwrap().as_bytes();
    assert!(!seen.windows(secret.len()).any(|it| it == secret), "the upstream saw the key");
}

#[test]
fn a_problem_has_exactly_its_members() {
    let stage = Stage::new("");
    let answer = stage.refused(&Ask::get("/"), "missing_key");
    let document = answer.json();
    let names: Vec<&String> = document.as_object().unwrap().keys().collect();
    assert_eq!(names, ["code", "detail", "request_id", "status", "title", "type"]);
    assert_eq!(document["request_id"].as_str(), answer.head.get("x-request-id"));
    assert_eq!(answer.head.get("content-length"), Some(&*answer.body.len().to_string()));
    assert_eq!(answer.head.get("cache-control"), Some("no-store"));
}

#[test]
fn no_key_is_a_missing_key() {
    let stage = Stage::new("");
    stage.refused(&Ask::get("/"), "missing_key");
    let key = &stage.key.plaintext;
    stage.refused(&Ask::get(&format!("/?api-key={key}")), "missing_key");
    stage.refused(&Ask::get("/").header("cookie", &format!("api-key={key}")), "missing_key");
    stage.refused(&Ask::get("/").header("x-api-key", key), "missing_key");
    stage.refused(&Ask::get("/").header("api_key", key), "missing_key");
}

#[test]
fn what_cannot_be_a_key_is_malformed() {
    let stage = Stage::new("");
    let good = &stage.key.plaintext;
    let swapped = {
        let mut bytes = good.clone().into_bytes();
        let place = (20..50).find(|it| bytes[*it] != bytes[it + 1]).unwrap();
        bytes.swap(place, place + 1);
        String::from_utf8(bytes).unwrap()
    };
    let shown = [
        String::new(),
        "secret".to_owned(),
        good[..good.len() - 1].to_owned(),
        format!("{good}0"),
        format!("{good}, {good}"),
        format!("Bearer {good}"),
        format!("\"{good}\""),
        good.to_uppercase(),
        good.replacen("kw_", "kv_", 1),
        swapped,
        "k\u{e9}y".to_owned(),
        "k".repeat(20_000),
    ];
    for text in shown {
        stage.refused(&Ask::get("/").header("api-key", &text), "malformed_key");
    }
}

#[test]
fn an_unknown_id_and_a_wrong_secret_are_not_told_apart() {
    let stage = Stage::new("");
    let unknown = stage.refused(&Ask::get("/").key(&Key::unknown()), "unknown_key");
    let wrong = stage.refused(&Ask::get("/").key(&stage.key.with_another_secret()), "unknown_key");
    let bare = |answer: &Response| {
        let mut document = answer.json();
        document["request_id"] = Value::Null;
        (document, answer.head.headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>())
    };
    assert_eq!(bare(&unknown), bare(&wrong));
    stage.let_in(&Ask::get("/").key(&stage.key));
}

#[test]
fn more_than_one_key_is_ambiguous() {
    let stage = Stage::new("key_headers = [\"api-key\", \"x-api-key\"]");
    let other = stage.gateway.mint("other");
    let (one, two) = (&stage.key.plaintext, &other.plaintext);
    stage.let_in(&Ask::get("/").header("x-api-key", one));
    assert_eq!(stage.upstream.last().header("x-api-key"), None);
    for lines in [
        [("api-key", one), ("api-key", two)],
        [("api-key", one), ("api-key", one)],
        [("api-key", one), ("x-api-key", two)],
        [("api-key", one), ("x-api-key", &String::new())],
    ] {
        let ask = lines.iter().fold(Ask::get("/"), |ask, (name, value)| ask.header(name, value));
        stage.refused(&ask, "ambiguous_key");
    }
}

#[test]
fn a_key_header_is_removed_on_public_routes_too() {
    let stage = Stage::new("");
    for value in [&*stage.key.plaintext, "anything", ""] {
        stage.let_in(&Ask::get("/public/a").header("api-key", value).header("api-key", value));
        assert_eq!(stage.upstream.last().header("api-key"), None);
    }
}

#[test]
fn a_bearer_value_is_none_of_our_business_unless_it_is_asked_for() {
    let stage = Stage::new("");
    let bearer = format!("Bearer {}", stage.key.plaintext);
    stage.refused(&Ask::get("/").header("authorization", &bearer), "missing_key");
    stage.let_in(&Ask::get("/").key(&stage.key).header("authorization", "Bearer eyJ.a.b"));
    assert_eq!(stage.upstream.last().header("authorization"), Some("Bearer eyJ.a.b"));
}

#[test]
fn a_bearer_value_that_is_a_key_of_ours_is_accepted_where_it_is_asked_for() {
    let stage = Stage::new("accept_bearer = true");
    let bearer = |scheme: &str| format!("{scheme} {}", stage.key.plaintext);
    for scheme in ["Bearer", "bearer", "BEARER "] {
        stage.let_in(&Ask::get("/").header("authorization", &bearer(scheme)));
        assert_eq!(stage.upstream.last().header("authorization"), None);
    }
    stage.let_in(&Ask::get("/").key(&stage.key).header("authorization", "Bearer eyJ.a.b"));
    assert_eq!(stage.upstream.last().header("authorization"), Some("Bearer eyJ.a.b"));
    let both = Ask::get("/").key(&stage.key).header("authorization", &bearer("Bearer"));
    stage.refused(&both, "ambiguous_key");
    stage.refused(&Ask::get("/").header("authorization", "Bearer kw_x"), "malformed_key");
    stage.refused(&Ask::get("/").header("authorization", "Bearer eyJ.a.b"), "missing_key");
    stage.refused(&Ask::get("/").header("authorization", &bearer("Basic")), "missing_key");
}

#[test]
fn an_operators_token_opens_nothing_on_the_data_plane() {
    let stage = Stage::new("accept_bearer = true");
    let token = stage.gateway.operator_token();
    let asks = [
        Ask::get("/").header("api-key", &token),
        Ask::get("/").header("authorization", &format!("Bearer {token}")),
    ];
    for ask in asks {
        assert_eq!(ask.to(&stage.gateway).status, 401);
    }
    assert_eq!(stage.upstream.asked(), 0);
}

#[test]
fn a_refused_request_leaves_its_connection_usable() {
    let stage = Stage::new("");
    let mut client = stage.gateway.client();
    for _ in 0..3 {
        client.ask(&Ask::get("/")).assert_problem(401, "missing_key");
        client.ask(&Ask::post("/", "small")).assert_problem(401, "missing_key");
        assert_eq!(client.ask(&Ask::get("/").key(&stage.key)).status, 200);
    }
}

#[test]
fn a_revoked_key_is_told_so_and_a_wrong_secret_for_it_is_not() {
    let stage = Stage::new("");
    let ask = Ask::get("/").key(&stage.key);
    stage.let_in(&ask);
    let receipt = stage.gateway.revoke(&stage.key.id);
    assert_eq!(receipt["state"], "revoked");
    assert_eq!(receipt["propagation"]["complete"], true);
    stage.refused(&ask, "revoked_key");
    stage.refused(&Ask::get("/").key(&stage.key.with_another_secret()), "unknown_key");
}

#[test]
fn keys_begin_with_the_prefix_that_was_asked_for() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Setup::to(upstream.address()).keys("prefix = \"acme\""));
    let key = gateway.mint("crm");
    assert!(key.plaintext.starts_with("acme_"), "{}", key.id);
    assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
}

#[test]
fn no_key_stands_in_a_log_at_the_most_verbose_level() {
    let upstream = Upstream::echo();
    let setup = Setup::to(upstream.address()).log("level = \"trace\"").log("access = true");
    let gateway = Gateway::start(&setup);
    let (key, unknown) = (gateway.mint("crm"), Key::unknown());
    let shown = [&key, &unknown, &key.with_another_secret()].map(|it| it.plaintext.clone());
    for text in &shown {
        Ask::get(&format!("/?api-key={text}")).header("api-key", text).to(&gateway);
        Ask::get("/public/a").header("api-key", text).to(&gateway);
        Ask::get("/").header("api-key", text).header("api-key", text).to(&gateway);
        Ask::get("/").header("api-key", &text[1..]).to(&gateway);
    }
    gateway.revoke(&key.id);
    eventually("all requests are in the log", || gateway.log().matches("request_id").count() >= 12);
    let log = gateway.log();
    for text in shown.iter().chain([&gateway.operator_token()]) {
        let secret = &text[text.len() - 49..];
        assert!(!log.contains(secret), "a secret was written");
    }
}

#[test]
fn who_cannot_be_checked_any_more_is_not_told_that_the_key_is_bad() {
    let endless = Endless::start();
    let setup = Setup::to(endless.upstream().address()).store("serve_known_for = \"1s\"");
    let setup = setup.store("lease = \"1s\"").store("response_timeout = \"500ms\"");
    let gateway = Gateway::start(&setup);
    let key = gateway.mint("crm");
    let mut client = gateway.client();
    client.send(Ask::get("/wait").key(&key).bytes());
    eventually("it is under way", || endless.upstream().asked() == 1);
    let store = Connection::open(gateway.file("keyward.db")).unwrap();
    store.execute_batch("BEGIN EXCLUSIVE").unwrap();
    client.read().assert_problem(503, "store_unreachable");
    Ask::get("/").key(&key).to(&gateway).assert_problem(503, "store_unreachable");
    assert!(!gateway.log().contains("revoked"), "{}", gateway.log());
    drop(store);
    eventually("the store is there again", || gateway.readiness() == Some(200));
    assert_eq!(gateway.metrics().count("keyward_requests_cut_total"), 1);
}
