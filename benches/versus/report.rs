//! The figures, for people and for programs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::credential;
use crate::load::CONNECTIONS;
use crate::options::Pace;
use crate::round::{Round, Sample, Series};
use crate::verdict::{Target, Verdict};

const METHOD: &str = "\
CPU time: over the load of a turn, which goes round the contenders in slices of 100 ms
the other columns: from the warm-up of each turn, which does not pause";

/// The name of an entry and of the one which it is compared with.
pub type Comparison = (&'static str, &'static str);

/// What was asked of a round, and what came of it.
pub struct Judged<'a> {
    pub targets: &'a [Target],
    pub verdict: Verdict,
}

/// Everything which a measurement found.
pub struct Report<'a> {
    pub machine: Value,
    pub pace: Pace,
    pub rounds: Vec<Round>,
    pub comparisons: Vec<Comparison>,
    /// Of each round.
    pub judged: Vec<Judged<'a>>,
    pub notes: &'a [&'a str],
}

impl Report<'_> {
    /// Prints tables, ratios, targets and the verdict.
    pub fn print(&self) {
        for round in &self.rounds {
            print_table(round);
            self.print_ratios(round);
        }
        println!("\n{METHOD}");
        self.notes.iter().for_each(|note| println!("{note}"));
        for (round, judged) in self.rounds.iter().zip(&self.judged) {
            judged.targets.iter().for_each(|target| print_target(target, round));
            println!("{}: {}", round.title, judged.verdict.name());
        }
        println!("{}", self.verdict().name());
    }

    /// Of all rounds together.
    pub fn verdict(&self) -> Verdict {
        let verdicts: Vec<Verdict> = self.judged.iter().map(|judged| judged.verdict).collect();
        Verdict::worst(&verdicts)
    }

    fn print_ratios(&self, round: &Round) {
        println!("\n  ratio of CPU time per request, turn by turn");
        for (name, base) in &self.comparisons {
            if let Some(ratio) = round.ratio(name, base) {
                println!("  {:<28} {ratio}", format!("{name} / {base}"));
            }
        }
    }

    /// Writes every value of every turn.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(&self.to_json())?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }

    fn to_json(&self) -> Value {
        let rounds = self.rounds.iter().zip(&self.judged);
        json!({
            "machine": self.machine,
            "turns": self.pace.turns,
            "seconds": self.pace.seconds,
            "warm_up_seconds": self.pace.warm_up_seconds,
            "connections": CONNECTIONS,
            "known_keys": credential::KNOWN,
            "rounds": rounds.map(|(round, judged)| self.round_to_json(round, judged)).collect::<Vec<_>>(),
            "notes": self.notes,
            "verdict": self.verdict().name(),
        })
    }

    fn round_to_json(&self, round: &Round, judged: &Judged) -> Value {
        let targets = judged.targets.iter();
        let ratios = self.comparisons.iter();
        json!({
            "title": round.title,
            "contenders": round.series.iter().map(series_to_json).collect::<Vec<_>>(),
            "ratios": ratios
                .filter_map(|(name, base)| ratio_to_json(round, name, base))
                .collect::<Vec<_>>(),
            "targets": targets.map(|target| target_to_json(target, round)).collect::<Vec<_>>(),
            "verdict": judged.verdict.name(),
        })
    }
}

fn target_to_json(target: &Target, round: &Round) -> Value {
    json!({
        "of": target.name,
        "over": target.base,
        "limit": target.limit,
        "outcome": target.judge(round).name(),
    })
}

fn print_table(round: &Round) {
    println!(
        "\n{}\n  {:<14} {:>24} {:>11} {:>8} {:>8} {:>7}",
        round.title, "contender", "CPU µs/request", "requests/s", "p50 µs", "p99 µs", "busy"
    );
    round.series.iter().for_each(print_row);
}

fn print_row(series: &Series) {
    let cpu = series.cpu_us();
    let median = |value: fn(&Sample) -> f64| series.spread(value).median;
    println!(
        "  {:<14} {:>24} {:>11.0} {:>8.0} {:>8.0} {:>5.0} %",
        series.name,
        format!("{:.2} [{:.2}..{:.2}]", cpu.median, cpu.min, cpu.max),
        median(|sample| sample.steady.per_second),
        median(|sample| sample.steady.p50_us),
        median(|sample| sample.steady.p99_us),
        median(|sample| sample.steady.busy * 100.0),
    );
}

fn print_target(target: &Target, round: &Round) {
    let Target { name, base, limit } = target;
    let (title, outcome) = (&round.title, target.judge(round).name());
    println!("target, {title}: {name} / {base} <= {limit:.2}: {outcome}");
}

fn series_to_json(series: &Series) -> Value {
    json!({
        "name": series.name,
        "turns": series.samples.iter().map(sample_to_json).collect::<Vec<_>>(),
    })
}

fn sample_to_json(sample: &Sample) -> Value {
    json!({
        "cpu_us_per_request": sample.cpu_us,
        "requests": sample.requests,
        "requests_per_second": sample.steady.per_second,
        "p50_us": sample.steady.p50_us,
        "p99_us": sample.steady.p99_us,
        "busy_cores": sample.steady.busy,
    })
}

fn ratio_to_json(round: &Round, name: &str, base: &str) -> Option<Value> {
    let ratio = round.ratio(name, base)?;
    Some(json!({
        "of": name,
        "over": base,
        "median": ratio.median,
        "min": ratio.min,
        "max": ratio.max,
    }))
}
