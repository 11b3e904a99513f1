//! A network between two that can be made bad while they speak.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::support::wait::{PATIENCE, eventually};
use link::Link;
use weather::{Arrivals, Fault, Weather};

mod link;
mod weather;

/// Stands in front of an address, and passes on what comes. All of it ends when this is dropped.
#[derive(Debug)]
pub struct Faults {
    address: SocketAddr,
    weather: Arc<Weather>,
    listener: Arc<Socket>,
    accepting: Option<JoinHandle<()>>,
}

/// Which bytes are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Those from the client to the server.
    ToServer,
    /// Those from the server to the client.
    ToClient,
    /// All.
    Both,
}

impl Faults {
    /// One in front of `server`. All is well at first.
    #[track_caller]
    pub fn before(server: SocketAddr) -> Self {
        let listener = Arc::new(bind());
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        listener.listen(BACKLOG).unwrap();
        let weather = Arc::new(Weather::fine(server));
        let shared = (Arc::clone(&listener), Arc::clone(&weather));
        let accepting = Some(thread::spawn(move || accept(&shared.0, &shared.1)));
        Self { address, weather, listener, accepting }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads connections to another server, from the next one on.
    pub fn lead_to(&self, server: SocketAddr) {
        self.weather.change(|it| it.server = server);
    }

    /// All is well again. What has vanished stays so: a connection that has lost bytes stays
    /// silent until it is closed.
    #[track_caller]
    pub fn pass(&self) {
        self.set(Way::Both, Fault::None);
        self.arrivals(Arrivals::Enter);
    }

    /// Bytes come so much later.
    pub fn delay(&self, way: Way, by: Duration) {
        self.set(way, Fault::Delay(by));
    }

    /// Bytes wait here until all is well again, and new connections too: a network that loses
    /// packets, which are sent again.
    #[track_caller]
    pub fn hold(&self, way: Way) {
        self.set(way, Fault::Hold);
        self.arrivals(Arrivals::Wait);
    }

    /// Bytes vanish, ends of connections too; connections stay, and new ones are taken and never
    /// hear anything: a network that has forgotten them.
    #[track_caller]
    pub fn vanish(&self, way: Way) {
        self.set(way, Fault::Vanish);
        self.arrivals(Arrivals::Vanish);
    }

    /// Ends every connection that there is by a reset to both sides. New ones are let in.
    #[track_caller]
    pub fn reset(&self) {
        let links = self.weather.reset_links();
        // Others may have come instead.
        eventually("the connections are reset", || links.iter().all(|it| it.strong_count() == 0));
    }

    /// Refuses new connections. Those that there are stay.
    #[track_caller]
    pub fn refuse(&self) {
        self.arrivals(Arrivals::Refuse);
    }

    /// Has every connection end by a reset to both sides, once so many more bytes have gone by on
    /// it, new ones too.
    pub fn cut_after(&self, way: Way, bytes: u64) {
        self.weather.change(|it| it.since += 1);
        self.set(way, Fault::CutAfter(bytes));
    }

    /// How many connections were let in so far.
    pub fn accepted(&self) -> usize {
        self.weather.accepted()
    }

    /// How many connections there are.
    pub fn open(&self) -> usize {
        self.weather.links().len()
    }

    fn set(&self, way: Way, fault: Fault) {
        self.weather.change(|it| {
            if way != Way::ToClient {
                it.to_server = fault;
            }
            if way != Way::ToServer {
                it.to_client = fault;
            }
        });
    }

    /// Says what becomes of new connections. A listener that is shut down refuses them, and keeps
    /// its port.
    #[track_caller]
    fn arrivals(&self, arrivals: Arrivals) {
        let before = self.weather.change(|it| std::mem::replace(&mut it.arrivals, arrivals));
        match (before, arrivals) {
            (Arrivals::Refuse, Arrivals::Refuse) => {}
            (_, Arrivals::Refuse) => self.listener.shutdown(Shutdown::Both).unwrap(),
            (Arrivals::Refuse, _) => self.listener.listen(BACKLOG).unwrap(),
            (Arrivals::Enter | Arrivals::Wait | Arrivals::Vanish | Arrivals::Over, _) => {}
        }
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.weather.change(|it| it.arrivals = Arrivals::Over);
        // It fails where nobody listens.
        drop(self.listener.shutdown(Shutdown::Both));
        drop(self.weather.reset_links());
        drop(self.accepting.take().map(JoinHandle::join));
    }
}

/// A socket bound to a port that was said: only then does it keep the port while it does not
/// listen.
fn bind() -> Socket {
    loop {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        if socket.bind(&free.into()).is_ok() {
            return socket;
        }
    }
}

fn accept(listener: &Socket, weather: &Arc<Weather>) {
    loop {
        match listener.accept() {
            Ok((client, _)) => {
                weather.count_one();
                let weather = Arc::clone(weather);
                drop(thread::spawn(move || drop(enter(client.into(), &weather))));
            }
            Err(_) => match weather.now().arrivals {
                Arrivals::Over => return,
                Arrivals::Refuse => weather.wait_while(|it| it.arrivals == Arrivals::Refuse),
                // It is about to listen again.
                Arrivals::Enter | Arrivals::Wait | Arrivals::Vanish => thread::yield_now(),
            },
        }
    }
}

/// Serves one connection until its end.
fn enter(client: TcpStream, weather: &Arc<Weather>) -> io::Result<()> {
    client.set_nodelay(true)?;
    weather.wait_while(|it| it.arrivals == Arrivals::Wait);
    let now = weather.now();
    let link = match now.arrivals {
        Arrivals::Over => return Ok(()),
        Arrivals::Vanish => Link::to_nowhere(client),
        Arrivals::Enter | Arrivals::Wait | Arrivals::Refuse => connect(client, now.server)?,
    };
    let link = Arc::new(link);
    weather.list(&link);
    link.serve(weather);
    Ok(())
}

fn connect(client: TcpStream, server: SocketAddr) -> io::Result<Link> {
    match TcpStream::connect_timeout(&server, PATIENCE) {
        Ok(server) => Link::between(client, server),
        Err(fault) => {
            link::set_reset(&client);
            Err(fault)
        }
    }
}

const BACKLOG: i32 = 128;
