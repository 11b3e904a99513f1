//! What is typed is done, at the gateway that is meant, and said in words or in a document.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::address::fresh;
use crate::support::ask::Ask;
use crate::support::commands::Shell;
use crate::support::gateway::{Gateway, Key};
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::wait::eventually;

struct Stage {
    _upstream: Upstream,
    gateway: Gateway,
    operator: Shell,
}

impl Stage {
    fn new() -> Self {
        let upstream = Upstream::echo();
        let setup = Setup::to(upstream.address()).route("orders", "path = \"/orders/\"");
        let gateway = Gateway::start(&setup);
        let operator = Shell::of_operator(&gateway);
        Self { _upstream: upstream, gateway, operator }
    }

    /// Mints a key by typing.
    #[track_caller]
    fn create(&self, arguments: &[&str]) -> Key {
        let minted = self.operator.document(&[&["keys", "create"], arguments].concat());
        let text = |name: &str| minted[name].as_str().unwrap().to_owned();
        Key { id: text("id"), plaintext: text("key") }
    }

    /// Shows a key at the proxy; the code of its refusal, `None` where it is let in.
    #[track_caller]
    fn refusal(&self, key: &Key, path: &str) -> Option<String> {
        let answer = Ask::get(path).key(key).to(&self.gateway);
        (answer.status != 200).then(|| answer.json()["code"].as_str().unwrap().to_owned())
    }

    #[track_caller]
    fn assert_refused(&self, key: &Key, path: &str, code: &str) {
        assert_eq!(self.refusal(key, path).as_deref(), Some(code), "{path}");
    }

    #[track_caller]
    fn assert_let_in(&self, key: &Key, path: &str) {
        assert_eq!(self.refusal(key, path), None, "{path}");
    }
}

/// The ids in a page, in its order.
#[track_caller]
fn ids(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|it| it["id"].as_str().unwrap().to_owned()).collect()
}

/// A table's lines without its header.
fn rows(table: &str) -> Vec<&str> {
    table.lines().skip(1).collect()
}

