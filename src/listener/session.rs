//! Knows where an HTTP/2 connection and each of its requests stand, and when that has lasted too long.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use slab::Slab;

use crate::clock::Moment;
use crate::listener::flow::Flow;
use crate::listener::frames::{BYTES_PER_FRAME, Frames, Seen, Work};
use crate::listener::http1::LINGER;
use crate::listener::vitals::Timeouts;
use crate::listener::ward::Patient;
use crate::tasks::deadline::Deadline;
use crate::tasks::{Ending, Signal, Verdict};

/// Where one connection stands.
#[derive(Debug)]
pub struct Session {
    timeouts: Timeouts,
    flow: Rc<Flow>,
    frames: Frames,
    strands: RefCell<Slab<Rc<Strand>>>,
    /// The request that hyper has just made and not yet given to its executor.
    newest: RefCell<Option<Rc<Strand>>>,
    /// Without a request.
    idle: Deadline,
    /// Of a head, whose first frame has come.
    head: Deadline,
    awaits_head: Cell<bool>,
    /// For the client to read why it is closed.
    lingering: Deadline,
    lingers: Cell<bool>,
    /// Bytes written that have not been counted as work yet.
    written: Cell<usize>,
    wish: Cell<Wish>,
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// It goes on.
    #[default]
    GoOn,
    /// The client is told to ask no more; what is under way is finished.
    GoAway,
    /// The client has had time enough, or has asked for what it may not.
    Close,
}

/// One request on a connection with many.
#[derive(Debug)]
pub struct Strand {
    session: Rc<Session>,
    place: Cell<Option<usize>>,
    answering: Cell<bool>,
    /// Without the client making room for what it is sent.
    writing: Deadline,
    signal: Signal,
    current: RefCell<Option<Rc<dyn Ending>>>,
}

impl Session {
    /// A connection on which HTTP/2 has just begun, for at most so many requests at once.
    pub fn new(timeouts: Timeouts, flow: Rc<Flow>, streams_max: u32) -> Self {
        let session = Self {
            timeouts,
            flow,
            frames: Frames::new(streams_max),
            strands: RefCell::default(),
            newest: RefCell::default(),
            idle: Deadline::default(),
            head: Deadline::default(),
            awaits_head: Cell::new(false),
            lingering: Deadline::default(),
            lingers: Cell::new(false),
            written: Cell::new(0),
            wish: Cell::new(Wish::GoOn),
        };
        session.idle.arm(timeouts.idle);
        session
    }

    /// A request has begun.
    pub fn begin(self: &Rc<Self>) -> Rc<Strand> {
        self.idle.disarm();
        let strand = Rc::new(Strand {
            session: Rc::clone(self),
            place: Cell::new(None),
            answering: Cell::new(false),
            writing: Deadline::default(),
            signal: Signal::default(),
            current: RefCell::default(),
        });
        strand.place.set(Some(self.strands.borrow_mut().insert(Rc::clone(&strand))));
        *self.newest.borrow_mut() = Some(Rc::clone(&strand));
        strand
    }

    /// The request that was begun last, once.
    pub fn take_newest(&self) -> Option<Rc<Strand>> {
        self.newest.borrow_mut().take()
    }

    /// Bytes came in; whether the client may go on.
    pub fn has_read(&self, bytes: &mut [u8]) -> Seen {
        let seen = self.frames.read(bytes);
        let awaits_head = self.frames.is_in_head();
        if self.awaits_head.replace(awaits_head) != awaits_head {
            if awaits_head {
                self.head.arm(self.timeouts.header);
            } else {
                self.head.disarm();
            }
        }
        seen
    }

    /// Bytes went out.
    pub fn has_written(&self, count: usize) {
        let written = self.written.get() + count;
        self.written.set(written % BYTES_PER_FRAME);
        let frames = u32::try_from(written / BYTES_PER_FRAME).unwrap_or(u32::MAX);
        self.frames.earn(Work::Sent(frames));
    }

    /// All was said; the client has a little while to read it.
    pub fn linger(&self) {
        if !self.lingers.replace(true) {
            self.lingering.arm(LINGER);
        }
    }

    /// What is to become of the connection; `waker` is woken when that changes.
    pub fn wish(&self, waker: &Waker) -> Wish {
        self.flow.wake(waker);
        if self.flow.is_ended() { Wish::Close } else { self.wish.get() }
    }

    fn ask(&self, wish: Wish) {
        self.wish.set(wish);
        self.flow.nudge();
    }

    fn tick_strands(&self, now: Moment) {
        // A copy, because waking a request may end it and so change the list.
        let strands: Vec<Rc<Strand>> =
            self.strands.borrow().iter().map(|(_, it)| Rc::clone(it)).collect();
        for strand in strands {
            strand.tick(now);
        }
    }
}

impl Patient for Session {
    fn tick(&self, now: Moment) {
        self.flow.tick(now);
        self.frames.earn(Work::Tick);
        self.tick_strands(now);
        if self.head.is_over(now) || self.lingering.is_over(now) {
            self.ask(Wish::Close);
        }
        // Until the client has taken what it was sent, it is not idle.
        if self.flow.is_blocked() && self.strands.borrow().is_empty() {
            self.idle.arm(self.timeouts.idle);
        }
        // First the client is told, and given as long again as a request may take to arrive.
        if self.idle.is_over(now) {
            match self.wish.get() {
                Wish::GoOn => {
                    self.ask(Wish::GoAway);
                    self.idle.arm(self.timeouts.header);
                }
                Wish::GoAway | Wish::Close => self.ask(Wish::Close),
            }
        }
    }

    fn drain(&self) {
        if self.wish.get() == Wish::GoOn {
            self.ask(Wish::GoAway);
            if self.strands.borrow().is_empty() {
                self.idle.arm(self.timeouts.header);
            }
        }
    }
}

impl Strand {
    /// The request was let in; it may be told to end.
    pub fn attend(&self, request: Rc<dyn Ending>) {
        *self.current.borrow_mut() = Some(request);
    }

    /// The answer begins.
    pub fn answer(&self) {
        self.answering.set(true);
    }

    /// A part of the answer was handed over; the client has to make room for it.
    pub fn has_passed(&self) {
        self.session.frames.earn(Work::Part);
        self.writing.arm(self.session.timeouts.write);
    }

    /// There is room for more.
    pub fn has_room(&self) {
        self.writing.disarm();
    }

    /// The answer's last byte was handed over.
    pub fn finish(&self) {
        let Some(place) = self.place.take() else { return };
        let session = &self.session;
        if self.answering.get() {
            session.frames.earn(Work::Answer);
        }
        *self.current.borrow_mut() = None;
        let mut strands = session.strands.borrow_mut();
        drop(strands.try_remove(place));
        if strands.is_empty() {
            session.idle.arm(session.timeouts.idle);
        }
    }

    /// Whether the request is to end now, answer or not; otherwise `waker` is woken when it is.
    pub fn must_end(&self, waker: &Waker) -> bool {
        self.signal.wake_on_verdict(waker);
        self.signal.verdict().is_some() || self.is_cut_short()
    }

    /// hyper asks for more of an answer only once there is room for what it has, so whoever is to
    /// end meanwhile is not asked.
    fn is_cut_short(&self) -> bool {
        self.answering.get()
            && self.current.borrow().as_ref().is_some_and(|it| it.signal().verdict().is_some())
    }

    fn tick(&self, now: Moment) {
        if self.writing.is_over(now) {
            self.signal.give(Verdict::TimedOut);
        }
    }
}
