//! A gateway that cannot start says why and what to do, and damages nothing.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use rusqlite::Connection;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::address::fresh;
use crate::support::ask::Ask;
use crate::support::gateway::{FILE, Gateway, Key};
use crate::support::process::{Outcome, Process};
use crate::support::setup::Setup;
use crate::support::upstream::Upstream;
use crate::support::wait::eventually;

/// Serves with this configuration, which does not go well.
fn serve(text: &str) -> (TempDir, Outcome) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(FILE), text).unwrap();
    let outcome = Process::run(directory.path(), &["serve", "--config", FILE]);
    (directory, outcome)
}

fn text(setup: &Setup) -> String {
    setup.text(fresh(), fresh())
}

/// The files of a directory, but the program's output.
fn files(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|it| it.unwrap().file_name());
    let mut names: Vec<String> = names.map(|it| it.into_string().unwrap()).collect();
    names.retain(|it| it != "output.log");
    names.sort();
    names
}

const FIVE_FAULTS: &str = r#"[gateway]
listen = ["nowhere"]
workers = 0
header_timout = "1s"

[store]
lease = "fast"

[[routes]]
name = "contacts"
path = "/v3/"
upstream = "nobody"
"#;

#[test]
fn five_faults_are_five_lines_each_with_its_place_and_path() {
    let (directory, outcome) = serve(FIVE_FAULTS);
    assert_eq!(outcome.code, Some(78), "{}", outcome.output);
    let lines: Vec<&str> =
        outcome.output.lines().filter(|it| it.contains("keyward.toml:")).collect();
    let expected = [
        (2, "gateway.listen[0]"),
        (3, "gateway.workers"),
        (4, "gateway.header_timout"),
        (7, "store.lease"),
        (12, "routes[0].upstream"),
    ];
    assert_eq!(lines.len(), expected.len(), "{}", outcome.output);
    for (line, (number, path)) in lines.iter().zip(expected) {
        assert!(line.contains(&format!("keyward.toml:{number}:")), "{line}");
        assert!(line.contains(&format!(" {path}: ")), "{line}");
    }
    assert!(lines[2].contains("header_timeout"), "no suggestion: {}", lines[2]);
    assert_eq!(files(directory.path()), [FILE]);
}

#[test]
fn check_finds_what_serve_finds() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(FILE), FIVE_FAULTS).unwrap();
    let outcome = Process::run(directory.path(), &["check", FILE]);
    assert_eq!(outcome.code, Some(78));
    assert_eq!(outcome.output.matches("keyward.toml:").count(), 5, "{}", outcome.output);
    let good = tempfile::tempdir().unwrap();
    fs::write(good.path().join(FILE), text(&Setup::to(fresh()))).unwrap();
    assert_eq!(Process::run(good.path(), &["check", FILE]).code, Some(0));
    assert_eq!(files(good.path()), [FILE]);
}

#[test]
fn what_is_no_toml_and_what_is_no_file_is_bad_configuration() {
    let (_directory, outcome) = serve("[gateway\nlisten = 1");
    assert_eq!(outcome.code, Some(78));
    assert!(outcome.output.contains("keyward.toml:1:"), "{}", outcome.output);
    let empty = tempfile::tempdir().unwrap();
    let outcome = Process::run(empty.path(), &["serve", "--config", "missing.toml"]);
    assert_eq!(outcome.code, Some(78));
    assert!(outcome.output.contains("missing.toml"), "{}", outcome.output);
}

#[test]
fn a_setting_that_nobody_knows_is_refused_and_not_ignored() {
    let setup = Setup::to(fresh()).limits("rates = \"100/s\"");
    let (_directory, outcome) = serve(&text(&setup));
    assert_eq!(outcome.code, Some(78));
    assert!(outcome.output.contains("limits.rates: "), "{}", outcome.output);
    assert!(outcome.output.contains("did you mean \"rate\"?"), "{}", outcome.output);
}

#[track_caller]
fn assert_port_in_use(taken: SocketAddr, gateway: SocketAddr, admin: SocketAddr) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(FILE), Setup::to(fresh()).text(gateway, admin)).unwrap();
    let outcome = Process::run(directory.path(), &["serve", "--config", FILE]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.output);
    assert!(outcome.output.contains(&taken.to_string()), "{}", outcome.output);
    assert_eq!(files(directory.path()), [FILE], "something was made");
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_made() {
    let taken = TcpListener::bind(fresh()).unwrap().local_addr().unwrap();
    let _holder = TcpListener::bind(taken).unwrap();
    assert_port_in_use(taken, taken, fresh());
    assert_port_in_use(taken, fresh(), taken);
}

#[test]
fn a_gateway_that_serves_is_not_disturbed_by_a_second_one() {
    let (_upstream, gateway, key) = running();
    assert_port_in_use(gateway.address(), gateway.address(), fresh());
    for _ in 0..20 {
        assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
    }
}

fn running() -> (Upstream, Gateway, Key) {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&Setup::to(upstream.address()));
    let key = gateway.mint("crm");
    assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
    (upstream, gateway, key)
}

