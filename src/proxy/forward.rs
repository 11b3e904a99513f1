//! The straight line: what happens to a request, in order.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::clock::Moment;
use crate::gate::entry::Entry;
use crate::gate::running::Grant;
use crate::gate::{Caller, Refusal};
use crate::proxy::check::check;
use crate::proxy::exchange::Exchange;
use crate::proxy::inbound::{Closing, Inbound, Reply, inbound, reply};
use crate::proxy::outbound::outbound;
use crate::proxy::rejection::Rejection;
use crate::proxy::tunnel::Opened;
use crate::proxy::{Downstream, Proxy, Route, amend, preflight, upgrade};
use crate::tasks::Verdict;
use crate::upstream::SendError;
use crate::upstream::body::RequestBody;
use crate::upstream::tunnel::Upgraded;
use crate::upstream::upload::{Upload, UploadStage};

impl Proxy {
    /// Answers a request, whatever happens, and sees to it that it is counted once.
    ///
    /// Not an `async fn`, here and in `send`: that holds each of its arguments twice, and hyper
    /// moves this future as a whole.
    pub fn serve(
        self: Rc<Self>,
        downstream: Downstream,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Reply>> {
        let mut exchange = Exchange::begin(&self, &downstream, &request, Moment::now());
        let mut custody = Custody::Ours(request);
        async move {
            let forwarded = {
                let forwarding = pin!(self.forward(&downstream, &mut custody, &mut exchange));
                self.surviving(forwarding).await
            };
            let draining = if self.draining.get() { Closing::AfterThis } else { Closing::No };
            match forwarded {
                Ok(Forwarded::Answer(inbound)) => reply(Ok(inbound), exchange, draining),
                Ok(Forwarded::Tunnel(opened)) => opened.accept(exchange),
                // Boxed: what is rare must not make the future large.
                Err(rejection) => {
                    Box::pin(self.refuse(&rejection, custody, exchange, draining)).await
                }
            }
        }
    }

    /// A panic in one request is a 500 for that request alone. Futures are pinned where they are
    /// made and lent from there: who is handed one moves it, and they are kilobytes.
    async fn surviving<T>(
        &self,
        mut work: Pin<&mut impl Future<Output = Result<T, Rejection>>>,
    ) -> Result<T, Rejection> {
        let surviving = poll_fn(|context| {
            let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
            polled.unwrap_or_else(|_panic| {
                self.counters.panicked();
                Poll::Ready(Err(Rejection::Panicked))
            })
        });
        surviving.await
    }

    /// The straight line. Each step needs what the one before made. The request stays with the
    /// caller until it is let in, so that a refusal can see to its body.
    async fn forward(
        &self,
        downstream: &Downstream,
        custody: &mut Custody,
        exchange: &mut Exchange,
    ) -> Result<Forwarded, Rejection> {
        exchange.check_load()?;
        let request = custody.request()?;
        let address = self.trust.caller(downstream.peer, request.headers());
        let asked = preflight::asked(request);
        let plan = Rc::clone(exchange.plan());
        let found = plan.find(&check(request, &self.limits)?.head(), asked.as_ref())?;
        let route = found.route;
        exchange.notes().route = Some(found.place);
        amend::strip(request.uri_mut(), &route.settings)?;
        let shown = self.credentials.take(request.headers_mut());
        let caller = Caller { address, route: found.terms };
        if let Err(rejection) = amend::check_length(request, &route.settings) {
            // Who may not pass learns nothing of what would, and nobody pays for what is not forwarded.
            let entry = self.gate.examine(shown, &caller, exchange.begun()).await?;
            exchange.recognised(entry.as_deref());
            return Err(rejection);
        }
        let grant = self.gate.admit(shown, &caller, exchange.begun()).await?;
        exchange.admitted(&grant);
        let upgrade = upgrade::wanted(request, &route.settings.upgrades);
        let request = (custody.take()?, exchange.request_id().clone());
        let outbound = outbound(self, downstream, route, request, &grant);
        let upload = custody.hand_over(outbound.body());
        exchange.uploads(&upload);
        exchange.notes().sent = Some(Moment::now());
        let key = grant.entry().map(Entry::id);
        let Some(protocol) = upgrade else {
            let sending = pin!(route.upstream.send(outbound, key));
            let response = until_ended(sending, &grant, &upload).await?;
            exchange.has_answer();
            return Ok(Forwarded::Answer(inbound(response, route, grant)));
        };
        let mut sending = Box::pin(route.upstream.upgrade(outbound, key, &protocol));
        let upgraded = until_ended(sending.as_mut(), &grant, &upload).await?;
        exchange.has_answer();
        Ok(Forwarded::upgraded(upgraded, &protocol, route, grant))
    }

    /// Says no in a way that the client can read: what is left of a small body is read first, so
    /// that the connection can go on; after a larger one it is closed.
    async fn refuse(
        &self,
        rejection: &Rejection,
        custody: Custody,
        mut exchange: Exchange,
        draining: Closing,
    ) -> Response<Reply> {
        let row = rejection.row();
        exchange.notes().reason = Some(row.code);
        if let Some(remaining) = rejection.remaining() {
            exchange.notes().remaining = Some(remaining);
        }
        if let Rejection::Gate(_) = rejection {
            self.counters.decided(row.code);
        }
        let id = exchange.request_id().clone();
        let id = id.to_str().unwrap_or_default();
        if rejection.is_failure() {
            tracing::warn!(request_id = id, code = row.code, fault = %rejection, "a request failed");
        }
        let closing = match custody {
            // What is left unread of a stream ends with the stream.
            _ if !exchange.progress().ends_by_closing() => Closing::No,
            _ if rejection.ends_connection() => Closing::AfterThis,
            Custody::Ours(request) => unread(request, &mut exchange).await,
            Custody::Upstreams(upload) if upload.stage() == UploadStage::Sent => Closing::No,
            // Nobody knows how much of it was read.
            Custody::Upstreams(_) | Custody::Nobodys => Closing::AfterThis,
        };
        let closing = if draining == Closing::AfterThis { draining } else { closing };
        let problem = rejection.problem(self.credentials.header());
        reply(Err(problem.into_response(id)), exchange, closing)
    }
}

/// What came of a request that was let in.
#[expect(clippy::large_enum_variant, reason = "nearly every one is an answer")]
enum Forwarded {
    /// An answer.
    Answer(Inbound),
    /// Another protocol.
    Tunnel(Box<Opened>),
}

impl Forwarded {
    fn upgraded(upgraded: Upgraded, protocol: &HeaderValue, route: &Route, grant: Grant) -> Self {
        match upgraded {
            Upgraded::Answer(response) => Self::Answer(inbound(response, route, grant)),
            Upgraded::Tunnel(tunnel) => {
                Self::Tunnel(Box::new(Opened::new(tunnel, protocol, route, grant)))
            }
        }
    }
}

/// Who has a request's body: a refusal has to see to it.
#[expect(clippy::large_enum_variant, reason = "it lives on the stack of one future, once")]
enum Custody {
    /// It was not let in yet.
    Ours(Request<Incoming>),
    /// It is on its way up.
    Upstreams(Upload),
    /// It was lost between the two.
    Nobodys,
}

impl Custody {
    fn request(&mut self) -> Result<&mut Request<Incoming>, Rejection> {
        match self {
            Self::Ours(request) => Ok(request),
            Self::Upstreams(_) | Self::Nobodys => Err(Rejection::Panicked),
        }
    }

