//! Claims about whole configurations.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::config::fault::Faults;
use crate::config::schema::{self, SECTIONS};
use crate::config::sources::{Loaded, load};

mod change;
mod files;
mod limits;
mod listeners;
mod routes;
mod sources;
mod store;
mod upstreams;
mod values;

/// A file in a directory of its own.
struct Written {
    directory: tempfile::TempDir,
}

impl Written {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("keyward.toml"), text).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn load(&self, sets: &[&str], variables: &[(&str, &str)]) -> Result<Loaded, Faults> {
        load_with(Some(&self.path("keyward.toml")), sets, variables)
    }
}

fn load_with(
    file: Option<&Path>,
    sets: &[&str],
    variables: &[(&str, &str)],
) -> Result<Loaded, Faults> {
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    load(file, &sets, variables.iter().map(|(name, value)| (name.into(), value.into())))
}

fn config(text: &str) -> Config {
    Written::new(text).load(&[], &[]).unwrap().config
}

/// What is wrong with a file, a line each.
fn faults(text: &str) -> Vec<String> {
    outside_faults(text, &[], &[])
}

fn outside_faults(text: &str, sets: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let written = Written::new(text);
    let Err(faults) = written.load(sets, variables) else { return Vec::new() };
    let directory = format!("{}/", written.path("").display().to_string().trim_end_matches('/'));
    faults.to_string().lines().map(|it| it.replace(&directory, "")).collect()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(faults(text), expected, "of {text}");
}

/// One setting is wrong: `store.lease = "1ms"`.
#[track_caller]
fn check_one(setting: &str, expected: &str) {
    let (path, _value) = setting.split_once(" = ").unwrap();
    let actual = faults(setting);
    let column = path.len() + 4;
    assert_eq!(actual, [format!("keyward.toml:1:{column}: {path}: {expected}")], "of {setting}");
}

#[track_caller]
fn check_item(setting: &str, expected: &str) {
    let (path, _value) = setting.split_once(" = ").unwrap();
    let column = path.len() + 5;
    let expected = format!("keyward.toml:1:{column}: {path}[0]: {expected}");
    assert_eq!(faults(setting), [expected], "of {setting}");
}

const UPSTREAM: &str = "[[upstreams]]\nname = 'u'\nendpoints = ['http://h']\n";

/// A route beside the upstream `u`; its settings begin in line 5.
fn with_route(route: &str) -> String {
    format!("{UPSTREAM}[[routes]]\n{route}\n")
}

/// The settings of a route that are wrong.
#[track_caller]
fn check_route(settings: &str, expected: &[&str]) {
    check(&with_route(&format!("name = 'r'\nupstream = 'u'\n{settings}")), expected);
}

#[track_caller]
fn check_endpoint(endpoint: &str, expected: &str) {
    let text = format!("[[upstreams]]\nname = 'u'\nendpoints = [{endpoint}]");
    let at = "keyward.toml:3:14: upstreams[0].endpoints[0]";
    check(&text, &[&format!("{at}: {expected}")]);
}

#[test]
fn all_faults_are_told_at_once_each_with_its_place() {
    let text = "\
[gateway]
listen = ['nowhere']
idle_timeout = 'soon'
lissten = []

[[upstreams]]
name = 'contacts'
endpoints = ['http://127.0.0.1:9000']

[[routes]]
name = 'contacts'
path = '/v3/../v4/'
upstream = 'contact'
";
    check(
        text,
        &[
            "keyward.toml:2:11: gateway.listen[0]: expected an address like \"127.0.0.1:8080\" or \"[::]:8080\", found \"nowhere\"",
            "keyward.toml:3:16: gateway.idle_timeout: expected a time like \"500ms\", \"30s\", \"10m\" or \"1h\", found \"soon\"",
            "keyward.toml:4:1: gateway.lissten: unknown setting; did you mean \"listen\"?",
            "keyward.toml:12:8: routes[0].path: \"/v3/../v4/\" is not in normal form: write \"/v4/\"",
            "keyward.toml:13:12: routes[0].upstream: there is no upstream \"contact\"; did you mean \"contacts\"?",
        ],
    );
}

#[test]
fn a_file_that_is_not_toml_is_one_fault_with_its_place() {
    let actual = faults("[gateway]\nlisten = [\n\n[admin]\nx y\n");
    assert_eq!(actual.len(), 1, "{actual:?}");
    assert!(actual[0].starts_with("keyward.toml:"), "{actual:?}");
    check(
        "[gateway]\nlisten = soon",
        &[
            "keyward.toml:2:10: this is not TOML: string values must be quoted, expected literal string",
        ],
    );
    check("[log]\n[log]\n", &["keyward.toml:2:2: this is not TOML: duplicate key"]);
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault() {
    let faults = load_with(Some(Path::new("none/keyward.toml")), &[], &[]).unwrap_err();
    assert_eq!(
        faults.to_string(),
        "none/keyward.toml: cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn a_setting_in_the_wrong_table_is_told_where_it_belongs() {
    check(
        "[gateway]\npepper_file = 'x'",
        &[
            "keyward.toml:2:1: gateway.pepper_file: unknown setting; did you mean \"store.pepper_file\"?",
        ],
    );
    check("[keys.argon2]\nrounds = 1", &["keyward.toml:2:1: keys.argon2.rounds: unknown setting"]);
    check(
        "[gateways]\n",
        &["keyward.toml:1:2: gateways: unknown setting; did you mean \"gateway\"?"],
    );
    check("\"a\\nb\" = 1\n", &["keyward.toml:1:1: \"a\\nb\": unknown setting"]);
}

#[test]
fn tables_and_lists_of_tables_are_not_confused() {
    check(
        "[upstreams]\n",
        &["keyward.toml:1:1: upstreams: expected tables under [[upstreams]], found a table"],
    );
    check("[[gateway]]\n", &["keyward.toml:1:1: gateway: expected a table, found a list"]);
    check(
        "gateway.listen = 'a'",
        &["keyward.toml:1:18: gateway.listen: expected a list like [\"…\", \"…\"], found \"a\""],
    );
}
