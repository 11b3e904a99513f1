//! Knows where a connection stands, and when that has lasted too long.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use slab::Slab;

use crate::clock::Moment;
use crate::tasks::deadline::{Deadline, TICK};
use crate::tasks::{Ending, Signal, Verdict};

/// How long a client may take for what.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the first byte to the end of the head.
    pub header: Duration,
    /// Without a request.
    pub idle: Duration,
    /// Without the client taking a byte.
    pub write: Duration,
}

/// Where one connection stands.
#[derive(Debug)]
pub struct Vitals {
    timeouts: Timeouts,
    stage: Cell<Stage>,
    /// Of the head, or of being idle.
    reading: Deadline,
    writing: Deadline,
    blocked: Cell<bool>,
    /// Until the kernel is asked again whether a client that seems to take nothing does.
    asking: Deadline,
    doubt: Cell<Option<Doubt>>,
    /// Whether a request has begun since all was flushed: otherwise nothing written is an answer.
    begun: Cell<bool>,
    unread: Cell<Option<Unread>>,
    end: Cell<Option<End>>,
    signal: Signal,
    current: RefCell<Option<Rc<dyn Ending>>>,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for a request.
    Idle,
    /// Reading a head.
    Head,
    /// A request is being decided on or forwarded; nothing was answered yet.
    Busy,
    /// The answer has begun.
    Answering,
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

/// Why what came never became a request. Nobody but the listener sees it, so it is told on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is not HTTP/1.1.
    Malformed,
    /// The target is far too long.
    TargetTooLong,
    /// The head is far too large.
    HeadTooLarge,
    /// The head did not arrive in time.
    TooSlow,
}

/// Why a connection is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// No request came.
    Idle,
    /// A head did not arrive in time.
    HeadTooSlow,
    /// The client did not take what it was sent, or its key was revoked in the middle of an answer.
    Abort,
}

impl Vitals {
    /// A connection that was just accepted.
    pub fn new(timeouts: Timeouts) -> Self {
        let vitals = Self {
            timeouts,
            stage: Cell::new(Stage::Idle),
            reading: Deadline::default(),
            writing: Deadline::default(),
            blocked: Cell::new(false),
            asking: Deadline::default(),
            doubt: Cell::new(None),
            begun: Cell::new(false),
            unread: Cell::new(None),
            end: Cell::new(None),
            signal: Signal::default(),
            current: RefCell::new(None),
        };
        vitals.reading.arm(timeouts.idle);
        vitals
    }

    /// Bytes came in.
    pub fn has_read(&self) {
        if self.stage.get() == Stage::Idle {
            self.stage.set(Stage::Head);
            self.reading.arm(self.timeouts.header);
        }
    }

    /// The client took bytes.
    pub fn has_written(&self) {
        if self.blocked.replace(false) {
            self.writing.disarm();
            self.asking.disarm();
            self.doubt.set(None);
            // What was left of the last answer had to be taken before anything could be asked.
            match self.stage.get() {
                Stage::Idle => self.reading.arm(self.timeouts.idle),
                Stage::Head => self.reading.arm(self.timeouts.header),
                Stage::Busy | Stage::Answering => {}
            }
        }
    }

    /// The client takes nothing at the moment.
    pub fn is_blocked(&self) {
        if !self.blocked.replace(true) {
            self.writing.arm(self.timeouts.write);
            self.asking.arm(ASK_EVERY);
        }
    }

    /// The client took nothing for longer than it may.
    pub fn give_up(&self) {
        self.end.set(Some(End::Abort));
    }

    /// Why the connection ended from outside, if it did.
    pub fn end(&self) -> Option<End> {
        self.end.get()
    }

    /// What the kernel, which reports no room, is to be asked now, if anything. It is asked when it
    /// says so first: what it takes then, its own buffer takes and not the client.
    pub fn doubt(&self) -> Option<Doubt> {
        if self.blocked.get() { self.doubt.take() } else { Some(Doubt::Ask) }
    }

    /// All that was written was handed over.
    pub fn has_flushed(&self) {
        if matches!(self.stage.get(), Stage::Idle | Stage::Head) {
            self.begun.set(false);
        }
    }

