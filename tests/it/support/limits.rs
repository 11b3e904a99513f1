//! Gateways that limit keys, and what they have admitted, held to what a limit promises.

use std::fs;
use std::thread;
use std::time::Duration;

use keyward::clock::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::ask::Ask;
use crate::support::fleet::{make_pepper, start_after};
use crate::support::gateway::{Gateway, Key};
use crate::support::http::Response;
use crate::support::offer::{Aim, Asked, Counter, Said};
use crate::support::redis::{Durability, Redis, Terms};
use crate::support::setup::Setup;
use crate::support::wait::{eventually, rounds};

/// Some gateways on one Redis, and an upstream.
#[derive(Debug)]
pub struct Limited {
    pub gateways: Vec<Gateway>,
    pub redis: Redis,
    pub upstream: Counter,
    /// Last, so that it outlives the processes.
    _files: TempDir,
}

/// Admissions are held to this: `count` tokens come each `period`, and `burst` fit in.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    pub count: u32,
    pub period: Duration,
    pub burst: u32,
}

impl Limited {
    /// Starts them, and waits until each knows of all.
    #[track_caller]
    pub fn start(count: usize) -> Self {
        Self::start_as(count, |setup| setup)
    }

    /// The same, set up in a way of their own.
    #[track_caller]
    pub fn start_as(count: usize, shape: impl Fn(Setup) -> Setup) -> Self {
        let redis = Redis::start_with(&Terms::default().durability(Durability::EverySecond));
        let (files, upstream) = (tempfile::tempdir().unwrap(), Counter::start());
        let pepper = files.path().join("fleet.pepper");
        make_pepper(&pepper);
        let setup = logging(Setup::to(upstream.address()));
        let setup = setup.store(&format!("url = {:?}", redis.url()));
        let setup = setup.store(&format!("pepper_file = {:?}", pepper.display().to_string()));
        let lines = [
            "lease = \"2s\"",
            "response_timeout = \"500ms\"",
            "when_unreachable = \"serve_known\"",
            "serve_known_for = \"1m\"",
        ];
        let setup = shape(lines.iter().fold(setup, |setup, line| setup.store(line)));
        let mut gateways: Vec<Gateway> = Vec::new();
        for _ in 0..count {
            gateways.push(start_after(gateways.first(), &setup, None));
        }
        let this = Self { gateways, redis, upstream, _files: files };
        this.wait_until_all_know_all();
        this
    }

    /// Waits until each gateway knows how many there are.
    #[track_caller]
    pub fn wait_until_all_know_all(&self) {
        for gateway in &self.gateways {
            eventually("it knows of the others", || {
                let listed = gateway.admin("GET", "/v1/gateways", None).json();
                listed["items"].as_array().is_some_and(|it| it.len() == self.gateways.len())
            });
        }
        // They count each other now and then.
        thread::sleep(Duration::from_millis(300));
    }

    /// Each gateway, asked with an equal part of `per_second`.
    pub fn aims(&self, per_second: u32) -> Vec<Aim> {
        let share = per_second / u32::try_from(self.gateways.len()).unwrap();
        let aim = |it: &Gateway| Aim { address: it.address(), per_second: share };
        self.gateways.iter().map(aim).collect()
    }

    /// Mints a key with a rate.
    #[track_caller]
    pub fn key(&self, rate: &str) -> Key {
        self.gateways[0].mint_as(&json!({ "name": "limited", "rate": rate }))
    }

    /// Ends all gateways, so that their logs are whole; when they admitted what.
    #[track_caller]
    pub fn admissions(&mut self) -> Vec<i64> {
        for gateway in &mut self.gateways {
            gateway.stop();
        }
        admissions(&self.gateways)
    }

    /// How often Redis has leased a rate so far: nothing else has it set how long a key lives.
    #[track_caller]
    pub fn round_trips(&self) -> usize {
        let stats = self.redis.cli(&["INFO", "commandstats"]);
        let line = stats.lines().find_map(|it| it.strip_prefix("cmdstat_pexpire:calls="));
        line.map_or(0, |it| it.split(',').next().unwrap().parse().unwrap())
    }
}

