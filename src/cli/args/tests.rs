//! Claims about what can be typed.

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;
use crate::cli::args::keys::{KeyState, KeysAction};

fn typed(words: &str) -> Result<Command, ErrorKind> {
    let words = words.split_whitespace();
    Typed::try_parse_from(words).map(|it| it.command).map_err(|it| it.kind())
}

#[track_caller]
fn refused(words: &str, kind: ErrorKind) {
    assert_eq!(typed(words).unwrap_err(), kind, "{words}");
}

#[test]
fn what_can_be_typed_does_not_contradict_itself() {
    Typed::command().debug_assert();
}

#[test]
fn options_of_the_admin_api_may_stand_anywhere_after_the_command() {
    for words in [
        "keyward keys -o json --admin-url http://h:1 list",
        "keyward keys list --admin-url http://h:1 -o json",
    ] {
        let Ok(Command::Keys(keys)) = typed(words) else { panic!("{words}") };
        assert_eq!(keys.access.admin_url, "http://h:1");
        assert_eq!(keys.access.form.output, Output::Json);
    }
}

#[test]
fn routes_and_networks_are_typed_several_times() {
    let words = "keyward keys create --name n --route a --route b --allow-address 10.0.0.0/8";
    let Ok(Command::Keys(keys)) = typed(words) else { panic!("{words}") };
    let KeysAction::Create(create) = keys.action else { panic!("{words}") };
    assert_eq!(create.routes, ["a", "b"]);
    assert_eq!(create.allow_addresses, ["10.0.0.0/8"]);
}

#[test]
fn a_limit_may_have_several_words() {
    let words = ["keyward", "keys", "update", "0123456789ab", "--rate", "1/s burst 2 shadow"];
    let Command::Keys(keys) = Typed::try_parse_from(words).unwrap().command else { panic!() };
    let KeysAction::Update(update) = keys.action else { panic!() };
    assert_eq!(update.change.limits.rate.as_deref(), Some("1/s burst 2 shadow"));
    refused("keyward keys update 0123456789ab --scheme v2", ErrorKind::UnknownArgument);
}

#[test]
fn lists_are_asked_for_by_state() {
    let Ok(Command::Keys(keys)) = typed("keyward keys list --state revoked") else { panic!() };
    let KeysAction::List(list) = keys.action else { panic!() };
    assert_eq!(list.state, Some(KeyState::Revoked));
    refused("keyward keys list --state withdrawn", ErrorKind::InvalidValue);
}

#[test]
fn what_excludes_each_other_is_not_typed_together() {
    for words in [
        "keyward keys create --name n --expires-in 1d --expires-at 2027-01-31T12:00:00Z",
        "keyward keys update 0123456789ab --owner o --clear-owner",
        "keyward keys update 0123456789ab --expires-in 1d --clear-expiry",
        "keyward keys update 0123456789ab --route r --clear-routes",
        "keyward keys update 0123456789ab --enable --disable",
        "keyward keys list --all --limit 3",
    ] {
        refused(words, ErrorKind::ArgumentConflict);
    }
}

#[test]
fn what_is_needed_is_asked_for() {
    for words in [
        "keyward keys create",
        "keyward keys revoke",
        "keyward operators create --name n",
        "keyward fleet forget",
        "keyward check",
        "keyward completions",
    ] {
        refused(words, ErrorKind::MissingRequiredArgument);
    }
}

#[test]
fn values_are_read_once_and_refused_with_a_reason() {
    for words in [
        "keyward keys create --name n --expires-in 30",
        "keyward keys create --name n --expires-at tomorrow",
        "keyward keys create --name n --metadata []",
        "keyward operators create --name n --permission keys:everything",
        "keyward keys list --limit 0",
    ] {
        let kind = typed(words).unwrap_err();
        assert!(matches!(kind, ErrorKind::ValueValidation | ErrorKind::InvalidValue), "{words}");
    }
}

#[test]
fn a_store_is_restored_only_under_a_name() {
    refused("keyward store restore", ErrorKind::MissingRequiredArgument);
    refused("keyward store migrate", ErrorKind::MissingRequiredArgument);
}

#[test]
fn a_store_is_accepted_only_with_a_word() {
    let Ok(Command::Store(store)) = typed("keyward store accept --config f") else { panic!() };
    assert!(matches!(store.action, StoreAction::Accept { yes: false }));
}

#[test]
fn what_is_not_there_yet_is_no_command() {
    for words in ["keyward keys rotate x", "keyward audit"] {
        refused(words, ErrorKind::InvalidSubcommand);
    }
}
