//! Counts the instructions that one request costs the worker which serves it: a figure that
//! repeats on any machine.
//!
//! The real program runs under callgrind with one worker; a client sends requests one after the
//! other over one connection. Each figure is the difference between a long and a short run, on
//! the worker's thread alone, so that starting, loading keys and background work do not count.
//! A check of a key is the difference between a route that asks for one and a public one.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    let_underscore_drop,
    clippy::cast_precision_loss,
    reason = "a benchmark, not a server"
)]

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::http::{Connection, request};
use crate::process::{Cores, Process};
use crate::stand::{Stand, free_address};

#[expect(dead_code, reason = "shared with another benchmark")]
#[path = "../versus/contender.rs"]
mod contender;
#[path = "../versus/frame.rs"]
mod frame;
#[path = "../versus/http.rs"]
mod http;
#[expect(dead_code, reason = "shared with another benchmark")]
#[path = "../versus/process.rs"]
mod process;
#[path = "../versus/stand.rs"]
mod stand;

const SHORT: u64 = 1_000;
const LONG: u64 = 3_000;
const PATIENCE: Duration = Duration::from_mins(2);

/// So many instructions a limit may cost.
const MORE_MAX: f64 = 500.0;

fn main() -> ExitCode {
    frame::run("instructions", measure)
}

/// Whether the target is met.
fn measure() -> Result<bool> {
    let bench = Bench::set_up()?;
    let unknown = with_another_id(&bench.key);
    let cases = [
        ("public route", "/public", None, 200),
        ("key route", "/v1/orders/42", Some(bench.key.as_str()), 200),
        ("with a rate", "/v1/orders/42", Some(bench.limited[0].as_str()), 200),
        ("with rate and quota", "/v1/orders/42", Some(bench.limited[1].as_str()), 200),
        // It is counted, and nothing is told of it.
        ("with a shadow rate", "/v1/orders/42", Some(bench.limited[2].as_str()), 200),
        ("refused: unknown id", "/v1/orders/42", Some(unknown.as_str()), 401),
        ("refused: garbage", "/v1/orders/42", Some("garbage"), 401),
    ];
    let mut figures = serde_json::Map::new();
    for (name, path, key, status) in cases {
        let call = Call { path, key, status };
        let first = bench.per_request(&call)?;
        let again = bench.per_request(&call)?;
        println!(
            "{name:<22} {:>8.0} instructions per request; once more: {:.0}; allocations: {:.3}",
            first.instructions, again.instructions, first.allocations
        );
        let counted = [first.instructions, again.instructions, first.allocations];
        figures.insert(name.to_owned(), json!(counted));
    }
    let of = |name: &str, at: usize| figures[name][at].as_f64().unwrap_or_default();
    let check = of("key route", 0) - of("public route", 0);
    println!("{:<22} {check:>8.0} instructions", "one check of a key");
    let mut is_met = true;
    let differences = ["with a rate", "with rate and quota", "with a shadow rate"].map(|name| {
        let [more, memory] = [0, 2].map(|at| of(name, at) - of("key route", at));
        let is_within = more <= MORE_MAX && memory < 0.1;
        is_met &= is_within;
        let verdict = if is_within { "PASS" } else { "FAIL" };
        println!(
            "{name:<22} {more:>8.0} instructions more, {memory:.3} allocations more; target \
             {MORE_MAX:.0} and none: {verdict}"
        );
        (name, json!([more, memory]))
    });
    figures.insert("one check of a key".to_owned(), json!(check));
    for (name, difference) in differences {
        figures.insert(format!("{name}, more than without"), difference);
    }
    frame::write_results("instructions", figures)?;
    Ok(is_met)
}

struct Bench {
    stand: Stand,
    folder: PathBuf,
    binary: PathBuf,
    gateway: SocketAddr,
    admin: SocketAddr,
    key: String,
    /// One with a rate, one with a quota beside it, one with a rate in shadow: nobody exceeds them.
    limited: [String; 3],
}

