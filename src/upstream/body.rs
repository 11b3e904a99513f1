//! The bodies that pass through: the request's on its way up, the response's on its way down.

use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::tasks::deadline::{Deadline, Timed};
use crate::tasks::{Signal, Verdict};
use crate::upstream::loan::Loan;
use crate::upstream::trailers::Trailers;

/// A request's body on its way to the upstream. It keeps the request's deadline: of the client
/// while its bytes are awaited, of the upstream once all was sent and until its answer begins.
#[derive(Debug)]
pub struct RequestBody {
    /// What was read of it before, when it is sent once more.
    before: VecDeque<Bytes>,
    incoming: Option<Incoming>,
    origin: Version,
    /// How many bytes more there may be; `None`: unlimited.
    left: Option<u64>,
    trailers: Trailers,
    upload: Upload,
}

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

/// Why a request's body could not be read to its end. Always the client's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadFault {
    /// It is not framed as HTTP asks.
    #[error("the request's body is malformed")]
    Malformed,
    /// The connection was closed in the middle of it.
    #[error("the request's body broke off")]
    Incomplete,
    /// It is longer than it may be.
    #[error("the request's body is longer than it may be")]
    TooLarge,
}

impl RequestBody {
    /// What the client sends over this version of HTTP, watched over; of its trailers those that
    /// may pass, and of its bytes no more than `most`: what is longer breaks off, and never seems
    /// to have come to its end.
    pub fn new(
        (incoming, origin): (Incoming, Version),
        most: Option<u64>,
        trailers: Trailers,
        watch: Watch,
    ) -> Self {
        let is_empty = incoming.is_end_stream();
        let stage = if is_empty { UploadStage::Sent } else { UploadStage::AwaitingUpstream };
        watch.deadline.deadline().arm(watch.response_timeout);
        let upload = Upload::new(stage, watch);
        let incoming = (!is_empty).then_some(incoming);
        Self { before: VecDeque::new(), incoming, origin, left: most, trailers, upload }
    }

    /// No body, for a request of our own, over which somebody else watches.
    pub fn none() -> Self {
        let deadline = Rc::new(Unwatched::default());
        let never = Duration::MAX;
        let watch = Watch { deadline, body_timeout: never, response_timeout: never };
        Self::empty(Upload::new(UploadStage::Sent, watch))
    }

    /// No body, for a request that is sent again.
    pub fn empty(upload: Upload) -> Self {
        let (origin, trailers) = (Version::HTTP_11, Trailers::default());
        Self { before: VecDeque::new(), incoming: None, origin, left: None, trailers, upload }
    }

    /// What is known of it from outside.
    pub fn upload(&self) -> Upload {
        self.upload.clone()
    }

    /// Begins with what was read of it already, in this order.
    pub fn put_before(&mut self, mut read: VecDeque<Bytes>) {
        if !read.is_empty() {
            read.append(&mut self.before);
            self.before = read;
            self.upload.0.stage.set(UploadStage::AwaitingUpstream);
        }
    }

    fn next_before(&mut self) -> Option<Bytes> {
        let data = self.before.pop_front()?;
        if self.is_end_stream() {
            self.upload.0.stage.set(UploadStage::Sent);
        }
        Some(data)
    }

    /// The same, unless there is more of it than may be.
    fn within_limit(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, UploadFault> {
        if let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) {
            *left = left.checked_sub(data.len() as u64).ok_or(UploadFault::TooLarge)?;
        }
        Ok(frame)
    }
}

impl Upload {
    fn new(stage: UploadStage, watch: Watch) -> Self {
        let [answered, overdue] = [(); 2].map(|()| Cell::new(false));
        Self(Rc::new(State {
            stage: Cell::new(stage),
            answered,
            overdue,
            over: Signal::default(),
            watch,
        }))
    }

    /// The answer is over, whole or not, and with it the grant: a body that has not come to its end
    /// breaks off, wherever it is.
    pub fn end_of_answer(&self) {
        if self.stage() != UploadStage::Sent {
            self.0.over.give(Verdict::Cut);
        }
    }

    /// How far it has come.
    pub fn stage(&self) -> UploadStage {
        self.0.stage.get()
    }

