//! The load generator: wrk, with keys in rotation.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::contender::configure;
use crate::process::{Cores, Process};
use crate::stand::Stand;

/// How many connections are kept busy.
pub const CONNECTIONS: usize = 64;

/// Longer than any load lasts: it ends when it is told to.
const UNTIL_TOLD: u64 = 24 * 3600;

/// A generator which sends requests with a fixed set of keys.
pub struct Generator {
    folder: PathBuf,
    script: PathBuf,
    cores: Cores,
}

/// What one run of the generator saw.
pub struct Load {
    pub requests: f64,
    pub seconds: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// A load which can be interrupted.
pub struct Session {
    process: Process,
    output: PathBuf,
}

impl Generator {
    /// Writes the script which sends `keys` in rotation.
    pub fn new(stand: &Stand, keys: &[&str], cores: Cores) -> Result<Self> {
        let folder = stand.folder("load")?;
        let script = folder.join(format!("{}-keys.lua", keys.len()));
        let quoted: Vec<String> = keys.iter().map(|key| format!("\"{key}\"")).collect();
        let template = include_str!("configs/rotate.lua");
        configure(&script, template, &[("@KEYS@", &quoted.join(", "))])?;
        Ok(Self { folder, script, cores })
    }

    /// Loads `address` steadily for some seconds.
    pub fn run(&self, address: SocketAddr, seconds: u64) -> Result<Load> {
        let mut session = self.session(address, seconds)?;
        session.process.wait()?;
        session.read()
    }

    /// Begins to load `address`.
    pub fn start(&self, address: SocketAddr) -> Result<Session> {
        self.session(address, UNTIL_TOLD)
    }

    fn session(&self, address: SocketAddr, seconds: u64) -> Result<Session> {
        let name = format!("wrk-{}", address.port());
        let command = self.command(address, seconds);
        Ok(Session {
            process: Process::start(&name, command, &self.folder)?,
            output: self.folder.join(name + ".out"),
        })
    }

    fn command(&self, address: SocketAddr, seconds: u64) -> Command {
        let mut command = self.cores.command("setpriv");
        command
            // Nothing less ends a paused wrk if the benchmark dies.
            .args(["--pdeathsig", "KILL", "wrk"])
            .arg("-t1")
            .arg(format!("-c{CONNECTIONS}"))
            .arg(format!("-d{seconds}s"))
            // A request under way during a pause must not count as lost.
            .arg("--timeout=10s")
            .arg("-s")
            .arg(&self.script)
            .arg(format!("http://{address}"));
        command
    }
}

impl Session {
    pub fn pause(&self) -> Result<()> {
        self.process.signal("STOP")
    }

    pub fn resume(&self) -> Result<()> {
        self.process.signal("CONT")
    }

    /// Ends the load; its latencies include the pauses.
    pub fn finish(mut self) -> Result<Load> {
        self.resume()?;
        self.process.interrupt()?;
        self.read()
    }

    fn read(&self) -> Result<Load> {
        let output = fs::read_to_string(&self.output)?;
        let load = Load::parse(&output).with_context(|| format!("wrk said:\n{output}"));
        self.process.explain(load)
    }
}

impl Load {
    /// Reads the summary; whatever went wrong is an error.
    fn parse(output: &str) -> Result<Self> {
        let summary = output.lines().last().context("no output")?;
        let summary: Value = serde_json::from_str(summary).context("no summary")?;
        let number = |field: &str| summary[field].as_f64().context("an incomplete summary");
        let (refused, broken) = (number("refused")?, number("broken")?);
        ensure!(refused == 0.0, "{refused} requests were refused");
        ensure!(broken == 0.0, "{broken} socket errors");
        ensure!(number("requests")? > 0.0, "no request was answered");
        Ok(Self {
            requests: number("requests")?,
            seconds: number("microseconds")? / 1e6,
            p50_us: number("p50")?,
            p99_us: number("p99")?,
        })
    }
}