/// Stops a gateway, spoils one of its files, sees it refuse to start with a message that names
/// `told`; undone, everything works as before.
#[track_caller]
fn assert_refuses(file: &str, told: &str, spoil: impl Fn(&Path)) {
    let (_upstream, mut gateway, key) = running();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(), Some(0));
    let path = gateway.directory().join(file);
    let good = fs::read(&path).unwrap();
    spoil(&path);
    let spoilt = fs::read(&path).ok();
    let before = gateway.log().len();
    let outcome = Process::run(gateway.directory(), &["serve", "--config", FILE]);
    let said = &outcome.output[before..];
    assert_eq!(outcome.code, Some(78), "{said}");
    assert!(said.contains(file) && said.contains(told), "{said}");
    assert_eq!(fs::read(&path).ok(), spoilt, "the file was changed");
    if path.is_dir() {
        fs::remove_dir(&path).unwrap();
    }
    fs::write(&path, good).unwrap();
    gateway.restart();
    assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
}

#[test]
fn a_missing_pepper_is_asked_for_and_not_made_anew() {
    assert_refuses("keyward.pepper", "pepper", |path| fs::remove_file(path).unwrap());
}

#[test]
fn another_pepper_is_not_taken_for_the_right_one() {
    assert_refuses("keyward.pepper", "pepper", |path| fs::write(path, [7; 32]).unwrap());
}

#[test]
fn a_pepper_of_the_wrong_length_is_refused() {
    for length in [0, 31, 33, 64] {
        assert_refuses("keyward.pepper", "32", |path| fs::write(path, vec![7; length]).unwrap());
    }
}

#[test]
fn an_unreadable_pepper_is_told_as_such() {
    assert_refuses("keyward.pepper", "pepper", |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    });
}

#[test]
fn what_is_no_store_is_left_as_it_is() {
    assert_refuses("keyward.db", "is no SQLite database", |path| {
        fs::write(path, "my diary\n".repeat(1_000)).unwrap();
    });
}

#[test]
fn another_programs_database_is_left_as_it_is() {
    assert_refuses("keyward.db", "another program", |path| {
        fs::remove_file(path).unwrap();
        let other = Connection::open(path).unwrap();
        other
            .execute_batch("CREATE TABLE contacts (name TEXT); INSERT INTO contacts VALUES ('a');")
            .unwrap();
    });
}

#[test]
fn a_newer_store_is_left_as_it_is() {
    assert_refuses("keyward.db", "newer version", |path| {
        let store = Connection::open(path).unwrap();
        let version: i64 = store.query_row("PRAGMA user_version", [], |it| it.get(0)).unwrap();
        store.pragma_update(None, "user_version", version + 1).unwrap();
    });
}

#[test]
fn a_store_in_a_directory_that_is_not_there_is_asked_for() {
    let (directory, outcome) =
        serve(&text(&Setup::to(fresh()).store("url = \"sqlite:data/keyward.db\"")));
    assert_eq!(outcome.code, Some(78), "{}", outcome.output);
    assert!(outcome.output.contains("make it first"), "{}", outcome.output);
    assert_eq!(files(directory.path()), [FILE]);
}

#[test]
fn a_killed_gateway_starts_again_with_every_key() {
    let (_upstream, mut gateway, key) = running();
    let revoked = gateway.mint("former");
    gateway.revoke(&revoked.id);
    gateway.kill9();
    gateway.restart();
    assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
    Ask::get("/").key(&revoked).to(&gateway).assert_problem(401, "revoked_key");
}

#[test]
fn files_that_hold_secrets_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (_upstream, gateway, _key) = running();
    for name in ["keyward.pepper", "operator.token", "keyward.db"] {
        let mode = fs::metadata(gateway.directory().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_first_operator_whose_token_cannot_be_written_is_not_made() {
    let setup = text(&Setup::to(fresh()));
    let setup = setup.replace("[admin]", "[admin]\noperator_token_file = \"later/token\"");
    let (directory, outcome) = serve(&setup);
    assert_eq!(outcome.code, Some(78), "{}", outcome.output);
    assert!(outcome.output.contains("later/token"), "{}", outcome.output);
    fs::create_dir(directory.path().join("later")).unwrap();
    let mut process = Process::start(directory.path(), &["serve", "--config", FILE]);
    eventually("there is a token", || directory.path().join("later/token").exists());
    process.signal(Signal::TERM);
    assert!(process.wait().success());
    assert_eq!(files(&directory.path().join("later")), ["token"]);
}

#[test]
fn a_first_token_that_a_crash_left_without_its_name_gets_it() {
    let (_upstream, mut gateway, _key) = running();
    let token = gateway.operator_token();
    let id = token.split('_').nth(1).unwrap().to_owned();
    gateway.kill9();
    let path = |end: &str| gateway.directory().join(format!("operator.token{end}"));
    fs::rename(path(""), path(&format!(".new.{id}"))).unwrap();
    fs::write(path(".new.000000000000"), "kwop_of_nobody").unwrap();
    gateway.restart();
    assert_eq!(gateway.operator_token(), token);
    assert_eq!(gateway.admin("GET", "/v1/keys", None).status, 200);
    let names = files(gateway.directory());
    assert!(!names.iter().any(|it| it.contains(".new.")), "{names:?}");
}
