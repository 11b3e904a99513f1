//! Serves one listening socket: accepts, bounds and drains its connections.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::admin::Admin;
use crate::admin::front::Ends;
use crate::admin::pulse::{Pulse, Pulsing};
use crate::admin::router::router;
use crate::listener::doors::{Doors, Place, Seat};
use crate::tasks::Tasks;
use crate::tasks::descriptors::Descriptors;

/// What a connection to the admin listener begins with.
#[derive(Clone, Debug)]
pub enum Transport {
    /// HTTP.
    Plain,
    /// A handshake.
    Tls(Arc<ServerConfig>),
}

/// What a listener is told.
#[derive(Clone, Debug)]
pub struct Words {
    /// To stop.
    pub stop: Tasks,
    /// To let nobody else in: another process goes on with the socket.
    pub close: Tasks,
}

/// Who may connect, to all of the control plane's sockets: so many at once.
pub fn doors(max: usize) -> Doors {
    Doors::new(max, Some(CONNECTIONS_PER_ADDRESS_MAX), 1, Descriptors::new(max))
}

/// Serves until told to stop, and then until every request has been answered.
pub async fn run(
    listener: std::net::TcpListener,
    transport: Transport,
    admin: Arc<Admin>,
    (doors, words): (Doors, Words),
) {
    let listener = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
    let listener = match listener {
        Ok(listener) => listener,
        Err(fault) => {
            tracing::error!(%fault, "the admin listener cannot be served");
            return;
        }
    };
    let router = router(admin);
    let connections = words.stop.child();
    while let Some((stream, ends, seat)) = next(&listener, &doors, &words).await {
        let (router, stop) = (router.clone(), connections.clone());
        let transport = transport.clone();
        connections.spawn(async move {
            attend(stream, ends, transport, (router, &stop)).await;
            drop(seat);
        });
    }
    drop(listener);
    words.stop.stopped().await;
    connections.ended().await;
}

/// The next connection; `None` once told to stop.
async fn next(
    listener: &TcpListener,
    doors: &Doors,
    words: &Words,
) -> Option<(TcpStream, Ends, Seat)> {
    loop {
        let arrived = async { Some((doors.place().await?, listener.accept().await)) };
        let (place, accepted) = tokio::select! {
            arrived = arrived => arrived?,
            () = words.stop.stopped() => return None,
            () = words.close.stopped() => return None,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Some((ends, seat)) = seat(&stream, peer.ip(), doors, place) {
                    return Some((stream, ends, seat));
                }
            }
            Err(fault) => pause_after(&fault).await,
        }
    }
}

fn seat(stream: &TcpStream, peer: IpAddr, doors: &Doors, place: Place) -> Option<(Ends, Seat)> {
    let own: SocketAddr = stream.local_addr().ok()?;
    let mut seat = doors.seat(place, 0);
    if !seat.is_open_to(peer) {
        return None;
    }
    Some((Ends { peer: peer.to_canonical(), own }, seat))
}

/// Whoever hung up before being accepted is no reason to wait; a lack of descriptors is.
async fn pause_after(fault: &io::Error) {
    if !matches!(fault.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        tracing::warn!(%fault, "the admin listener cannot accept connections");
        tokio::time::sleep(PAUSE_AFTER_FAULT).await;
    }
}

async fn attend(
    stream: TcpStream,
    ends: Ends,
    transport: Transport,
    (router, stop): (Router, &Tasks),
) {
    match transport {
        Transport::Plain => serve(stream, ends, router, stop).await,
        Transport::Tls(config) => {
            if let Some(stream) = shake_hands(stream, config, &ends).await {
                serve(stream, ends, router, stop).await;
            }
        }
    }
}

/// `None`: it came to nothing, which is no concern of anybody else's.
async fn shake_hands(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    ends: &Ends,
) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    let accept = TlsAcceptor::from(config).accept(stream);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, accept).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(fault)) => {
            tracing::debug!(peer = %ends.peer, %fault, "a handshake with the admin listener failed");
        }
        Err(_elapsed) => {
            tracing::debug!(peer = %ends.peer, "a handshake with the admin listener took too long");
        }
    }
    None
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    ends: Ends,
    router: Router,
    tasks: &Tasks,
) {
    let pulse = Pulse::default();
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(ends);
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(Pulsing::new(stream, pulse.clone()), service);
    let mut connection = pin!(connection);
    let mut still = pin!(pulse.stands_still(STILL_TIME_MAX));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = &mut still => return,
        () = tasks.stopped() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! { ended = connection => ended, () = still => return }
        }
    };
    if let Err(fault) = ended {
        tracing::debug!(peer = %ends.peer, %fault, "a connection to the admin listener broke");
    }
}

const CONNECTIONS_PER_ADDRESS_MAX: NonZeroU32 = NonZeroU32::new(256).unwrap();
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// From the end of the last answer to the end of the next head: hyper has one time for both.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Longer than any call waits for receipts.
const STILL_TIME_MAX: Duration = Duration::from_mins(2);
const PAUSE_AFTER_FAULT: Duration = Duration::from_millis(50);
