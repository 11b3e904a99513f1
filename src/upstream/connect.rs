//! Opens a connection to an endpoint.

use std::io;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config;
use crate::upstream::body::RequestBody;
use crate::upstream::wire::{Heard, Wire};

/// What keeps a connection going; somebody has to poll it.
pub type Connection = http1::Connection<TokioIo<Wire>, RequestBody>;

/// Connects and agrees on HTTP/1.1, in `limit` at most. What comes over it is noted in `heard`.
pub async fn connect(
    address: &config::Endpoint,
    limit: Duration,
    heard: Heard,
) -> Result<(SendRequest<RequestBody>, Connection), ConnectFault> {
    timeout(limit, open(address, heard)).await.map_err(|_elapsed| ConnectFault::TimedOut)?
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
    /// It is no HTTP connection.
    #[error("cannot connect: {0}")]
    Http(#[from] hyper::Error),
    /// Every connection was closed before the request could be sent.
    #[error("the upstream closes every connection before a request can be sent")]
    Busy,
}

/// `writev` is off, as on the other side: heads and bodies are small and copied together.
/// hyper would gather 400 KiB in each direction: four uploads that nobody reads grew the process
/// by 27 MiB.
async fn open(
    address: &config::Endpoint,
    heard: Heard,
) -> Result<(SendRequest<RequestBody>, Connection), ConnectFault> {
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    stream.set_nodelay(true)?;
    let mut builder = http1::Builder::new();
    builder.writev(false).max_buf_size(BUFFER_BYTES);
    Ok(builder.handshake(TokioIo::new(Wire::new(stream, heard))).await?)
}

/// Where an answer is read into and a request is gathered; also the most that an answer's head
/// may have.
const BUFFER_BYTES: usize = 64 * 1024;
