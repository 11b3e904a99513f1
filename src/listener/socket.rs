//! A socket as hyper sees it, which tells the connection's vitals what passes.
//!
//! hyper answers by itself, with a bare status, what it cannot read as a request. That goes no
//! further than here: what was wrong is noted, and a problem is sent instead once hyper is done.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;

use crate::listener::vitals::{Doubt, Unread, Vitals};

/// A downstream connection's socket.
#[derive(Debug)]
pub struct Socket {
    io: TokioIo<TcpStream>,
    vitals: Rc<Vitals>,
}

impl Socket {
    /// Watches over `stream`.
    pub fn new(stream: TcpStream, vitals: Rc<Vitals>) -> Self {
        Self { io: TokioIo::new(stream), vitals }
    }

    /// The socket itself.
    pub fn into_stream(self) -> TcpStream {
        self.io.into_inner()
    }

    /// Writes past the readiness that the kernel reported, where that is in doubt.
    fn ask_kernel(&self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(doubt) = self.vitals.doubt() else { return Poll::Pending };
        match SockRef::from(self.io.inner()).send(bytes) {
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => match doubt {
                Doubt::Ask => Poll::Pending,
                Doubt::AskLast => {
                    self.vitals.give_up();
                    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
                }
            },
            sent => Poll::Ready(sent),
        }
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
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
        let polled = match Pin::new(&mut self.io).poll_write(context, bytes) {
            Poll::Pending => self.ask_kernel(bytes),
            ready @ Poll::Ready(_) => ready,
        };
        match &polled {
            Poll::Pending => self.vitals.is_blocked(),
            Poll::Ready(_) => self.vitals.has_written(),
        }
        polled
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

/// What hyper says of what it cannot read: `HTTP/1.1 400 Bad Request`, and no more than that.
fn fault(answer: &[u8]) -> Option<Unread> {
    match answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)? {
        b"414" => Some(Unread::TargetTooLong),
        b"431" => Some(Unread::HeadTooLarge),
        _ => Some(Unread::Malformed),
    }
}
