//! A client's socket, which tells the connection's flow what passes.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::listener::flow::{Doubt, Flow};

/// The socket.
#[derive(Debug)]
pub struct Tap {
    stream: TcpStream,
    flow: Rc<Flow>,
}

impl Tap {
    /// Watches over `stream`.
    pub fn new(stream: TcpStream, flow: Rc<Flow>) -> Self {
        Self { stream, flow }
    }

    /// The socket itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Writes past the readiness that the kernel reported, where that is in doubt.
    fn ask_kernel(&self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(doubt) = self.flow.doubt() else { return Poll::Pending };
        match SockRef::from(&self.stream).send(bytes) {
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => match doubt {
                Doubt::Ask => Poll::Pending,
                Doubt::AskLast => {
                    self.flow.end();
                    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
                }
            },
            sent => Poll::Ready(sent),
        }
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Pending => self.ask_kernel(bytes),
            done @ Poll::Ready(_) => done,
        };
        match &polled {
            Poll::Pending => self.flow.cannot_write(),
            Poll::Ready(_) => self.flow.has_written(),
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket holds nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        Poll::Ready(Ok(()))
    }
}
