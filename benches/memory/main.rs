//! Measures what a key costs in memory, how soon all keys are there, and what a request costs where
//! there are many: with SQLite and with Redis.
//!
//! Every key has a rate, a quota and a bound on requests under way, which nobody exceeds.
//! Resident memory with so many keys that nobody has used yet, less that with 1,000, divided by the
//! difference. CPU per request with the same 10,000 keys in use, in turns: beside no others, and
//! beside all.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    let_underscore_drop,
    reason = "a benchmark, not a server"
)]

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use crate::cpu::CpuTime;
use crate::gateway::{Gateway, free};
use crate::place::Place;
use crate::process::Cores;
use crate::redis::Server;
use crate::spread::Spread;

#[path = "../versus/cpu.rs"]
mod cpu;
#[path = "../versus/frame.rs"]
mod frame;
mod gateway;
#[path = "../versus/http.rs"]
mod http;
mod place;
mod price;
#[expect(dead_code, reason = "shared with another benchmark")]
#[path = "../versus/process.rs"]
mod process;
#[path = "../versus/redis.rs"]
mod redis;
#[path = "../versus/spread.rs"]
mod spread;
mod upstream;

const FEW: u64 = 1_000;
const SOME: u64 = 100_000;
const MANY: u64 = 1_000_000;

/// How many keys are in use where requests are measured.
const IN_USE: u64 = 10_000;

const BYTES_TARGET: f64 = 400.0;
const SECONDS_TARGET: f64 = 30.0;
const PRICE_TARGET: f64 = 1.1;

fn main() -> ExitCode {
    frame::run("memory", measure)
}

fn measure() -> Result<bool> {
    let many = frame::argument("--keys").map_or(Ok(MANY), |it| it.parse())?;
    let folder = tempfile::tempdir()?;
    let redis = Server::start(Cores::Any, folder.path(), free()?, None)?;
    let (redis_met, redis) = round("Redis", &redis.url(), many)?;
    let (sqlite_met, sqlite) = round("SQLite", "sqlite:keyward.db", many)?;
    let results = json!({ "keys": many, "sqlite": sqlite, "redis": redis });
    frame::write_results("memory", results)?;
    Ok(sqlite_met && redis_met)
}

fn round(name: &str, url: &str, many: u64) -> Result<(bool, Value)> {
    let place = |keys| Place::fill(url, keys);
    let few = held(name, &place(FEW)?)?;
    let some = held(name, &place(SOME.min(many))?)?;
    let large = place(many)?;
    let all = held(name, &large)?;
    let each = |it: &Held, keys: u64| {
        it.bytes.saturating_sub(few.bytes) as f64 / keys.saturating_sub(FEW) as f64
    };
    let [of_some, of_all] = [each(&some, SOME.min(many)), each(&all, many)];
    println!("{name}: {of_some:.0} bytes for a key of {}", SOME.min(many));
    let small = place(IN_USE)?;
    let prices = price::compare([&small, &large], IN_USE)?;
    let [alone, beside] = prices.map(|it| Spread::of(it.to_vec()).median);
    let met = [
        verdict(name, "bytes for a key", of_all, BYTES_TARGET),
        verdict(name, "s until all keys are there", all.seconds, SECONDS_TARGET),
        verdict(name, "of the price beside no others", beside / alone, PRICE_TARGET),
    ];
    let results = json!({
        "bytes_for_a_key": of_all,
        "bytes_for_a_key_of_100000": of_some,
        "seconds_until_served": all.served,
        "seconds_until_complete": all.seconds,
        "cpu_us_per_request": { "of_10000": alone, "of_all": beside },
    });
    Ok((met.iter().all(|it| *it), results))
}

/// What a gateway holds that nobody has asked for any key but one.
struct Held {
    served: f64,
    seconds: f64,
    bytes: u64,
}

fn held(name: &str, place: &Place) -> Result<Held> {
    let gateway = Gateway::start(place)?;
    let before = CpuTime::of_tree(gateway.process.id())?;
    let served = gateway.await_answer(place)?;
    let seconds = gateway.await_all(place)?;
    let spent = CpuTime::of_tree(gateway.process.id())?.since(&before).as_secs_f64();
    let bytes = gateway.rest_and_weigh()?;
    eprintln!(
        "{name}: {} keys: served after {served:.2} s, all there after {seconds:.2} s \
         ({spent:.2} s of CPU), {} KiB resident",
        place.keys,
        bytes / 1024
    );
    Ok(Held { served, seconds, bytes })
}

fn verdict(store: &str, what: &str, value: f64, target: f64) -> bool {
    let met = value <= target;
    let word = if met { "PASS" } else { "FAIL" };
    println!("{store}: {value:.2} {what} (at most {target})  {word}");
    met
}
