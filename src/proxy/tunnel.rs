//! Carries another protocol between a client and an upstream that agreed on it, for as long as the
//! key that opened it is good.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{HeaderValue, Response, header};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use crate::gate::running::Grant;
use crate::listener::http1::linger;
use crate::listener::stream::Stream;
use crate::listener::tunnel::Tunnel;
use crate::proxy::Route;
use crate::proxy::amend::edit;
use crate::proxy::exchange::Exchange;
use crate::proxy::hygiene::{Direction, clean};
use crate::proxy::inbound::{Reply, changed};
use crate::proxy::websocket::{CLOSE_REVOKED, Frames};
use crate::upstream;

/// A tunnel that an upstream has opened, before the client knows.
#[derive(Debug)]
pub struct Opened {
    /// Its end at the upstream, and the head that the client will see.
    tunnel: upstream::tunnel::Tunnel,
    spoken: Spoken,
    grant: Grant,
}

/// What is spoken through it, as far as it matters here.
#[derive(Debug)]
enum Spoken {
    /// RFC 6455: it has frames, and a way to say why it ends.
    WebSocket(Frames),
    /// Nothing that we know.
    Other,
}

impl Opened {
    /// The tunnel to `protocol`, and the head that the client will see, as its route says.
    pub fn new(
        mut tunnel: upstream::tunnel::Tunnel,
        protocol: &HeaderValue,
        route: &Route,
        grant: Grant,
    ) -> Self {
        let version = tunnel.head.version();
        let headers = tunnel.head.headers_mut();
        drop(clean(headers, Direction::Down, version, &route.down));
        edit(headers, &route.settings.response_headers);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol.clone());
        let spoken = if protocol.as_bytes().eq_ignore_ascii_case(b"websocket") {
            Spoken::WebSocket(Frames::default())
        } else {
            Spoken::Other
        };
        Self { tunnel, spoken, grant }
    }

    /// The answer to the client; once it is out, the connection is the tunnel's.
    pub fn accept(self, exchange: Exchange) -> Response<Reply> {
        let Self { tunnel, spoken, grant } = self;
        let progress = exchange.progress().clone();
        changed(tunnel.head, exchange, |exchange| {
            let relay = Relay {
                upstream: tunnel.io,
                down: Pump::new(tunnel.ahead),
                spoken,
                grant,
                exchange,
            };
            progress.change_over(Box::new(relay));
        })
    }
}

/// Both ends. It holds the grant and the exchange until the last byte is through.
#[derive(Debug)]
struct Relay {
    upstream: upstream::tunnel::Passage,
    /// On the way to the client.
    down: Pump,
    spoken: Spoken,
    grant: Grant,
    exchange: Exchange,
}

/// Why a tunnel ends.
enum Outcome {
    /// One side has closed it, or can no longer be reached.
    Closed,
    /// Its key lost its right.
    Cut,
}

impl Tunnel for Relay {
    fn run(self: Box<Self>, stream: Stream, ahead: Bytes) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(self.relay(stream, ahead))
    }
}

impl Relay {
    async fn relay(mut self: Box<Self>, mut client: Stream, ahead: Bytes) {
        let mut up = Pump::new(ahead);
        match poll_fn(|context| self.poll_relay(context, &mut client, &mut up)).await {
            Outcome::Closed => {
                // Whoever is still there gets what is left, and time to close as well.
                let rest = poll_fn(|context| self.poll_rest(context, &mut client, &mut up));
                drop(timeout(HALF_CLOSED, rest).await);
            }
            Outcome::Cut => self.say_why(&mut client).await,
        }
        linger(client).await;
    }

    fn poll_relay(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Stream,
        up: &mut Pump,
    ) -> Poll<Outcome> {
        let signal = self.grant.signal();
        signal.wake_on_verdict(context.waker());
        if signal.verdict().is_some() {
            return Poll::Ready(Outcome::Cut);
        }
        let went_up = up.poll(context, client, &mut self.upstream, |_bytes| {});
        let went_down = self.poll_down(context, client);
        if went_up.is_ready() || went_down.is_ready() {
            return Poll::Ready(Outcome::Closed);
        }
        Poll::Pending
    }

