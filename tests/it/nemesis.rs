//! A fleet on a real Redis keeps its promise under faults that nobody has chosen.
//!
//! `FAULTS_SECONDS` says for how long in all, over all forms; `FAULTS_SEED` repeats a choice of
//! faults. What each run was is told on standard error; one that fails leaves its history.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::history::History;
use crate::support::history::check::{Verdict, check};
use chance::Chance;
use faults::{Fault, Tally};
use ground::Form;
use operators::Operators;
use stand::Stand;

mod book;
#[cfg(feature = "seeded-bugs")]
mod caught;
mod chance;
mod faults;
mod ground;
mod journal;
mod operators;
mod stand;

#[test]
fn one_server_keeps_the_promise_of_refuse() {
    keep_promise(Form::One);
}

#[test]
fn sentinels_with_all_replicas_keep_the_promise_of_refuse() {
    keep_promise(Form::AllReplicas);
}

#[test]
fn sentinels_with_fewer_replicas_keep_the_promise_of_serve_known() {
    keep_promise(Form::SomeReplicas);
}

#[test]
fn a_cluster_keeps_the_promise_of_serve_known() {
    keep_promise(Form::Cluster);
}

/// What a run was, and what was found.
struct Run {
    history: History,
    verdict: Verdict,
}

fn keep_promise(form: Form) {
    let (seed, time) = (chance::seed(), seconds() / FORMS);
    eprintln!("{form:?}: FAULTS_SEED={seed}");
    let mut stand = Stand::start(form, &[]);
    let (recorder, journal) = (stand.fleet.recorder().clone(), stand.journal.clone());
    let begun = Instant::now();
    let found = catch_unwind(AssertUnwindSafe(move || {
        let tally = suffer(&mut stand, seed, time, |stand| stand.assert_converged());
        (tally, stand.longest)
    }));
    let history = recorder.history();
    let (tally, longest) = found.unwrap_or_else(|panic| {
        let path = history.leave();
        eprintln!("{journal}{form:?}: FAULTS_SEED={seed}, the history is in {}", path.display());
        resume_unwind(panic)
    });
    let run = Run { verdict: check(&history, CLOCKS), history };
    let took = begun.elapsed().as_secs();
    let faults: usize = tally.values().sum();
    eprintln!(
        "{form:?}: {took} s, {faults} faults, healthy again after {longest:.1?} at most\n  {}\n  {}\n  {tally:?}",
        run.verdict, run.history
    );
    if !run.verdict.violations.is_empty() {
        eprintln!("{journal}{form:?}: FAULTS_SEED={seed}");
    }
    run.verdict.assert_clean(&run.history);
}

/// Puts load on a stand, and has it suffer for a while; then all is healed, and `last` looks at it.
fn suffer(stand: &mut Stand, seed: u64, time: Duration, last: impl FnOnce(&mut Stand)) -> Tally {
    let rate = if time > SHORT { 500 } else { 200 };
    let traffic = stand.fleet.begin_traffic(rate, &stand.keys);
    let operators = vec![stand.operator(GATEWAY), stand.operator(stand::GATEWAYS)];
    let operators = Operators::begin(operators, &stand.book, &stand.keys, seed);
    let (mut chance, mut tally) = (Chance::of(seed, 1), Tally::new());
    let all = Fault::all(stand.form);
    let begun = Instant::now();
    // All in an order that is drawn, before one comes again.
    let mut left: Vec<Fault> = Vec::new();
    while begun.elapsed() < time {
        if left.is_empty() {
            left.clone_from(&all);
        }
        let fault = left.swap_remove(chance.below(left.len()));
        *tally.entry(fault).or_default() += 1;
        let is_alone = fault.is_alone(stand.form);
        if is_alone {
            stand.await_health();
        }
        stand.journal.note(&format!("{fault:?}"));
        let mut struck = vec![stand.strike(fault, None, &mut chance)];
        let second = *chance.any(&all);
        if !is_alone && second.is_light() && second != fault {
            *tally.entry(second).or_default() += 1;
            stand.journal.note(&format!("{second:?} beside it"));
            let beside = stand.strike(second, struck.first(), &mut chance);
            struck.push(beside);
        }
        thread::sleep(chance.millis(100, 2_500));
        for it in &struck {
            stand.heal(it);
        }
        for it in &struck {
            stand.revive(it);
        }
        stand.journal.note("healed");
        if is_alone || chance.one_in(2) {
            stand.await_health();
        }
    }
    stand.await_health();
    operators.end();
    last(stand);
    assert!(traffic.end() > 0);
    tally
}

/// For how long faults come in all.
fn seconds() -> Duration {
    let given = std::env::var("FAULTS_SECONDS").ok();
    let given = given.map(|it| it.parse().expect("FAULTS_SECONDS is a number"));
    Duration::from_secs(given.unwrap_or(120))
}

const FORMS: u32 = 4;

/// The gateway by way of which one of the operators works; the node is the other's.
const GATEWAY: usize = 0;

/// Longer runs have more load.
const SHORT: Duration = Duration::from_mins(1);

/// Well above what two clocks of one machine differ by in a second. No key expires here.
const CLOCKS: u64 = 100_000_000;
