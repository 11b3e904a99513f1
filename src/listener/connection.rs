//! Serves one connection from accept to close.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::HeadLimits;
use crate::listener::socket::Socket;
use crate::listener::vitals::{End, Unread, Vitals};

/// How HTTP/1.1 is spoken downstream.
#[derive(Clone, Debug)]
pub struct Http1(http1::Builder);

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
    pub async fn serve<S, F, B, R>(
        &self,
        stream: TcpStream,
        vitals: Rc<Vitals>,
        service: S,
        refusal: R,
    ) where
        S: Fn(Request<Incoming>) -> F,
        R: FnOnce(Unread) -> Vec<u8>,
        F: Future<Output = Response<B>>,
        B: Body + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let socket = Socket::new(stream, Rc::clone(&vitals));
        let service = service_fn(|request| {
            let answer = service(request);
            async { Ok::<_, Infallible>(answer.await) }
        });
        let mut connection = self.0.serve_connection(socket, service);
        let end = poll_fn(|context| {
            if let Some(end) = vitals.must_end(context.waker()) {
                return Poll::Ready(Some(end));
            }
            Pin::new(&mut connection).poll(context).map(|_ended| vitals.end())
        });
        let end = end.await;
        let mut stream = connection.into_parts().io.into_stream();
        match end {
            Some(End::Abort | End::Idle) => {}
            Some(End::HeadTooSlow) => {
                say(&stream, &refusal(Unread::TooSlow));
                drop(stream.shutdown().await);
            }
            None => {
                if let Some(unread) = vitals.unread() {
                    say(&stream, &refusal(unread));
                }
                linger(stream).await;
            }
        }
    }
}

/// Says a last word to who can still be reached at once.
fn say(stream: &TcpStream, message: &[u8]) {
    drop(stream.try_write(message));
}

/// Reads away what still comes: closing a socket with unread bytes would reset the connection
/// and take the last answer from the client.
async fn linger(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut waste = vec![0; 16 * 1024];
    let drained = async { while stream.read(&mut waste).await.is_ok_and(|count| count > 0) {} };
    drop(tokio::time::timeout(LINGER, pin!(drained)).await);
}

const LINGER: Duration = Duration::from_secs(2);

/// Where a body is read into and an answer is gathered.
const BUFFER_BYTES: usize = 64 * 1024;

/// Up to here hyper parses headers on its stack; asking for more makes every request 5 % slower.
const HYPERS_HEADERS_MAX: usize = 100;
