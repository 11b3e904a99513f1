//! The command line of the benchmark.

use std::env;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::contender::Limits;

const USAGE: &str = "\
usage: cargo bench --bench versus -- [OPTIONS]
  --turns N           how often each contender is measured (default 11)
  --seconds N         seconds of measured load for each contender and turn (default 2)
  --warm-up N         seconds of load before; they tell throughput and latency (default 1)
  --keyward PATH      the binary to measure (default the one Cargo built)
  --store KIND        where it keeps its keys: embedded (default) or redis
  --limits            with a rate on every key, beside nginx with the same headers and no limit
  --without-keyward   measure only the others, with made-up keys
  --shared-key        measure one key on all connections against a key for each
  --out DIR           where the results go (default benches/results)";

/// What the command line asks for.
pub struct Options {
    pub measurement: Measurement,
    /// The Keyward binary, unless the others are to be measured alone.
    pub keyward: Option<PathBuf>,
    pub store: Store,
    pub limits: Limits,
    pub out: PathBuf,
    pub pace: Pace,
}

/// Which of the two measurements to make.
pub enum Measurement {
    Versus,
    SharedKey,
}

/// Where Keyward keeps its keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Store {
    Embedded,
    /// In a Redis which is started for it.
    Redis,
}

/// How often and how long each contender is measured.
#[derive(Clone, Copy)]
pub struct Pace {
    pub turns: usize,
    pub seconds: u64,
    pub warm_up_seconds: u64,
}

impl Options {
    /// Reads the arguments which follow the name of the program.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            options.apply(&argument, &mut arguments)?;
        }
        if options.keyward.is_none() && options.store != Store::Embedded {
            bail!("--store is Keyward's, which is left out\n{USAGE}");
        }
        Ok(options)
    }

    /// Where the results of a measurement go.
    pub fn results(&self, name: &str) -> PathBuf {
        let limits = match self.limits {
            Limits::None => "",
            Limits::Rate => "_limits",
        };
        let store = match self.store {
            Store::Embedded => "",
            Store::Redis => "_redis",
        };
        self.out.join(format!("{name}{limits}{store}.json"))
    }

    fn apply(&mut self, flag: &str, rest: &mut impl Iterator<Item = String>) -> Result<()> {
        match flag {
            "--bench" => {}
            "--turns" => self.pace.turns = positive(flag, rest)?,
            "--seconds" => self.pace.seconds = positive(flag, rest)?,
            "--warm-up" => self.pace.warm_up_seconds = positive(flag, rest)?,
            "--keyward" => self.keyward = Some(value(flag, rest)?.into()),
            "--store" => self.store = store(&value(flag, rest)?)?,
            "--limits" => self.limits = Limits::Rate,
            "--without-keyward" => self.keyward = None,
            "--shared-key" => self.measurement = Measurement::SharedKey,
            "--out" => self.out = value(flag, rest)?.into(),
            _ => bail!("unknown argument {flag}\n{USAGE}"),
        }
        Ok(())
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            measurement: Measurement::Versus,
            keyward: Some(built_keyward()),
            store: Store::Embedded,
            limits: Limits::None,
            out: PathBuf::from("benches/results"),
            pace: Pace { turns: 11, seconds: 2, warm_up_seconds: 1 },
        }
    }
}

fn built_keyward() -> PathBuf {
    env::var("CARGO_BIN_EXE_keyward")
        .ok()
        .or_else(|| option_env!("CARGO_BIN_EXE_keyward").map(String::from))
        .unwrap_or_else(|| String::from("target/release/keyward"))
        .into()
}

fn store(name: &str) -> Result<Store> {
    match name {
        "embedded" => Ok(Store::Embedded),
        "redis" => Ok(Store::Redis),
        _ => bail!("--store is embedded or redis, not {name}\n{USAGE}"),
    }
}

fn value(flag: &str, rest: &mut impl Iterator<Item = String>) -> Result<String> {
    rest.next().with_context(|| format!("{flag} needs a value\n{USAGE}"))
}

fn positive<T: FromStr + Default + PartialEq>(
    flag: &str,
    rest: &mut impl Iterator<Item = String>,
) -> Result<T> {
    value(flag, rest)?
        .parse()
        .ok()
        .filter(|number| *number != T::default())
        .with_context(|| format!("{flag} needs a number above zero\n{USAGE}"))
}
