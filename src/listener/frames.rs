//! Reads the headers of a client's HTTP/2 frames as they pass, and holds the client to a budget.
//!
//! h2 cuts floods of resets, CONTINUATION and empty DATA, and not of PING, SETTINGS, PRIORITY or
//! `WINDOW_UPDATE`. Here every frame that asks for work and brings none costs one of a budget, which
//! answered requests, sent bytes and time fill again. h2 does not mind either with which frame a
//! client begins, and has one error for all it does not understand; sizes have their own.

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
    /// Whether it ends with the payload that is under way.
    block_ends: Cell<bool>,
    /// Whether the client has said with which settings it begins.
    has_begun: Cell<bool>,
    budget: Cell<u32>,
    budget_max: u32,
}

/// What a client has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing that it may not.
    Good,
    /// It has asked for more than it may.
    Exhausted,
    /// It has begun with something else than its settings.
    Unsettled,
}

/// What lets a client send more frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A request was answered, and not cancelled before.
    Answer,
    /// A part of an answer was handed over.
    Part,
    /// So many times [`BYTES_PER_FRAME`] were sent.
    Sent(u32),
    /// A tick has passed.
    Tick,
}

impl Frames {
    /// Of a client that may have so many requests under way at once.
    pub fn new(streams_max: u32) -> Self {
        let budget_max = streams_max.saturating_mul(FRAMES_PER_STREAM).max(BUDGET_MIN);
        Self {
            skip: Cell::new(PREFACE_BYTES),
            header: Cell::default(),
            header_length: Cell::new(0),
            in_block: Cell::new(true),
            block_ends: Cell::new(false),
            has_begun: Cell::new(false),
            budget: Cell::new(budget_max),
            budget_max,
        }
    }

    /// Looks at what was read. The length of a frame that has a wrong size is made too large, so
    /// that h2 says what is wrong: unless it came in pieces, when h2 has seen it already.
    pub fn read(&self, bytes: &mut [u8]) -> Seen {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.skip.get() > 0 {
                let count = self.skip.get().min(rest.len());
                self.skip.set(self.skip.get() - count);
                let is_over = self.skip.get() == 0 && self.block_ends.get();
                self.in_block.set(self.in_block.get() && !is_over);
                rest = rest.split_at_mut(count).1;
                continue;
            }
            let (these, others) =
                rest.split_at_mut((HEADER_BYTES - self.header_length.get()).min(rest.len()));
            match self.read_header(these) {
                Seen::Good => {}
                seen @ (Seen::Exhausted | Seen::Unsettled) => return seen,
            }
            rest = others;
        }
        Seen::Good
    }

    /// Takes more of a frame's header; judges it once it is complete.
    fn read_header(&self, bytes: &mut [u8]) -> Seen {
        let (mut header, length) = (self.header.get(), self.header_length.get());
        for (to, from) in header.iter_mut().skip(length).zip(&*bytes) {
            *to = *from;
        }
        self.header.set(header);
        self.header_length.set((length + bytes.len()) % HEADER_BYTES);
        if length + bytes.len() < HEADER_BYTES {
            return Seen::Good;
        }
        let seen = self.frame(header);
        if seen == Seen::Good && length == 0 && has_wrong_size(header) {
            bytes.iter_mut().take(LENGTH_BYTES).for_each(|it| *it = u8::MAX);
        }
        seen
    }

    /// Whether the preface, a block of headers or a frame's own header is under way.
    pub fn is_in_head(&self) -> bool {
        self.in_block.get() || self.header_length.get() > 0
    }

    /// Something was done for the client, or time has passed.
    pub fn earn(&self, work: Work) {
        let count = match work {
            Work::Answer => FRAMES_PER_ANSWER,
            Work::Part => FRAMES_PER_PART,
            Work::Sent(frames) => frames,
            Work::Tick => FRAMES_PER_TICK,
        };
        self.budget.set(self.budget.get().saturating_add(count).min(self.budget_max));
    }

    fn frame(&self, header: [u8; HEADER_BYTES]) -> Seen {
        let [_, _, _, kind, flags, ..] = header;
        let length = length(header);
        self.skip.set(length);
        let (is_block, is_last) =
            (matches!(kind, HEADERS | CONTINUATION), flags & END_HEADERS != 0);
        self.in_block.set(is_block && !(is_last && length == 0));
        self.block_ends.set(is_last);
        let is_settings = kind == SETTINGS && flags & ACK == 0;
        if !self.has_begun.replace(true) && !is_settings {
            return Seen::Unsettled;
        }
        if kind == DATA && length > 0 {
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

fn length([high, middle, low, ..]: [u8; HEADER_BYTES]) -> usize {
    usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)
}

/// RFC 9113, 6.3 to 6.9. A PRIORITY of a wrong size is its stream's error by itself; whoever sends
/// one sends more.
fn has_wrong_size(header: [u8; HEADER_BYTES]) -> bool {
    let [_, _, _, kind, flags, ..] = header;
    let length = length(header);
    match kind {
        PRIORITY => length != 5,
        RST_STREAM | WINDOW_UPDATE => length != 4,
        SETTINGS => !length.is_multiple_of(6) || (length > 0 && flags & ACK != 0),
        PING => length != 8,
        GOAWAY => length < 8,
        _ => false,
    }
}

const PREFACE_BYTES: usize = 24;
const HEADER_BYTES: usize = 9;
const LENGTH_BYTES: usize = 3;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// A client that does nothing but ask is cut off after so many frames …
const BUDGET_MIN: u32 = 1_000;

/// … or after so many for each request that it may have under way.
const FRAMES_PER_STREAM: u32 = 10;

/// HEADERS, PRIORITY, an empty DATA that ends it, a few window updates; and as much for another
/// request, which is cancelled.
const FRAMES_PER_ANSWER: u32 = 8;

/// A window update for the stream and one for the connection, and a PING that measures how far
/// apart we are, as clients of gRPC do it; one to spare.
const FRAMES_PER_PART: u32 = 4;

/// A client that takes this much may say so once.
pub const BYTES_PER_FRAME: usize = 2048;

/// A hundred a second.
const FRAMES_PER_TICK: u32 = 20;

#[cfg(test)]
mod tests;