/// With a log of what is admitted, and no more threads than the machine can use.
pub fn logging(setup: Setup) -> Setup {
    setup.log("format = \"json\"\naccess = true").gateway("workers = 2")
}

/// When these gateways admitted a request with a key, in microseconds, in order.
#[track_caller]
pub fn admissions(gateways: &[Gateway]) -> Vec<i64> {
    let mut times: Vec<i64> = runs(gateways).into_iter().map(|[_, admitted]| admitted).collect();
    times.sort_unstable();
    times
}

/// The same where a request began in a time and was admitted in it. Of one that began before nobody
/// knows what held when it paid: it is noted as admitted a moment later.
#[track_caller]
pub fn admissions_within(gateways: &[Gateway], times: &[[Timestamp; 2]]) -> Vec<Vec<i64>> {
    let mut runs = runs(gateways);
    runs.sort_unstable_by_key(|[_, admitted]| *admitted);
    let within = |[from, until]: &[Timestamp; 2]| {
        let is_within = |[begun, admitted]: &&[i64; 2]| {
            from.as_micros() <= *begun && *admitted < until.as_micros()
        };
        runs.iter().filter(is_within).map(|[_, admitted]| *admitted).collect()
    };
    times.iter().map(within).collect()
}

/// When each request with a key began that they admitted, and when they did.
#[track_caller]
fn runs(gateways: &[Gateway]) -> Vec<[i64; 2]> {
    let mut runs = Vec::new();
    for gateway in gateways {
        let log = fs::read_to_string(gateway.file("output.log")).unwrap();
        for line in log.lines() {
            if !line.contains("\"admitted_us\"") {
                continue;
            }
            let line: Value = serde_json::from_str(line).unwrap();
            let done: Timestamp = line["ts"].as_str().unwrap().parse().unwrap();
            let micros = |name: &str| line[name].as_i64().unwrap();
            let begun = done.as_micros() - micros("duration_us");
            runs.push([begun, begun + micros("admitted_us")]);
        }
    }
    runs
}

/// How often a gateway has gone on without the store so far.
pub fn silences(gateway: &Gateway) -> usize {
    gateway.log().lines().filter(|it| it.contains("the store does not answer for limits")).count()
}

/// Holds that a limit refused it; after how many seconds it may come again.
#[track_caller]
pub fn assert_refused(answer: &Response, code: &str) -> u64 {
    answer.assert_problem(429, code);
    let after: u64 = answer.head.get("retry-after").unwrap().parse().unwrap();
    assert!(after >= 1, "{answer:?}");
    after
}

/// How many requests limits would have refused, by kind, as a gateway counts them.
#[track_caller]
pub fn shadow_refusals(gateway: &Gateway) -> [u64; 4] {
    let metrics = gateway.metrics();
    ["rate", "route_rate", "quota", "max_in_flight"].map(|it| {
        let sample = format!("keyward_limits_shadow_refusals_total{{limit=\"{it}\"}}");
        metrics.count(&sample)
    })
}

/// A GET with a key.
pub fn get(key: &Key) -> Ask {
    Ask::get("/").key(key)
}

/// How many were answered so.
pub fn count(asked: &[Asked], said: Said) -> usize {
    asked.iter().filter(|it| it.said == said).count()
}

/// Holds that nothing else was answered than these.
#[track_caller]
pub fn assert_only(asked: &[Asked], expected: &[Said]) {
    let other = asked.iter().filter(|it| !expected.contains(&it.said)).collect::<Vec<_>>();
    assert!(other.is_empty(), "{} others, the first {:?}", other.len(), other[0]);
}

/// For how long there is load: the form for every day, and the whole one.
pub fn load_time(brief: u64, full: u64) -> Duration {
    let [brief, full] = [brief, full].map(|it| usize::try_from(it).unwrap());
    Duration::from_secs(u64::try_from(rounds(brief, full)).unwrap())
}

