//! Knows whether a client takes what it is sent, and when it has taken nothing for too long.

use std::cell::Cell;
use std::task::Waker;
use std::time::Duration;

use crate::clock::Moment;
use crate::tasks::deadline::{Deadline, TICK};
use crate::tasks::{Signal, Verdict};

/// What goes out over one connection.
#[derive(Debug)]
pub struct Flow {
    limit: Duration,
    writing: Deadline,
    blocked: Cell<bool>,
    /// Until the kernel is asked again whether a client that seems to take nothing does.
    asking: Deadline,
    doubt: Cell<Option<Doubt>>,
    ended: Cell<bool>,
    signal: Signal,
}

/// What a kernel that reports no room is to be asked. It reports some only once a third of what it
/// holds for the client is free: at 1 KiB/s that takes longer than any deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Whether there is some nevertheless.
    Ask,
    /// The same, and without it `write_timeout` is over.
    AskLast,
}

impl Flow {
    /// A client may take nothing for `limit`.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            writing: Deadline::default(),
            blocked: Cell::new(false),
            asking: Deadline::default(),
            doubt: Cell::new(None),
            ended: Cell::new(false),
            signal: Signal::default(),
        }
    }

    /// The client took bytes.
    pub fn has_written(&self) {
        if self.blocked.replace(false) {
            self.writing.disarm();
            self.asking.disarm();
            self.doubt.set(None);
        }
    }

    /// The client takes nothing at the moment.
    pub fn cannot_write(&self) {
        if !self.blocked.replace(true) {
            self.writing.arm(self.limit);
            self.asking.arm(ASK_EVERY);
        }
    }

    /// Whether the client takes nothing at the moment.
    pub fn is_blocked(&self) -> bool {
        self.blocked.get()
    }

    /// What the kernel, which reports no room, is to be asked now, if anything. It is asked when it
    /// says so first: what it takes then, its own buffer takes and not the client.
    pub fn doubt(&self) -> Option<Doubt> {
        if self.blocked.get() { self.doubt.take() } else { Some(Doubt::Ask) }
    }

    /// Nothing more goes over this connection: the client took nothing for longer than it may, or
    /// what it was sent must not go on.
    pub fn end(&self) {
        self.ended.set(true);
        self.signal.give(Verdict::TimedOut);
    }

    /// Whether it was ended.
    pub fn is_ended(&self) -> bool {
        self.ended.get()
    }

    /// Has `waker` woken when something changes from outside.
    pub fn wake(&self, waker: &Waker) {
        self.signal.wake_on_verdict(waker);
    }

    /// Wakes whoever serves the connection.
    pub fn nudge(&self) {
        self.signal.nudge();
    }

    /// Looks at the deadlines.
    pub fn tick(&self, now: Moment) {
        let (over, ask) = (self.writing.is_over(now), self.asking.is_over(now));
        if over || ask {
            self.asking.arm(ASK_EVERY);
            self.doubt.set(Some(if over { Doubt::AskLast } else { Doubt::Ask }));
            self.signal.nudge();
        }
    }
}

/// So that a client that takes its last byte soon after the kernel was asked is not closed much
/// later than `write_timeout` after it.
const ASK_EVERY: Duration = TICK;
