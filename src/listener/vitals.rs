//! Knows where an HTTP/1.1 connection stands, and when that has lasted too long.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use crate::clock::Moment;
use crate::listener::flow::Flow;
use crate::listener::tunnel::Tunnel;
use crate::listener::ward::Patient;
use crate::tasks::Ending;
use crate::tasks::deadline::Deadline;

/// How long a client may take for what.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the first byte to the end of the head.
    pub header: Duration,
    /// Without a request.
    pub idle: Duration,
    /// Without taking a byte.
    pub write: Duration,
}

/// Where one connection stands.
#[derive(Debug)]
pub struct Vitals {
    timeouts: Timeouts,
    flow: Rc<Flow>,
    stage: Cell<Stage>,
    /// Of the head, or of being idle.
    reading: Deadline,
    /// Until an idle connection is taken apart.
    resting: Deadline,
    rested: Cell<bool>,
    /// Whether the client was still to take what was left of the last answer.
    owed: Cell<bool>,
    /// Whether a request has begun since all was flushed: otherwise nothing written is an answer.
    begun: Cell<bool>,
    unread: Cell<Option<Unread>>,
    /// Whether the last answer broke off: closing it in good order would say that it was whole.
    broken: Cell<bool>,
    end: Cell<Option<End>>,
    current: RefCell<Option<Rc<dyn Ending>>>,
    tunnel: RefCell<Option<Box<dyn Tunnel>>>,
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
    /// The answer is out, and the request was not read to its end: what comes is no request, unless
    /// hyper could read the rest away.
    Spent,
    /// It is no longer HTTP.
    Changed,
}

/// What an answered request leaves behind on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remainder {
    /// It was read whole.
    Nothing,
    /// Some of its body may still come.
    Unread,
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
    pub fn new(timeouts: Timeouts, flow: Rc<Flow>) -> Self {
        let vitals = Self {
            timeouts,
            flow,
            stage: Cell::new(Stage::Idle),
            reading: Deadline::default(),
            resting: Deadline::default(),
            rested: Cell::new(false),
            owed: Cell::new(false),
            begun: Cell::new(false),
            unread: Cell::new(None),
            broken: Cell::new(false),
            end: Cell::new(None),
            current: RefCell::new(None),
            tunnel: RefCell::new(None),
        };
        vitals.reading.arm(timeouts.idle);
        vitals
    }

    /// What goes out over it.
    pub fn flow(&self) -> &Rc<Flow> {
        &self.flow
    }

    /// Bytes came in.
    pub fn has_read(&self) {
        if self.stage.get() == Stage::Idle {
            self.stage.set(Stage::Head);
            self.reading.arm(self.timeouts.header);
        }
    }

    /// What came before the first request, a handshake or a PROXY header, is over.
    pub fn has_opened(&self) {
        self.stage.set(Stage::Idle);
        self.reading.arm(self.timeouts.idle);
    }

    /// Why the connection ended from outside, if it did.
    pub fn end(&self) -> Option<End> {
        self.end.get().or_else(|| self.flow.is_ended().then_some(End::Abort))
    }

    /// All that was written was handed over.
    pub fn has_flushed(&self) {
        if matches!(self.stage.get(), Stage::Idle | Stage::Head | Stage::Spent) {
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
        self.resting.disarm();
    }

    /// The request was let in; it may be told to end.
    pub fn attend(&self, request: Rc<dyn Ending>) {
        *self.current.borrow_mut() = Some(request);
    }

    /// The answer begins.
    pub fn answer(&self) {
        self.stage.set(Stage::Answering);
    }

    /// The answer goes no further, and was not whole.
    pub fn break_off(&self) {
        self.broken.set(true);
    }

    /// Whether that happened.
    pub fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// The answer's last byte was handed over.
    pub fn finish(&self, remainder: Remainder) {
        match remainder {
            Remainder::Nothing => {
                self.stage.set(Stage::Idle);
                self.reading.arm(self.timeouts.idle);
                self.resting.arm(REST_AFTER);
            }
            // hyper reads a little of it away, or closes; and if it can do neither, nobody may
            // take what comes for a request.
            Remainder::Unread => {
                self.stage.set(Stage::Spent);
                self.reading.arm(self.timeouts.header);
            }
        }
        *self.current.borrow_mut() = None;
    }

    /// The answer is a change of protocols: once it is out, the connection is `tunnel`'s.
    pub fn change_over(&self, tunnel: Box<dyn Tunnel>) {
        self.stage.set(Stage::Changed);
        *self.tunnel.borrow_mut() = Some(tunnel);
    }

    /// Whether it is somebody else's as soon as the answer is out.
    pub fn is_changing_over(&self) -> bool {
        self.tunnel.borrow().is_some()
    }

    /// Who gets the connection now.
    pub fn take_tunnel(&self) -> Option<Box<dyn Tunnel>> {
        self.tunnel.borrow_mut().take()
    }

    /// Somebody may ask: if nobody does, the connection comes to rest again.
    pub fn begin_round(&self) {
        if self.stage.get() == Stage::Idle {
            self.resting.arm(REST_AFTER);
        }
    }

    /// Whether nobody has asked anything for so long that what waits for a request may go.
    pub fn is_at_rest(&self) -> bool {
        self.rested.take() && self.stage.get() == Stage::Idle && !self.begun.get()
    }

    /// Why the connection is to end now, if it is; otherwise `waker` is woken when it is.
    pub fn must_end(&self, waker: &Waker) -> Option<End> {
        self.flow.wake(waker);
        self.end().or_else(|| self.is_cut_short(waker).then_some(End::Abort))
    }

    /// A request whose answer has begun can only be ended with its connection, and so can a tunnel
    /// of which the client has not heard.
    fn is_cut_short(&self, waker: &Waker) -> bool {
        let is_changing = match self.stage.get() {
            Stage::Answering => false,
            Stage::Changed if self.is_changing_over() => true,
            Stage::Idle | Stage::Head | Stage::Busy | Stage::Spent | Stage::Changed => {
                return false;
            }
        };
        let current = self.current.borrow();
        let Some(request) = current.as_ref() else { return false };
        // An answer's body listens by itself.
        if is_changing {
            request.signal().wake_on_verdict(waker);
        }
        request.signal().verdict().is_some()
    }

    fn finish_waiting(&self, end: End) {
        self.end.set(Some(end));
        self.flow.nudge();
    }
}