impl Bucket {
    /// So many each second.
    pub fn per_second(count: u32, burst: u32) -> Self {
        Self { count, period: Duration::from_secs(1), burst }
    }

    /// By how many tokens the worst window is above burst + rate × its time, where that time may be a
    /// millisecond longer than the stamps say, as those of several processes may differ by; rounded
    /// up, so that zero means that no window is above.
    pub fn excess(&self, times: &[i64]) -> u64 {
        self.worst(times).0
    }

    /// The same, and when that window ends.
    pub fn worst(&self, times: &[i64]) -> (u64, i64) {
        let (parts, end) = self.furthest(times);
        let over = parts - i128::from(self.count) * i128::from(STAMPS_APART_MICROS);
        let excess = (over + self.part() - 1).max(0) / self.part();
        (u64::try_from(excess).unwrap(), end)
    }

    /// What there is to say of it: the same, and what it is without that millisecond.
    pub fn told(&self, times: &[i64]) -> String {
        let hundredths = (self.furthest(times).0 * 100 + self.part() - 1) / self.part();
        let (whole, rest) = (hundredths / 100, hundredths % 100);
        format!("{} above ({whole}.{rest:02} by the stamps alone)", self.excess(times))
    }

    /// How far the worst window is above by the stamps alone, exactly, and when it ends: a bucket that is
    /// full at first is charged at each time, in parts of a token, and how far it falls below empty is
    /// how far some window is above. Zero where none is.
    fn furthest(&self, times: &[i64]) -> (i128, i64) {
        let full = i128::from(self.burst) * self.part();
        let (mut level, mut lowest, mut end, mut last) = (full, 0, 0, times.first().copied());
        for time in times {
            let passed = i128::from(time - last.unwrap());
            level = full.min(level + passed * i128::from(self.count)) - self.part();
            if level < lowest {
                (lowest, end) = (level, *time);
            }
            last = Some(*time);
        }
        (-lowest, end)
    }

    /// So many parts of a token come each microsecond, for each one of `count`.
    fn part(&self) -> i128 {
        i128::try_from(self.period.as_micros()).unwrap()
    }

    /// By how many tokens some window is above for certain, where all that is known of an admission is
    /// that it was between a request and its answer: only those count that are in it from end to end.
    pub fn certain_excess(&self, let_in: &[Asked]) -> u64 {
        let period = self.period.as_nanos();
        let mut begins: Vec<u64> = let_in.iter().map(|it| it.begun).collect();
        begins.sort_unstable();
        let excess_from = |begin: u64| {
            let (mut count, mut worst) = (0_u128, 0);
            // They are in the order of their answers.
            for it in let_in.iter().filter(|it| it.begun >= begin) {
                count += 1;
                let time = u128::from(it.ended - begin);
                let most = u128::from(self.burst) + (time * u128::from(self.count)) / period;
                worst = worst.max(count.saturating_sub(most));
            }
            worst
        };
        begins.dedup();
        let worst = begins.into_iter().map(excess_from).max().unwrap_or(0);
        u64::try_from(worst).unwrap()
    }

    /// Holds that no window is above.
    #[track_caller]
    pub fn assert_never_above(&self, times: &[i64]) {
        assert_eq!(self.excess(times), 0, "{self:?}, in some window: {}", self.told(times));
    }

    /// All that may be admitted in `time`.
    pub fn most(&self, time: Duration) -> f64 {
        self.of(time) + f64::from(self.burst)
    }

    /// The same without the burst.
    pub fn of(&self, time: Duration) -> f64 {
        f64::from(self.count) * time.as_secs_f64() / self.period.as_secs_f64()
    }
}

/// How many of `times` are in the time after `from` and before `to`, both counted from the first.
pub fn within(times: &[i64], from: Duration, to: Duration) -> usize {
    let first = times[0];
    let after = |it: Duration| first + i64::try_from(it.as_micros()).unwrap();
    times.iter().filter(|it| (after(from)..after(to)).contains(it)).count()
}

