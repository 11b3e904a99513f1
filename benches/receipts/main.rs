//! Measures how soon the answer to a revocation is complete, and what a fleet costs its Redis.
//!
//! First three gateways at 500 requests a second each and an admin node: 1,000 revocations, one
//! after another, and beside each a bare `SET` and `XADD` over one connection. Then 1, 3, 10 and 30
//! followers, all but the node simulated: they run the real scripts, and serve nobody. On one machine
//! they share its cores with what they follow; so the latency there is an upper bound.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    let_underscore_drop,
    reason = "a benchmark, not a server"
)]

use std::fs;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::connection::{Connection, Counts};
use crate::fleet::Fleet;
use crate::follower::Followers;
use crate::http::request;
use crate::process::Cores;
use crate::redis::Server;
use crate::stand::{Stand, free_address};

mod connection;
#[expect(dead_code, reason = "shared with another benchmark")]
#[path = "../versus/contender.rs"]
mod contender;
mod fleet;
mod follower;
#[path = "../versus/frame.rs"]
mod frame;
#[path = "../versus/http.rs"]
mod http;
#[expect(dead_code, reason = "shared with another benchmark")]
#[path = "../versus/process.rs"]
mod process;
#[path = "../versus/redis.rs"]
mod redis;
#[path = "../versus/stand.rs"]
mod stand;

const GATEWAYS: usize = 3;
const PER_SECOND: u64 = 500;
const REVOCATIONS: usize = 1_000;
const KEYS: usize = 1_000;
/// In milliseconds.
const P50_TARGET: f64 = 3.0;
const P99_TARGET: f64 = 15.0;
/// A tenth less than was meant is still that load.
const REACHED: f64 = 0.9;
const FOLLOWERS: [usize; 4] = [1, 3, 10, 30];
const REVOCATIONS_EACH: usize = 200;
const SETTLING: Duration = Duration::from_secs(11);
const AT_REST: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    frame::run("receipts", measure)
}

fn measure() -> Result<bool> {
    let stand = Stand::set_up(Cores::Any)?;
    let load = fs::read_to_string("/proc/loadavg")?;
    println!("load of the machine before: {}", load.trim());
    let mut results = serde_json::Map::new();
    let mut all_met = true;
    for fsync in ["always", "everysec"] {
        let (row, met) = under_load(&stand, fsync)?;
        results.insert(format!("appendfsync_{fsync}"), row);
        all_met &= met;
    }
    let costs = FOLLOWERS.iter().map(|it| cost(&stand, *it)).collect::<Result<Vec<_>>>()?;
    results.insert("control_plane".to_owned(), costs.into());
    frame::write_results("receipts", results)?;
    Ok(all_met)
}

