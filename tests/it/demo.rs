//! The demo shows what it promises, and leaves nothing behind.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::process::Process;
use crate::support::wait::eventually;

/// Any port, so that demos do not meet.
const ANYWHERE: [&str; 5] = ["demo", "--port", "0", "--admin-port", "0"];

/// `.ci/demo`, which ends what it has started when it is interrupted.
struct Script(Child);

impl Script {
    fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Ends it as Ctrl-C would, and waits for that. Not by SIGINT, which a shell in the background of
    /// another cannot hear.
    fn interrupt(&mut self) -> Option<i32> {
        if !self.has_ended() {
            kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        }
        self.0.wait().unwrap().code()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.interrupt();
    }
}

/// Holds a text to having each of `words` in it, after the one before it.
#[track_caller]
fn assert_in_order(text: &str, words: &[&str]) {
    let mut rest = text;
    for word in words {
        let place = rest.find(word);
        let place = place.unwrap_or_else(|| panic!("{word:?} does not follow in\n{text}"));
        rest = &rest[place + word.len()..];
    }
}

/// Holds a directory to having nothing in it but these.
#[track_caller]
fn assert_only(directory: &Path, expected: &[&str]) {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|it| it.unwrap().file_name().to_string_lossy().into_owned());
    let names: Vec<String> = names.collect();
    assert_eq!(names, expected);
}

#[test]
fn once_shows_a_key_let_in_and_revoked_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let way = ["env", &format!("TMPDIR={}", directory.path().display())];
    let words = [&ANYWHERE[..], &["--once"]].concat();
    let mut demo = Process::start_by(&way, directory.path(), &words);
    let code = demo.wait().code();
    let said = demo.log();
    assert_eq!(code, Some(0), "{said}");
    assert_in_order(
        &said,
        &[
            "/v3/ping\n  200",
            "/v3/contacts\n  401",
            "\"missing_key\"",
            "-H 'api-key: kw_…'",
            "/v3/contacts\n  200",
            "ada@",
            "/v3/contacts\n  201",
            "keys revoke ",
            " is revoked at ",
            "confirmed by 1 of 1 gateway",
            "/v3/contacts\n  401",
            "\"revoked_key\"",
            "Everything was as it should be.",
        ],
    );
    assert_only(directory.path(), &["output.log"]);
}

#[test]
fn it_goes_on_until_it_is_interrupted_and_removes_everything() {
    for signal in [Signal::INT, Signal::TERM] {
        let directory = tempfile::tempdir().unwrap();
        let way = ["env", &format!("TMPDIR={}", directory.path().display())];
        let mut demo = Process::start_by(&way, directory.path(), &ANYWHERE);
        eventually("it is ready", || demo.log().contains("Ctrl-C ends it"));
        assert!(!demo.has_ended());
        demo.signal(signal);
        assert_eq!(demo.wait().code(), Some(0), "{}", demo.log());
        assert_only(directory.path(), &["output.log"]);
    }
}

#[test]
fn a_port_that_is_taken_ends_it_with_the_flag_that_helps() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let outcome = Process::run(directory.path(), &["demo", "--once", "--port", &port]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.output);
    assert!(outcome.output.contains(&format!("port {port} ")), "{}", outcome.output);
    assert!(outcome.output.contains("--port 0"), "{}", outcome.output);
}

#[test]
fn every_command_that_it_prints_does_what_is_said_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("make.log");
    let output = fs::File::create(&log).unwrap();
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/demo"));
    command.arg(env!("CARGO_BIN_EXE_keyward")).env("TMPDIR", directory.path());
    command.env("KEYWARD_DEMO_FLAGS", ANYWHERE[1..].join(" "));
    command.stdout(output.try_clone().unwrap()).stderr(output);
    let mut script = Script(command.spawn().unwrap());
    let said = || fs::read_to_string(&log).unwrap();
    eventually("every command was run", || {
        assert!(!script.has_ended(), "it ended by itself:\n{}", said());
        said().contains("The gateway goes on; Ctrl-C ends it.")
    });
    assert_eq!(script.interrupt(), Some(0), "{}", said());
    assert_in_order(
        &said(),
        &[
            "And this is what they answer:",
            "$ curl -i -H 'api-key: kw_",
            "HTTP/1.1 200 OK",
            "ada@",
            "$ curl -i http",
            "HTTP/1.1 401 Unauthorized",
            "\"missing_key\"",
            "keys revoke ",
            " is revoked at ",
            "confirmed by 1 of 1 gateway",
            "/v3/ping",
            "HTTP/1.1 200 OK",
            "Once more with the key that was revoked:",
            "$ curl -i -H 'api-key: kw_",
            "HTTP/1.1 401 Unauthorized",
            "\"revoked_key\"",
        ],
    );
    assert_only(directory.path(), &["make.log"]);
}
