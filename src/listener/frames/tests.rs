//! The budget, and what is wrong, whatever comes and however it arrives.

use super::*;

fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
    let header = [0, 0, length, kind, flags, 0, 0, 0, 1];
    header.into_iter().chain((0..length).map(|_| 0)).collect()
}

/// Reads bytes that are to be left as they are.
#[track_caller]
fn read(frames: &Frames, bytes: &[u8]) -> Seen {
    let mut copy = bytes.to_vec();
    let seen = frames.read(&mut copy);
    assert_eq!(copy, bytes);
    seen
}

fn begun(streams_max: u32) -> Frames {
    let frames = Frames::new(streams_max);
    assert_eq!(read(&frames, PREFACE), Seen::Good);
    assert!(frames.is_in_head());
    frames
}

fn opened() -> Frames {
    let frames = begun(100);
    assert_eq!(read(&frames, &frame(SETTINGS, 0, 0)), Seen::Good);
    frames.earn(Work::Sent(1));
    frames
}

fn survived(frames: &Frames, frame: &[u8], at_once: usize) -> usize {
    let good = |_: &usize| frame.chunks(at_once).all(|it| read(frames, it) == Seen::Good);
    (0..5_000).take_while(good).count()
}

#[test]
fn every_kind_of_empty_work_is_cut_off_however_it_arrives() {
    let sizes = [0, 8, 5, 4, 6, 8, 8, 8, 4, 8];
    for (kind, length) in (0..).zip(sizes).chain([(200, 8)]) {
        for at_once in [1, 5, 9, 100] {
            let count = survived(&opened(), &frame(kind, 0, length), at_once);
            assert_eq!(count, 1_000, "kind {kind}, {at_once} bytes at once");
        }
    }
}

#[test]
fn bytes_of_a_body_are_free() {
    assert_eq!(survived(&opened(), &frame(DATA, 0, 1), 4), 5_000);
}

#[test]
fn work_fills_the_budget_and_no_further() {
    let frames = opened();
    frames.earn(Work::Sent(1_000_000));
    assert_eq!(survived(&frames, &frame(99, 0, 0), 9), 1_000);
    frames.earn(Work::Sent(3));
    assert_eq!(survived(&frames, &frame(99, 0, 0), 9), 3);
    frames.earn(Work::Part);
    frames.earn(Work::Answer);
    frames.earn(Work::Tick);
    assert_eq!(survived(&frames, &frame(99, 0, 0), 9), 32);
}

#[test]
fn whoever_may_ask_for_more_at_once_may_send_more_frames() {
    for (streams_max, frames) in [(1, 1_000), (100, 1_000), (10_000, 100_000)] {
        assert_eq!(begun(streams_max).budget.get(), frames);
    }
}

#[test]
fn those_who_cancel_every_other_request_go_on_for_ever() {
    let frames = opened();
    let (head, reset) = (frame(HEADERS, END_HEADERS, 8), frame(RST_STREAM, 0, 4));
    for _ in 0..5_000 {
        for sent in [&head, &frame(DATA, 1, 0), &head, &frame(DATA, 1, 0), &reset] {
            assert_eq!(read(&frames, sent), Seen::Good);
        }
        frames.earn(Work::Answer);
    }
}

#[test]
fn a_client_begins_with_its_settings() {
    for kind in [DATA, HEADERS, PING, WINDOW_UPDATE, 99] {
        assert_eq!(read(&begun(100), &frame(kind, 0, 0)), Seen::Unsettled);
    }
    assert_eq!(read(&begun(100), &frame(SETTINGS, ACK, 0)), Seen::Unsettled);
    assert_eq!(read(&begun(100), &frame(SETTINGS, 0, 6)), Seen::Good);
}

#[track_caller]
fn check_size(kind: u8, flags: u8, good: &[u8]) {
    for length in 0..30 {
        let sent = frame(kind, flags, length);
        let mut read = sent.clone();
        assert_eq!(opened().read(&mut read), Seen::Good);
        let is_left = read == sent;
        assert_eq!(is_left, good.contains(&length), "{length} bytes of {kind}");
        assert!(is_left || read.starts_with(&[255, 255, 255, kind]));
        // Of what h2 has begun to read, nothing is changed.
        let frames = opened();
        for byte in sent {
            assert_eq!(self::read(&frames, &[byte]), Seen::Good);
        }
    }
}

#[test]
fn a_frame_of_a_wrong_size_becomes_one_that_is_too_large() {
    let all: Vec<u8> = (0..30).collect();
    check_size(PING, 0, &[8]);
    check_size(PING, ACK, &[8]);
    check_size(SETTINGS, 0, &[0, 6, 12, 18, 24]);
    check_size(SETTINGS, ACK, &[0]);
    check_size(PRIORITY, 0, &[5]);
    check_size(RST_STREAM, 0, &[4]);
    check_size(WINDOW_UPDATE, 0, &[4]);
    check_size(GOAWAY, 0, &all[8..]);
    for kind in [DATA, HEADERS, CONTINUATION, 5, 99] {
        check_size(kind, 0, &all);
    }
}

#[test]
fn a_head_is_under_way_until_its_last_frame_has_begun() {
    let frames = opened();
    assert!(!frames.is_in_head());
    read(&frames, &frame(HEADERS, 0, 3));
    assert!(frames.is_in_head());
    read(&frames, &frame(CONTINUATION, 0, 3));
    assert!(frames.is_in_head());
    read(&frames, &frame(CONTINUATION, END_HEADERS, 3));
    assert!(!frames.is_in_head());
    read(&frames, &[0, 0]);
    assert!(frames.is_in_head());
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
