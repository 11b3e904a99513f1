//! Nobody finds a key's plaintext anywhere but in the answer that brought it.

use std::fs;
use std::net::Shutdown;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::ask::Ask;
use crate::support::gateway::{Gateway, Key};
use crate::support::http::Response;
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};
use crate::support::wait::eventually;

/// Where nobody may find a secret: a name for it, and its bytes.
type Haystack = Vec<(String, Vec<u8>)>;

/// Everything that is searched, and what is searched for.
struct Search {
    haystack: Haystack,
    /// A name and the secret part of a key or token.
    secrets: Vec<(String, String)>,
}

impl Search {
    fn note(&mut self, name: &str, answer: &Response) {
        self.haystack.push((format!("the answer to {name}"), whole(answer)));
    }

    /// Every spelling of every secret that stands somewhere.
    fn found(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, secret) in &self.secrets {
            for (how, spelling) in spellings(secret) {
                let places = self.haystack.iter().filter(|it| contains(&it.1, &spelling));
                found.extend(places.map(|(place, _)| format!("{name} {how} in {place}")));
            }
        }
        found
    }
}

fn whole(answer: &Response) -> Vec<u8> {
    let mut bytes = format!("{:?}", answer.head).into_bytes();
    bytes.extend_from_slice(&answer.body);
    bytes
}

/// The random part of a key, without its checksum.
fn secret_of(plaintext: &str) -> String {
    let tail = plaintext.rsplit('_').next().unwrap();
    tail[..tail.len() - 6].to_owned()
}

/// A secret as it stands, in hexadecimal, and in base64 at each of the three places in which it
/// can begin.
fn spellings(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let hex = secret.bytes().flat_map(|it| [it >> 4, it & 15]);
    let hex: String = hex.map(|it| char::from_digit(u32::from(it), 16).unwrap()).collect();
    let mut spellings = vec![
        ("as it is", secret.as_bytes().to_vec()),
        ("in hexadecimal", hex.to_uppercase().into_bytes()),
        ("in hexadecimal", hex.into_bytes()),
    ];
    spellings
        .extend((0..3).map(|skipped| ("in base64", base64_within(&secret.as_bytes()[skipped..]))));
    spellings.push(("backwards", secret.bytes().rev().collect()));
    spellings
}

/// What whole groups of three bytes look like in base64.
fn base64_within(bytes: &[u8]) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks_exact(3).map(|it| {
        let bits = u32::from_be_bytes([0, it[0], it[1], it[2]]);
        [18, 12, 6, 0].map(|shift| digits[(bits >> shift & 63) as usize])
    });
    groups.collect::<Vec<_>>().concat()
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    let first = needle[0];
    bytes.windows(needle.len()).any(|it| it[0] == first && it == needle)
}

/// Ways to show a key where none belongs.
fn wrong_uses(plaintext: &str) -> Vec<(&'static str, Ask)> {
    let get = |target: &str| Ask::get(target);
    let swapped = {
        let mut bytes = plaintext.to_owned().into_bytes();
        let place = (24..50).find(|it| bytes[*it] != bytes[it + 1]).unwrap();
        bytes.swap(place, place + 1);
        String::from_utf8(bytes).unwrap()
    };
    vec![
        ("a query", get(&format!("/a?api-key={plaintext}"))),
        ("a path", get(&format!("/a/{plaintext}/b"))),
        ("a public path", get(&format!("/public/{plaintext}"))),
        ("a path with another key", get(&format!("/{plaintext}")).header("api-key", plaintext)),
        ("a path in pieces", get(&format!("/a;key={plaintext},b"))),
        ("a cookie", get("/").header("cookie", &format!("key={plaintext}"))),
        ("another header", get("/").header("x-api-key", plaintext)),
        ("a user agent", get("/").header("user-agent", plaintext)),
        ("a bearer", get("/").header("authorization", &format!("Bearer {plaintext}"))),
        ("a basic", get("/").header("authorization", &format!("Basic {plaintext}"))),
        ("a header's name", get("/").header(plaintext, "1")),
        ("a host", get("/").header("host", plaintext)),
        ("a host's label", get("/").header("host", &format!("{plaintext}.example.com"))),
        ("a method", Ask::new(plaintext, "/")),
        ("a request's id", get("/").header("x-request-id", plaintext)),
        ("a forwarded chain", get("/").header("x-forwarded-for", plaintext)),
        ("twice", get("/").header("api-key", plaintext).header("api-key", plaintext)),
        ("one character less", get("/").header("api-key", &plaintext[..plaintext.len() - 1])),
        ("one character more", get("/").header("api-key", &format!("{plaintext}x"))),
        ("two swapped", get("/").header("api-key", &swapped)),
        ("two swapped in a path", get(&format!("/{swapped}"))),
        ("one less in a path", get(&format!("/{}", &plaintext[..plaintext.len() - 1]))),
        ("in quotes", get("/").header("api-key", &format!("\"{plaintext}\""))),
        ("a transfer encoding", get("/").header("transfer-encoding", plaintext)),
        ("a length", get("/").header("content-length", plaintext)),
    ]
}

