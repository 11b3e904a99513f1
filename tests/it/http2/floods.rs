//! Clients that only make work are cut off, at little cost, and nobody beside them notices.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::http2::case::{GOOD, Stage};
use crate::support::h2::frames::{
    CANCEL, END_HEADERS, END_STREAM, PRIORITY, Request, continuation, data, frame, headers, ping,
    priority, reset, settings, window_update,
};
use crate::support::h2::hpack::{indexed_literal, literal};
use crate::support::h2::peer::Peer;

/// What a flood sends as its next step, by the stream that it may use for it.
type Step = fn(stream: u32) -> Vec<Vec<u8>>;

/// Sends until it is cut off, which is before its 2,000th frame is looked at, while others are
/// served. `opening` comes first.
#[track_caller]
fn flood(name: &str, opening: &[u8], step: Step) {
    flood_by(FRAMES_AT_ONCE, name, opening, step);
}

/// The same, so many frames at once.
#[track_caller]
fn flood_by(at_once: usize, name: &str, opening: &[u8], step: Step) {
    let stage = Stage::new();
    neighbour(&stage, &AtomicBool::new(true));
    let (before_kib, ended) = (stage.gateway().rss_kib(), AtomicBool::new(false));
    stage.gateway().forget_peak();
    thread::scope(|scope| {
        let other = scope.spawn(|| neighbour(&stage, &ended));
        let mut peer = Peer::connect(stage.gateway().address());
        drop(peer.try_send(opening));
        let steps = (3..).step_by(2).flat_map(step).take(FRAMES_MAX);
        let frames: Vec<Vec<u8>> = steps.collect();
        for some in frames.chunks(at_once) {
            // It may be over already; then nothing more can be sent.
            if peer.try_send(some.concat()).is_err() {
                break;
            }
        }
        peer.until_end();
        ended.store(true, Ordering::Relaxed);
        assert!(other.join().unwrap() > 0);
    });
    let grown_kib = stage.gateway().peak_rss_kib().saturating_sub(before_kib);
    assert!(grown_kib < GROWN_KIB_MAX, "{name}: it grew by {grown_kib} KiB");
}

/// Asks over and over, and is answered each time; how often.
#[track_caller]
fn neighbour(stage: &Stage, ended: &AtomicBool) -> usize {
    let mut peer = Peer::connect(stage.gateway().address());
    let mut count = 0;
    loop {
        assert_eq!(peer.ask(&Request::get(GOOD)).answer().status, 200);
        count += 1;
        if ended.load(Ordering::Relaxed) {
            return count;
        }
    }
}

fn get(stream: u32) -> Vec<u8> {
    Request::get(GOOD).whole(stream)
}

fn post(stream: u32) -> Vec<u8> {
    Request::post(GOOD).head(stream)
}

#[test]
fn rapid_reset() {
    flood("reset", &[], |stream| vec![get(stream), reset(stream, CANCEL)]);
}

#[test]
fn rapid_reset_one_by_one() {
    flood_by(1, "reset", &[], |stream| vec![get(stream), reset(stream, CANCEL)]);
}

#[test]
fn rapid_reset_of_bodies_that_have_begun() {
    flood("reset", &[], |stream| vec![post(stream), data(stream, 0, "abc"), reset(stream, CANCEL)]);
}

#[test]
fn made_you_reset_by_a_window_update_of_nothing() {
    flood("made you reset", &[], |stream| vec![post(stream), window_update(stream, 0)]);
}

#[test]
fn made_you_reset_by_a_window_that_overflows() {
    flood("made you reset", &[], |stream| vec![post(stream), window_update(stream, 0x7fff_ffff)]);
}

#[test]
fn made_you_reset_by_a_head_after_the_end() {
    flood("made you reset", &[], |stream| vec![get(stream), get(stream)]);
}

#[test]
fn made_you_reset_by_data_after_the_end() {
    flood("made you reset", &[], |stream| vec![get(stream), data(stream, 0, "abc")]);
}