impl Patient for Vitals {
    fn tick(&self, now: Moment) {
        self.flow.tick(now);
        let (over, rested) = (self.reading.is_over(now), self.resting.is_over(now));
        // Until the client has taken its last answer, only that counts.
        if self.flow.is_blocked() {
            return self.owed.set(true);
        }
        if self.owed.take() {
            match self.stage.get() {
                Stage::Idle => self.reading.arm(self.timeouts.idle),
                Stage::Head | Stage::Spent => self.reading.arm(self.timeouts.header),
                Stage::Busy | Stage::Answering | Stage::Changed => {}
            }
            return;
        }
        match self.stage.get() {
            Stage::Idle | Stage::Spent if over => self.finish_waiting(End::Idle),
            Stage::Head if over => self.finish_waiting(End::HeadTooSlow),
            Stage::Idle if rested => {
                self.resting.disarm();
                self.rested.set(true);
                self.flow.nudge();
            }
            Stage::Idle
            | Stage::Head
            | Stage::Busy
            | Stage::Answering
            | Stage::Spent
            | Stage::Changed => {}
        }
    }

    /// An idle client may be about to ask: it is told with the answer to that.
    fn drain(&self) {}
}

/// Without a request for so long, a connection gives back what it needs to read one.
const REST_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_still_takes_the_end_of_an_answer_is_not_idle() {
        let second = Duration::from_secs(1);
        let timeouts = Timeouts { header: second, idle: second, write: 30 * second };
        let vitals = Vitals::new(timeouts, Rc::new(Flow::new(timeouts.write)));
        let mut ticks = (1..).map(|it| Moment::from_nanos(it * 200_000_000));
        let mut pass = |count| ticks.by_ref().take(count).for_each(|it| vitals.tick(it));
        vitals.begin();
        vitals.answer();
        vitals.flow().cannot_write();
        // hyper has all of it, and the client does not.
        vitals.finish(Remainder::Nothing);
        pass(50);
        assert_eq!(vitals.end(), None);
        // Taken at last: now it is idle, and for as long as anybody may be.
        vitals.flow().has_written();
        pass(5);
        assert_eq!(vitals.end(), None);
        pass(5);
        assert_eq!(vitals.end(), Some(End::Idle));
    }
}
