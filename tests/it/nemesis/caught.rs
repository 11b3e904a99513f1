//! The faults find a bug that is seeded for them: a gateway that lets a key in after a complete
//! answer. Only in a build with the feature `seeded-bugs`: `make faults-caught`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::{CLOCKS, chance, suffer};
use crate::nemesis::ground::Form;
use crate::nemesis::stand::Stand;
use crate::support::history::check::{Rule, check};

#[test]
fn a_lease_that_does_not_run_out_is_found() {
    assert_found("endless-lease", Form::One);
}

#[test]
fn a_receipt_that_is_given_too_soon_is_found() {
    assert_found("early-receipt", Form::One);
}

#[test]
fn a_lease_that_is_taken_for_over_too_soon_is_found() {
    assert_found("early-fence", Form::AllReplicas);
}

#[test]
fn nothing_is_found_where_no_bug_is_named() {
    let [_, r1, ..] = found_with("none", Form::One, 1);
    assert_eq!(r1, 0);
}

#[track_caller]
fn assert_found(bug: &str, form: Form) {
    let [_, r1, ..] = found_with(bug, form, TRIES);
    assert!(r1 > 0, "{bug} was not found");
}

/// What was found, in as many tries as that takes at most.
fn found_with(bug: &str, form: Form, tries: u64) -> [usize; 4] {
    let seed = chance::seed();
    let mut found = [0; 4];
    for number in 0..tries {
        let begun = Instant::now();
        let mut stand = Stand::start(form, &[&format!("SEEDED_BUG={bug}")]);
        let recorder = stand.fleet.recorder().clone();
        // The bug may break more than is looked for.
        let ended = catch_unwind(AssertUnwindSafe(move || {
            suffer(&mut stand, seed + number, TIME, |_stand| ())
        }));
        let history = recorder.history();
        let verdict = check(&history, CLOCKS);
        let took = begun.elapsed().as_secs();
        let ended = if ended.is_ok() { "" } else { ", and it ended badly" };
        eprintln!("{bug} on {form:?} after {took} s{ended}: {verdict}\n  {history}");
        found = verdict.counts();
        if verdict.count(Rule::R1) > 0 {
            break;
        }
    }
    found
}

const TIME: Duration = Duration::from_secs(20);
const TRIES: u64 = 3;