#[test]
fn a_new_key_stands_alone_on_standard_output_and_opens_the_gateway() {
    let stage = Stage::new();
    let said = stage.operator.types(&["keys", "create", "--name", "crm"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let plaintext = said.out.strip_suffix('\n').unwrap();
    assert!(plaintext.starts_with("kw_") && !plaintext.contains(char::is_whitespace));
    let id = plaintext.split('_').nth(1).unwrap();
    assert!(said.err.contains(id) && said.err.contains("\"crm\""), "{}", said.err);
    assert!(said.err.contains(&plaintext[plaintext.len() - 4..]), "{}", said.err);
    assert!(said.err.contains("known by 1 of 1 gateway"), "{}", said.err);
    assert!(!said.err.contains(plaintext), "{}", said.err);
    stage.assert_let_in(&Key { id: id.to_owned(), plaintext: plaintext.to_owned() }, "/");
}

#[test]
fn a_new_key_has_everything_that_was_typed() {
    let stage = Stage::new();
    let words = ["keys", "create", "--name", "crm", "--owner", "acme", "--expires-in", "30d"];
    let more = ["--route", "orders", "--allow-address", "127.0.0.0/8", "--metadata", "{\"a\":1}"];
    let said = stage.operator.types(&[&words[..], &more, &["-o", "json"]].concat());
    assert_eq!(said.code, Some(0), "{said:?}");
    let minted: Value = serde_json::from_str(&said.out).unwrap();
    let expected = json!({
        "name": "crm", "owner": "acme", "routes": ["orders"],
        "allow_addresses": ["127.0.0.0/8"], "metadata": { "a": 1 }, "state": "active",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&minted[name], value, "{name}");
    }
    assert!(minted["expires_at"].is_string() && minted["propagation"]["complete"] == true);
    let text = |name: &str| minted[name].as_str().unwrap().to_owned();
    let key = Key { id: text("id"), plaintext: text("key") };
    assert!(!said.err.contains(&key.plaintext), "{}", said.err);
    stage.assert_let_in(&key, "/orders/1");
    stage.assert_refused(&key, "/contacts/1", "route_not_allowed");

    let shown = stage.operator.document(&["keys", "show", &key.id]);
    assert_eq!((&shown["name"], &shown["key"]), (&json!("crm"), &Value::Null));
}

#[test]
fn under_one_idempotency_key_a_key_is_minted_once_and_the_second_call_says_so() {
    let stage = Stage::new();
    let words = ["keys", "create", "--name", "crm", "--idempotency-key", "deploy-7"];
    let first = stage.operator.done(&words);
    let id = first.split('_').nth(1).unwrap();
    stage.operator.fails(&words, 1, &["nothing was minted", id, "keys revoke"]);
    assert_eq!(ids(&stage.operator.document(&["keys", "list"])), [id]);
    let other = ["keys", "create", "--name", "shop", "--idempotency-key", "deploy-7"];
    stage.operator.fails(&other, 1, &["idempotency_conflict"]);
}

#[test]
fn keys_are_listed_newest_first_without_their_plaintexts() {
    let stage = Stage::new();
    let keys = [("crm", "acme"), ("shop", "acme"), ("bot", "globex")]
        .map(|(name, owner)| stage.create(&["--name", name, "--owner", owner]));
    stage.operator.done(&["keys", "revoke", &keys[2].id]);
    let table = stage.operator.done(&["keys", "list"]);
    assert!(table.starts_with("ID "), "{table}");
    let lines = rows(&table);
    for (line, (key, words)) in lines.iter().zip([
        (&keys[2], ["bot", "globex", "revoked"]),
        (&keys[1], ["shop", "acme", "active"]),
        (&keys[0], ["crm", "acme", "active"]),
    ]) {
        assert!(line.starts_with(&key.id) && words.iter().all(|it| line.contains(it)), "{line}");
    }
    assert_eq!(lines.len(), 3);
    let secrets = keys.clone().map(|it| it.plaintext);
    assert!(secrets.iter().all(|it| !table.contains(it)));

    let listed = |arguments: &[&str]| {
        ids(&stage.operator.document(&[&["keys", "list"], arguments].concat()))
    };
    let [crm, shop, bot] = keys.map(|it| it.id);
    assert_eq!(listed(&[]), [&*bot, &*shop, &*crm]);
    assert_eq!(listed(&["--owner", "acme"]), [&*shop, &*crm]);
    assert_eq!(listed(&["--state", "revoked"]), [&*bot]);
    assert_eq!(listed(&["--q", "sho"]), [&*shop]);
    assert_eq!(listed(&["--limit", "1"]), [&*bot]);
    let page = stage.operator.document(&["keys", "list", "--limit", "1"]);
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(listed(&["--limit", "1", "--cursor", cursor]), [&*shop]);
    let cut = stage.operator.types(&["keys", "list", "--limit", "2"]);
    assert!(cut.err.contains("--all"), "{cut:?}");
    let text = stage.operator.done(&["keys", "list", "-o", "json"]);
    assert!(secrets.iter().all(|it| !text.contains(it)));
}

#[test]
fn all_keys_are_listed_however_many_pages_they_fill() {
    let stage = Stage::new();
    let mut minted: Vec<String> =
        stage.gateway.mint_many(503).into_iter().map(|it| it.id).collect();
    let page = stage.operator.document(&["keys", "list", "--all"]);
    assert_eq!(page["next_cursor"], Value::Null);
    let mut listed = ids(&page);
    minted.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, minted);
    let said = stage.operator.types(&["keys", "list", "--all"]);
    assert_eq!((rows(&said.out).len(), &*said.err), (503, ""));
}

#[test]
fn a_change_holds_at_the_proxy_when_it_is_said() {
    let stage = Stage::new();
    let key = stage.create(&["--name", "crm"]);
    let update = |arguments: &[&str]| {
        stage.operator.types(&[&["keys", "update", &key.id], arguments].concat())
    };
    let disabled = update(&["--disable"]);
    assert_eq!(disabled.code, Some(0), "{disabled:?}");
    assert!(disabled.out.contains("disabled") && disabled.out.contains(&key.id));
    assert!(disabled.err.contains("known by 1 of 1 gateway"), "{disabled:?}");
    stage.assert_refused(&key, "/", "disabled_key");
    assert_eq!(update(&["--enable"]).code, Some(0));
    stage.assert_let_in(&key, "/");
    assert_eq!(update(&["--route", "orders"]).code, Some(0));
    stage.assert_refused(&key, "/", "route_not_allowed");
    assert_eq!(update(&["--clear-routes", "--allow-address", "10.0.0.0/8"]).code, Some(0));
    stage.assert_refused(&key, "/", "address_not_allowed");
    assert_eq!(update(&["--clear-allow-addresses", "--owner", "acme"]).code, Some(0));
    stage.assert_let_in(&key, "/");
    let shown = stage.operator.document(&["keys", "show", &key.id]);
    assert_eq!((&shown["owner"], &shown["routes"]), (&json!("acme"), &Value::Null));

    let revision = shown["revision"].as_u64().unwrap();
    let former = (revision - 1).to_string();
    let words = ["keys", "update", &key.id, "--name", "other", "--if-match", &former];
    stage.operator.fails(&words, 1, &["revision_conflict"]);
    let current = revision.to_string();
    assert_eq!(update(&["--name", "other", "--if-match", &current]).code, Some(0));
    let table = stage.operator.done(&["keys", "show", &key.id]);
    let name = table.lines().find(|it| it.starts_with("name")).unwrap();
    assert!(name.ends_with(" other"), "{table}");
}

#[test]
fn a_revocation_shows_its_receipt_and_holds_at_once() {
    let stage = Stage::new();
    let [first, second, third] =
        ["first", "second", "third"].map(|it| stage.create(&["--name", it]));
    let receipt = stage.operator.done(&["keys", "revoke", &first.id]);
    assert!(receipt.starts_with(&format!("{} is revoked at ", first.id)), "{receipt}");
    assert!(receipt.contains("confirmed by 1 of 1 gateway"), "{receipt}");
    assert!(receipt.contains(&stage.gateway.id()), "{receipt}");
    stage.assert_refused(&first, "/", "revoked_key");

    let document = stage.operator.document(&["keys", "revoke", &second.id]);
    assert_eq!(document["state"], "revoked");
    assert_eq!(document["propagation"]["complete"], true);
    stage.assert_refused(&second, "/", "revoked_key");

    // One that is not known does not keep the others from being revoked.
    let words = ["keys", "revoke", NOBODY, &third.id];
    let said = stage.operator.types(&words);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains(NOBODY) && said.err.contains("not_found"), "{said:?}");
    assert!(said.out.contains(&third.id) && !said.out.contains(NOBODY), "{said:?}");
    stage.assert_refused(&third, "/", "revoked_key");
    stage.operator.fails(&["keys", "update", &third.id, "--enable"], 1, &["revoked"]);
}

