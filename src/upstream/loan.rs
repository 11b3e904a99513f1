//! A connection with one request on it, from the pool and back.

use std::future::Future;
use std::rc::Rc;

use http::{Request, Response};
use tokio::task::AbortHandle;

use crate::telemetry::counters::WorkerCounters;
use crate::upstream::body::{RequestBody, ResponseBody};
use crate::upstream::connect::Driver;
use crate::upstream::copied::Copied;
use crate::upstream::head;
use crate::upstream::kept::KeptBody;
use crate::upstream::lines::Line;
use crate::upstream::pool::Held;
use crate::upstream::streams::Slot;
use crate::upstream::upload::{Upload, UploadStage};

/// A connection that can take a request now.
#[derive(Debug)]
pub struct Connection {
    channel: Channel,
    origin: Origin,
}

/// What a request goes over.
#[derive(Debug)]
enum Channel {
    Line(Line),
    Slot(Slot),
}

/// Whether a connection has carried a request before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Never.
    Fresh,
    /// Yes, so the upstream may just be closing it.
    Reused,
    /// Yes, and over HTTP/2, where an upstream that closes it says what it has not looked at.
    Shared,
}

/// A request that got no answer.
#[derive(Debug)]
pub struct Lost {
    /// What went wrong.
    pub fault: hyper::Error,
    /// The request, if not a byte of it was sent, or if the upstream says that it did nothing
    /// with it.
    pub unsent: Option<Request<RequestBody>>,
    /// Whether the upstream had begun to answer.
    pub answered: bool,
}

impl Channel {
    fn is_open_line(&self) -> bool {
        matches!(self, Self::Line(line) if !line.sender.is_closed())
    }
}

impl Connection {
    /// HTTP/1.1, for this request alone.
    pub fn over(line: Line, origin: Origin) -> Self {
        Self { channel: Channel::Line(line), origin }
    }

    /// HTTP/2, beside others.
    pub fn sharing(slot: Slot, counters: &WorkerCounters) -> Self {
        let origin = if slot.was_used() {
            counters.upstream_reused();
            Origin::Shared
        } else {
            counters.upstream_opened();
            Origin::Fresh
        };
        Self { channel: Channel::Slot(slot), origin }
    }

    /// Whether it has carried a request before.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Sends one request, which the endpoint counts already, and waits for the head of the answer.
    pub fn send(
        self,
        request: Request<RequestBody>,
        busy: Busy,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Lost>> {
        let way = match self.channel {
            Channel::Line(mut line) => {
                let upload = request.body().upload();
                line.heard.reset();
                let sending = line.sender.try_send_request(request);
                Way::Alone(sending, Loan::begin(busy, Channel::Line(line), upload))
            }
            // Boxed, so that requests over HTTP/1.1 carry no room for it.
            Channel::Slot(slot) => Way::Beside(Box::pin(over_http2(busy, slot, request))),
        };
        async move {
            match way {
                Way::Alone(sending, loan) => match sending.await {
                    Ok(response) => Ok(ResponseBody::of(response, loan)),
                    Err(mut fault) => {
                        let unsent = fault.take_message();
                        let answered = loan.has_heard();
                        Err(Lost { fault: fault.into_error(), unsent, answered })
                    }
                },
                Way::Beside(sending) => sending.await,
            }
        }
    }
}

/// How a request is under way.
enum Way<A, B> {
    /// It has the connection for itself.
    Alone(A, Loan),
    /// Others use the connection too.
    Beside(B),
}

/// As HTTP/2 wants it. What the upstream refused, or had not looked at when it said that it goes
/// away, comes back as what was never sent.
async fn over_http2(
    busy: Busy,
    slot: Slot,
    request: Request<RequestBody>,
) -> Result<Response<ResponseBody>, Lost> {
    let upload = request.body().upload();
    let (parts, body) = head::to_http2(request, busy.0.endpoint().address()).into_parts();
    let (body, record) = KeptBody::new(body, slot.reader().clone());
    let request = Request::from_parts(parts, body);
    let copied = Copied::of(&request);
    let sending = slot.sender().borrow_mut().try_send_request(request);
    let loan = Loan::begin(busy, Channel::Slot(slot), upload);
    let mut fault = match sending.await {
        Ok(response) => {
            record.forget();
            return Ok(ResponseBody::of(response, loan));
        }
        Err(fault) => fault,
    };
    let unread = fault.take_message().and_then(|it| it.into_body().unread());
    let fault = fault.into_error();
    let body = match unread {
        Some(body) => Some(body),
        None if is_refused(&fault) => record.again().await,
        None => return Err(Lost { fault, unsent: None, answered: false }),
    };
    // Whatever comes next is not to meet the same again.
    loan.retire();
    let unsent = body.map(|it| head::to_http1(copied.with(it)));
    Err(Lost { fault, unsent, answered: false })
}

/// RFC 9113, 8.7: refused, or beyond the last stream that a GOAWAY names. That is the only one
/// with which h2 ends a stream by the other side's GOAWAY.
fn is_refused(fault: &hyper::Error) -> bool {
    let cause = std::error::Error::source(fault).and_then(|it| it.downcast_ref::<h2::Error>());
    cause.is_some_and(|it| {
        let is_reset = it.is_reset() && it.reason() == Some(h2::Reason::REFUSED_STREAM);
        it.is_remote() && (is_reset || it.is_go_away())
    })
}

/// A request under way, as the endpoint counts it: from the choice on, for who waits for a
/// connection has been sent there too.
#[derive(Debug)]
pub struct Busy(Rc<Held>);

impl Busy {
    /// It begins.
    pub fn begin(held: Rc<Held>) -> Self {
        held.endpoint().begin(held.worker());
        Self(held)
    }

