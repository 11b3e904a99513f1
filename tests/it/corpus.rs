//! Hostile clients over HTTP/1.1: whatever they send, the upstream gets whole requests that were
//! let in, or the beginning of one on a connection that ends there.
//!
//! The cases are in `tests/corpus/`, one file for each theme; its README says how they are written.

use std::collections::HashSet;

use crate::corpus::case::{cases, themes};
use crate::corpus::play::Stage;

mod case;
mod fuzz;
mod origin;
mod play;
mod strict;

#[test]
fn what_went_wrong_before_does_not_go_wrong_here() {
    play("bugs");
}

#[test]
fn a_chunk_has_one_size_and_one_end() {
    play("chunks");
}

#[test]
fn a_body_is_chunked_or_it_is_not() {
    play("codings");
}

#[test]
fn what_concerns_one_connection_goes_no_further() {
    play("connection");
}

#[test]
fn a_body_is_asked_for_only_from_who_is_let_in() {
    play("expect");
}

#[test]
fn there_is_one_host_and_it_is_one() {
    play("hosts");
}

#[test]
fn half_a_request_is_never_made_whole() {
    play("incomplete");
}

#[test]
fn a_key_is_in_its_place_or_it_is_none() {
    play("keys");
}

#[test]
fn a_length_is_a_number() {
    play("lengths");
}

#[test]
fn a_line_of_a_head_has_one_reading() {
    play("lines");
}

#[test]
fn a_method_changes_nothing_of_where_a_request_ends() {
    play("methods");
}

#[test]
fn what_looks_like_framing_does_not_frame() {
    play("names");
}

#[test]
fn nothing_behind_a_bad_request_is_one() {
    play("pipelining");
}

#[test]
fn nothing_is_without_measure() {
    play("sizes");
}

#[test]
fn a_target_leads_to_one_place() {
    play("targets");
}

#[test]
fn a_trailer_can_say_nothing_that_a_head_is_believed_for() {
    play("trailers");
}

#[test]
fn nothing_behind_an_upgrade_passes_unread() {
    play("upgrades");
}

#[test]
fn only_http_1_is_spoken() {
    play("versions");
}

#[test]
fn every_theme_is_played_and_no_case_has_the_name_of_another() {
    let themes = themes();
    assert_eq!(themes, PLAYED);
    let names: Vec<String> = themes.iter().flat_map(|it| cases(it)).map(|it| it.name).collect();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    assert!(names.len() >= CASES_MIN, "only {} cases", names.len());
}

/// Plays every case of a file.
#[track_caller]
fn play(theme: &str) {
    assert!(PLAYED.contains(&theme));
    let stage = Stage::new();
    let failed: Vec<String> = cases(theme).iter().filter_map(|it| stage.play(it).err()).collect();
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

/// Every file of `tests/corpus/`.
const PLAYED: &[&str] = &[
    "bugs",
    "chunks",
    "codings",
    "connection",
    "expect",
    "hosts",
    "incomplete",
    "keys",
    "lengths",
    "lines",
    "methods",
    "names",
    "pipelining",
    "sizes",
    "targets",
    "trailers",
    "upgrades",
    "versions",
];

/// Nobody takes cases away without being seen.
const CASES_MIN: usize = 500;
