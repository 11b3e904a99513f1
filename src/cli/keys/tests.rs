//! Claims about what is asked of the admin API.

use clap::Parser;
use serde_json::json;

use super::*;
use crate::cli::args::{Command, Typed};

fn action(words: &str) -> KeysAction {
    let words = "keyward keys ".to_owned() + words;
    let Command::Keys(keys) = Typed::parse_from(words.split_whitespace()).command else { panic!() };
    keys.action
}

#[track_caller]
fn created(words: &str, expected: &Value) {
    let KeysAction::Create(typed) = action(words) else { panic!("{words}") };
    assert_eq!(&Value::Object(create_body(typed, Timestamp::from_micros(0))), expected);
}

#[track_caller]
fn updated(words: &str, expected: &Value) {
    let KeysAction::Update(typed) = action(words) else { panic!("{words}") };
    assert_eq!(&Value::Object(update_body(typed.change, Timestamp::from_micros(0))), expected);
}

#[test]
fn what_was_not_typed_is_not_sent() {
    created("create --name n", &json!({ "name": "n" }));
    updated("update 0123456789ab", &json!({}));
}

#[test]
fn what_was_typed_is_sent() {
    created(
        r#"create --name n --owner o --expires-in 1d --route r --allow-address 10.0.0.0/8 --metadata {"a":1}"#,
        &json!({
            "name": "n",
            "owner": "o",
            "expires_at": "1970-01-02T00:00:00Z",
            "routes": ["r"],
            "allow_addresses": ["10.0.0.0/8"],
            "metadata": { "a": 1 },
        }),
    );
}

#[test]
fn a_limit_is_what_was_typed_or_the_schemes() {
    created(
        "create --name n --scheme partners --rate 100/s --quota default --max-in-flight 50",
        &json!({
            "name": "n",
            "scheme": "partners",
            "rate": "100/s",
            "quota": null,
            "max_in_flight": "50",
        }),
    );
    updated(
        "update 0123456789ab --rate default --quota unlimited --max-in-flight default",
        &json!({ "rate": null, "quota": "unlimited", "max_in_flight": null }),
    );
}

#[test]
fn what_is_cleared_is_null() {
    updated(
        "update 0123456789ab --clear-owner --clear-expiry --clear-routes --clear-allow-addresses",
        &json!({ "owner": null, "expires_at": null, "routes": null, "allow_addresses": null }),
    );
}

#[test]
fn a_key_is_switched_off_and_on() {
    updated("update 0123456789ab --disable", &json!({ "disabled": true }));
    updated("update 0123456789ab --enable", &json!({ "disabled": false }));
}

#[test]
fn a_whole_key_stands_for_its_id_and_what_is_neither_is_not_repeated() {
    let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(7);
    let key = crate::key::text::ApiKey::mint(&"kw".parse().unwrap(), &mut rng);
    assert_eq!(id(key.expose()).unwrap(), key.id());
    assert_eq!(id(key.id().as_str()).unwrap(), key.id());
    let nearly = &key.expose()[1..];
    let Err(Failure::Usage(words)) = id(nearly) else { panic!("it is no id") };
    assert!(!words.contains(nearly), "{words}");
}
