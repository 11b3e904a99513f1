//! Measures what a request costs Keyward, nginx and `HAProxy`, in turns on the same core.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    let_underscore_drop,
    elided_lifetimes_in_paths,
    clippy::map_err_ignore,
    reason = "a benchmark, not a server"
)]

mod chart;
mod contender;
mod cpu;
mod credential;
mod haproxy;
mod home;
mod http;
mod keyward;
mod load;
mod machine;
mod nginx;
mod options;
mod probe;
mod process;
mod redis;
mod report;
mod round;
mod shared_key;
mod spread;
mod stand;
mod turns;
mod verdict;
mod versus;

use std::env;
use std::process::ExitCode;

use anyhow::Result;

use options::{Measurement, Options};
use verdict::Verdict;

/// The exit code of a measurement which could not be carried out.
const BROKEN: u8 = 2;

fn main() -> ExitCode {
    // Only `cargo bench` passes `--bench`: `cargo test --all-targets` must not measure for minutes.
    if !env::args().any(|argument| argument == "--bench") {
        println!("versus: nothing to test; measure with `cargo bench --bench versus`");
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(verdict) => verdict.exit_code(),
        Err(error) => {
            eprintln!("versus: {error:#}");
            ExitCode::from(BROKEN)
        }
    }
}

fn measure() -> Result<Verdict> {
    let options = Options::parse(env::args().skip(1))?;
    match options.measurement {
        Measurement::Versus => versus::run(&options),
        Measurement::SharedKey => shared_key::run(&options),
    }
}