/// The time to a complete answer while every gateway serves, and that of a bare write.
fn under_load(stand: &Stand, fsync: &str) -> Result<(Value, bool)> {
    let redis = start_redis(stand, fsync)?;
    let fleet = Fleet::start(stand, &frame::binary()?, &redis, GATEWAYS)?;
    let mut operator = fleet.operator()?;
    let minted = |count: usize, operator: &mut fleet::Operator| -> Result<Vec<_>> {
        (0..count).map(|_| operator.mint()).collect()
    };
    let kept = minted(KEYS, &mut operator)?;
    let keys: Vec<String> = kept.into_iter().map(|(_, key)| key).collect();
    let (served, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let (took, bare, seconds) = thread::scope(|scope| {
        let loaders: Vec<_> = fleet
            .gateways
            .iter()
            .map(|it| scope.spawn(|| load(*it, &keys, &served, &over)))
            .collect();
        let measured = revoke_all(&mut operator, redis.address);
        over.store(true, Ordering::Relaxed);
        for it in loaders {
            it.join().map_err(|_panic| anyhow!("a loader panicked"))??;
        }
        measured
    })?;
    let rate = served.load(Ordering::Relaxed) as f64 / seconds;
    let [complete, bare] = [took, bare].map(Times::of);
    let reached = rate >= REACHED * (PER_SECOND * GATEWAYS as u64) as f64;
    let met = complete.p50 <= P50_TARGET && complete.p99 <= P99_TARGET && reached;
    println!(
        "appendfsync {fsync}: complete after p50 {:.2} ms, p99 {:.2} ms, at most {:.2} ms; a bare SET \
         + XADD p50 {:.2} ms, p99 {:.2} ms; beside {rate:.0} requests/s  {}",
        complete.p50,
        complete.p99,
        complete.max,
        bare.p50,
        bare.p99,
        if met { "PASS" } else { "FAIL" }
    );
    let row = json!({
        "complete_ms": complete.row(), "bare_ms": bare.row(), "requests_per_second": rate,
        "revocations": REVOCATIONS,
    });
    Ok((row, met))
}

fn start_redis(stand: &Stand, fsync: &str) -> Result<Server> {
    let address = free_address()?;
    let folder = stand.folder(&format!("redis-{}", address.port()))?;
    Server::start(Cores::Any, &folder, address, Some(fsync))
}

/// The times of revocations and of bare writes, by turns, and how many seconds it took in all.
fn revoke_all(
    operator: &mut fleet::Operator,
    redis: SocketAddr,
) -> Result<(Vec<f64>, Vec<f64>, f64)> {
    let mut connection = Connection::open(redis)?;
    let record = "x".repeat(400);
    let (mut took, mut bare) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    for _ in 0..REVOCATIONS {
        let (id, _key) = operator.mint()?;
        let start = Instant::now();
        operator.revoke(&id, GATEWAYS + 1)?;
        took.push(millis(start));
        let start = Instant::now();
        let add = ["XADD", "bare:changes", "MAXLEN", "16384", "*", "record", &record];
        connection.ask(&[&["SET", "bare:record", &record], &add])?;
        bare.push(millis(start));
    }
    Ok((took, bare, begun.elapsed().as_secs_f64()))
}

/// What so many followers cost at rest and with each revocation, and how soon that is complete.
fn cost(stand: &Stand, count: usize) -> Result<Value> {
    let redis = start_redis(stand, "always")?;
    let fleet = Fleet::start(stand, &frame::binary()?, &redis, 0)?;
    let mut operator = fleet.operator()?;
    let keys: Vec<_> = (0..REVOCATIONS_EACH).map(|_| operator.mint()).collect::<Result<_>>()?;
    let followers = Followers::start(count - 1, redis.address)?;
    let mut connection = Connection::open(redis.address)?;
    let start = Instant::now();
    while !connection.ask(&[&["HLEN", "{kw}:gateways"]])?.is_count(count) {
        ensure!(start.elapsed() < AT_REST, "not all of {count} follow");
        thread::sleep(Duration::from_millis(10));
    }
    // A life of the store that was just met is looked at more often.
    thread::sleep(SETTLING);
    let before = connection.counts()?;
    thread::sleep(AT_REST);
    let at_rest = connection.counts()?.since(before);
    let before = connection.counts()?;
    let begun = Instant::now();
    let mut took = Vec::new();
    for (id, _key) in &keys {
        let start = Instant::now();
        operator.revoke(id, count)?;
        took.push(millis(start));
    }
    let seconds = begun.elapsed().as_secs_f64();
    let busy = connection.counts()?.since(before);
    followers.end()?;
    let complete = Times::of(took);
    let rest = at_rest.each(AT_REST.as_secs_f64());
    // What would have been at rest meanwhile is not the revocations'.
    let each = busy.since(rest.each(1.0 / seconds)).each(keys.len() as f64);
    println!(
        "{count:>2} followers: at rest {:.1} commands/s by clients ({:.0} with those in scripts), \
         {:.2} ms of CPU a second; a revocation {:.1} commands ({:.0}), {:.2} ms of CPU, complete \
         after p50 {:.2} ms, p99 {:.2} ms",
        rest.asked,
        rest.done,
        rest.cpu * 1e3,
        each.asked,
        each.done,
        each.cpu * 1e3,
        complete.p50,
        complete.p99
    );
    Ok(json!({
        "followers": count,
        "at_rest_per_second": rest.row(), "per_revocation": each.row(),
        "complete_ms": complete.row(),
    }))
}

/// Asks a gateway at a steady rate.
fn load(gateway: SocketAddr, keys: &[String], served: &AtomicU64, over: &AtomicBool) -> Result<()> {
    let mut connection = http::Connection::open(gateway)?;
    let host = gateway.to_string();
    let ask = |key: &String| request("GET /v1/orders/42", &[("host", &host), ("api-key", key)], "");
    let texts: Vec<String> = keys.iter().map(ask).collect();
    let start = Instant::now();
    let pause = Duration::from_secs(1) / u32::try_from(PER_SECOND)?;
    for (sent, text) in texts.iter().cycle().enumerate() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let next = start + pause * u32::try_from(sent)?;
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let status = connection.send(text)?.status;
        ensure!(status == 200, "a valid key got {status}");
        served.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// In milliseconds.
struct Times {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Times {
    fn of(mut took: Vec<f64>) -> Self {
        took.sort_by(f64::total_cmp);
        let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
        Self { p50: at(50), p99: at(99), max: at(100) }
    }

    fn row(&self) -> Value {
        json!({ "p50": self.p50, "p99": self.p99, "max": self.max })
    }
}

impl Counts {
    /// Divided by so many.
    fn each(self, count: f64) -> Self {
        Self { asked: self.asked / count, done: self.done / count, cpu: self.cpu / count }
    }

    fn row(self) -> Value {
        json!({
            "commands_of_clients": self.asked, "commands": self.done, "cpu_ms": self.cpu * 1e3,
        })
    }
}

fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