/// Ways to show a secret to the admin listener where none belongs.
fn wrong_calls(gateway: &Gateway, plaintext: &str) -> Vec<(&'static str, Ask)> {
    let ask = |method: &str, path: &str, body: &Value| {
        gateway.admin_request_by(&gateway.operator_token(), method, path, body)
    };
    let host = gateway.admin_address().to_string();
    vec![
        ("a key's path", ask("GET", &format!("/v1/keys/{plaintext}"), &Value::Null)),
        ("a revocation's path", ask("DELETE", &format!("/v1/keys/{plaintext}"), &Value::Null)),
        ("a question", ask("GET", &format!("/v1/keys?q={plaintext}"), &Value::Null)),
        ("a cursor", ask("GET", &format!("/v1/keys?cursor={plaintext}"), &Value::Null)),
        ("an owner", ask("POST", "/v1/keys", &json!({ "owner": { "key": plaintext } }))),
        ("a scheme", ask("POST", "/v1/keys", &json!({ "name": "a", "scheme": plaintext }))),
        (
            "a token",
            Ask::get("/v1/keys")
                .header("host", &host)
                .header("authorization", &format!("Bearer {plaintext}")),
        ),
        (
            "a basic token",
            Ask::get("/v1/keys")
                .header("host", &host)
                .header("authorization", &format!("Basic {plaintext}")),
        ),
        ("a host", Ask::get("/v1/keys").header("host", plaintext)),
        ("an origin", ask("GET", "/v1/keys", &Value::Null).header("origin", plaintext)),
        (
            "a condition",
            ask("PATCH", "/v1/keys/000000000000", &json!({})).header("if-match", plaintext),
        ),
    ]
}

#[test]
fn no_plaintext_is_found_anywhere() {
    let upstream = Upstream::answering(|_| ok("ok"));
    let setup = Setup::to(upstream.address()).log("level = \"trace\"").log("access = true");
    let setup = setup.log("format = \"json\"").gateway("trusted_proxies = [\"127.0.0.0/8\"]");
    let setup = setup.gateway("accept_bearer = true");
    let mut gateway = Gateway::start(&setup);
    let (used, revoked, other) =
        (gateway.mint("used"), gateway.mint("revoked"), gateway.mint("other"));
    let operator = gateway.operator("other", &["keys:read", "operators:manage"]);
    let unknown = Key::unknown();
    let wrong = used.with_another_secret();
    let first = Key { id: String::new(), plaintext: gateway.operator_token() };
    let known = [
        ("the used key", &used),
        ("the revoked key", &revoked),
        ("the other key", &other),
        ("the unknown key", &unknown),
        ("the wrong key", &wrong),
        ("the operator's token", &operator),
        ("the first operator's token", &first),
    ];
    let secrets = known.map(|(name, key)| (name.to_owned(), secret_of(&key.plaintext))).to_vec();
    let mut search = Search { haystack: Haystack::new(), secrets };

    show_wrongly(&gateway, &known, &mut search);
    gateway.patch(&used.id, &json!({ "owner": "acme", "disabled": true }));
    search.note("the disabled key", &Ask::get("/").key(&used).to(&gateway));
    gateway.patch(&used.id, &json!({ "disabled": false }));
    gateway.revoke(&revoked.id);
    search.note("the revoked key", &Ask::get("/").key(&revoked).to(&gateway));
    operate(&gateway, &operator, &mut search);
    command_lines(&gateway, &known, &mut search);
    let last = gateway.mint("the last line");
    assert_eq!(Ask::get("/the-last-line").key(&last).to(&gateway).status, 200);
    eventually("the access log is written", || gateway.log().contains("/the-last-line"));
    gateway.admin("DELETE", &format!("/v1/operators/{}", operator.id), None);
    gather_files(&gateway, &mut search);
    gateway.kill9();
    gather_files(&gateway, &mut search);
    gateway.restart();
    gateway.stop();
    gather_files(&gateway, &mut search);

    // It is searched in the right places: ids are public, and stand there.
    let log = &search.haystack.iter().rfind(|it| it.0 == "output.log").unwrap().1;
    let store = &search.haystack.iter().rfind(|it| it.0 == "keyward.db").unwrap().1;
    assert!(contains(log, used.id.as_bytes()) && contains(log, b"\"event\":\"access\""));
    assert!(contains(store, last.id.as_bytes()));
    let found = search.found();
    assert!(found.is_empty(), "{} places:\n{}", found.len(), found.join("\n"));
}

