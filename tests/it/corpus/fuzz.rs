//! The invariant over inputs that nobody wrote: never a request upstream that the gate did not
//! let in, never two for one, never half of one as a whole.
//!
//! `FUZZ_EXECUTIONS` says how many, `FUZZ_SEED` which; both are printed.

use std::time::{Duration, Instant};

use crate::corpus::fuzz::generate::Maker;
use crate::corpus::fuzz::run::Run;

mod book;
mod client;
mod dice;
mod generate;
mod run;
mod shrink;
mod upstream;

#[test]
fn whatever_is_sent_the_upstream_gets_whole_requests_that_were_let_in() {
    let executions = number("FUZZ_EXECUTIONS", EXECUTIONS);
    let seed = number("FUZZ_SEED", SEED);
    eprintln!("fuzz: seed {seed}, {executions} executions");
    let run = Run::start();
    let maker = Maker::new(seed, &run.key().plaintext, &run.key().id);
    let (mut done, mut forwarded, mut next) = (0, 0, 0);
    let (begun, mut said) = (Instant::now(), Instant::now());
    while done < executions {
        let inputs: Vec<_> = (next..next + BATCH).map(|it| (it, maker.input(it))).collect();
        let outcome = run.batch(&inputs);
        if !outcome.findings.is_empty() {
            let small = shrink::smallest(&run, inputs, &outcome.findings);
            panic!("seed {seed}:\n{}\n{small}", outcome.findings.join("\n"));
        }
        done += outcome.executions;
        forwarded += outcome.forwarded;
        next += BATCH;
        if said.elapsed() > SAY_EVERY || done >= executions {
            said = Instant::now();
            let rate = u128::from(done) * 1_000 / begun.elapsed().as_millis().max(1);
            eprintln!(
                "fuzz: {done} executions on {next} connections, {rate}/s, {forwarded} forwarded, 0 findings"
            );
        }
    }
    assert!(forwarded > done / 4, "only {forwarded} of {done} requests came through");
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |it| it.parse().unwrap())
}

const EXECUTIONS: u64 = 200_000;
const SEED: u64 = 2_026;
const BATCH: u64 = 2_000;
const SAY_EVERY: Duration = Duration::from_secs(10);
