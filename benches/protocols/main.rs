//! Measures what HTTP/2 and new TLS connections cost Keyward and nginx, in turns on the same core.
//!
//! h2load asks one after the other in short slices, so that what changes over time changes for
//! both; the CPU time of the proxy is read before and after each.

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
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::contender::{AccessLog, Contender, Limits};
use crate::cpu::CpuTime;
use crate::credential::Credential;
use crate::keyward::{EMBEDDED, Keyward};
use crate::nginx::Nginx;
use crate::process::Cores;
use crate::spread::Spread;
use crate::stand::{Stand, free_address};

#[expect(dead_code, reason = "shared with another benchmark")]
#[path = "../versus/contender.rs"]
mod contender;
#[path = "../versus/cpu.rs"]
mod cpu;
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
#[path = "../versus/nginx.rs"]
mod nginx;
#[expect(dead_code, reason = "shared with another benchmark")]
#[path = "../versus/process.rs"]
mod process;
#[path = "../versus/spread.rs"]
mod spread;
#[path = "../versus/stand.rs"]
mod stand;

/// What is asked, and what it may cost beside nginx.
struct Kind {
    name: &'static str,
    arguments: &'static [&'static str],
    requests: u32,
    scheme: &'static str,
    target: f64,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "HTTP/2, one stream on each of 64 connections",
        arguments: &["-c", "64", "-m", "1"],
        requests: 25_600,
        scheme: "http",
        target: 1.05,
    },
    Kind {
        name: "HTTP/2, ten streams on each of 64 connections",
        arguments: &["-c", "64", "-m", "10"],
        requests: 51_200,
        scheme: "http",
        target: 0.8,
    },
    Kind {
        name: "a new TLS connection with one request",
        arguments: &["--h1", "-c", "200", "-m", "1"],
        requests: 200,
        scheme: "https",
        target: 1.0,
    },
];

const TURNS: usize = 11;
const SLICES: u8 = 4;

fn main() -> ExitCode {
    frame::run("protocols", measure)
}

fn measure() -> Result<bool> {
    let stand = Stand::set_up(Cores::Load)?;
    let keyward = Keyward::new("keyward", &frame::binary()?, &stand, EMBEDDED)?;
    let credentials = keyward.mint(16)?;
    let (mut all_met, mut results) = (true, Vec::new());
    for kind in &KINDS {
        let ours = over(keyward.contender(1, AccessLog::Off)?, kind)?;
        let theirs = nginx(&stand, &credentials, kind)?;
        let mut turns = Vec::new();
        for turn in 1..=TURNS {
            eprintln!("protocols: {}, turn {turn} of {TURNS}", kind.name);
            turns.push(take_turn([&ours, &theirs], kind, &credentials[0].key)?);
        }
        let ratios: Vec<f64> = turns.iter().map(|[ours, theirs]| ours / theirs).collect();
        let ratio = Spread::of(ratios);
        let of = |place: usize| {
            Spread::of(turns.iter().map(|it| it[place]).collect::<Vec<f64>>()).median
        };
        let met = ratio.median <= kind.target;
        println!(
            "{}: Keyward {:.1} us, nginx {:.1} us, ratio {:.3} ({:.3} to {:.3}), at most {}  {}",
            kind.name,
            of(0),
            of(1),
            ratio.median,
            ratio.min,
            ratio.max,
            kind.target,
            if met { "PASS" } else { "FAIL" }
        );
        all_met &= met;
        results.push(json!({ "kind": kind.name, "us": turns, "ratio": ratio.median }));
    }
    frame::write_results("protocols", results)?;
    Ok(all_met)
}

/// CPU per request of each contender, in microseconds.
fn take_turn(contenders: [&Contender; 2], kind: &Kind, key: &str) -> Result<[f64; 2]> {
    let [ours, theirs] = contenders;
    let processes = [ours.start(Cores::Proxy)?, theirs.start(Cores::Proxy)?];
    let mut spent = [Duration::ZERO; 2];
    for slice in 0..=SLICES {
        for place in [usize::from(slice % 2), usize::from(1 - slice % 2)] {
            let before = CpuTime::of_tree(processes[place].pid())?;
            load(contenders[place], kind, key)?;
            // The kernel brings the clock of a task up to date once it no longer runs.
            thread::sleep(Duration::from_millis(20));
            // The first one warms up.
            if slice > 0 {
                spent[place] += CpuTime::of_tree(processes[place].pid())?.since(&before);
            }
        }
    }
    let requests = f64::from(kind.requests) * f64::from(SLICES);
    Ok(spent.map(|it| it.as_secs_f64() * 1e6 / requests))
}

fn load(contender: &Contender, kind: &Kind, key: &str) -> Result<()> {
    let mut command = Cores::Load.command("h2load");
    command.args(kind.arguments).args(["-n", &kind.requests.to_string()]);
    command.args(["-H", &format!("api-key: {key}")]);
    command.arg(format!("{}://{}/", kind.scheme, contender.address));
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let all = format!("status codes: {} 2xx", kind.requests);
    ensure!(said.contains(&all), "h2load at {}: {said}", contender.name);
    Ok(())
}

/// Keyward, with a certificate where TLS is spoken.
fn over(mut contender: Contender, kind: &Kind) -> Result<Contender> {
    if kind.scheme == "http" {
        return Ok(contender);
    }
    let address = free_address()?;
    let config = contender.arguments.last_mut().context("no configuration")?;
    let text = fs::read_to_string(&*config)?;
    certify(&contender.folder)?;
    let tls = format!(
        "[gateway]\nlisten_tls = [\"{address}\"]\ncertificates = [{{ certificate = \"cert.pem\", private_key = \"key.pem\" }}]"
    );
    let path = contender.folder.join("tls.toml");
    fs::write(&path, text.replace("[gateway]", &tls))?;
    *config = path.to_string_lossy().into_owned();
    contender.address = address;
    Ok(contender)
}

/// nginx as in `versus`, over HTTP/2 or TLS.
fn nginx(stand: &Stand, credentials: &[Credential], kind: &Kind) -> Result<Contender> {
    let contender = Nginx::new(stand, credentials)?.full("nginx", AccessLog::Off, Limits::None)?;
    let config = PathBuf::from(contender.arguments.last().context("no configuration")?);
    let text = fs::read_to_string(&config)?;
    certify(&contender.folder)?;
    let folder = contender.folder.display();
    let spoken = if kind.scheme == "http" {
        "http2 backlog=1024;".to_owned()
    } else {
        format!(
            "ssl http2 backlog=1024;\n ssl_certificate {folder}/cert.pem;\n ssl_certificate_key {folder}/key.pem;"
        )
    };
    fs::write(&config, text.replace("backlog=1024;", &spoken))?;
    Ok(contender)
}

/// The same kind of certificate for both: ECDSA over P-256.
fn certify(folder: &Path) -> Result<()> {
    if folder.join("cert.pem").exists() {
        return Ok(());
    }
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    fs::write(folder.join("cert.pem"), issued.cert.pem())?;
    Ok(fs::write(folder.join("key.pem"), issued.signing_key.serialize_pem())?)
}
