//! A connection to an upstream, plain or TLS, which notes whether anything came over it.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::upstream::cap::Permit;

/// The connection.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    heard: Heard,
    is_flushed: bool,
    /// Last, so that the connection is closed before another may be opened for it.
    _permit: Option<Permit>,
}

/// What it runs over.
#[derive(Debug)]
pub enum Stream {
    /// The socket alone.
    Plain(TcpStream),
    /// Boxed: it is large, and the plain ones would be as large.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Whether bytes came from an upstream since it was last asked.
#[derive(Clone, Debug, Default)]
pub struct Heard(Rc<State>);

#[derive(Debug, Default)]
struct State {
    anything: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Heard {
    /// The upstream is asked now.
    pub fn reset(&self) {
        self.0.anything.set(false);
    }

    /// Whether a byte of its answer came.
    pub fn anything(&self) -> bool {
        self.0.anything.get()
    }

    /// Has `waker` woken by the next byte.
    pub fn wake_on_next(&self, waker: &Waker) {
        self.reset();
        self.0.waiting.replace(Some(waker.clone()));
    }

    fn note(&self) {
        if !self.0.anything.replace(true)
            && let Some(waker) = self.0.waiting.take()
        {
            waker.wake();
        }
    }
}

impl Wire {
    /// Notes in `heard` what comes over `stream`, with the permit that it needed.
    pub fn new(stream: Stream, heard: Heard, permit: Option<Permit>) -> Self {
        Self { stream, heard, is_flushed: true, _permit: permit }
    }

    /// Whether whoever wrote had written all that they had.
    pub fn is_flushed(&self) -> bool {
        self.is_flushed
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        if buffer.filled().len() > before {
            self.heard.note();
        }
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_flushed = false;
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        };
        self.is_flushed = matches!(polled, Poll::Ready(Ok(())));
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
