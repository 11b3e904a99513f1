//! Asks an upstream to speak another protocol from here on.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::upstream::answer::{Flaw, SWITCHING_PROTOCOLS};
use crate::upstream::body::{RequestBody, ResponseBody};
use crate::upstream::connect::Driver;
use crate::upstream::lines::Line;
use crate::upstream::loan::{Busy, Connection, Loan, Lost};
use crate::upstream::wire::Wire;

/// What an upstream made of a request to upgrade.
#[derive(Debug)]
pub enum Upgraded {
    /// It switched.
    Tunnel(Tunnel),
    /// It answered as if nobody had asked.
    Answer(Response<ResponseBody>),
}

/// A connection over which another protocol is spoken.
#[derive(Debug)]
pub struct Tunnel {
    /// The head of the 101, as it came, except what would frame a body.
    pub head: Response<()>,
    /// From and to the upstream.
    pub io: Passage,
    /// What the upstream sent after its head and before anyone read from `io`.
    pub ahead: Bytes,
}

/// The connection itself. As long as it is there, it counts as a request under way.
#[derive(Debug)]
pub struct Passage {
    wire: Wire,
    _busy: Busy,
}

/// Why a request to upgrade got neither.
#[derive(Debug)]
pub enum UpgradeFault {
    /// There was no answer.
    Lost(Box<Lost>),
    /// There was one that cannot be passed on.
    Flawed(Flaw),
}

/// A way for one request to upgrade.
#[derive(Debug)]
pub enum Unshared {
    /// HTTP/1.1: a connection of its own.
    Alone(Box<Alone>),
    /// HTTP/2, where nothing can be upgraded: nobody is asked to.
    Shared(Box<Connection>),
}

/// A connection on which nothing was sent yet, and which is used once.
#[derive(Debug)]
pub struct Alone {
    /// The connection.
    pub line: Line,
    /// What keeps it going.
    pub driver: Driver,
}

impl Unshared {
    /// Sends a request that has no body, with `Upgrade: protocol` and the `Connection` that goes
    /// with it, and waits for the head of the answer. The endpoint counts it already. Nothing else is sent before it has come.
    pub async fn upgrade(
        self,
        request: Request<RequestBody>,
        protocol: &HeaderValue,
        busy: Busy,
    ) -> Result<Upgraded, UpgradeFault> {
        match self {
            Self::Alone(alone) => alone.upgrade(request, protocol, busy).await,
            Self::Shared(connection) => {
                let answered = connection.send(request, busy).await;
                answered.map(Upgraded::Answer).map_err(|it| UpgradeFault::Lost(Box::new(it)))
            }
        }
    }
}

impl Alone {
    async fn upgrade(
        self,
        mut request: Request<RequestBody>,
        protocol: &HeaderValue,
        busy: Busy,
    ) -> Result<Upgraded, UpgradeFault> {
        let Self { line, driver } = self;
        let upload = request.body().upload();
        ask_for(&mut request, protocol);
        let mut exchange = Exchange { line, driver: Some(driver) };
        let answer = exchange.send(request).await;
        let Exchange { mut line, driver } = exchange;
        let response = answer.map_err(|mut fault| {
            let unsent = fault.take_message();
            let answered = line.heard.anything();
            let fault = fault.into_error();
            UpgradeFault::Lost(Box::new(Lost { fault, unsent, answered }))
        })?;
        if response.status().as_u16() == SWITCHING_PROTOCOLS {
            let head = agreed(response, protocol).map_err(UpgradeFault::Flawed)?;
            return through(head, driver, busy).await.map(Upgraded::Tunnel);
        }
        line.stop = driver.map(|it| busy.drive(it));
        let loan = Loan::once(busy, line, upload);
        Ok(Upgraded::Answer(ResponseBody::of(response, loan)))
    }
}

/// One request on a connection that nobody else polls.
struct Exchange {
    line: Line,
    /// None once it has ended.
    driver: Option<Driver>,
}

impl Exchange {
    async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        let Self { line, driver } = self;
        let mut sending = pin!(line.sender.try_send_request(request));
        poll_fn(|context| {
            // Whatever goes wrong with a connection is told to whoever waits for its answer, so
            // that it has ended well is all that is to be known of it: it is kept for its parts.
            if let Some(it) = driver
                && let Poll::Ready(Err(_told)) = it.poll_without_shutdown(context)
            {
                *driver = None;
            }
            sending.as_mut().poll(context)
        })
        .await
    }
}

/// The head of a 101 to which nothing is to be said against.
fn agreed(mut response: Response<Incoming>, protocol: &HeaderValue) -> Result<Response<()>, Flaw> {
    if response.version() != Version::HTTP_11 {
        return Err("it switched protocols in a version of HTTP that cannot");
    }
    let mut named = response.headers().get_all(header::UPGRADE).iter();
    let is_asked_for = |it: &HeaderValue| it.as_bytes().eq_ignore_ascii_case(protocol.as_bytes());
    if !(named.next().is_some_and(is_asked_for) && named.next().is_none()) {
        return Err("it switched to a protocol for which nobody had asked");
    }
    // RFC 9110, 8.6 and RFC 9112, 6.1: neither may be here; some send them all the same.
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        response.headers_mut().remove(name);
    }
    response.extensions_mut().clear();
    Ok(response.map(drop))
}

/// Takes the connection out of HTTP's hands.
async fn through(
    head: Response<()>,
    driver: Option<Driver>,
    busy: Busy,
) -> Result<Tunnel, UpgradeFault> {
    let broken = || UpgradeFault::Flawed("it switched protocols and closed the connection");
    let mut driver = driver.ok_or_else(broken)?;
    // It may be done already, and then says so again.
    let ended = poll_fn(|context| driver.poll_without_shutdown(context)).await;
    ended.map_err(|_fault| broken())?;
    let parts = driver.into_parts();
    let wire = parts.io.into_inner();
    if !wire.is_flushed() {
        return Err(UpgradeFault::Flawed("it switched protocols before it had the whole request"));
    }
    Ok(Tunnel { head, io: Passage { wire, _busy: busy }, ahead: parts.read_buf })
}

/// `TE` stands beside it where it is sent.
fn ask_for(request: &mut Request<RequestBody>, protocol: &HeaderValue) {
    let headers = request.headers_mut();
    let words = if headers.contains_key(header::TE) { "te, upgrade" } else { "upgrade" };
    headers.insert(header::CONNECTION, HeaderValue::from_static(words));
    headers.insert(header::UPGRADE, protocol.clone());
}

impl AsyncRead for Passage {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_read(context, buffer)
    }
}

impl AsyncWrite for Passage {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
