//! The frame of a benchmark: what it is asked, how it ends, where its results go.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::Value;

/// The exit code of a measurement which could not be carried out.
const BROKEN: u8 = 2;

/// Measures, and fails where not every target was met.
pub fn run(name: &str, measure: impl FnOnce() -> Result<bool>) -> ExitCode {
    // Only `cargo bench` passes `--bench`: `cargo test --all-targets` must not measure.
    if !env::args().any(|it| it == "--bench") {
        println!("{name}: nothing to test; measure with `cargo bench --bench {name}`");
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            println!("{name}: {fault:#}");
            ExitCode::from(BROKEN)
        }
    }
}

/// What follows `flag` on the command line.
pub fn argument(flag: &str) -> Option<String> {
    env::args().skip_while(|it| it != flag).nth(1)
}

/// The program which is measured, from wherever it is started.
pub fn binary() -> Result<PathBuf> {
    let path = argument("--keyward").unwrap_or_else(|| "target/release/keyward".to_owned());
    PathBuf::from(&path).canonicalize().with_context(|| format!("there is no {path}"))
}

/// Leaves the results to programs, in a file named after the benchmark.
pub fn write_results(name: &str, results: impl Into<Value>) -> Result<()> {
    let folder = Path::new("benches/results");
    fs::create_dir_all(folder)?;
    let text = serde_json::to_string_pretty(&results.into())? + "\n";
    Ok(fs::write(folder.join(name).with_extension("json"), text)?)
}
