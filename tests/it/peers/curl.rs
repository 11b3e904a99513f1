//! `curl` asks in every version of HTTP that it speaks here.

use std::fs;
use std::io::Write;

use super::{NAME, Stage};
use crate::support::commands::Said;
use crate::support::peer::{program, run};
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};

/// What curl got: the version it spoke, the status, the body.
#[derive(Debug)]
struct Got {
    version: String,
    status: String,
    body: Vec<u8>,
    said: Said,
}

/// How curl comes to a gateway: its flags, and the version of HTTP that it has to end up with.
struct Way {
    flags: &'static [&'static str],
    secure: bool,
    version: &'static str,
}

const WAYS: [Way; 5] = [
    Way { flags: &["--http1.1"], secure: false, version: "1.1" },
    Way { flags: &["--http2-prior-knowledge"], secure: false, version: "2" },
    Way { flags: &["--http1.1"], secure: true, version: "1.1" },
    Way { flags: &["--http2"], secure: true, version: "2" },
    // Offers HTTP/1.1 alone, as a client does that knows nothing of HTTP/2.
    Way { flags: &["--no-alpn"], secure: true, version: "1.1" },
];

impl Way {
    #[track_caller]
    fn curl(&self, stage: &Stage, path: &str, more: &[&str]) -> Got {
        let key = format!("api-key: {}", stage.key.plaintext);
        let more = [self.flags, &["-H", &key], more].concat();
        if self.secure { curl_secure(stage, path, &more) } else { curl_plain(stage, path, &more) }
    }
}

#[track_caller]
fn curl_plain(stage: &Stage, path: &str, more: &[&str]) -> Got {
    curl(&[more, &[&format!("http://{}{path}", stage.plain())]].concat())
}

/// By a name that stands in the certificate, which is checked.
#[track_caller]
fn curl_secure(stage: &Stage, path: &str, more: &[&str]) -> Got {
    let (ip, port) = (stage.secure.ip(), stage.secure.port());
    let (resolve, ca) = (format!("{NAME}:{port}:{ip}"), stage.ca().display().to_string());
    let url = format!("https://{NAME}:{port}{path}");
    curl(&[more, &["--resolve", &resolve, "--cacert", &ca, &url]].concat())
}

#[track_caller]
fn curl(arguments: &[&str]) -> Got {
    let body = tempfile::NamedTempFile::new().unwrap();
    let mut command = program(&["curl"]);
    command.args([
        "-sS",
        "-v",
        "--fail-early",
        "--max-time",
        "50",
        "-w",
        "%{http_version} %{http_code}",
        "-o",
    ]);
    let said = run(command.arg(body.path()).args(arguments));
    assert_eq!(said.code, Some(0), "{arguments:?}: {said:?}");
    let (version, status) = said.out.rsplit_once(' ').unwrap();
    let (version, status) = (version.to_owned(), status.to_owned());
    Got { version, status, body: fs::read(body.path()).unwrap(), said }
}

fn stage() -> (Upstream, Stage) {
    let upstream = Upstream::echo();
    let stage = Stage::new(&Setup::to(upstream.address()));
    (upstream, stage)
}

/// A file of so many bytes, of which no two neighbouring KiB are alike.
fn file(bytes: usize) -> (tempfile::NamedTempFile, Vec<u8>) {
    let contents: Vec<u8> = (0..251).cycle().take(bytes).collect();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&contents).unwrap();
    (file, contents)
}

#[test]
fn every_version_of_http_is_spoken_on_every_listener() {
    let (upstream, stage) = stage();
    for way in &WAYS {
        let got = way.curl(&stage, "/v3/contacts?page=2", &[]);
        assert_eq!((got.version.as_str(), got.status.as_str()), (way.version, "200"), "{got:?}");
        let seen = upstream.last();
        assert_eq!(seen.target(), "/v3/contacts?page=2");
        let scheme = if way.secure { "https" } else { "http" };
        assert_eq!(seen.header("x-forwarded-proto"), Some(scheme), "{:?}", way.flags);
        let address = if way.secure { stage.secure } else { stage.plain() };
        let host =
            if way.secure { format!("{NAME}:{}", address.port()) } else { address.to_string() };
        assert_eq!(seen.header("host"), Some(host.as_str()), "{:?}", way.flags);
        assert_eq!(seen.header("api-key"), None);
    }
}