    /// Whether what is written now answers a request.
    pub fn is_answering(&self) -> bool {
        self.begun.get()
    }

    /// What came is no request.
    pub fn cannot_read(&self, unread: Unread) {
        self.unread.set(Some(unread));
    }

    /// Why what came is no request, if that was so.
    pub fn unread(&self) -> Option<Unread> {
        self.unread.get()
    }

    /// A head is complete.
    pub fn begin(&self) {
        self.begun.set(true);
        self.stage.set(Stage::Busy);
        self.reading.disarm();
    }

    /// The request was let in; it may be told to end.
    pub fn attend(&self, request: Rc<dyn Ending>) {
        *self.current.borrow_mut() = Some(request);
    }

    /// The answer begins.
    pub fn answer(&self) {
        self.stage.set(Stage::Answering);
    }

    /// The answer's last byte was handed over.
    pub fn finish(&self) {
        self.stage.set(Stage::Idle);
        self.reading.arm(self.timeouts.idle);
        *self.current.borrow_mut() = None;
    }

    /// Why the connection is to end now, if it is; otherwise `waker` is woken when it is.
    pub fn must_end(&self, waker: &Waker) -> Option<End> {
        self.signal.wake_on_verdict(waker);
        self.end.get().or_else(|| self.is_cut_short().then_some(End::Abort))
    }

    /// A request whose answer has begun can only be ended with its connection.
    fn is_cut_short(&self) -> bool {
        self.stage.get() == Stage::Answering
            && self.current.borrow().as_ref().is_some_and(|it| it.signal().verdict().is_some())
    }

    fn tick(&self, now: Moment) {
        self.tick_writing(now);
        let reading = self.reading.is_over(now);
        let end = match self.stage.get() {
            // Until the client has taken its last answer, only that counts.
            _ if self.blocked.get() => None,
            Stage::Idle if reading => Some(End::Idle),
            Stage::Head if reading => Some(End::HeadTooSlow),
            Stage::Idle | Stage::Head | Stage::Busy | Stage::Answering => None,
        };
        if end.is_some() {
            self.end.set(end);
            self.signal.give(Verdict::TimedOut);
        }
    }

    fn tick_writing(&self, now: Moment) {
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

/// Every connection of one worker.
#[derive(Debug, Default)]
pub struct Ward(RefCell<Slab<Rc<Vitals>>>);

/// A connection's bed in the ward; given up when dropped.
#[derive(Debug)]
pub struct Bed {
    ward: Rc<Ward>,
    place: usize,
}

impl Ward {
    /// Looks after one more connection.
    pub fn admit(self: &Rc<Self>, vitals: &Rc<Vitals>) -> Bed {
        let place = self.0.borrow_mut().insert(Rc::clone(vitals));
        Bed { ward: Rc::clone(self), place }
    }

    /// How many connections there are.
    pub fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// Looks at every connection's deadlines. Waking a connection only schedules it.
    pub fn tick(&self, now: Moment) {
        for (_, vitals) in self.0.borrow().iter() {
            vitals.tick(now);
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        drop(self.ward.0.borrow_mut().try_remove(self.place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_still_takes_the_end_of_an_answer_is_not_idle() {
        let second = Duration::from_secs(1);
        let timeouts = Timeouts { header: second, idle: second, write: 30 * second };
        let vitals = Vitals::new(timeouts);
        let mut ticks = (1..).map(|it| Moment::from_nanos(it * 200_000_000));
        let mut pass = |count| ticks.by_ref().take(count).for_each(|it| vitals.tick(it));
        vitals.begin();
        vitals.answer();
        vitals.is_blocked();
        // hyper has all of it, and the client does not.
        vitals.finish();
        pass(50);
        assert_eq!(vitals.end(), None);
        // Taken at last: now it is idle, and for as long as anybody may be.
        vitals.has_written();
        pass(5);
        assert_eq!(vitals.end(), None);
        pass(5);
        assert_eq!(vitals.end(), Some(End::Idle));
    }
}
