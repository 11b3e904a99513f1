//! Measures how soon a gateway with 100,000 keys in its store is ready again.
//!
//! The keys are minted through the admin API; then the gateway is stopped and started three times,
//! and the best of them counts. Ready is what `/readyz` says, with every key in memory.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    let_underscore_drop,
    clippy::map_err_ignore,
    reason = "a benchmark, not a server"
)]

use std::fs;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::contender::AccessLog;
use crate::http::{Connection, request};
use crate::keyward::{EMBEDDED, Keyward};
use crate::process::Cores;
use crate::spread::Spread;
use crate::stand::Stand;

#[expect(dead_code, reason = "shared with another benchmark")]
#[path = "../versus/contender.rs"]
mod contender;
#[expect(dead_code, reason = "shared with another benchmark")]
#[path = "../versus/credential.rs"]
mod credential;
#[path = "../versus/frame.rs"]
mod frame;
#[path = "../versus/http.rs"]
mod http;
#[path = "../versus/keyward.rs"]
mod keyward;
#[expect(dead_code, reason = "shared with another benchmark")]
#[path = "../versus/process.rs"]
mod process;
#[path = "../versus/spread.rs"]
mod spread;
#[path = "../versus/stand.rs"]
mod stand;

const KEYS: usize = 100_000;
const STARTS: usize = 3;
const SECONDS_TARGET: f64 = 3.0;

fn main() -> ExitCode {
    frame::run("restarts", measure)
}

fn measure() -> Result<bool> {
    let stand = Stand::set_up(Cores::Any)?;
    let keyward = Keyward::new("keyward", &frame::binary()?, &stand, EMBEDDED)?;
    keyward.mint(KEYS)?;
    let contender = keyward.contender(2, AccessLog::Off)?;
    let admin = contender.admin.context("a gateway without an admin listener")?;
    let token = fs::read_to_string(contender.folder.join("operator.token"))?;
    let seconds = (0..STARTS).map(|_| {
        let start = Instant::now();
        let process = contender.start(Cores::Any)?;
        let seconds = start.elapsed().as_secs_f64();
        // Whoever is ready and does not know every key would have been too soon.
        process.explain(ensure_complete(admin, token.trim()))?;
        Ok(seconds)
    });
    let spread = Spread::of(seconds.collect::<Result<Vec<f64>>>()?);
    let met = spread.min <= SECONDS_TARGET;
    println!(
        "ready with {KEYS} keys after {:.2} s at best, {:.2} s at worst of {STARTS} starts \
         (at most {SECONDS_TARGET} s)  {}",
        spread.min,
        spread.max,
        if met { "PASS" } else { "FAIL" }
    );
    let seconds = json!([spread.min, spread.median, spread.max]);
    let results = json!({ "keys": KEYS, "seconds_until_ready": seconds });
    frame::write_results("restarts", results)?;
    Ok(met)
}

fn ensure_complete(admin: SocketAddr, token: &str) -> Result<()> {
    let (host, bearer) = (admin.to_string(), format!("Bearer {token}"));
    let headers = [("host", &*host), ("authorization", &*bearer)];
    let scrape = Connection::open(admin)?.send(&request("GET /metrics", &headers, ""))?;
    ensure!(scrape.status == 200, "/metrics answered {}", scrape.status);
    // The first operator's is one more.
    for line in
        [format!("keyward_key_entries {}", KEYS + 1), "keyward_key_entries_complete 1".to_owned()]
    {
        ensure!(scrape.body.lines().any(|it| it == line), "ready, and not {line}");
    }
    Ok(())
}
