//! `h2load` asks for more than fits into one connection's streams, and gets all of it.

use std::io::Write;

use super::Stage;
use crate::support::gateway::Key;
use crate::support::peer::{program, run};
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};

/// How many requests there were by their status: `2xx`, `4xx`.
#[track_caller]
fn load(stage: &Stage, url: &str, key: &Key, more: &[&str]) -> String {
    let mut command = program(&["h2load"]);
    command.args(["-n", "3000", "-c", "6", "-m", "100", "-t", "1"]);
    command.args(["-H", &format!("api-key: {}", key.plaintext)]).args(more).arg(url);
    let said = run(&mut command);
    let line = |beginning: &str| {
        let found = said.out.lines().find(|it| it.starts_with(beginning));
        found.unwrap_or_else(|| panic!("{said:?}; {}", stage.gateway.log())).to_owned()
    };
    let requests = line("requests: ");
    assert!(requests.contains(" 3000 done, "), "{requests}");
    assert!(requests.contains(" 0 errored, 0 timeout"), "{requests}");
    line("status codes: ").trim_start_matches("status codes: ").to_owned()
}

fn stage() -> (Upstream, Stage) {
    let upstream = Upstream::answering(|request| ok(request.body_bytes.to_string()));
    let stage = Stage::new(&Setup::to(upstream.address()));
    (upstream, stage)
}

const ALL: &str = "3000 2xx, 0 3xx, 0 4xx, 0 5xx";

#[test]
fn every_one_of_many_streams_is_answered_in_plaintext() {
    let (upstream, stage) = stage();
    assert_eq!(load(&stage, &format!("http://{}/", stage.plain()), &stage.key, &[]), ALL);
    assert_eq!(upstream.asked(), 3000);
}

#[test]
fn every_one_of_many_streams_is_answered_over_tls() {
    let (upstream, stage) = stage();
    assert_eq!(load(&stage, &format!("https://{}/", stage.secure), &stage.key, &[]), ALL);
    assert_eq!(upstream.asked(), 3000);
}

#[test]
fn every_request_of_http_1_is_answered_over_tls() {
    let (upstream, stage) = stage();
    let url = format!("https://{}/", stage.secure);
    assert_eq!(load(&stage, &url, &stage.key, &["--h1", "-m", "1"]), ALL);
    assert_eq!(upstream.asked(), 3000);
}

#[test]
fn every_body_of_many_streams_comes_through() {
    let (upstream, stage) = stage();
    let mut body = tempfile::NamedTempFile::new().unwrap();
    body.write_all(&[b'x'; BODY_BYTES]).unwrap();
    let path = body.path().display().to_string();
    let url = format!("http://{}/", stage.plain());
    assert_eq!(load(&stage, &url, &stage.key, &["-d", &path]), ALL);
    assert_eq!(upstream.last().body_bytes, BODY_BYTES as u64);
}

#[test]
fn who_is_refused_on_every_stream_is_told_so_on_every_stream() {
    let (upstream, stage) = stage();
    let url = format!("http://{}/", stage.plain());
    let refused = load(&stage, &url, &Key::unknown(), &[]);
    assert_eq!(refused, "0 2xx, 0 3xx, 3000 4xx, 0 5xx");
    assert_eq!(upstream.asked(), 0);
}

const BODY_BYTES: usize = 16 * 1024;
