//! Reads the headers of a client's HTTP/2 frames as they pass, and holds the client to a budget.
//!
//! h2 cuts floods of resets, CONTINUATION and empty DATA, and not of PING, SETTINGS, PRIORITY or
//! WINDOW_UPDATE. Here every frame that asks for work and brings none costs one of a budget, which
//! answered requests, sent bytes and time fill again.

use std::cell::Cell;

/// What passes over one connection (RFC 9113, 3.4 and 4.1).
#[derive(Debug)]
pub struct Frames {
    /// Bytes that are no frame's header: the preface, then each payload.
    skip: Cell<usize>,
    header: Cell<[u8; HEADER_BYTES]>,
    header_length: Cell<usize>,
    /// Whether the preface, or a block of headers, has begun and not ended.
    in_block: Cell<bool>,
    budget: Cell<u32>,
}

/// What a client has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing that it may not.
    Good,
    /// It has asked for more than it may.
    Exhausted,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            skip: Cell::new(PREFACE_BYTES),
            header: Cell::default(),
            header_length: Cell::new(0),
            in_block: Cell::new(true),
            budget: Cell::new(BUDGET),
        }
    }
}

impl Frames {
    /// Looks at what was read.
    pub fn read(&self, bytes: &[u8]) -> Seen {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.skip.get() > 0 {
                let count = self.skip.get().min(rest.len());
                self.skip.set(self.skip.get() - count);
                rest = rest.get(count..).unwrap_or_default();
                continue;
            }
            let (mut header, length) = (self.header.get(), self.header_length.get());
            let count = (HEADER_BYTES - length).min(rest.len());
            for (to, from) in header.iter_mut().skip(length).zip(rest) {
                *to = *from;
            }
            self.header.set(header);
            self.header_length.set(length + count);
            rest = rest.get(count..).unwrap_or_default();
            if length + count == HEADER_BYTES {
                self.header_length.set(0);
                if self.frame(header) == Seen::Exhausted {
                    return Seen::Exhausted;
                }
            }
        }
        Seen::Good
    }

    /// Whether the preface, a block of headers or a frame's own header is under way.
    pub fn is_in_head(&self) -> bool {
        self.in_block.get() || self.header_length.get() > 0
    }

    /// Work was done for the client, or time has passed: `count` frames more.
    pub fn earn(&self, count: u32) {
        self.budget.set(self.budget.get().saturating_add(count).min(BUDGET));
    }

    fn frame(&self, header: [u8; HEADER_BYTES]) -> Seen {
        let [high, middle, low, kind, flags, ..] = header;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.skip.set(length);
        let is_block = matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS == 0;
        self.in_block.set(is_block);
        let is_free = kind == DATA && length > 0;
        if is_free {
            return Seen::Good;
        }
        match self.budget.get().checked_sub(1) {
            Some(left) => {
                self.budget.set(left);
                Seen::Good
            }
            None => Seen::Exhausted,
        }
    }
}

const PREFACE_BYTES: usize = 24;
const HEADER_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// A client that does nothing but ask is cut off after so many frames.
const BUDGET: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let header = [0, 0, length, kind, flags, 0, 0, 0, 1];
        header.into_iter().chain((0..length).map(|_| 0)).collect()
    }

    fn opened() -> Frames {
        let frames = Frames::default();
        assert_eq!(frames.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Seen::Good);
        assert!(frames.is_in_head());
        assert_eq!(frames.read(&frame(4, 0, 0)), Seen::Good);
        frames.earn(1);
        frames
    }

    fn survived(frames: &Frames, frame: &[u8], at_once: usize) -> usize {
        let good = |_: &usize| frame.chunks(at_once).all(|it| frames.read(it) == Seen::Good);
        (0..5_000).take_while(good).count()
    }

    #[test]
    fn every_kind_of_empty_work_is_cut_off_however_it_arrives() {
        for kind in (0..=9).chain([200]) {
            for at_once in [1, 5, 9, 100] {
                let length = if kind == DATA { 0 } else { 8 };
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
        frames.earn(1_000_000);
        assert_eq!(survived(&frames, &frame(6, 0, 0), 9), 1_000);
        frames.earn(3);
        assert_eq!(survived(&frames, &frame(6, 0, 0), 9), 3);
    }

    #[test]
    fn a_head_is_under_way_until_its_last_frame_has_begun() {
        let frames = opened();
        assert!(!frames.is_in_head());
        frames.read(&frame(HEADERS, 0, 3));
        assert!(frames.is_in_head());
        frames.read(&frame(CONTINUATION, 0, 3));
        assert!(frames.is_in_head());
        frames.read(&frame(CONTINUATION, END_HEADERS, 3));
        assert!(!frames.is_in_head());
        frames.read(&[0, 0]);
        assert!(frames.is_in_head());
    }
}