#[test]
fn made_you_reset_by_priority_of_a_wrong_size() {
    flood("made you reset", &[], |stream| vec![post(stream), frame(PRIORITY, 0, stream, [0; 4])]);
}

#[test]
fn made_you_reset_by_priority_on_itself() {
    flood("made you reset", &[], |stream| vec![post(stream), priority(stream, stream)]);
}

#[test]
fn made_you_reset_by_bodies_longer_than_they_said() {
    flood("made you reset", &[], |stream| {
        let head = Request::post(GOOD).with("content-length", "2").head(stream);
        vec![head, data(stream, 0, "abc")]
    });
}

#[test]
fn made_you_reset_by_heads_that_are_malformed() {
    flood("made you reset", &[], |stream| {
        vec![Request::get(GOOD).with("connection", "close").whole(stream)]
    });
}

#[test]
fn continuation_without_end() {
    let opening = headers(1, END_STREAM, Request::get(GOOD).block());
    flood("continuation", &opening, |_| vec![continuation(1, 0, literal("x-a", "1"))]);
}

#[test]
fn continuation_of_nothing() {
    let opening = headers(1, END_STREAM, Request::get(GOOD).block());
    flood("continuation", &opening, |_| vec![continuation(1, 0, [])]);
}

#[test]
fn pings() {
    flood("ping", &[], |number| vec![ping(number.into())]);
}

#[test]
fn settings_over_and_over() {
    flood("settings", &[], |number| vec![settings(&[(4, number)])]);
}

#[test]
fn settings_of_the_table() {
    flood("settings", &[], |number| vec![settings(&[(1, number % 4096)])]);
}

#[test]
fn data_of_nothing() {
    flood("data", &post(1), |_| vec![data(1, 0, [])]);
}

#[test]
fn data_of_padding_alone() {
    flood("data", &post(1), |_| vec![frame(0, 8, 1, [10; 11])]);
}

#[test]
fn priorities() {
    flood("priority", &[], |number| vec![priority(number, 0)]);
}

#[test]
fn window_updates_of_the_connection() {
    flood("window update", &[], |_| vec![window_update(0, 1)]);
}

#[test]
fn window_updates_of_a_stream() {
    flood("window update", &post(1), |_| vec![window_update(1, 1)]);
}

#[test]
fn resets_of_idle_streams() {
    flood("reset", &[], |stream| vec![reset(stream, CANCEL)]);
}

#[test]
fn resets_of_a_stream_that_is_closed() {
    let opening = [get(1), reset(1, CANCEL)].concat();
    flood("reset", &opening, |_| vec![reset(1, CANCEL)]);
}

#[test]
fn frames_that_nobody_knows() {
    flood("unknown", &[], |_| vec![frame(99, 0, 0, [0; 100])]);
}

#[test]
fn trailers_over_and_over() {
    flood("trailers", &post(1), |_| vec![headers(1, END_HEADERS, literal("x-sum", "1"))]);
}

/// One field of 4,000 bytes is added to the table, and then named over and over: a byte each.
#[test]
fn heads_that_are_large_only_when_decompressed() {
    let stage = Stage::new();
    neighbour(&stage, &AtomicBool::new(true));
    let before_kib = stage.gateway().rss_kib();
    stage.gateway().forget_peak();
    for _ in 0..20 {
        let mut peer = Peer::connect(stage.gateway().address());
        let field = indexed_literal("x-a", "a".repeat(4_000));
        let block = [Request::get(GOOD).block(), field, vec![0xbe; 11_000]].concat();
        drop(peer.try_send(headers(1, END_HEADERS | END_STREAM, block)));
        peer.until_end();
    }
    let grown_kib = stage.gateway().peak_rss_kib().saturating_sub(before_kib);
    assert!(grown_kib < GROWN_KIB_MAX, "it grew by {grown_kib} KiB");
}

/// Cut off by then. A client that only asks is at 1,000, and whoever makes us reset after 100.
const FRAMES_MAX: usize = 2_000;
const FRAMES_AT_ONCE: usize = 20;
const GROWN_KIB_MAX: u64 = 8 * 1024;