/// Those of `times` that are not before `from` and before `to`.
pub fn between(times: &[i64], from: Timestamp, to: Timestamp) -> &[i64] {
    let place = |at: Timestamp| times.partition_point(|it| *it < at.as_micros());
    &times[place(from)..place(to)]
}

/// What part of `all` so many are.
pub fn part(count: usize, all: f64) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / all
}

/// From the first to the last.
pub fn span(times: &[i64]) -> Duration {
    Duration::from_micros(u64::try_from(times[times.len() - 1] - times[0]).unwrap())
}

/// Waits until a new day has begun where one is about to: quotas are counted by days.
pub fn stay_clear_of_midnight() {
    let of_day = || Timestamp::now().as_micros().rem_euclid(DAY_MICROS);
    while DAY_MICROS - of_day() < LONGEST_MICROS {
        thread::sleep(Duration::from_secs(1));
    }
}

/// What the stamps of several processes may differ by.
const STAMPS_APART_MICROS: i64 = 1_000;

const DAY_MICROS: i64 = 86_400_000_000;
/// No test of a quota takes longer.
const LONGEST_MICROS: i64 = 150_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_too_many_for_certain_is_found() {
        let bucket = Bucket { count: 1, period: Duration::from_nanos(10), burst: 2 };
        let asked = |times: &[(u64, u64)]| -> Vec<Asked> {
            let let_in = |&(begun, ended)| Asked { aim: 0, begun, ended, said: Said::LetIn };
            times.iter().map(let_in).collect()
        };
        assert_eq!(bucket.certain_excess(&asked(&[(0, 1), (0, 2), (0, 3)])), 1);
        assert_eq!(bucket.certain_excess(&asked(&[(0, 1), (0, 2), (0, 10)])), 0);
        assert_eq!(bucket.certain_excess(&asked(&[(0, 30), (31, 32), (32, 33), (33, 34)])), 1);
    }

    #[test]
    fn one_too_many_in_any_window_is_found() {
        // A token comes in 3 1/3 seconds: a millisecond before there is none yet, and then there is.
        let bucket = Bucket { count: 3, period: Duration::from_secs(10), burst: 2 };
        let excess =
            |millis: &[i64]| bucket.excess(&millis.iter().map(|it| it * 1_000).collect::<Vec<_>>());
        assert_eq!(excess(&[]), 0);
        assert_eq!(excess(&[5, 5]), 0);
        assert_eq!(excess(&[5, 5, 5]), 1);
        assert_eq!(excess(&[0, 0, 3_332]), 1);
        assert_eq!(excess(&[0, 0, 3_333]), 0);
        assert_eq!(excess(&[0, 0, 3_334, 6_667, 10_000]), 0);
        assert_eq!(excess(&[0, 0, 3_334, 6_667, 9_998]), 1);
        // It does not fill beyond its burst.
        assert_eq!(excess(&[0, 1_000_000, 1_000_000, 1_000_000]), 1);
    }

    #[test]
    fn a_millisecond_is_forgiven_once_in_each_window_and_a_token_never() {
        for (count, burst) in [(10, 10), (1, 3), (500, 5)] {
            let bucket = Bucket::per_second(count, burst);
            let token = 1_000_000 / i64::from(count);
            // As many as fit in at once, and then each as soon as it may.
            let exact = |before: i64| -> Vec<i64> {
                let late = (1..=40).map(|it| 5_000_000 + it * token - before);
                (0..burst).map(|_| 5_000_000).chain(late).collect()
            };
            assert_eq!(bucket.excess(&exact(0)), 0);
            assert_eq!(bucket.excess(&exact(STAMPS_APART_MICROS)), 0);
            assert_eq!(bucket.excess(&exact(STAMPS_APART_MICROS + 1)), 1);
            let mut one_more = exact(0);
            one_more.push(*one_more.last().unwrap());
            assert!(bucket.told(&one_more).contains("(1.00 by the stamps alone)"));
            assert_eq!(bucket.excess(&one_more), 1);
        }
    }
}
