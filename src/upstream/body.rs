//! The bodies that pass through: the request's on its way up, the response's on its way down.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Response, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::upstream::loan::Loan;
use crate::upstream::trailers::Trailers;
use crate::upstream::upload::{Upload, UploadFault, UploadStage, Watch};

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
        let is_sent = is_empty || has_all(&incoming);
        let stage = if is_sent { UploadStage::Sent } else { UploadStage::AwaitingUpstream };
        let upload = Upload::new(stage, origin, watch);
        let incoming = (!is_empty).then_some(incoming);
        Self { before: VecDeque::new(), incoming, origin, left: most, trailers, upload }
    }

    /// No body, for a request of our own, over which somebody else watches.
    pub fn none() -> Self {
        Self::empty(Upload::none())
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
            self.upload.reach(UploadStage::AwaitingUpstream);
        }
    }

    fn next_before(&mut self) -> Option<Bytes> {
        let data = self.before.pop_front()?;
        if self.is_end_stream() {
            self.upload.reach(UploadStage::Sent);
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
        if this.upload.is_over(context.waker()) {
            this.upload.reach(UploadStage::Faulty(UploadFault::Incomplete));
            return Poll::Ready(Some(Err(UploadFault::Incomplete)));
        }
        let polled = poll_whole(incoming, this.origin, context);
        let is_last = incoming.is_end_stream() || polled.is_ready() && has_all(incoming);
        let limited = |it: Result<Frame<Bytes>, BodyFault>| this.within_limit(it?);
        let mut polled = polled.map(|it| it.map(limited));
        this.upload.note(&polled);
        if is_last && this.upload.fault().is_none() {
            this.upload.reach(UploadStage::Sent);
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
            Poll::Ready(Some(Ok(_))) => {
                if let Some(loan) = &this.loan {
                    loan.heard();
                }
            }
            Poll::Pending => {}
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

/// Whether as much came as was announced, though the end may still come by itself: over HTTP/2 many
/// clients send it in a frame of its own, which nobody waits for who knows the length.
fn has_all(incoming: &Incoming) -> bool {
    incoming.size_hint().exact() == Some(0)
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
