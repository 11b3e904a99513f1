//! Opens a connection: who is on the other side, what is below HTTP, and which HTTP it is.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::listener::proxy_protocol::{HEADER_BYTES_MAX, Progress, parse};
use crate::listener::stream::Stream;
use crate::listener::tap::Tap;
use crate::listener::vitals::{End, Vitals};

/// What a listener speaks below HTTP.
#[derive(Clone)]
pub enum Transport {
    /// Nothing.
    Plain,
    /// TLS.
    Tls(TlsAcceptor),
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Tls(_) => "Tls",
        })
    }
}

/// A connection on which requests may come.
#[derive(Debug)]
pub struct Opened {
    /// Its bytes.
    pub stream: Stream,
    /// What is spoken.
    pub protocol: Protocol,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 9112.
    Http1,
    /// RFC 9113.
    Http2,
}

/// Why a connection never came to a request.
#[derive(Debug)]
pub enum Unopened {
    /// Its time was over, or it was ended otherwise.
    Ended(End, TcpStream),
    /// The client closed it, or no TLS came about.
    Closed,
}

/// Finds out what is spoken on a connection that was just accepted. Until its first byte it may be
/// idle; from then on `header_timeout` counts.
pub async fn open(
    stream: TcpStream,
    transport: &Transport,
    vitals: &Rc<Vitals>,
) -> Result<Opened, Unopened> {
    let acceptor = match transport {
        Transport::Plain => {
            let protocol = sniff(&stream, vitals).await;
            let opened = match protocol {
                Err(Peeking::Ended(end)) => return Err(Unopened::Ended(end, stream)),
                Err(Peeking::Closed | Peeking::Malformed) => return Err(Unopened::Closed),
                Ok(protocol) => Opened { stream: Stream::Plain(tap(stream, vitals)), protocol },
            };
            vitals.has_opened();
            return Ok(opened);
        }
        Transport::Tls(acceptor) => acceptor,
    };
    let mut first = [0];
    drop(peek(&stream, vitals, &mut first, |_byte| Some(())).await);
    // Boxed, as it is large and soon gone.
    let handshake = Box::pin(acceptor.accept(tap(stream, vitals)));
    let tls = until_ended(handshake, vitals).await.map_err(|_end| Unopened::Closed)?;
    let tls = tls.map_err(|fault| {
        tracing::debug!(%fault, "no TLS came about");
        Unopened::Closed
    })?;
    let protocol = match tls.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        Some(_) | None => Protocol::Http1,
    };
    vitals.has_opened();
    Ok(Opened { stream: Stream::Tls(Box::new(tls)), protocol })
}

/// Reads the PROXY header with which a connection begins; the address that it names, if any.
pub async fn announced(stream: &TcpStream, vitals: &Vitals) -> Result<Option<SocketAddr>, Peeking> {
    let mut bytes = vec![0; HEADER_BYTES_MAX];
    let decide = |bytes: &[u8]| match parse(bytes) {
        Progress::NeedMore => None,
        decided @ (Progress::Done { .. } | Progress::Malformed) => Some(decided),
    };
    match peek(stream, vitals, &mut bytes, decide).await? {
        Progress::Done { source, length } => {
            // It is all there, and nothing of what follows is read with it.
            let header = bytes.get_mut(..length).unwrap_or_default();
            match stream.try_read(header) {
                Ok(count) if count == length => {
                    vitals.has_opened();
                    Ok(source)
                }
                Ok(_) | Err(_) => Err(Peeking::Closed),
            }
        }
        Progress::NeedMore | Progress::Malformed => Err(Peeking::Malformed),
    }
}

fn tap(stream: TcpStream, vitals: &Vitals) -> Tap {
    Tap::new(stream, Rc::clone(vitals.flow()))
}

/// Looks at the first bytes: no method of HTTP/1.1 begins like the preface of HTTP/2.
async fn sniff(stream: &TcpStream, vitals: &Vitals) -> Result<Protocol, Peeking> {
    let mut bytes = [0; PREFACE.len()];
    let decide = |bytes: &[u8]| match bytes {
        PREFACE => Some(Protocol::Http2),
        begun if PREFACE.starts_with(begun) => None,
        _other => Some(Protocol::Http1),
    };
    peek(stream, vitals, &mut bytes, decide).await
}

/// Why nothing could be looked at.
#[derive(Debug)]
pub enum Peeking {
    /// The connection is to end.
    Ended(End),
    /// The client has closed it.
    Closed,
    /// It does not begin with what it has to begin with.
    Malformed,
}

/// Looks at what comes, and leaves it there, until there is enough to decide.
pub async fn peek<T>(
    stream: &TcpStream,
    vitals: &Vitals,
    bytes: &mut [u8],
    decide: impl Fn(&[u8]) -> Option<T>,
) -> Result<T, Peeking> {
    let mut pause = LOOK_AGAIN;
    loop {
        let peeked = poll_fn(|context| {
            if let Some(end) = vitals.must_end(context.waker()) {
                return Poll::Ready(Err(Peeking::Ended(end)));
            }
            let mut buffer = ReadBuf::new(bytes);
            let count = ready!(stream.poll_peek(context, &mut buffer));
            Poll::Ready(count.map_err(|_fault| Peeking::Closed))
        });
        let count = peeked.await?;
        if count == 0 {
            return Err(Peeking::Closed);
        }
        vitals.has_read();
        if let Some(decided) = decide(bytes.get(..count).unwrap_or_default()) {
            return Ok(decided);
        }
        // What was looked at is still there, so the socket will not say when there is more.
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(LOOK_AGAIN_MAX);
    }
}

async fn until_ended<T>(work: impl Future<Output = T>, vitals: &Vitals) -> Result<T, End> {
    let mut work = pin!(work);
    let done = poll_fn(|context| match vitals.must_end(context.waker()) {
        Some(end) => Poll::Ready(Err(end)),
        None => work.as_mut().poll(context).map(Ok),
    });
    done.await
}

const PREFACE: &[u8] = b"PRI ";

const LOOK_AGAIN: Duration = Duration::from_millis(5);
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(200);
