//! Serves HTTP/1.1 on a connection, and takes apart what waits for a request when none comes.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::config::HeadLimits;
use crate::listener::socket::Socket;
use crate::listener::stream::Stream;
use crate::listener::vitals::{End, Unread, Vitals};

/// How HTTP/1.1 is spoken downstream.
#[derive(Clone, Debug)]
pub struct Http1(http1::Builder);

/// How a connection stands once nothing is under way on it.
enum Rest {
    /// Nobody asks; what came of the next request, if anything, is here.
    Waiting(Stream, Bytes),
    /// It has changed its protocol.
    Changed(Stream, Bytes),
    /// It is over.
    Over,
}

impl Http1 {
    /// hyper refuses by itself only what is beyond twice our limits, so that ours can be answered
    /// with a problem. It has no deadlines of its own here: [`Vitals`] has them all. `writev` is
    /// off: copying small heads and bodies together is 10 % cheaper than gathering them.
    pub fn new(limits: &HeadLimits) -> Self {
        let head_max = 2 * (limits.bytes_max + limits.uri_bytes_max);
        let mut builder = http1::Builder::new();
        builder
            .writev(false)
            .header_read_timeout(None)
            .max_header_size(head_max)
            .max_buf_size(head_max.max(BUFFER_BYTES));
        if limits.count_max > HYPERS_HEADERS_MAX {
            builder.max_headers(limits.count_max + 1);
        }
        Self(builder)
    }

    /// Serves every request of a connection, then closes it so that the client can read the last
    /// answer. What came and is no request is answered with what `refusal` makes of it.
    ///
    /// hyper holds some 18 KiB for a connection, so it is there only while there is something to
    /// read: in between the bare socket waits.
    pub async fn serve<S, F, B, R>(
        &self,
        stream: Stream,
        vitals: &Rc<Vitals>,
        service: S,
        refusal: R,
    ) where
        S: Fn(Request<Incoming>) -> F,
        R: Fn(Unread) -> Vec<u8>,
        F: Future<Output = Response<B>>,
        B: Body + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.rounds(stream, vitals, (&service, &refusal)).await;
        // A tunnel that never got its connection knows the connection: it would live for ever.
        drop(vitals.take_tunnel());
    }

    async fn rounds<S, F, B, R>(
        &self,
        stream: Stream,
        vitals: &Rc<Vitals>,
        (service, refusal): (&S, &R),
    ) where
        S: Fn(Request<Incoming>) -> F,
        R: Fn(Unread) -> Vec<u8>,
        F: Future<Output = Response<B>>,
        B: Body + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (mut stream, mut ahead) = (stream, Bytes::new());
        loop {
            if ahead.is_empty() && readable(&stream, vitals).await.is_err() {
                return bid_farewell(stream).await;
            }
            // Boxed, as it is large and gone while nobody asks.
            let round = Box::pin(self.round(stream, ahead, vitals, (service, refusal)));
            match round.await {
                Rest::Waiting(rest, read) => (stream, ahead) = (rest, read),
                Rest::Changed(stream, read) => return pass_on(stream, read, vitals).await,
                Rest::Over => return,
            }
        }
    }

    /// Serves requests until none comes for a while.
    async fn round<S, F, B, R>(
        &self,
        stream: Stream,
        ahead: Bytes,
        vitals: &Rc<Vitals>,
        (service, refusal): (&S, &R),
    ) -> Rest
    where
        S: Fn(Request<Incoming>) -> F,
        R: Fn(Unread) -> Vec<u8>,
        F: Future<Output = Response<B>>,
        B: Body + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let socket = Socket::new(stream, ahead, Rc::clone(vitals));
        vitals.begin_round();
        // Not an `async` block: that would hold the future twice, and hyper moves it as a whole.
        let service = service_fn(|request| service(request).map(Ok::<_, Infallible>));
        let mut connection = self.0.serve_connection(socket, service);
        let left = poll_fn(|context| {
            if let Some(end) = vitals.must_end(context.waker()) {
                return Poll::Ready(Left::Ended(end));
            }
            if vitals.is_at_rest() {
                return Poll::Ready(Left::Resting);
            }
            let polled = Pin::new(&mut connection).poll(context);
            polled.map(|_ended| vitals.end().map_or(Left::Done, Left::Ended))
        });
        let left = left.await;
        let parts = connection.into_parts();
        let mut stream = parts.io.into_stream();
        match left {
            // Empty or not, hyper's buffer hangs on to what was read of it.
            Left::Resting if parts.read_buf.is_empty() => {
                return Rest::Waiting(stream, Bytes::new());
            }
            Left::Resting => return Rest::Waiting(stream, parts.read_buf),
            Left::Ended(End::Abort) => {}
            // Over TLS, the end of the connection alone would say that nothing is missing.
            Left::Done if vitals.is_broken() => {}
            Left::Ended(End::Idle) => bid_farewell(stream).await,
            Left::Ended(End::HeadTooSlow) => {
                say(&mut stream, &refusal(Unread::TooSlow)).await;
                linger(stream).await;
            }
            Left::Done if vitals.is_changing_over() => {
                return Rest::Changed(stream, parts.read_buf);
            }
            Left::Done => {
                if let Some(unread) = vitals.unread() {
                    say(&mut stream, &refusal(unread)).await;
                }
                linger(stream).await;
            }
        }
        Rest::Over
    }
}

