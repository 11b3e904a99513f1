//! Opens listening sockets, one for each worker on the same address.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Opens `count` sockets that share `address`, after making sure that nobody else holds it.
///
/// Port 0 becomes one free port for all of them.
pub fn bind(address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, BindFault> {
    let fault = |source| BindFault { address, source };
    let first = open(address, Sharing::Alone).map_err(fault)?;
    let address = first.local_addr().map_err(fault)?.as_socket().unwrap_or(address);
    // Sharing has to be asked for before binding, so the proof gives way to the real sockets.
    drop(first);
    (0..count.max(1)).map(|_| listen(address).map_err(fault)).collect()
}

/// Nobody can listen there. The message says what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{}", advice(source, *address))]
pub struct BindFault {
    address: SocketAddr,
    source: io::Error,
}

#[derive(Clone, Copy)]
enum Sharing {
    Alone,
    Shared,
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(address, Sharing::Shared)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn open(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if matches!(sharing, Sharing::Shared) {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    if matches!(sharing, Sharing::Alone) {
        // Where addresses may be reused, only listening proves that nobody else does.
        socket.listen(1)?;
    }
    Ok(socket)
}

fn advice(source: &io::Error, address: SocketAddr) -> String {
    let port = address.port();
    if source.kind() == io::ErrorKind::AddrInUse {
        format!(
            "; another process listens there: stop it (`ss -ltnp 'sport = :{port}'` names it), or choose another address"
        )
    } else if source.kind() == io::ErrorKind::PermissionDenied {
        "; ports below 1024 need CAP_NET_BIND_SERVICE: grant it, or choose a higher port".to_owned()
    } else if source.kind() == io::ErrorKind::AddrNotAvailable {
        "; this machine has no such address".to_owned()
    } else {
        String::new()
    }
}

const BACKLOG: i32 = 4096;
