//! Opens every listening socket, and says what is spoken on each.

use std::io;
use std::net::{SocketAddr, TcpListener};

use crate::config::Config;
use crate::listener::bind::{BindFault, Inherited};
use crate::listener::connection::Transport;
use crate::server::Addresses;
use crate::server::certificates::Shown;
use crate::server::workers::Listening;

/// Every listening socket.
#[derive(Debug)]
pub struct Sockets {
    /// Where they listen.
    pub addresses: Addresses,
    /// Those of each worker.
    pub gateway: Vec<Vec<Listening>>,
    /// Those of the control plane.
    pub admin: Vec<TcpListener>,
}

impl Sockets {
    /// Takes over what is there already, and opens the rest. Of an address that is there already a
    /// worker may have several sockets, or none: then it lives from what others hand over.
    pub fn open(
        config: &Config,
        workers: usize,
        shown: &Shown,
        mut inherited: Inherited,
    ) -> Result<Self, BindFault> {
        let mut this = Self {
            addresses: Addresses::default(),
            gateway: (0..workers).map(|_| Vec::new()).collect(),
            admin: Vec::new(),
        };
        let gateway = &config.gateway;
        let plain = gateway.listen.iter().map(|it| (it, Transport::Plain));
        let secure = gateway.listen_tls.iter();
        let secure = secure.filter_map(|it| Some((it, Transport::Tls(shown.gateway()?.into()))));
        for (address, transport) in plain.chain(secure) {
            let sockets = inherited.or_bind(*address, workers)?;
            this.addresses.gateway.extend(first_address(&sockets));
            this.hand_out(sockets, &transport);
        }
        for address in &config.admin.listen {
            let sockets = inherited.or_bind(*address, 1)?;
            this.addresses.admin.extend(first_address(&sockets));
            this.admin.extend(sockets);
        }
        inherited.close();
        Ok(this)
    }

    fn hand_out(&mut self, sockets: Vec<TcpListener>, transport: &Transport) {
        let workers = self.gateway.len().max(1);
        for (number, socket) in sockets.into_iter().enumerate() {
            if let Some(worker) = self.gateway.get_mut(number % workers) {
                worker.push(Listening { socket, transport: transport.clone() });
            }
        }
    }

    /// The same sockets once more, for whoever goes on with them.
    pub fn copies(&self) -> io::Result<Vec<TcpListener>> {
        let gateway = self.gateway.iter().flatten().map(|it| &it.socket);
        gateway.chain(&self.admin).map(TcpListener::try_clone).collect()
    }
}

fn first_address(sockets: &[TcpListener]) -> Option<SocketAddr> {
    sockets.first()?.local_addr().ok()
}
