//! The bodies that pass through: the request's on its way up, the response's on its way down.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::tasks::deadline::Timed;
use crate::upstream::pool::Loan;

/// A request's body on its way to the upstream. It keeps the request's deadline: of the client
/// while its bytes are awaited, of the upstream once all was sent.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Option<Incoming>,
    upload: Upload,
}

/// What is known of a request's body from outside, while hyper owns it.
#[derive(Clone, Debug)]
pub struct Upload(Rc<State>);

#[derive(Debug)]
struct State {
    stage: Cell<UploadStage>,
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

/// How far a request's body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadStage {
    /// Not all was read yet.
    Sending,
    /// All was handed over.
    Sent,
    /// It broke off.
    Faulty(UploadFault),
}

/// Why a request's body could not be read. Always the client's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadFault {
    /// It is not framed as HTTP asks.
    Malformed,
    /// The connection was closed in the middle of it.
    Incomplete,
}

impl RequestBody {
    /// What the client sends, watched over.
    pub fn new(incoming: Incoming, watch: Watch) -> Self {
        let stage = if incoming.is_end_stream() { UploadStage::Sent } else { UploadStage::Sending };
        if stage == UploadStage::Sent {
            watch.deadline.deadline().arm(watch.response_timeout);
        }
        let upload = Upload(Rc::new(State { stage: Cell::new(stage), watch }));
        Self { incoming: (stage == UploadStage::Sending).then_some(incoming), upload }
    }

    /// No body, for a request that is sent again.
    pub fn empty(upload: Upload) -> Self {
        Self { incoming: None, upload }
    }

    /// What is known of it from outside.
    pub fn upload(&self) -> Upload {
        self.upload.clone()
    }
}

impl Upload {
    /// How far it has come.
    pub fn stage(&self) -> UploadStage {
        self.0.stage.get()
    }

    /// Why it could not be read, if it could not.
    pub fn fault(&self) -> Option<UploadFault> {
        match self.stage() {
            UploadStage::Faulty(fault) => Some(fault),
            UploadStage::Sending | UploadStage::Sent => None,
        }
    }

    fn note<T>(&self, polled: &Poll<Option<Result<T, hyper::Error>>>) {
        let deadline = self.0.watch.deadline.deadline();
        match polled {
            Poll::Pending => deadline.arm(self.0.watch.body_timeout),
            Poll::Ready(Some(Ok(_))) => deadline.disarm(),
            Poll::Ready(None) => self.is_sent(),
            Poll::Ready(Some(Err(fault))) => {
                let closed =
                    fault.is_incomplete_message() || fault.is_closed() || fault.is_canceled();
                let fault = if closed { UploadFault::Incomplete } else { UploadFault::Malformed };
                self.0.stage.set(UploadStage::Faulty(fault));
            }
        }
    }

    fn is_sent(&self) {
        self.0.stage.set(UploadStage::Sent);
        self.0.watch.deadline.deadline().arm(self.0.watch.response_timeout);
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *incoming).poll_frame(context);
        let is_last = incoming.is_end_stream();
        self.upload.note(&polled);
        if is_last && self.upload.fault().is_none() {
            self.upload.is_sent();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// A response's body on its way to the client. At its end the connection goes back to the pool.
#[derive(Debug)]
pub struct ResponseBody {
    incoming: Incoming,
    loan: Option<Loan>,
}

impl ResponseBody {
    /// The body of an answer over a borrowed connection.
    pub fn new(incoming: Incoming, loan: Loan) -> Self {
        let ended = incoming.is_end_stream();
        let mut body = Self { incoming, loan: Some(loan) };
        if ended {
            body.give_back();
        }
        body
    }

    fn give_back(&mut self) {
        if let Some(loan) = self.loan.take() {
            loan.give_back();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(context);
        match &polled {
            Poll::Ready(None) => self.give_back(),
            Poll::Ready(Some(Ok(_))) if self.incoming.is_end_stream() => self.give_back(),
            Poll::Ready(Some(Err(_))) => drop(self.loan.take()),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