    /// What the upstream still says goes on until it has said all, or the client can no longer be
    /// heard, or its key has lost its right.
    fn poll_rest(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Stream,
        up: &mut Pump,
    ) -> Poll<()> {
        let signal = self.grant.signal();
        signal.wake_on_verdict(context.waker());
        if signal.verdict().is_some() {
            return Poll::Ready(());
        }
        let went_up = up.poll(context, client, &mut self.upstream, |_bytes| {});
        let went_down = self.poll_down(context, client);
        match (went_up, went_down) {
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(_)) => Poll::Ready(()),
            (Poll::Ready(Ok(())) | Poll::Pending, Poll::Pending) => Poll::Pending,
        }
    }

    fn poll_down(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Stream,
    ) -> Poll<io::Result<()>> {
        let Self { upstream, down, spoken, exchange, .. } = self;
        down.poll(context, upstream, client, |bytes| {
            exchange.passed(bytes.len());
            if let Spoken::WebSocket(frames) = spoken {
                frames.pass(bytes);
            }
        })
    }

    /// Says in the protocol's own words why it ends: between two frames, where there is such a
    /// place soon.
    async fn say_why(&mut self, client: &mut Stream) {
        let Self { upstream, down, spoken, .. } = self;
        let Spoken::WebSocket(frames) = spoken else { return };
        let finished = poll_fn(|context| down.poll_to_edge(context, upstream, client, frames));
        if let Ok(Ok(())) = timeout(FRAME_MAX, finished).await {
            let saying = async {
                client.write_all(CLOSE_REVOKED).await?;
                client.flush().await
            };
            drop(timeout(FRAME_MAX, saying).await);
        }
    }
}

/// One direction.
#[derive(Debug)]
struct Pump {
    /// Read and not written yet.
    held: Bytes,
    is_flushed: bool,
    is_shut: bool,
}

impl Pump {
    /// `ahead` was read already.
    fn new(ahead: Bytes) -> Self {
        Self { held: ahead, is_flushed: true, is_shut: false }
    }

    /// Carries what there is; ready once `from` has ended and `to` knows it.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        mut passed: impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>> {
        if self.is_shut {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..ROUNDS_MAX {
            ready!(self.poll_write(context, to, usize::MAX, &mut passed))?;
            if ready!(self.poll_read(context, from, to))? == 0 {
                ready!(Pin::new(&mut *to).poll_shutdown(context))?;
                self.is_shut = true;
                return Poll::Ready(Ok(()));
            }
        }
        // Others have their turn too.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Carries on to the end of the frame that has begun.
    fn poll_to_edge(
        &mut self,
        context: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        frames: &mut Frames,
    ) -> Poll<io::Result<()>> {
        loop {
            while !frames.is_between() && !self.held.is_empty() {
                let most = frames.to_edge(&self.held);
                ready!(self.poll_write(context, to, most, &mut |bytes| frames.pass(bytes)))?;
            }
            if frames.is_between() {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_read(context, from, to))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Writes `most` bytes of what is held.
    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
        most: usize,
        passed: &mut impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>> {
        let mut left = most.min(self.held.len());
        while left > 0 {
            let bytes = self.held.get(..left).unwrap_or_default();
            let count = ready!(Pin::new(&mut *to).poll_write(context, bytes))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            passed(self.held.get(..count).unwrap_or_default());
            self.held.advance(count);
            self.is_flushed = false;
            left -= count;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads more, and sees to it that what was written is on its way before it waits.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<usize>> {
        let mut bytes = [0; CHUNK];
        let mut buffer = ReadBuf::new(&mut bytes);
        let polled = Pin::new(&mut *from).poll_read(context, &mut buffer);
        if polled.is_pending() && !self.is_flushed {
            ready!(Pin::new(&mut *to).poll_flush(context))?;
            self.is_flushed = true;
        }
        ready!(polled)?;
        self.held = Bytes::copy_from_slice(buffer.filled());
        Poll::Ready(Ok(self.held.len()))
    }
}

const CHUNK: usize = 16 * 1024;

/// How often one direction may go on before anything else on the worker.
const ROUNDS_MAX: usize = 16;

/// A frame that takes longer to end is not waited for.
const FRAME_MAX: Duration = Duration::from_secs(1);

/// Once one side has closed.
const HALF_CLOSED: Duration = Duration::from_secs(10);