/// Of one thread, or of one of its requests.
#[derive(Clone, Copy, Default)]
struct Counted {
    instructions: f64,
    allocations: f64,
}

struct Call<'a> {
    path: &'a str,
    key: Option<&'a str>,
    status: u16,
}

impl Bench {
    fn set_up() -> Result<Self> {
        let stand = Stand::set_up(Cores::Any)?;
        let folder = stand.folder("keyward")?;
        let (gateway, admin) = (free_address()?, free_address()?);
        let text = format!(
            r#"gateway = {{ listen = ["{gateway}"], workers = 1 }}
admin = {{ listen = ["{admin}"] }}
log = {{ level = "warn" }}
keys = {{ argon2 = {{ memory = "8KiB", iterations = 1 }} }}
upstreams = [{{ name = "bench", endpoints = ["http://{}"] }}]
routes = [
    {{ name = "orders", path = "/v1/", upstream = "bench" }},
    {{ name = "public", exact = "/public", upstream = "bench", access = "public" }},
]
"#,
            stand.upstream
        );
        fs::write(folder.join("keyward.toml"), text)?;
        let binary = frame::binary()?;
        let (key, limited) = (String::new(), [const { String::new() }; 3]);
        let mut bench = Self { stand, folder, binary, gateway, admin, key, limited };
        let _process = bench.start(&[])?;
        bench.key = bench.mint("")?;
        let rate = r#","rate":"1000000/s""#;
        bench.limited = [
            bench.mint(rate)?,
            bench.mint(&format!(r#"{rate},"quota":"1000000000/day""#))?,
            bench.mint(r#","rate":"1000000/s shadow""#)?,
        ];
        Ok(bench)
    }

    fn mint(&self, limits: &str) -> Result<String> {
        let token = fs::read_to_string(self.folder.join("operator.token"))?;
        let (host, bearer) = (self.admin.to_string(), format!("Bearer {}", token.trim()));
        let headers =
            [("host", &*host), ("authorization", &*bearer), ("content-type", "application/json")];
        let body = format!(r#"{{"name":"orders client","owner":"team orders"{limits}}}"#);
        let minted =
            Connection::open(self.admin)?.send(&request("POST /v1/keys", &headers, &body))?;
        ensure!(minted.status == 201, "minting got {}: {}", minted.status, minted.body);
        let minted: serde_json::Value = serde_json::from_str(&minted.body)?;
        Ok(minted["key"].as_str().context("no key")?.to_owned())
    }

    /// Starts the gateway behind the command `before`, and waits until it is ready.
    fn start(&self, before: &[&str]) -> Result<Process> {
        let words = before.iter().map(PathBuf::from).chain([self.binary.clone()]);
        let words: Vec<PathBuf> = words.collect();
        let (program, rest) = words.split_first().context("no program")?;
        let mut command = Cores::Any.command(program);
        command.args(rest).arg("serve").arg("--config").arg(self.folder.join("keyward.toml"));
        let mut process = Process::start("keyward", command, &self.folder)?;
        let start = Instant::now();
        while !self.is_ready() {
            ensure!(start.elapsed() < PATIENCE, "the gateway does not become ready");
            process.wait_until(|| true)?;
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(process)
    }

    fn is_ready(&self) -> bool {
        let host = self.admin.to_string();
        let asked = request("GET /readyz", &[("host", &host)], "");
        Connection::open(self.admin)
            .and_then(|mut it| it.send(&asked))
            .is_ok_and(|it| it.status == 200)
    }

    fn per_request(&self, call: &Call<'_>) -> Result<Counted> {
        let (short, long) = (self.count(call, SHORT)?, self.count(call, LONG)?);
        let each = |of: fn(&Counted) -> f64| (of(&long) - of(&short)) / (LONG - SHORT) as f64;
        let (instructions, allocations) = (each(|it| it.instructions), each(|it| it.allocations));
        Ok(Counted { instructions, allocations })
    }

    /// The instructions of the busiest thread, the worker, for so many requests.
    fn count(&self, call: &Call<'_>, requests: u64) -> Result<Counted> {
        let folder = self.stand.folder(&format!("callgrind-{requests}"))?;
        for old in fs::read_dir(&folder)? {
            fs::remove_file(old?.path())?;
        }
        let out = format!("--callgrind-out-file={}", folder.join("out").display());
        let valgrind = ["valgrind", "--tool=callgrind", "--separate-threads=yes", &out];
        let process = self.start(&valgrind)?;
        let sent = self.send(call, requests);
        process.explain(sent)?;
        drop(process);
        busiest(&folder)
    }

    fn send(&self, call: &Call<'_>, requests: u64) -> Result<()> {
        let host = self.gateway.to_string();
        let mut headers = vec![
            ("host", &*host),
            ("user-agent", "orders-client/2.4"),
            ("accept", "application/json"),
        ];
        headers.extend(call.key.map(|it| ("api-key", it)));
        let text = request(&format!("GET {}", call.path), &headers, "");
        let mut connection = Connection::open(self.gateway)?;
        for _ in 0..requests {
            let answer = connection.send(&text)?;
            ensure!(answer.status == call.status, "got {}: {}", answer.status, answer.body);
        }
        Ok(())
    }
}

fn busiest(folder: &Path) -> Result<Counted> {
    let mut busiest = Counted::default();
    for file in fs::read_dir(folder)? {
        let text = fs::read_to_string(file?.path())?;
        let totals = text.lines().filter_map(|it| it.strip_prefix("totals: "));
        let totals = totals.filter_map(|it| it.trim().parse::<f64>().ok());
        let instructions = totals.fold(0.0_f64, f64::max);
        if instructions > busiest.instructions {
            busiest = Counted { instructions, allocations: allocations(&text) };
        }
    }
    ensure!(busiest.instructions > 0.0, "callgrind counted nothing");
    ensure!(busiest.allocations > 0.0, "no call of the allocator was seen");
    Ok(busiest)
}

/// How often a thread asked for memory: calls of the allocator by anybody but itself. Names are
/// written out once, and a number stands for them afterwards.
fn allocations(profile: &str) -> f64 {
    let mut names = HashMap::new();
    let (mut is_own, mut asks, mut count) = (false, false, 0.0);
    for line in profile.lines() {
        let Some((what, value)) = line.split_once('=') else { continue };
        match what {
            "fn" | "cfn" => {
                let (number, name) = value.split_once(' ').unwrap_or((value, ""));
                let it = *names.entry(number).or_insert_with(|| is_allocator(name));
                if what == "fn" { is_own = it } else { asks = it }
            }
            "calls" if asks && !is_own => {
                let calls = value.split(' ').next().and_then(|it| it.parse::<f64>().ok());
                count += calls.unwrap_or_default();
            }
            _ => {}
        }
    }
    count
}

fn is_allocator(name: &str) -> bool {
    let asks = ["mi_malloc", "mi_zalloc", "mi_realloc", "mi_heap_malloc", "mi_heap_zalloc"];
    asks.iter().any(|it| name.starts_with(it)) || name.starts_with("_mi_")
}

/// A key of the right shape under another id: its checksum is right, and nobody minted it.
fn with_another_id(key: &str) -> String {
    let (body, _checksum) = key.split_at(key.len() - 6);
    let mut parts: Vec<&str> = body.split('_').collect();
    parts[1] = "000000000000";
    let body = parts.join("_");
    let mut rest = crc32fast::hash(body.as_bytes());
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut checksum = [b'0'; 6];
    for digit in checksum.iter_mut().rev() {
        *digit = digits[(rest % 62) as usize];
        rest /= 62;
    }
    body + &String::from_utf8_lossy(&checksum)
}
