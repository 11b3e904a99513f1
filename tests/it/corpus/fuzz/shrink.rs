//! Finds the smallest input that still shows what is wrong.

use crate::corpus::fuzz::run::Run;

/// The smallest input, as text; of what does not show again, the input as it was.
pub fn smallest(run: &Run, inputs: Vec<(u64, Vec<u8>)>, findings: &[String]) -> String {
    let is_named = |number: u64| findings.iter().any(|it| it.starts_with(&said(number)));
    let named = inputs.iter().find(|it| is_named(it.0)).cloned();
    let suspect = named.clone().filter(|it| is_wrong(run, std::slice::from_ref(it)));
    match suspect.or_else(|| the_one(run, inputs)) {
        Some((number, input)) => {
            let small = fewer_bytes(run, number, input);
            format!("{} smallest: {}", said(number), small.escape_ascii())
        }
        None => named.map_or_else(
            || "it does not show again in a part of its batch".to_owned(),
            |(number, input)| format!("{} it was: {}", said(number), input.escape_ascii()),
        ),
    }
}

/// How a finding names an input.
pub fn said(number: u64) -> String {
    format!("input {number}:")
}

/// The one input by which it shows, if it is one.
fn the_one(run: &Run, mut suspects: Vec<(u64, Vec<u8>)>) -> Option<(u64, Vec<u8>)> {
    while suspects.len() > 1 {
        let half = suspects.split_off(suspects.len() / 2);
        if is_wrong(run, &half) {
            suspects = half;
        } else if !is_wrong(run, &suspects) {
            return None;
        }
    }
    suspects.pop()
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
    (0..REPEATS).any(|_| !run.batch(inputs).findings.is_empty())
}

/// What depends on who is faster shows only sometimes.
const REPEATS: usize = 3;

const TRIES_MAX: usize = 1_000;
