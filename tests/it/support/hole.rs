//! Addresses where nobody answers, and nobody says so.

use std::net::SocketAddr;

use socket2::{Domain, SockAddr, Socket, Type};

/// A listener that takes no more connections: whoever connects waits.
#[derive(Debug)]
pub struct Hole {
    address: SocketAddr,
    _listener: Socket,
    _filling: Vec<Socket>,
}

impl Hole {
    /// One at an address of the test's choice.
    #[track_caller]
    pub fn at(address: SocketAddr) -> Self {
        let listener = socket();
        listener.bind(&address.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().as_ref().ok().and_then(SockAddr::as_socket).unwrap();
        let filling = (0..FILLING).map(|_| {
            let filling = socket();
            filling.set_nonblocking(true).unwrap();
            // It is under way, or there is no more room; neither is waited for.
            drop(filling.connect(&address.into()));
            filling
        });
        Self { address, _filling: filling.collect(), _listener: listener }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[track_caller]
fn socket() -> Socket {
    Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()
}

/// The kernel takes one more than it is told.
const FILLING: usize = 4;
