//! Makes of an upstream's answer, or of a refusal, the one that the client gets.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Response, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use crate::gate::running::Grant;
use crate::proxy::Route;
use crate::proxy::amend::edit;
use crate::proxy::exchange::Exchange;
use crate::proxy::hygiene::{Direction, clean};
use crate::proxy::outbound::X_REQUEST_ID;
use crate::proxy::pieces::Pieces;
use crate::upstream::body::{BodyFault, ResponseBody};
use crate::upstream::trailers::Trailers;

/// An answer's body on its way to the client. It holds the grant to its last byte, and says so
/// to the exchange when it is done.
#[derive(Debug)]
pub struct Reply {
    source: Source,
    /// None where the connection's next owner has it.
    exchange: Option<Exchange>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every one is an answer")]
enum Source {
    Upstream(Answer),
    Problem(Full<Bytes>),
    /// None: the protocol changes.
    Changed,
}

/// An upstream's answer.
#[derive(Debug)]
pub struct Answer {
    body: ResponseBody,
    /// How long the body would be that a 304 spares the client: over HTTP/1.1, hyper passes no
    /// length on of which it sees no body.
    spared: Option<u64>,
    trailers: Trailers,
    grant: Grant,
    /// None where hyper may have what comes as it comes.
    pieces: Option<Pieces>,
}

impl Answer {
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let signal = self.grant.signal();
        signal.wake_on_verdict(context.waker());
        if signal.verdict().is_some() {
            return Poll::Ready(Some(Err(Broken::Cut)));
        }
        if let Some(piece) = self.pieces.as_mut().and_then(Pieces::next) {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let mut polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &mut polled {
            self.trailers.clean(frame);
        }
        let cut = |frame: Frame<Bytes>| match &mut self.pieces {
            Some(pieces) => pieces.cut(frame),
            None => frame,
        };
        polled.map(|it| it.map(|it| it.map(cut).map_err(Broken::Upstream)))
    }

    fn size_hint(&self) -> SizeHint {
        let kept = self.pieces.as_ref().map_or(0, Pieces::bytes);
        let hint = self.body.size_hint();
        hint.exact().map_or(hint, |rest| SizeHint::with_exact(kept + rest))
    }

    fn is_end_stream(&self) -> bool {
        let is_passed = self.pieces.as_ref().is_none_or(Pieces::is_empty);
        self.spared.is_none() && is_passed && self.body.is_end_stream()
    }
}

/// What of an answer was cleaned and is still to be sealed with its exchange.
pub type Inbound = Response<Answer>;

/// The upstream's answer without what concerned its connection alone, and as its route says.
pub fn inbound(mut response: Response<ResponseBody>, route: &Route, grant: Grant) -> Inbound {
    let version = std::mem::replace(response.version_mut(), Version::HTTP_11);
    let trailers = clean(response.headers_mut(), Direction::Down, version, &route.down);
    edit(response.headers_mut(), &route.settings.response_headers);
    let spared = spared(&response);
    response.map(|body| Answer { body, spared, trailers, grant, pieces: None })
}

fn spared<B>(response: &Response<B>) -> Option<u64> {
    if response.status().as_u16() != NOT_MODIFIED {
        return None;
    }
    let length = response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?;
    let is_number = length.bytes().all(|it| it.is_ascii_digit());
    length.parse().ok().filter(|_| is_number)
}

/// Joins an answer with its exchange; from here on only the client can hold it up.
pub fn reply(
    answer: Result<Inbound, Response<Full<Bytes>>>,
    mut exchange: Exchange,
    close: Closing,
) -> Response<Reply> {
    let mut response = match answer {
        Ok(inbound) => inbound.map(|it| Reply { source: Source::Upstream(it), exchange: None }),
        Err(problem) => problem.map(|it| Reply { source: Source::Problem(it), exchange: None }),
    };
    let is_http1 = exchange.progress().ends_by_closing();
    if let Source::Upstream(answer) = &mut response.body_mut().source {
        answer.spared = answer.spared.filter(|_| is_http1);
        answer.pieces = (!is_http1).then(Pieces::default);
    }
    let close = close == Closing::AfterThis && is_http1;
    begin(&mut response, &mut exchange);
    if close {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.body_mut().exchange = Some(exchange);
    response
}

/// The answer that changes the protocol; the exchange goes on with it, in `next`.
pub fn changed(
    head: Response<()>,
    mut exchange: Exchange,
    next: impl FnOnce(Exchange),
) -> Response<Reply> {
    let mut response = head.map(|()| Reply { source: Source::Changed, exchange: None });
    begin(&mut response, &mut exchange);
    next(exchange);
    response
}

fn begin(response: &mut Response<Reply>, exchange: &mut Exchange) {
    exchange.begin_answer(response.status());
    response.headers_mut().insert(X_REQUEST_ID, exchange.request_id().clone());
    exchange.tell_limits(response.headers_mut());
}

/// Whether the connection goes on after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// As the client likes.
    No,
    /// We are draining, or a body was left unread.
    AfterThis,
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        if let Some(exchange) = &this.exchange {
            exchange.progress().has_room();
        }
        let polled = match &mut this.source {
            Source::Problem(body) => {
                Pin::new(body).poll_frame(context).map_err(|never| match never {})
            }
            Source::Changed => return Poll::Ready(None),
            Source::Upstream(answer) => answer.poll_frame(context),
        };
        match (&polled, &mut this.exchange) {
            (Poll::Ready(Some(Ok(frame))), Some(exchange)) => {
                exchange.passed(frame.data_ref().map_or(0, Bytes::len));
            }
            (Poll::Ready(Some(Err(_broken))), Some(exchange)) => exchange.progress().break_off(),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Upstream(answer) => answer.is_end_stream(),
            Source::Problem(body) => body.is_end_stream(),
            Source::Changed => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Upstream(Answer { spared: Some(bytes), .. }) => SizeHint::with_exact(*bytes),
            Source::Upstream(answer) => answer.size_hint(),
            Source::Problem(body) => body.size_hint(),
            Source::Changed => SizeHint::with_exact(0),
        }
    }
}

/// Why an answer that had begun was broken off: the connection is closed without a last chunk.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The key was withdrawn or is not known any more, or the client stopped sending.
    #[error("the request was ended while its answer was under way")]
    Cut,
    /// The upstream's answer broke off.
    #[error("the upstream's answer broke off: {0}")]
    Upstream(BodyFault),
}

const NOT_MODIFIED: u16 = 304;