/// Shows each secret in its place once, and then wherever none belongs.
fn show_wrongly(gateway: &Gateway, known: &[(&str, &Key)], search: &mut Search) {
    for (name, key) in known {
        search.note(name, &Ask::get("/").key(key).to(gateway));
        for (how, ask) in wrong_uses(&key.plaintext) {
            let mut client = gateway.client();
            client.send(ask.bytes());
            client.stream().shutdown(Shutdown::Write).unwrap();
            let answer = client.read_to_end();
            // A trusted proxy hears its own id again.
            if how == "a request's id" {
                continue;
            }
            // Some are not even HTTP; whatever comes is searched.
            search.haystack.push((format!("the answer to {name} as {how}"), answer));
        }
        for (how, ask) in wrong_calls(gateway, &key.plaintext) {
            // Who asks with it hears it again only in the detail that names a wrong field.
            search.note(&format!("{name} as {how}"), &gateway.admin_ask(&ask));
        }
    }
}

/// What operators read and change.
fn operate(gateway: &Gateway, operator: &Key, search: &mut Search) {
    let token = &operator.plaintext;
    let mut by_operator = |method: &str, path: &str, body: Value| {
        let answer = gateway.admin_ask(&gateway.admin_request_by(token, method, path, &body));
        search.note(path, &answer);
    };
    by_operator("GET", "/v1/keys", Value::Null);
    by_operator("GET", "/v1/operators", Value::Null);
    by_operator("POST", "/v1/operators", json!({ "name": "x", "permissions": ["keys:create"] }));
    by_operator("DELETE", "/v1/keys/000000000000", Value::Null);
    for path in ["/metrics", "/v1/gateways", "/readyz", "/v1/keys", "/v1/operators"] {
        search.note(path, &gateway.admin("GET", path, None));
    }
}

/// What commands say that were given a secret in a wrong place.
fn command_lines(gateway: &Gateway, known: &[(&str, &Key)], search: &mut Search) {
    for (name, key) in known {
        for arguments in [
            vec!["keys", "show", &key.plaintext],
            vec!["keys", "revoke", &key.plaintext],
            vec!["operators", "revoke", &key.plaintext],
            vec!["fleet", "forget", &key.plaintext],
        ] {
            let output = Command::new(env!("CARGO_BIN_EXE_keyward"))
                .args(&arguments)
                .env("KEYWARD_ADMIN_URL", format!("http://{}", gateway.admin_address()))
                .env("KEYWARD_ADMIN_TOKEN", gateway.operator_token())
                .output()
                .unwrap();
            let place = format!("what `keyward {} {}` says of {name}", arguments[0], arguments[1]);
            search.haystack.push((place, [output.stdout, output.stderr].concat()));
        }
    }
}

/// Every file but the one in which the first operator's token is handed over.
fn gather_files(gateway: &Gateway, search: &mut Search) {
    for entry in fs::read_dir(gateway.directory()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name != "operator.token" {
            search.haystack.push((name, fs::read(&path).unwrap()));
        }
    }
}
