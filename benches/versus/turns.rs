//! Measures contenders in turns, so that what changes over time changes for all.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::contender::Contender;
use crate::cpu::CpuTime;
use crate::load::{Generator, Session};
use crate::options::Pace;
use crate::process::{Cores, Process};
use crate::round::{Round, Sample, Series, Steady};

/// Within a turn, the load goes round the contenders in slices of this length.
///
/// On a virtual machine the same work may cost half as much again from one second to the next.
/// Whole windows, one after the other, told nginx from itself by 5 %; slices do so by 1 %.
const SLICE: Duration = Duration::from_millis(100);
const SLICES_PER_SECOND: u64 = 10;

/// The kernel brings the clock of a task up to date once it no longer runs.
const SETTLE: Duration = Duration::from_millis(20);

/// A contender and the load which it gets.
pub struct Entry<'a> {
    pub contender: &'a Contender,
    pub generator: &'a Generator,
    pub cores: Cores,
}

/// Measures every entry once in each turn; each turn begins with the next entry.
pub fn run(title: String, entries: &[Entry], pace: Pace) -> Result<Round> {
    let mut series: Vec<Series> = entries.iter().map(Entry::series).collect();
    let mut order: Vec<usize> = (0..entries.len()).collect();
    for turn in 1..=pace.turns {
        eprintln!("versus: {title}, turn {turn} of {}", pace.turns);
        let samples = take_turn(order.iter().map(|index| &entries[*index]), pace)?;
        for (index, sample) in order.iter().zip(samples) {
            series[*index].samples.push(sample);
        }
        order.rotate_left(1);
    }
    Ok(Round { title, series })
}

fn take_turn<'a>(entries: impl Iterator<Item = &'a Entry<'a>>, pace: Pace) -> Result<Vec<Sample>> {
    let runners: Vec<Runner> = entries.map(Runner::start).collect::<Result<_>>()?;
    let warm_up = |runner: &Runner| runner.warm_up(pace);
    let steady: Vec<Steady> = runners.iter().map(warm_up).collect::<Result<_>>()?;
    let before = cpu_times(&runners)?;
    let requests = load_in_slices(&runners, pace.seconds * SLICES_PER_SECOND)?;
    let after = cpu_times(&runners)?;
    let sample = |index: usize| Sample {
        cpu_us: after[index].since(&before[index]).as_secs_f64() * 1e6 / requests[index],
        requests: requests[index],
        steady: steady[index],
    };
    Ok((0..runners.len()).map(sample).collect())
}

fn cpu_times(runners: &[Runner]) -> Result<Vec<CpuTime>> {
    thread::sleep(SETTLE);
    runners.iter().map(Runner::cpu_time).collect()
}

/// How many requests each runner answered.
fn load_in_slices(runners: &[Runner], slices: u64) -> Result<Vec<f64>> {
    let sessions: Vec<Session> = runners.iter().map(Runner::first_slice).collect::<Result<_>>()?;
    for _ in 1..slices {
        sessions.iter().try_for_each(next_slice)?;
    }
    let pairs = runners.iter().zip(sessions);
    pairs.map(|(runner, session)| runner.finish(session)).collect()
}

fn next_slice(session: &Session) -> Result<()> {
    session.resume()?;
    thread::sleep(SLICE);
    session.pause()
}

impl Entry<'_> {
    fn series(&self) -> Series {
        Series { name: self.contender.name, samples: Vec::new() }
    }
}

/// An entry whose contender runs, for the length of a turn.
struct Runner<'a> {
    entry: &'a Entry<'a>,
    process: Process,
}

impl<'a> Runner<'a> {
    /// Starts the contender anew: a lucky memory layout shall last for one turn only.
    fn start(entry: &'a Entry<'a>) -> Result<Self> {
        let process = entry.contender.start(entry.cores)?;
        Ok(Self { entry, process })
    }

    /// Loads it without a pause, which also shows its throughput and latency.
    fn warm_up(&self, pace: Pace) -> Result<Steady> {
        let address = self.entry.contender.address;
        let before = self.cpu_time()?;
        let load = self.entry.generator.run(address, pace.warm_up_seconds);
        let load = self.process.explain(load)?;
        let cpu = self.cpu_time()?.since(&before);
        Ok(Steady {
            per_second: load.requests / load.seconds,
            p50_us: load.p50_us,
            p99_us: load.p99_us,
            busy: cpu.as_secs_f64() / load.seconds,
        })
    }

    fn cpu_time(&self) -> Result<CpuTime> {
        CpuTime::of_tree(self.process.pid())
    }

    fn first_slice(&self) -> Result<Session> {
        let address = self.entry.contender.address;
        let session = self.entry.generator.start(address)?;
        thread::sleep(SLICE);
        session.pause()?;
        Ok(session)
    }

    fn finish(&self, session: Session) -> Result<f64> {
        let load = self.process.explain(session.finish())?;
        Ok(load.requests)
    }
}
