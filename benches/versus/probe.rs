//! Makes sure that a contender does its duty before it is measured.

use std::net::SocketAddr;

use anyhow::{Result, ensure};

use crate::contender::{Contender, Duty};
use crate::credential::Credential;
use crate::http::{self, Connection, Response};
use crate::process::Cores;

const HOST: &str = "orders.example";
/// How many of the known keys are tried.
const SAMPLE: usize = 50;

/// Starts a contender, asks it what it must answer, and stops it.
pub fn check(contender: &Contender, credentials: &[Credential]) -> Result<()> {
    let process = contender.start(Cores::Proxy)?;
    process.explain(check_answers(contender, credentials))
}

fn check_answers(contender: &Contender, credentials: &[Credential]) -> Result<()> {
    let step = credentials.len() / SAMPLE;
    for credential in credentials.iter().step_by(step) {
        check_echo(contender, credential)?;
    }
    if matches!(contender.duty, Duty::Relay) {
        return Ok(());
    }
    let unknown = Credential::invent(0)?;
    let answer = ask(contender.address, &[("api-key", &unknown.key)])?;
    expect_status(401, &answer, "an unknown key")?;
    expect_status(401, &ask(contender.address, &[])?, "a missing key")
}

fn check_echo(contender: &Contender, credential: &Credential) -> Result<()> {
    let answer = ask(contender.address, &[("api-key", &credential.key)])?;
    expect_status(200, &answer, "a known key")?;
    let seen: Vec<&str> = answer.body.split('|').collect();
    let request_id = answer.header("x-request-id").unwrap_or_default();
    let expected = expected_echo(contender.duty, credential, request_id);
    ensure!(seen == expected, "the upstream saw {seen:?} instead of {expected:?}");
    let is_numbered = matches!(contender.duty, Duty::Identify);
    ensure!(
        is_numbered != request_id.is_empty(),
        "the answer carries the request id {request_id:?}"
    );
    Ok(())
}

/// The headers which the upstream echoes: the key, its holder, the request id, where it came from.
fn expected_echo<'a>(duty: Duty, of: &'a Credential, request_id: &'a str) -> [&'a str; 8] {
    match duty {
        Duty::Identify => {
            let (id, name, owner) = (&*of.id, &*of.name, &*of.owner);
            ["", id, name, owner, request_id, "127.0.0.1", "http", HOST]
        }
        Duty::Check => [""; 8],
        Duty::Relay => [&of.key, "", "", "", "", "", "", ""],
    }
}

fn ask(address: SocketAddr, headers: &[(&str, &str)]) -> Result<Response> {
    let headers = [&[("host", HOST)], headers].concat();
    Connection::open(address)?.send(&http::request("GET /echo", &headers, ""))
}

fn expect_status(expected: u16, answer: &Response, what: &str) -> Result<()> {
    let status = answer.status;
    ensure!(status == expected, "{what} got {status} instead of {expected}: {}", answer.body);
    Ok(())
}
