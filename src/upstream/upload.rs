//! Says how far a request's body has come, and keeps the request's deadline meanwhile.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http_body::Frame;

use crate::tasks::deadline::{Deadline, Timed};
use crate::tasks::{Signal, Verdict};

/// What is known of a request's body from outside, while hyper owns it.
#[derive(Clone, Debug)]
pub struct Upload(Rc<State>);

#[derive(Debug)]
struct State {
    stage: Cell<UploadStage>,
    /// Whether the upstream has begun to answer: from then on only the client can be waited for.
    answered: Cell<bool>,
    /// Whether the upstream's time was up.
    overdue: Cell<bool>,
    /// Given once the answer is over: who still sends is not listened to any more.
    over: Signal,
    origin: Version,
    watch: Watch,
}

/// By what a request's progress is watched.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Whoever owns it ends the request when this is over.
    pub deadline: Rc<dyn Timed>,
    /// For the client, without a byte of the body.
    pub body_timeout: Duration,
    /// For the upstream, from the end of the body to the head of the answer.
    pub response_timeout: Duration,
}

/// A deadline that nobody looks at.
#[derive(Debug, Default)]
struct Unwatched(Deadline);

impl Timed for Unwatched {
    fn deadline(&self) -> &Deadline {
        &self.0
    }
}

/// How far a request's body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadStage {
    /// The client is to send more.
    AwaitingClient,
    /// The upstream is to take what the client has sent.
    AwaitingUpstream,
    /// All was handed over.
    Sent,
    /// It broke off.
    Faulty(UploadFault),
}

/// Why a request's body could not be read to its end: the client's doing, or over with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadFault {
    /// It is not framed as HTTP asks.
    #[error("the request's body is malformed")]
    Malformed,
    /// The connection was closed in the middle of it, or nobody waits for the rest.
    #[error("the request's body broke off")]
    Incomplete,
    /// It is longer than it may be.
    #[error("the request's body is longer than it may be")]
    TooLarge,
}

impl Upload {
    /// At this stage, in this version of HTTP, by this watch.
    pub fn new(stage: UploadStage, origin: Version, watch: Watch) -> Self {
        let [answered, overdue] = [(); 2].map(|()| Cell::new(false));
        Self(Rc::new(State {
            stage: Cell::new(stage),
            answered,
            overdue,
            over: Signal::default(),
            origin,
            watch,
        }))
    }

    /// Of a request of our own that has no body, over which somebody else watches.
    pub fn none() -> Self {
        let deadline = Rc::new(Unwatched::default());
        let never = Duration::MAX;
        let watch = Watch { deadline, body_timeout: never, response_timeout: never };
        Self::new(UploadStage::Sent, Version::HTTP_11, watch)
    }

    /// The answer is over, whole or not, and with it the grant: what of the body was not taken breaks
    /// off, wherever it is.
    pub fn end_of_answer(&self) {
        self.0.over.give(Verdict::Cut);
    }

    /// How far it has come.
    pub fn stage(&self) -> UploadStage {
        self.0.stage.get()
    }

    /// It has come so far.
    pub fn reach(&self, stage: UploadStage) {
        self.0.stage.set(stage);
    }

    /// Whether the answer is over; otherwise `waker` is woken when it is.
    pub fn is_over(&self, waker: &Waker) -> bool {
        self.0.over.wake_on_verdict(waker);
        self.0.over.verdict().is_some()
    }

    /// Why it could not be read, if it could not.
    pub fn fault(&self) -> Option<UploadFault> {
        match self.stage() {
            UploadStage::Faulty(fault) => Some(fault),
            UploadStage::AwaitingClient | UploadStage::AwaitingUpstream | UploadStage::Sent => None,
        }
    }

    /// It is handed to a connection: what is waited for from now on is the upstream, or whoever
    /// the body's next frame says.
    pub fn begin(&self) {
        if self.stage() == UploadStage::AwaitingClient {
            self.reach(UploadStage::AwaitingUpstream);
        }
        let Watch { deadline, response_timeout, .. } = &self.0.watch;
        deadline.deadline().arm(*response_timeout);
    }

    /// The connection has failed it: until there is another, neither side is waited for.
    pub fn pause(&self) {
        self.0.watch.deadline.deadline().disarm();
    }

    /// The answer has begun. A client that is to send more has no longer for it than before.
    pub fn answered(&self) {
        self.0.answered.set(true);
        if self.stage() != UploadStage::AwaitingClient {
            self.0.watch.deadline.deadline().disarm();
        }
    }

    /// The request is given up, because the upstream took too long.
    pub fn set_overdue(&self) {
        self.0.overdue.set(true);
    }

    /// Whether it was given up for that.
    pub fn is_overdue(&self) -> bool {
        self.0.overdue.get()
    }

    /// A part of the answer came. Over HTTP/2, where both sides may speak at once, a client that
    /// only listens now is not slow to send.
    pub fn heard(&self) {
        if self.0.origin == Version::HTTP_2 && self.stage() == UploadStage::AwaitingClient {
            let Watch { deadline, body_timeout, .. } = &self.0.watch;
            deadline.deadline().arm(*body_timeout);
        }
    }

    /// Whose turn it is, and until when. Looking for bytes that are not there gives nobody more
    /// time: hyper looks whenever anything happens on the connection.
    pub fn note(&self, polled: &Poll<Option<Result<Frame<Bytes>, UploadFault>>>) {
        let stage = match polled {
            Poll::Pending => UploadStage::AwaitingClient,
            // Nothing comes after trailers, and hyper does not ask.
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => UploadStage::Sent,
            Poll::Ready(Some(Ok(_))) => UploadStage::AwaitingUpstream,
            Poll::Ready(None) => UploadStage::Sent,
            Poll::Ready(Some(Err(fault))) => UploadStage::Faulty(*fault),
        };
        let before = self.0.stage.replace(stage);
        let Watch { deadline, body_timeout, response_timeout } = &self.0.watch;
        let deadline = deadline.deadline();
        match stage {
            UploadStage::AwaitingClient if before == stage => {}
            UploadStage::AwaitingClient => deadline.arm(*body_timeout),
            UploadStage::AwaitingUpstream | UploadStage::Sent | UploadStage::Faulty(_) => {
                if self.0.answered.get() {
                    deadline.disarm();
                } else {
                    deadline.arm(*response_timeout);
                }
            }
        }
    }
}