/// Gives the connection to its tunnel, until it is over or ended from outside.
async fn pass_on(stream: Stream, ahead: Bytes, vitals: &Vitals) {
    let Some(tunnel) = vitals.take_tunnel() else { return };
    let mut running = tunnel.run(stream, ahead);
    let ended = poll_fn(|context| match vitals.must_end(context.waker()) {
        Some(_end) => Poll::Ready(()),
        None => running.as_mut().poll(context),
    });
    ended.await;
}

/// Why nobody is asked any more.
enum Left {
    /// Nobody asks for a while.
    Resting,
    /// HTTP says so.
    Done,
    /// Somebody outside says so.
    Ended(End),
}

/// Waits until there is something to read, or until the connection is to end.
async fn readable(stream: &Stream, vitals: &Vitals) -> Result<(), End> {
    if stream.holds_some() {
        return Ok(());
    }
    let socket = stream.socket();
    let waiting = poll_fn(|context| match vitals.must_end(context.waker()) {
        Some(end) => Poll::Ready(Err(end)),
        // A fault is found by who reads.
        None => socket.poll_read_ready(context).map(|_ready| Ok(())),
    });
    waiting.await
}

/// Ends a connection on which nobody asks; over TLS the client is told that nothing is missing.
async fn bid_farewell(mut stream: Stream) {
    drop(tokio::time::timeout(SAYING, stream.shutdown()).await);
}

/// Says a last word to who can still be reached at once.
pub async fn say<W: AsyncWrite + Unpin>(stream: &mut W, message: &[u8]) {
    let saying = async {
        stream.write_all(message).await?;
        stream.flush().await
    };
    drop(tokio::time::timeout(SAYING, saying).await);
}

/// Reads away what still comes: closing a socket with unread bytes would reset the connection
/// and take the last answer from the client.
pub async fn linger<T: AsyncRead + AsyncWrite + Unpin>(mut stream: T) {
    let mut waste = vec![0; 16 * 1024];
    let drained = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        while stream.read(&mut waste).await.is_ok_and(|count| count > 0) {}
    };
    drop(tokio::time::timeout(LINGER, pin!(drained)).await);
}

/// How long a client may take to read the last answer.
pub const LINGER: Duration = Duration::from_secs(2);

const SAYING: Duration = Duration::from_millis(100);

/// Where a body is read into and an answer is gathered.
const BUFFER_BYTES: usize = 64 * 1024;

/// Up to here hyper parses headers on its stack; asking for more makes every request 5 % slower.
const HYPERS_HEADERS_MAX: usize = 100;