    /// Has somebody keep a connection going that nobody else polls any more, until told to stop.
    pub fn drive(&self, driver: Driver) -> AbortHandle {
        self.0.drive(driver)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.endpoint().end(self.0.worker());
    }
}

/// A connection with a request under way. Over HTTP/1.1 it is closed where this is dropped, and
/// used again where it is given back; over HTTP/2 only the request ends.
#[derive(Debug)]
pub struct Loan {
    busy: Busy,
    /// None once it was given back.
    channel: Option<Channel>,
    upload: Upload,
    then: Then,
}

/// What becomes of a connection after an answer that was read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Kept,
    Closed,
}

impl Loan {
    fn begin(busy: Busy, channel: Channel, upload: Upload) -> Self {
        Self { busy, channel: Some(channel), upload, then: Then::Kept }
    }

    /// Of a connection that is not used again.
    pub fn once(busy: Busy, line: Line, upload: Upload) -> Self {
        Self { busy, channel: Some(Channel::Line(line)), upload, then: Then::Closed }
    }

    /// Has a connection that is shared take no more requests.
    fn retire(&self) {
        if let Some(Channel::Slot(slot)) = &self.channel {
            slot.retire();
        }
    }

    fn has_heard(&self) -> bool {
        match &self.channel {
            Some(Channel::Line(line)) => line.heard.anything(),
            Some(Channel::Slot(_)) | None => false,
        }
    }

    /// A part of the answer came.
    pub fn heard(&self) {
        self.upload.heard();
    }

    /// The answer has broken off, or nobody wants the rest of it.
    pub fn close(self) {
        self.end_upload();
    }

    /// The answer has ended. An upstream that answered without having read the request to its
    /// end leaves a connection on which nobody knows where the next one begins.
    pub fn give_back(mut self) {
        self.end_upload();
        let is_whole = self.then == Then::Kept && self.upload.stage() == UploadStage::Sent;
        if let Some(Channel::Line(line)) = self.channel.take_if(|it| is_whole && it.is_open_line())
        {
            self.busy.0.put(line);
        }
    }

    /// Over HTTP/2 what was handed over whole may still wait for the upstream to make room.
    fn end_upload(&self) {
        let is_shared = matches!(self.channel, Some(Channel::Slot(_)));
        if is_shared || self.upload.stage() != UploadStage::Sent {
            self.upload.end_of_answer();
        }
    }
}

impl Drop for Loan {
    /// A connection that is not given back is closed at once: an upstream that takes nothing more
    /// would keep it, and with it what the client has sent, for as long as it likes.
    fn drop(&mut self) {
        if let Some(Channel::Line(Line { stop: Some(stop), .. })) = &self.channel {
            stop.abort();
        }
    }
}
