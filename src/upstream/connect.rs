//! Opens a connection to an endpoint.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::AlertDescription;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::clock::Moment;
use crate::config::UrlScheme;
use crate::tasks::Tasks;
use crate::tasks::descriptors;
use crate::upstream::body::RequestBody;
use crate::upstream::cap::Permit;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::kept::{KeptBody, Reader};
use crate::upstream::resolve;
use crate::upstream::tls::Tls;
use crate::upstream::upload::Upload;
use crate::upstream::wire::{Heard, Stream, Wire};

/// What keeps an HTTP/1.1 connection going; somebody has to poll it.
pub type Driver = http1::Connection<TokioIo<Wire>, RequestBody>;

/// What keeps an HTTP/2 connection going; somebody has to poll it.
pub type Driver2 = http2::Connection<TokioIo<Wire>, KeptBody, Local>;

/// Where a connection leads, and how long opening it may take.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// How TLS is spoken, if it is.
    pub tls: Option<&'a Tls>,
    /// For TCP, TLS and what HTTP has to agree on.
    pub limit: Duration,
}

/// A connection over which HTTP/1.1 is spoken.
#[derive(Debug)]
pub struct Http1 {
    /// Takes a request.
    pub sender: http1::SendRequest<RequestBody>,
    /// What keeps it going.
    pub driver: Driver,
    /// What it is connected to.
    pub peer: SocketAddr,
}

/// A connection over which HTTP/2 is spoken, and whose peer has said how many streams it takes.
#[derive(Debug)]
pub struct Http2 {
    /// Takes requests.
    pub sender: http2::SendRequest<KeptBody>,
    /// What keeps it going.
    pub driver: Driver2,
    /// What it is connected to.
    pub peer: SocketAddr,
    /// By which it is known whose body is read.
    pub reader: Reader,
}

