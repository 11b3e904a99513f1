//! What an operator says of a key's limits and its scheme is kept, shown, and changed without
//! harm to what runs.

use serde_json::{Value, json};

use crate::support::ask::Ask;
use crate::support::commands::Shell;
use crate::support::gateway::operate::closed_streams;
use crate::support::gateway::{Gateway, Key};
use crate::support::setup::Setup;
use crate::support::streams::{Endless, KINDS, Target};
use crate::support::upstream::Upstream;

fn limits(document: &Value) -> Value {
    json!(["scheme", "rate", "quota", "max_in_flight"].map(|it| &document[it]))
}

fn with_partners(setup: Setup) -> Setup {
    setup.scheme("partners", "prefix = \"kwp\"\nrate = \"1000/s\"")
}

#[track_caller]
fn assert_let_in(gateway: &Gateway, ask: &Ask) {
    assert_eq!(ask.to(gateway).status, 200);
}

#[test]
fn a_key_keeps_its_limits_and_its_scheme_over_a_restart() {
    let upstream = Upstream::echo();
    let mut gateway = Gateway::start(&with_partners(Setup::to(upstream.address())));
    let body = json!({ "name": "crm", "scheme": "partners", "rate": "1000/s burst 2000",
                       "quota": "100000/day shadow", "max_in_flight": 500 });
    let key = gateway.mint_as(&body);
    assert!(key.plaintext.starts_with("kwp_"));
    let said = json!(["partners", "1000/s burst 2000", "100000/day shadow", 500]);
    assert_eq!(limits(&gateway.show(&key.id)), said);
    assert_let_in(&gateway, &Ask::get("/").key(&key));
    gateway.kill9();
    gateway.restart();
    assert_eq!(limits(&gateway.show(&key.id)), said);
    assert_let_in(&gateway, &Ask::get("/").key(&key));
    let changed = gateway.patch(&key.id, &json!({ "rate": null, "max_in_flight": "5 shadow" }));
    assert_eq!(limits(&changed), json!(["partners", null, "100000/day shadow", "5 shadow"]));
}

#[test]
fn a_change_of_limits_ends_nothing_that_runs() {
    let endless = Endless::start();
    let gateway = Gateway::start(&Setup::to(endless.upstream().address()));
    let (id, key) = (gateway.id(), gateway.mint("crm"));
    let mut streams = endless.open(&KINDS, &Target::of(&gateway, &key));
    for change in [
        json!({ "rate": "1000/s", "quota": "100000/day", "max_in_flight": 1 }),
        json!({ "rate": "unlimited", "quota": null, "max_in_flight": null }),
    ] {
        assert_eq!(closed_streams(&gateway.patch(&key.id, &change), &[&*id]), 0);
    }
    for stream in &mut streams {
        stream.assert_runs();
    }
}

#[test]
fn a_key_of_another_scheme_is_known_as_a_bearer_token_too() {
    let upstream = Upstream::echo();
    let setup = Setup::to(upstream.address()).gateway("accept_bearer = true");
    let gateway = Gateway::start(&with_partners(setup));
    let key = gateway.mint_as(&json!({ "name": "crm", "scheme": "partners" }));
    let bearer = format!("Bearer {}", key.plaintext);
    assert_let_in(&gateway, &Ask::get("/").header("authorization", &bearer));
    assert_eq!(upstream.last().header("authorization"), None);
}

#[test]
fn schemes_and_limits_are_there_once_a_reload_has_answered() {
    let upstream = Upstream::echo();
    let setup = Setup::empty().upstream("api", &[upstream.address()]);
    let gateway = Gateway::start(&setup.clone().route("all", "path = \"/\""));
    let mint = || {
        let body = json!({ "name": "crm", "scheme": "partners" });
        gateway.admin("POST", "/v1/keys", Some(&body))
    };
    let refused = mint();
    refused.assert_problem(400, "bad_request");
    assert_eq!(refused.json()["errors"][0]["path"], "scheme");

    let next = with_partners(setup.limits("rate = \"1000/s\"\nscope = \"gateway\""));
    gateway.configure(&next.route("all", "path = \"/\"\ncost = 2\nrate = \"1000/s\""));
    let answer = gateway.admin("POST", "/v1/reload", None);
    let expected = json!({
        "applied": ["limits.rate", "schemes.partners", "routes.all"],
        // What is leased from the store and what is not cannot be told apart afterwards.
        "waits_for_restart": ["limits.scope"],
    });
    assert_eq!((answer.status, answer.json()), (200, expected));
    let minted = mint();
    assert_eq!(minted.status, 201, "{minted:?}");
    let document = minted.json();
    let text = |name: &str| document[name].as_str().unwrap().to_owned();
    let key = Key { id: text("id"), plaintext: text("key") };
    assert!(key.plaintext.starts_with("kwp_"));
    assert_let_in(&gateway, &Ask::get("/").key(&key));
}

#[test]
fn limits_are_typed_changed_and_shown() {
    let gateway = Gateway::start(&with_partners(Setup::empty()));
    let shell = Shell::of_operator(&gateway);
    let minted = shell.document(&[
        "keys",
        "create",
        "--name",
        "crm",
        "--scheme",
        "partners",
        "--rate",
        "1000/s burst 2000 shadow",
        "--max-in-flight",
        "500",
    ]);
    let id = minted["id"].as_str().unwrap();
    assert_eq!(limits(&minted), json!(["partners", "1000/s burst 2000 shadow", null, 500]));
    let list = shell.done(&["keys", "list"]);
    assert!(list.contains("rate 1000/s burst 2000 shadow, in flight 500"), "{list}");
    shell.done(&["keys", "update", id, "--rate", "default", "--quota", "5000/month"]);
    let shown = shell.document(&["keys", "show", id]);
    assert_eq!(limits(&shown), json!(["partners", null, "5000/month", 500]));
    shell.fails(&["keys", "update", id, "--rate", "fast"], 1, &["rate: expected a rate like"]);
    let unknown = ["keys", "create", "--name", "crm", "--scheme", "partner"];
    shell.fails(&unknown, 1, &["scheme: ", "did you mean \"partners\"?"]);
}
