//! An HTTP/1.1 connection as hyper sees it, which tells the connection's vitals what passes.
//!
//! hyper answers by itself, with a bare status, what it cannot read as a request. That goes no
//! further than here: what was wrong is noted, and a problem is sent instead once hyper is done.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;

use crate::listener::stream::Stream;
use crate::listener::vitals::{Unread, Vitals};

/// A downstream connection.
#[derive(Debug)]
pub struct Socket {
    io: TokioIo<Stream>,
    /// Read already, and not by who reads now.
    ahead: Bytes,
    vitals: Rc<Vitals>,
}

impl Socket {
    /// Watches over `stream`, of which `ahead` was read already.
    pub fn new(stream: Stream, ahead: Bytes, vitals: Rc<Vitals>) -> Self {
        Self { io: TokioIo::new(stream), ahead, vitals }
    }

    /// The stream itself.
    pub fn into_stream(self) -> Stream {
        self.io.into_inner()
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead.split_to(count));
            self.vitals.has_read();
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.io).poll_read(context, buffer);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.vitals.has_read();
        }
        polled
    }
}

impl Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.vitals.is_answering()
            && let Some(unread) = fault(bytes)
        {
            self.vitals.cannot_read(unread);
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(context);
        if polled.is_ready() {
            self.vitals.has_flushed();
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.vitals.unread().is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// What hyper says of what it cannot read: `HTTP/1.1 400 Bad Request`, and no more than that; in the
/// version in which the client spoke before.
fn fault(answer: &[u8]) -> Option<Unread> {
    match answer.strip_prefix(b"HTTP/1.")?.get(2..5)? {
        b"414" => Some(Unread::TargetTooLong),
        b"431" => Some(Unread::HeadTooLarge),
        _ => Some(Unread::Malformed),
    }
}