/// Has hyper's own tasks run on this worker. One that passes on a request's body ends with its
/// answer: an upstream that takes no more of it would keep the stream, and what was read, else.
#[derive(Clone, Debug, Default)]
pub struct Local {
    tasks: Tasks,
    reader: Reader,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectFault {
    /// Nobody answered.
    #[error("connecting took longer than connect_timeout")]
    TimedOut,
    /// The name is not known, or nobody listens there.
    #[error("cannot connect: {0}")]
    Io(#[from] io::Error),
    /// It did not prove who it is, does not speak TLS as we do, or does not believe us.
    #[error("cannot connect over TLS: {0}")]
    Tls(io::Error),
    /// It is no HTTP connection.
    #[error("cannot connect: {0}")]
    Http(#[from] hyper::Error),
    /// Nobody's certificate can say this name.
    #[error("cannot connect: no certificate can name this host: {0}")]
    Name(#[from] InvalidDnsNameError),
    /// TLS was not made ready for this upstream.
    #[error("cannot connect: TLS is not set up for this upstream")]
    NoTls,
    /// Over TLS it agreed to something else.
    #[error("cannot connect: the endpoint does not agree to this version of HTTP over TLS")]
    NotAgreed,
    /// It closed the connection instead of sending its settings, or sent something else.
    #[error("cannot connect: the endpoint does not speak HTTP/2, or closed the connection")]
    NotHttp2,
    /// Every connection was closed before the request could be sent.
    #[error("the upstream closes every connection before a request can be sent")]
    Busy,
    /// There are as many connections as may be, or too many wait for one.
    #[error("no connection became free: max_connections are in use")]
    Crowded,
    /// The process may open nothing more.
    #[error("every descriptor is in use: raise the limit (ulimit -n)")]
    NoDescriptor,
}

impl ConnectFault {
    /// Whether it is for want of what is ours to give, and says nothing of the endpoint.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Crowded | Self::NoDescriptor)
    }

    /// The same once more, for others who waited for the same connection.
    #[must_use]
    pub fn again(&self) -> Self {
        match self {
            Self::TimedOut => Self::TimedOut,
            Self::Io(fault) => Self::Io(io::Error::new(fault.kind(), fault.to_string())),
            Self::Tls(fault) => Self::Tls(io::Error::new(fault.kind(), fault.to_string())),
            Self::Http(fault) => Self::Io(io::Error::other(fault.to_string())),
            Self::Name(fault) => Self::Io(io::Error::other(fault.to_string())),
            Self::NoTls => Self::NoTls,
            Self::NotAgreed => Self::NotAgreed,
            Self::NotHttp2 => Self::NotHttp2,
            Self::Busy => Self::Busy,
            Self::Crowded => Self::Crowded,
            Self::NoDescriptor => Self::NoDescriptor,
        }
    }
}

/// Connects and speaks HTTP/1.1. What comes over it is noted in `heard`.
///
/// `writev` is off, as on the other side: heads and bodies are small and copied together.
/// hyper would gather 400 KiB in each direction: four uploads that nobody reads grew the process
/// by 27 MiB.
pub async fn http1(
    way: Way<'_>,
    heard: Heard,
    permit: Option<Permit>,
) -> Result<Http1, ConnectFault> {
    let opening = async {
        let (wire, peer) = dial(way, heard, permit).await?;
        let mut builder = http1::Builder::new();
        builder.writev(false).max_buf_size(BUFFER_BYTES);
        let (sender, driver) = builder.handshake(TokioIo::new(wire)).await?;
        Ok(Http1 { sender, driver, peer })
    };
    timeout(way.limit, opening).await.map_err(|_elapsed| ConnectFault::TimedOut)?
}

/// Connects, speaks HTTP/2, and waits for the peer's settings: until they have come nobody knows
/// whether it understands, and how many requests it takes at once.
pub async fn http2(way: Way<'_>, permit: Option<Permit>) -> Result<Http2, ConnectFault> {
    let opening = async {
        let heard = Heard::default();
        let (wire, peer) = dial(way, heard.clone(), permit).await?;
        let local = Local::default();
        let reader = local.reader.clone();
        let mut builder = http2::Builder::new(local);
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(STREAM_WINDOW_BYTES * STREAMS_MAX)
            .initial_max_send_streams(UNTOLD)
            .max_header_list_size(HEAD_BYTES_MAX)
            .max_send_buf_size(BUFFER_BYTES)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        let (sender, mut driver) = builder.handshake(TokioIo::new(wire)).await?;
        settled(&mut driver, &heard).await?;
        Ok(Http2 { sender, driver, peer, reader })
    };
    timeout(way.limit, opening).await.map_err(|_elapsed| ConnectFault::TimedOut)?
}

/// Resolves once the peer has said how many streams it takes.
async fn settled(driver: &mut Driver2, heard: &Heard) -> Result<(), ConnectFault> {
    poll_fn(|context| {
        if driver.current_max_send_streams() != UNTOLD {
            return Poll::Ready(Ok(()));
        }
        // What came is looked at by another task, before this one has its turn again.
        heard.wake_on_next(context.waker());
        match Pin::new(&mut *driver).poll(context) {
            Poll::Ready(_ended) => Poll::Ready(Err(ConnectFault::NotHttp2)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// TCP, and TLS where it is asked for.
async fn dial(
    way: Way<'_>,
    heard: Heard,
    permit: Option<Permit>,
) -> Result<(Wire, SocketAddr), ConnectFault> {
    let stream = tcp(way.endpoint, way.limit).await?;
    let (endpoint, tls) = (way.endpoint.address(), way.tls);
    stream.set_nodelay(true)?;
    let peer = stream.peer_addr()?;
    let settings = match endpoint.scheme {
        UrlScheme::Http | UrlScheme::H2 => {
            return Ok((Wire::new(Stream::Plain(stream), heard, permit), peer));
        }
        UrlScheme::Https => &tls.ok_or(ConnectFault::NoTls)?.http1,
        UrlScheme::H2s => &tls.ok_or(ConnectFault::NoTls)?.http2,
    };
    let name = ServerName::try_from(endpoint.host.clone())?;
    let connecting = TlsConnector::from(Arc::clone(settings)).connect(name, stream);
    let stream = connecting.await.map_err(tls_fault)?;
    let agreed = stream.get_ref().1.alpn_protocol();
    if endpoint.scheme == UrlScheme::H2s && agreed != Some(b"h2") {
        return Err(ConnectFault::NotAgreed);
    }
    Ok((Wire::new(Stream::Tls(Box::new(stream)), heard, permit), peer))
}

/// Tries one address after another, the one that was there last first. Each but the last has half of
/// what is left of `limit`, so that one that is silent leaves time for the next.
pub async fn tcp(endpoint: &Endpoint, limit: Duration) -> Result<TcpStream, ConnectFault> {
    let addresses = resolve::addresses(endpoint).await?;
    let count = addresses.len();
    let end = Moment::now().after(limit);
    let first = endpoint.preferred();
    let mut fault = ConnectFault::TimedOut;
    for tried in 1..=count {
        let place = (first + tried - 1) % count;
        let Some(address) = addresses.get(place) else { continue };
        let left = end.since(Moment::now());
        let share = if tried == count { left } else { left / 2 };
        fault = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                if tried > 1 {
                    endpoint.prefer(place);
                }
                return Ok(stream);
            }
            // That we can open nothing more says nothing of the endpoint.
            Ok(Err(fault)) if descriptors::is_lack(&fault) => {
                endpoint.cap().note_lack();
                return Err(ConnectFault::NoDescriptor);
            }
            Ok(Err(fault)) => fault.into(),
            Err(_elapsed) => ConnectFault::TimedOut,
        };
    }
    Err(fault)
}

/// A server may say that nothing was agreed to, instead of agreeing to nothing.
fn tls_fault(fault: io::Error) -> ConnectFault {
    let cause = fault.get_ref().and_then(|it| it.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            ConnectFault::NotAgreed
        }
        Some(_) | None => ConnectFault::Tls(fault),
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, work: F) {
        match self.reader.take() {
            Some(upload) => self.tasks.spawn_local(until_over(work, upload)),
            None => self.tasks.spawn_local(work),
        };
    }
}

async fn until_over(work: impl Future<Output = ()>, upload: Upload) {
    let mut work = pin!(work);
    poll_fn(|context| {
        if upload.is_over(context.waker()) {
            return Poll::Ready(());
        }
        work.as_mut().poll(context)
    })
    .await;
}

/// Of one HTTP/2 connection, at once; a peer may want fewer.
pub const STREAMS_MAX: u32 = 100;

/// What of an answer may be on its way to a client that does not read. A connection's window is
/// as large as all its streams' together, so that no slow client holds up the others.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;

/// Nobody says this of themselves: requests wait where a peer takes none.
const UNTOLD: usize = 0;

/// Where an answer is read into and a request is gathered; also the most that an answer's head
/// may have.
const BUFFER_BYTES: usize = 64 * 1024;
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// While requests are under way: a peer that is gone would say nothing.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