#[test]
fn an_operators_token_does_what_it_may_until_it_is_revoked() {
    let stage = Stage::new();
    let words = ["operators", "create", "--name", "ci", "--permission", "keys:read,fleet:read"];
    let said = stage.operator.types(&words);
    assert_eq!(said.code, Some(0), "{said:?}");
    let token = said.out.strip_suffix('\n').unwrap();
    assert!(token.starts_with("kwop_") && !token.contains(char::is_whitespace));
    assert!(!said.err.contains(token) && said.err.contains("\"ci\""), "{}", said.err);
    let id = token.split('_').nth(1).unwrap();

    let ci = Shell::beside(&stage.gateway).with("KEYWARD_ADMIN_TOKEN", token);
    ci.done(&["keys", "list"]);
    ci.done(&["fleet", "list"]);
    ci.fails(&["keys", "create", "--name", "x"], 1, &["permission_denied", "keys:create"]);
    ci.fails(&["operators", "list"], 1, &["permission_denied", "operators:manage"]);

    let table = stage.operator.done(&["operators", "list"]);
    let lines = rows(&table);
    let own = lines.iter().find(|it| it.starts_with(id)).unwrap();
    assert!(own.contains("keys:read fleet:read") && own.contains("active"), "{table}");
    assert!(lines.iter().any(|it| it.contains(" all ")), "{table}");
    assert_eq!(stage.operator.document(&["operators", "list"])["items"][0]["id"], id);

    let receipt = stage.operator.done(&["operators", "revoke", id]);
    assert!(receipt.starts_with(&format!("{id} is revoked")), "{receipt}");
    ci.fails(&["keys", "list"], 1, &["unknown_token", "revoked"]);

    let minted = stage.operator.document(&words);
    assert!(minted["token"].as_str().unwrap().starts_with("kwop_"));
    let unknown = ["operators", "create", "--name", "x", "--permission", "keys:mint"];
    stage.operator.fails(&unknown, 2, &["keys:mint", "keys:create"]);
    let first = stage.operator.document(&["operators", "list"]);
    let first = ids(&first).pop().unwrap();
    let words = ["operators", "revoke", &*first];
    let said = stage.operator.types(&words);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("state_conflict"), "{said:?}");
}

#[test]
fn the_gateways_are_listed_and_the_one_that_answers_cannot_be_forgotten() {
    let stage = Stage::new();
    let id = stage.gateway.id();
    stage.create(&["--name", "crm"]);
    let table = stage.operator.done(&["fleet", "list"]);
    let [line] = rows(&table)[..] else { panic!("{table}") };
    assert!(line.starts_with(&id) && line.contains(" live "), "{table}");
    assert!(line.contains(env!("CARGO_PKG_VERSION")) && line.contains(" yes "), "{table}");
    let page = stage.operator.document(&["fleet", "list"]);
    assert_eq!(ids(&page), [&*id]);
    assert_eq!(
        (&page["items"][0]["state"], &page["items"][0]["complete"]),
        (&json!("live"), &json!(true))
    );
    stage.operator.fails(&["fleet", "forget", &id], 1, &["state_conflict"]);
    stage.operator.fails(&["fleet", "forget", "gw_0000000000000000"], 1, &["not_found"]);
}

