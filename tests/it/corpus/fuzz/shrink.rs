//! Finds the smallest input that still shows what is wrong.

use crate::corpus::fuzz::run::Run;

/// The smallest input, as text; or that it does not show again.
pub fn smallest(run: &Run, inputs: Vec<(u64, Vec<u8>)>) -> String {
    let mut suspects = inputs;
    while suspects.len() > 1 {
        let half = suspects.split_off(suspects.len() / 2);
        if is_wrong(run, &half) {
            suspects = half;
        } else if !is_wrong(run, &suspects) {
            return "it does not show again in a part of its batch".to_owned();
        }
    }
    let Some((number, input)) = suspects.pop() else { return String::new() };
    let small = fewer_bytes(run, number, input);
    let findings = run.batch(&[(number, small.clone())]).findings;
    format!("input {number}, smallest: {}\n{}", small.escape_ascii(), findings.join("\n"))
}

/// Leaves out ever smaller pieces as long as it still shows.
fn fewer_bytes(run: &Run, number: u64, input: Vec<u8>) -> Vec<u8> {
    let (mut input, mut tries) = (input, 0);
    let mut piece = input.len() / 2;
    while piece > 0 && tries < TRIES_MAX {
        let mut at = 0;
        while at < input.len() && tries < TRIES_MAX {
            tries += 1;
            let end = (at + piece).min(input.len());
            let less = [&input[..at], &input[end..]].concat();
            if is_wrong(run, &[(number, less.clone())]) {
                input = less;
            } else {
                at = end;
            }
        }
        piece /= 2;
    }
    input
}

fn is_wrong(run: &Run, inputs: &[(u64, Vec<u8>)]) -> bool {
    (0..2).any(|_| !run.batch(inputs).findings.is_empty())
}

const TRIES_MAX: usize = 1_000;