    /// Why it could not be read, if it could not.
    pub fn fault(&self) -> Option<UploadFault> {
        match self.stage() {
            UploadStage::Faulty(fault) => Some(fault),
            UploadStage::AwaitingClient | UploadStage::AwaitingUpstream | UploadStage::Sent => None,
        }
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

    /// Whose turn it is, and until when. Looking for bytes that are not there gives nobody more
    /// time: hyper looks whenever anything happens on the connection.
    fn note(&self, polled: &Poll<Option<Result<Frame<Bytes>, UploadFault>>>) {
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

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyFault {
    /// Its connection did, or it is not framed as HTTP asks.
    #[error(transparent)]
    Http(hyper::Error),
    /// Its stream was reset before its end, without a word of why.
    #[error("the stream was reset before its end")]
    CutShort,
}

impl From<BodyFault> for UploadFault {
    fn from(fault: BodyFault) -> Self {
        let BodyFault::Http(fault) = fault else { return Self::Incomplete };
        let closed = fault.is_incomplete_message() || fault.is_closed() || fault.is_canceled();
        if closed { Self::Incomplete } else { Self::Malformed }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UploadFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFault>>> {
        let this = &mut *self;
        if let Some(data) = this.next_before() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        this.upload.0.over.wake_on_verdict(context.waker());
        if this.upload.0.over.verdict().is_some() {
            this.upload.0.stage.set(UploadStage::Faulty(UploadFault::Incomplete));
            return Poll::Ready(Some(Err(UploadFault::Incomplete)));
        }
        let polled = poll_whole(incoming, this.origin, context);
        let is_last = incoming.is_end_stream();
        let limited = |it: Result<Frame<Bytes>, BodyFault>| this.within_limit(it?);
        let mut polled = polled.map(|it| it.map(limited));
        this.upload.note(&polled);
        if is_last && this.upload.fault().is_none() {
            this.upload.0.stage.set(UploadStage::Sent);
        }
        if let Poll::Ready(Some(Ok(frame))) = &mut polled {
            this.trailers.clean(frame);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.before.is_empty() && self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        if self.before.is_empty() {
            return hint;
        }
        let bytes: u64 = self.before.iter().map(|it| it.len() as u64).sum();
        hint.exact().map_or_else(SizeHint::default, |rest| SizeHint::with_exact(bytes + rest))
    }
}

/// A response's body on its way to the client. At its end the connection goes back to the pool.
#[derive(Debug)]
pub struct ResponseBody {
    incoming: Incoming,
    origin: Version,
    loan: Option<Loan>,
}

impl ResponseBody {
    /// With an answer that came over a borrowed connection.
    pub fn of(answer: Response<Incoming>, loan: Loan) -> Response<Self> {
        let origin = answer.version();
        answer.map(|incoming| Self::new(incoming, origin, loan))
    }

    fn new(incoming: Incoming, origin: Version, loan: Loan) -> Self {
        let ended = incoming.is_end_stream();
        let mut body = Self { incoming, origin, loan: Some(loan) };
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

    fn close(&mut self) {
        if let Some(loan) = self.loan.take() {
            loan.close();
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.close();
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = &mut *self;
        let polled = poll_whole(&mut this.incoming, this.origin, context);
        match &polled {
            Poll::Ready(None) => this.give_back(),
            // Nothing comes after trailers, and hyper does not ask.
            Poll::Ready(Some(Ok(frame)))
                if frame.is_trailers() || this.incoming.is_end_stream() =>
            {
                this.give_back();
            }
            Poll::Ready(Some(Err(_))) => this.close(),
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

/// The next piece of a body. Over HTTP/2 hyper takes a stream that was reset with `NO_ERROR` for
/// one that has ended (RFC 9113, 8.1, but there it had ended before), and nobody would know that
/// something is missing.
fn poll_whole(
    incoming: &mut Incoming,
    origin: Version,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
    let polled = Pin::new(&mut *incoming).poll_frame(context);
    let has_ended = matches!(polled, Poll::Ready(None));
    if has_ended && origin == Version::HTTP_2 && !incoming.is_end_stream() {
        return Poll::Ready(Some(Err(BodyFault::CutShort)));
    }
    polled.map_err(BodyFault::Http)
}