    fn take(&mut self) -> Result<Request<Incoming>, Rejection> {
        match std::mem::replace(self, Self::Nobodys) {
            Self::Ours(request) => Ok(request),
            Self::Upstreams(_) | Self::Nobodys => Err(Rejection::Panicked),
        }
    }

    fn hand_over(&mut self, body: &RequestBody) -> Upload {
        *self = Self::Upstreams(body.upload());
        body.upload()
    }
}

/// Waits for the upstream's head, until the request is told to end.
async fn until_ended<T>(
    mut sending: Pin<&mut impl Future<Output = Result<T, SendError>>>,
    grant: &Grant,
    upload: &Upload,
) -> Result<T, Rejection> {
    let signal = grant.signal();
    let sent = poll_fn(|context| {
        signal.wake_on_verdict(context.waker());
        match signal.verdict() {
            Some(verdict) => Poll::Ready(Err(ended(verdict, grant, upload))),
            None => sending.as_mut().poll(context).map_err(Rejection::from),
        }
    });
    let response = sent.await?;
    upload.answered();
    Ok(response)
}

/// Why it was cut, or whose time was up: the client's while its bytes were awaited, otherwise the
/// upstream's.
fn ended(verdict: Verdict, grant: &Grant, upload: &Upload) -> Rejection {
    match (verdict, upload.stage()) {
        (Verdict::Cut, _) => Rejection::Cut(grant.refusal().unwrap_or(Refusal::StoreUnreachable)),
        (Verdict::TimedOut, UploadStage::AwaitingClient) => Rejection::BodyTimeout,
        (
            Verdict::TimedOut,
            UploadStage::AwaitingUpstream | UploadStage::Sent | UploadStage::Faulty(_),
        ) => {
            upload.set_overdue();
            Rejection::UpstreamTimeout
        }
    }
}

/// Reads on for a little while, so that the connection can be used again. Who waits for
/// `100 Continue` has sent nothing yet, and reading would ask for it.
async fn unread(request: Request<Incoming>, exchange: &mut Exchange) -> Closing {
    if request.body().is_end_stream() {
        return Closing::No;
    }
    if request.headers().contains_key(header::EXPECT) {
        return Closing::AfterThis;
    }
    let mut body = request.into_body();
    let reading = async {
        let mut left = UNREAD_BYTES_MAX;
        while let Some(frame) = body.frame().await {
            left = left.checked_sub(frame.ok()?.data_ref().map_or(0, bytes::Bytes::len))?;
        }
        Some(())
    };
    match tokio::time::timeout(UNREAD_TIME_MAX, reading).await {
        Ok(Some(())) => {
            exchange.has_read_body();
            Closing::No
        }
        Ok(None) | Err(_) => Closing::AfterThis,
    }
}

const UNREAD_BYTES_MAX: usize = 64 * 1024;
const UNREAD_TIME_MAX: Duration = Duration::from_secs(1);