#[test]
fn who_shows_no_key_is_refused_in_every_version() {
    let (upstream, stage) = stage();
    let got = [
        curl_plain(&stage, "/", &["--http1.1"]),
        curl_plain(&stage, "/", &["--http2-prior-knowledge"]),
        curl_secure(&stage, "/", &["--http1.1"]),
        curl_secure(&stage, "/", &["--http2"]),
    ];
    for got in got {
        assert_eq!(got.status, "401", "{got:?}");
        let problem: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
        assert_eq!(problem["code"], "missing_key", "{problem}");
    }
    assert_eq!(upstream.asked(), 0);
}

/// `Upgrade: h2c` is not taken up: the request is served as it came.
#[test]
fn an_offer_to_go_on_in_http_2_is_passed_over() {
    let (upstream, stage) = stage();
    let key = format!("api-key: {}", stage.key.plaintext);
    let got = curl_plain(&stage, "/", &["--http2", "-H", &key]);
    assert_eq!((got.version.as_str(), got.status.as_str()), ("1.1", "200"), "{got:?}");
    let seen = upstream.last();
    assert_eq!((seen.header("upgrade"), seen.header("http2-settings")), (None, None));
}

#[test]
fn head_has_the_length_and_no_body() {
    let (upstream, stage) = {
        let upstream =
            Upstream::answering(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 12345\r\n\r\n".to_vec());
        let stage = Stage::new(&Setup::to(upstream.address()));
        (upstream, stage)
    };
    for way in &WAYS {
        let got = way.curl(&stage, "/", &["--head"]);
        assert_eq!(got.status, "200", "{got:?}");
        let head = String::from_utf8(got.body).unwrap().to_ascii_lowercase();
        assert!(head.contains("content-length: 12345\r\n"), "{head}");
        assert_eq!(upstream.last().method(), "HEAD");
    }
}

#[test]
fn a_large_upload_arrives_whole() {
    let (upstream, stage) = stage();
    let (file, contents) = file(LARGE);
    let path = file.path().display().to_string();
    for way in &WAYS {
        let before = upstream.asked();
        let got = way.curl(&stage, "/", &["-T", &path]);
        assert_eq!(got.status, "200", "{got:?}");
        let seen = upstream.last();
        assert_eq!(upstream.asked(), before + 1);
        assert_eq!(seen.body_bytes, LARGE as u64, "{:?}", way.flags);
        assert_eq!(seen.body, contents[..seen.body.len()], "{:?}", way.flags);
    }
}

#[test]
fn a_large_download_arrives_whole() {
    let (_file, contents) = file(LARGE);
    let answer = ok(&contents);
    let upstream = Upstream::answering(move |_| answer.clone());
    let stage = Stage::new(&Setup::to(upstream.address()));
    for way in &WAYS {
        let got = way.curl(&stage, "/", &[]);
        assert!(got.body == contents, "{:?}: {} bytes", way.flags, got.body.len());
    }
}

/// A body of unknown length, in both directions.
#[test]
fn a_body_without_a_length_arrives_whole() {
    let (file, contents) = file(300_000);
    let chunked = contents.clone();
    let upstream = Upstream::answering(move |_| {
        let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for piece in chunked.chunks(7_000) {
            answer.extend(format!("{:x}\r\n", piece.len()).bytes());
            answer.extend_from_slice(piece);
            answer.extend(b"\r\n");
        }
        answer.extend(b"0\r\n\r\n");
        answer
    });
    let stage = Stage::new(&Setup::to(upstream.address()));
    let path = format!("@{}", file.path().display());
    for way in &WAYS {
        let flags = ["--data-binary", &path, "-H", "transfer-encoding: chunked"];
        let got = way.curl(&stage, "/", &flags);
        assert!(got.body == contents, "{:?}: {} bytes", way.flags, got.body.len());
        assert_eq!(upstream.last().body_bytes, contents.len() as u64, "{:?}", way.flags);
    }
}

/// curl would wait a minute for the word to go on, and then be cut off.
const EXPECT: [&str; 4] = ["-H", "expect: 100-continue", "--expect100-timeout", "60"];

#[test]
fn who_asks_before_sending_is_told_to_go_on() {
    let (upstream, stage) = stage();
    let (file, _contents) = file(LARGE);
    let path = file.path().display().to_string();
    for way in WAYS.iter().filter(|it| it.version == "1.1") {
        let got = way.curl(&stage, "/", &[&["-T", path.as_str()], &EXPECT[..]].concat());
        assert_eq!(got.status, "200", "{got:?}");
        assert!(got.said.err.contains("< HTTP/1.1 100 Continue"), "{got:?}");
        assert_eq!(upstream.last().body_bytes, LARGE as u64);
    }
}

#[test]
fn who_asks_before_sending_and_is_refused_is_not_told_to_go_on() {
    let (upstream, stage) = stage();
    let (file, _contents) = file(LARGE);
    let path = file.path().display().to_string();
    let flags = [&["--http1.1", "-T", path.as_str()], &EXPECT[..]].concat();
    for got in [curl_plain(&stage, "/", &flags), curl_secure(&stage, "/", &flags)] {
        assert_eq!(got.status, "401", "{got:?}");
        assert!(!got.said.err.contains("100 Continue"), "{got:?}");
    }
    assert_eq!(upstream.asked(), 0);
}

/// Over one connection, one after the other. Before version 8, curl cannot do so with a connection
/// of prior knowledge, whoever is on the other side.
#[test]
fn a_connection_serves_one_request_after_the_other() {
    let (upstream, stage) = stage();
    for way in WAYS.iter().filter(|it| it.secure || it.version == "1.1") {
        let before = upstream.asked();
        let got = way.curl(&stage, "/[1-20]", &[]);
        let reused = got.said.err.matches("Re-using existing connection").count();
        assert_eq!(reused, 19, "{got:?}");
        assert_eq!(upstream.asked(), before + 20);
    }
}

#[test]
fn tls_older_than_the_settings_say_is_not_spoken() {
    let upstream = Upstream::echo();
    let strict = Stage::new(&Setup::to(upstream.address()).gateway("min_tls = \"1.3\""));
    let usual = Stage::new(&Setup::to(upstream.address()));
    let key = |stage: &Stage| format!("api-key: {}", stage.key.plaintext);
    let got = curl_secure(&usual, "/", &["--tls-max", "1.2", "-H", &key(&usual)]);
    assert_eq!(got.status, "200", "{got:?}");
    let got = curl_secure(&strict, "/", &["--tlsv1.3", "-H", &key(&strict)]);
    assert_eq!(got.status, "200", "{got:?}");
    let url = format!("https://{}/", strict.secure);
    let mut command = program(&["curl"]);
    command.args(["-sS", "-k", "--tls-max", "1.2", &url]);
    let said = run(&mut command);
    // curl's word for a handshake that came to nothing.
    assert_eq!(said.code, Some(35), "{said:?}");
}

#[test]
fn the_header_of_proxy_protocol_says_who_asks() {
    let upstream = Upstream::echo();
    let setup = Setup::to(upstream.address()).gateway("proxy_protocol_from = [\"127.0.0.1\"]");
    let stage = Stage::new(&setup);
    for way in &WAYS {
        let got = way.curl(&stage, "/", &["--haproxy-protocol"]);
        assert_eq!(got.status, "200", "{got:?}");
        // curl says what it itself is: the address it connects from.
        assert_eq!(upstream.last().header("x-forwarded-for"), Some("127.0.0.1"));
    }
}

const LARGE: usize = 8 << 20;