#[test]
fn a_healthcheck_tells_ready_from_draining_from_gone() {
    let upstream = Upstream::echo();
    let setup = Setup::to(upstream.address()).gateway("drain_delay = \"60s\"");
    let mut gateway = Gateway::start(&setup);
    // It needs no token.
    let anyone = Shell::beside(&gateway);
    assert_eq!(anyone.done(&["healthcheck"]), "ready\n");
    let url = format!("http://{}", gateway.admin_address());
    let elsewhere = anyone.clone().with("KEYWARD_ADMIN_URL", "http://127.0.0.1:1");
    assert_eq!(elsewhere.done(&["healthcheck", "--url", &url]), "ready\n");
    elsewhere.fails(&["healthcheck"], 69, &["http://127.0.0.1:1", "cannot be reached"]);
    gateway.signal(Signal::TERM);
    eventually("it drains", || gateway.readiness() == Some(503));
    anyone.fails(&["healthcheck"], 1, &["is not ready", "draining"]);
    gateway.kill9();
    anyone.fails(&["healthcheck"], 69, &["cannot be reached", "is the gateway running"]);
}

#[test]
fn every_shell_has_completions() {
    let stage = Stage::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stage.operator.done(&["completions", shell]);
        for word in ["healthcheck", "operators", "idempotency-key"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
    stage.operator.fails(&["completions", "tcsh"], 2, &["tcsh", "bash"]);
}

#[test]
fn whoever_types_something_wrong_is_told_what_would_be_right() {
    let stage = Stage::new();
    let operator = &stage.operator;
    for words in [["keys", "show", NOBODY], ["keys", "revoke", NOBODY]] {
        let said = operator.types(&words);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains("not_found"), "{said:?}");
    }
    operator.fails(&["keys", "update", NOBODY, "--disable"], 1, &["not_found"]);
    operator.fails(&["keys", "update", NOBODY], 2, &["nothing to change", "--disable"]);
    operator.fails(&["keys", "show", "not-an-id"], 2, &["expected an id", "twelve"]);
    operator.fails(&["keys", "create"], 2, &["--name"]);
    operator.fails(&["keys", "mint"], 2, &["mint", "Usage"]);
    operator.fails(&["keys", "create", "--name", ""], 1, &["name"]);
    operator.fails(&["keys", "create", "--name", "a", "--expires-in", "soon"], 2, &["soon", "30d"]);
    operator.fails(&["keys", "create", "--name", "a", "--metadata", "[1]"], 2, &["object"]);
    operator.fails(
        &["keys", "create", "--name", "a", "--route", "none"],
        1,
        &["routes[0]", "orders"],
    );
    let over = ["keys", "create", "--name", "a", "--expires-at", "2001-01-01T00:00:00Z"];
    operator.fails(&over, 1, &["expires_at"]);
    assert_eq!(rows(&operator.done(&["keys", "list"])).len(), 0, "something was minted");
}

#[test]
fn whoever_has_no_way_to_the_gateway_is_told_which_setting_shows_it() {
    let mut stage = Stage::new();
    let list = ["keys", "list"];
    let anyone = Shell::beside(&stage.gateway);
    let words = ["KEYWARD_ADMIN_TOKEN", "KEYWARD_ADMIN_TOKEN_FILE", "operator.token"];
    anyone.fails(&list, 2, &words);
    let file = |name: &str| anyone.clone().with("KEYWARD_ADMIN_TOKEN_FILE", name);
    file("nowhere.token").fails(&list, 2, &["nowhere.token", "cannot be read"]);
    file("keyward.toml").fails(&list, 2, &["keyward.toml", "holds no operator's token"]);
    let token = |text: &str| anyone.clone().with("KEYWARD_ADMIN_TOKEN", text);
    token(&Key::unknown().plaintext).fails(&list, 1, &["unknown_token"]);
    let first = stage.gateway.operator_token();
    token(&first[..first.len() - 1]).fails(&list, 1, &["unknown_token"]);

    let at = |url: &str| stage.operator.clone().with("KEYWARD_ADMIN_URL", url);
    at("127.0.0.1").fails(&list, 2, &["127.0.0.1", "http://127.0.0.1:8081"]);
    let proxy = format!("http://{}", stage.gateway.address());
    at(&proxy).fails(&list, 1, &["missing_key"]);
    let nobody = format!("http://{}", fresh());
    at(&nobody).fails(&list, 69, &[&nobody, "is the gateway running", "KEYWARD_ADMIN_URL"]);
    stage.gateway.stop();
    for words in [
        &["keys", "create", "--name", "x"][..],
        &["keys", "show", NOBODY],
        &["keys", "update", NOBODY, "--disable"],
        &["keys", "revoke", NOBODY],
        &["operators", "list"],
        &["fleet", "list"],
    ] {
        stage.operator.fails(words, 69, &["cannot be reached", "is the gateway running"]);
    }
}

/// An id that nobody has.
const NOBODY: &str = "000000000000";
