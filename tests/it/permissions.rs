//! Files that may not be read or made end a start with words on what to do, and stay as they are.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::address::fresh;
use crate::support::ask::Ask;
use crate::support::gateway::{FILE, Gateway};
use crate::support::process::Process;
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};

/// Runs `keyward serve` as somebody for whom permissions count; its exit code and what it said.
#[track_caller]
fn serve(directory: &Path) -> (Option<i32>, String) {
    let way: &[&str] = if rustix::process::geteuid().is_root() {
        &["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    } else {
        &[]
    };
    let mut process = Process::start_by(way, directory, &["serve", "--config", FILE]);
    let code = process.wait().code();
    (code, process.log())
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Forbids one of a gateway's files, sees that it does not start and says so in these words;
/// allowed again, everything is as before.
#[track_caller]
fn assert_asks_for(file: &str, words: &[&str]) {
    let upstream = Upstream::answering(|_| ok("ok"));
    let mut gateway = Gateway::start(&Setup::to(upstream.address()));
    let (key, revoked) = (gateway.mint("crm"), gateway.mint("former"));
    gateway.revoke(&revoked.id);
    gateway.stop();
    let path = gateway.file(file);
    let (before, content) = (gateway.log().len(), fs::read(&path).unwrap());
    allow(&path, 0);
    let (code, log) = serve(gateway.directory());
    let said = &log[before..];
    assert_eq!(code, Some(78), "{said}");
    for word in [&[file], words].concat() {
        assert!(said.contains(word), "it does not say {word:?}: {said}");
    }
    allow(&path, 0o600);
    assert_eq!(fs::read(&path).unwrap(), content, "the file was changed");
    gateway.restart();
    assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
    Ask::get("/").key(&revoked).to(&gateway).assert_problem(401, "revoked_key");
}

#[test]
fn a_pepper_that_may_not_be_read_is_asked_for() {
    assert_asks_for("keyward.pepper", &["cannot be read", "let the user that keyward runs as"]);
}

#[test]
fn a_store_that_may_not_be_read_is_asked_for() {
    assert_asks_for("keyward.db", &["ermission"]);
}

#[test]
fn a_configuration_that_may_not_be_read_is_asked_for() {
    assert_asks_for(FILE, &["ermission"]);
}

#[test]
fn a_first_start_where_nothing_may_be_made_says_what_to_allow() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let directory = tempfile::tempdir().unwrap();
    let setup = Setup::to(upstream.address());
    fs::write(directory.path().join(FILE), setup.text(fresh(), fresh())).unwrap();
    // What it says has a place already.
    fs::write(directory.path().join("output.log"), "").unwrap();
    allow(directory.path(), 0o500);
    let (code, said) = serve(directory.path());
    allow(directory.path(), 0o700);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("keyward.db") && said.contains("ermission"), "{said}");
    let mut names: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [FILE, "output.log"], "something was made");
    let gateway = Gateway::start_in(directory, &setup);
    let key = gateway.mint("crm");
    assert_eq!(Ask::get("/").key(&key).to(&gateway).status, 200);
}
