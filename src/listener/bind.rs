//! Opens listening sockets, one for each worker on the same address, or takes over those that were
//! open already.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// The listening sockets that were open when this process began: systemd's, or those of the process
/// that this one succeeds. Who waits in their queues is not to notice.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(SocketAddr, TcpListener)>,
    faults: Vec<String>,
}

impl Inherited {
    /// Takes them, as `LISTEN_FDS` says. To be called once, before there are other threads: what
    /// the environment says of them is removed from it.
    pub fn take() -> Self {
        let (mut this, mut passed) = (Self::default(), ListenFd::from_env());
        for place in 0..passed.len().min(PASSED_MAX) {
            match passed.take_tcp_listener(place) {
                Ok(Some(socket)) => this.adopt(socket),
                Ok(None) => {}
                Err(fault) => this.faults.push(fault.to_string()),
            }
        }
        this
    }

    fn adopt(&mut self, socket: TcpListener) {
        let adopted = SockRef::from(&socket).is_listener().and_then(|listens| {
            socket.set_nonblocking(true)?;
            Ok(listens.then_some(socket.local_addr()?))
        });
        match adopted {
            Ok(Some(address)) => self.sockets.push((address, socket)),
            Ok(None) => self.faults.push("a socket that was passed does not listen".to_owned()),
            Err(fault) => self.faults.push(fault.to_string()),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Those at `address`, or `count` new ones.
    pub fn or_bind(
        &mut self,
        address: SocketAddr,
        count: usize,
    ) -> Result<Vec<TcpListener>, BindFault> {
        let is_meant = |it: &SocketAddr| it.ip() == address.ip() && it.port() == address.port();
        let taken: Vec<_> = self.sockets.extract_if(.., |(at, _socket)| is_meant(at)).collect();
        if taken.is_empty() {
            return bind(address, count);
        }
        Ok(taken.into_iter().map(|(_address, socket)| socket).collect())
    }

    /// Closes what nobody has taken, and says so.
    pub fn close(self) {
        for fault in self.faults {
            tracing::warn!(%fault, "a socket was passed that cannot be listened on");
        }
        for (address, _socket) in self.sockets {
            tracing::warn!(
                %address,
                "a socket was passed for an address that the configuration does not name: closed"
            );
        }
    }
}

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
/// Of sockets that are passed; far more than anybody listens on.
const PASSED_MAX: usize = 4096;
