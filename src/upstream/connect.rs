//! Opens a connection to an endpoint.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::Scheme;
use crate::upstream::body::RequestBody;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::resolve;
use crate::upstream::tls::Tls;
use crate::upstream::wire::{Heard, Stream, Wire};

/// What keeps an HTTP/1.1 connection going; somebody has to poll it.
pub type Driver = http1::Connection<TokioIo<Wire>, RequestBody>;

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
    pub sender: SendRequest<RequestBody>,
    /// What keeps it going.
    pub driver: Driver,
    /// What it is connected to.
    pub peer: SocketAddr,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectFault {
    /// Nobody answered.
    #[error("connecting took longer than connect_timeout")]
    TimedOut,
    /// The name is not known, nobody listens there, or it did not prove who it is.
    #[error("cannot connect: {0}")]
    Io(#[from] io::Error),
    /// It is no HTTP connection.
    #[error("cannot connect: {0}")]
    Http(#[from] hyper::Error),
    /// Nobody's certificate can say this name.
    #[error("cannot connect: no certificate can name this host: {0}")]
    Name(#[from] InvalidDnsNameError),
    /// TLS was not made ready for this upstream.
    #[error("cannot connect: TLS is not set up for this upstream")]
    NoTls,
    /// Every connection was closed before the request could be sent.
    #[error("the upstream closes every connection before a request can be sent")]
    Busy,
}

/// Connects and speaks HTTP/1.1. What comes over it is noted in `heard`.
///
/// `writev` is off, as on the other side: heads and bodies are small and copied together.
/// hyper would gather 400 KiB in each direction: four uploads that nobody reads grew the process
/// by 27 MiB.
pub async fn http1(way: Way<'_>, heard: Heard) -> Result<Http1, ConnectFault> {
    let opening = async {
        let (wire, peer) = dial(way, heard).await?;
        let mut builder = http1::Builder::new();
        builder.writev(false).max_buf_size(BUFFER_BYTES);
        let (sender, driver) = builder.handshake(TokioIo::new(wire)).await?;
        Ok(Http1 { sender, driver, peer })
    };
    timeout(way.limit, opening).await.map_err(|_elapsed| ConnectFault::TimedOut)?
}

/// TCP, and TLS where it is asked for.
async fn dial(way: Way<'_>, heard: Heard) -> Result<(Wire, SocketAddr), ConnectFault> {
    let Way { endpoint, tls, .. } = way;
    let stream = TcpStream::connect(&*resolve::addresses(endpoint).await?).await?;
    stream.set_nodelay(true)?;
    let peer = stream.peer_addr()?;
    let protocol = match endpoint.address().scheme {
        Scheme::Http | Scheme::H2 => return Ok((Wire::new(Stream::Plain(stream), heard), peer)),
        Scheme::Https => &tls.ok_or(ConnectFault::NoTls)?.http1,
        Scheme::H2s => &tls.ok_or(ConnectFault::NoTls)?.http2,
    };
    let name = ServerName::try_from(endpoint.address().host.clone())?;
    let stream = TlsConnector::from(std::sync::Arc::clone(protocol)).connect(name, stream).await?;
    Ok((Wire::new(Stream::Tls(Box::new(stream)), heard), peer))
}

/// Where an answer is read into and a request is gathered; also the most that an answer's head
/// may have.
const BUFFER_BYTES: usize = 64 * 1024;
