//! Serves HTTP/2 on a connection.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::config::HeadLimits;
use crate::listener::flow::Flow;
use crate::listener::frames::Seen;
use crate::listener::progress::Progress;
use crate::listener::session::{Session, Strand, Wish};
use crate::listener::stream::Stream;
use crate::listener::vitals::Timeouts;
use crate::tasks::Tasks;

/// How HTTP/2 is spoken downstream.
#[derive(Clone, Debug)]
pub struct Http2 {
    streams_max: u32,
    head_max: u32,
    /// Where requests run.
    tasks: Tasks,
}

impl Http2 {
    /// At most `streams_max` requests at once on one connection. h2 refuses by itself only heads
    /// that are beyond twice our limits, so that ours can be answered with a problem.
    pub fn new(limits: &HeadLimits, streams_max: u32, tasks: Tasks) -> Self {
        let head_max = 2 * (limits.bytes_max + limits.uri_bytes_max);
        Self { streams_max, head_max: u32::try_from(head_max).unwrap_or(u32::MAX), tasks }
    }

    /// What is to be known of a new connection.
    pub fn session(&self, timeouts: Timeouts, flow: &Rc<Flow>) -> Rc<Session> {
        Rc::new(Session::new(timeouts, Rc::clone(flow), self.streams_max))
    }

    /// Serves every request of a connection.
    pub async fn serve<S, F, B>(&self, stream: Stream, session: &Rc<Session>, service: S)
    where
        S: Fn(Request<Incoming>, Progress) -> F,
        F: Future<Output = Response<B>> + 'static,
        B: Body + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let strands = Strands { session: Rc::clone(session), tasks: self.tasks.clone() };
        let io = TokioIo::new(Watched { stream, session: Rc::clone(session) });
        // Boxed at once, and once more below with what hyper makes of it: both would be moved from
        // hand to hand, and are large.
        let service = service_fn(|request| {
            let answering = service(request, Progress::Http2(session.begin()));
            Box::pin(answering).map(Ok::<_, Infallible>)
        });
        let mut connection = pin!(self.builder(strands).serve_connection(io, service));
        let mut told = false;
        let served = poll_fn(|context| {
            match session.wish(context.waker()) {
                Wish::GoOn => {}
                Wish::GoAway if told => {}
                Wish::GoAway => {
                    told = true;
                    connection.as_mut().graceful_shutdown();
                }
                Wish::Close => return Poll::Ready(()),
            }
            connection.as_mut().poll(context).map(|_ended| ())
        });
        served.await;
    }

    /// The window of a stream is that of Envoy's advice for edges, and the connection has room for
    /// all its streams: bodies that nobody reads yet would hold up the others else (hyper#1813).
    /// What h2 holds of answers that a client does not take is one piece for each stream.
    fn builder(&self, strands: Strands) -> http2::Builder<Strands> {
        let mut builder = http2::Builder::new(strands);
        builder
            .max_concurrent_streams(self.streams_max)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(self.streams_max.saturating_mul(WINDOW_BYTES))
            .max_send_buf_size(WINDOW_BYTES as usize)
            .max_header_list_size(self.head_max)
            // Whoever cancels all it has asked for in one breath may do so.
            .max_pending_accept_reset_streams(self.streams_max as usize)
            .max_local_error_reset_streams(100);
        builder
    }
}

/// Runs each request as a task of its own, until it is told to end. Dropping it drops the answer,
/// which breaks off what is left of the upload; once nobody holds either, h2 resets the stream.
#[derive(Clone, Debug)]
struct Strands {
    session: Rc<Session>,
    tasks: Tasks,
}

impl<W: Future<Output = ()> + 'static> Executor<W> for Strands {
    fn execute(&self, work: W) {
        let Some(strand) = self.session.take_newest() else { return };
        self.tasks.spawn_local(run(work, strand));
    }
}

fn run(work: impl Future<Output = ()>, strand: Rc<Strand>) -> impl Future<Output = ()> {
    let mut work = Some(Box::pin(work));
    poll_fn(move |context| {
        let has_ended = strand.must_end(context.waker())
            || work.as_mut().is_none_or(|it| it.as_mut().poll(context).is_ready());
        if !has_ended {
            return Poll::Pending;
        }
        // First the answer goes, which says by what it was ended.
        work = None;
        strand.finish();
        Poll::Ready(())
    })
}

/// A connection that tells its session what passes.
#[derive(Debug)]
struct Watched {
    stream: Stream,
    session: Rc<Session>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        match self.session.has_read(buffer.filled_mut().get_mut(before..).unwrap_or_default()) {
            Seen::Good => Poll::Ready(Ok(())),
            Seen::Exhausted => Poll::Ready(Err(io::Error::other("too many frames"))),
            Seen::Unsettled => Poll::Ready(Err(io::Error::other("no settings at first"))),
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.session.has_written(count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Reads away what still comes, for a while: closing a socket with unread bytes would reset the
    /// connection and take the last frames, a GOAWAY that says why, from the client.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        self.session.linger();
        let mut waste = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut waste);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// What a stream may hold each way; with the most streams that can be set, h2 can still count it.
const WINDOW_BYTES: u32 = 64 * 1024;
