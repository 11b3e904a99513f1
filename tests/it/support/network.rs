//! A network of one process's own to every server of a store, also where others name the server.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::support::faults::{Faults, Way};

/// A way to each server that can be made bad, and for those who name servers somebody who names the
/// ways instead. All of it ends when this is dropped.
#[derive(Debug)]
pub struct Network {
    ways: Vec<(SocketAddr, Faults)>,
    guides: Vec<Guide>,
}

/// Stands in front of a sentinel or a node of a cluster, and changes the ports in its answers.
#[derive(Debug)]
struct Guide {
    server: SocketAddr,
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

/// What stands in an answer, and what stands there instead: ports of five digits each.
type Ports = Arc<[([u8; 5], [u8; 5])]>;

impl Network {
    /// One to these servers, of which `guides` name the others, if anybody does.
    #[track_caller]
    pub fn before(servers: &[SocketAddr], guides: &[SocketAddr]) -> Self {
        let ways: Vec<_> = servers.iter().map(|it| (*it, Faults::before(*it))).collect();
        let port = |it: SocketAddr| it.port().to_string().into_bytes().try_into().unwrap();
        let ports: Ports = ways.iter().map(|(it, way)| (port(*it), port(way.address()))).collect();
        let guides = guides.iter().map(|it| Guide::before(*it, &ports)).collect();
        Self { ways, guides }
    }

    /// A URL that leads through it.
    pub fn url(&self, url: &str) -> String {
        let ways = self.ways.iter().map(|(it, way)| (*it, way.address()));
        let guides = self.guides.iter().map(|it| (it.server, it.address));
        // A node of a cluster is both; it is asked first who has the slot.
        guides.chain(ways).fold(url.to_owned(), |url, (server, instead)| {
            url.replace(&server.to_string(), &instead.to_string())
        })
    }

    /// All is well again.
    pub fn pass(&self) {
        self.each().for_each(Faults::pass);
    }

    /// Every connection ends by a reset.
    pub fn reset(&self) {
        self.each().for_each(Faults::reset);
    }

    /// Bytes vanish, and connections stay.
    pub fn vanish(&self, way: Way) {
        self.each().for_each(|it| it.vanish(way));
    }

    /// The ways themselves.
    pub fn each(&self) -> impl Iterator<Item = &Faults> {
        self.ways.iter().map(|(_, way)| way)
    }
}

impl Guide {
    #[track_caller]
    fn before(server: SocketAddr, ports: &Ports) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (address, is_over) = (listener.local_addr().unwrap(), Arc::<AtomicBool>::default());
        let (ports, over) = (Arc::clone(ports), Arc::clone(&is_over));
        let accept = move || accept(&listener, server, &ports, &over);
        Self { server, address, is_over, accepting: Some(thread::spawn(accept)) }
    }
}

impl Drop for Guide {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        drop(self.accepting.take().map(JoinHandle::join));
    }
}

fn accept(listener: &TcpListener, server: SocketAddr, ports: &Ports, is_over: &AtomicBool) {
    for client in listener.incoming().flatten() {
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        let ports = Arc::clone(ports);
        drop(thread::spawn(move || guide(&client, server, &ports)));
    }
}

/// Serves one connection until either side ends it.
fn guide(client: &TcpStream, server: SocketAddr, ports: &Ports) {
    let Ok(server) = TcpStream::connect(server) else { return };
    thread::scope(|scope| {
        scope.spawn(|| copy(client, &server, &Ports::from([])));
        copy(&server, client, ports);
    });
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, ports: &Ports) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let piece = &mut bytes[..count];
        translate(piece, ports);
        if to.write_all(piece).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Both));
    drop(from.shutdown(Shutdown::Both));
}

/// Answers are short and come in one piece.
fn translate(piece: &mut [u8], ports: &Ports) {
    for at in 0..piece.len().saturating_sub(DIGITS) {
        let begins = at == 0 || !piece[at - 1].is_ascii_alphanumeric();
        if begins && !piece[at + DIGITS].is_ascii_alphanumeric() {
            let found = ports.iter().find(|(server, _)| *server == piece[at..at + DIGITS]);
            if let Some((_, instead)) = found {
                piece[at..at + DIGITS].copy_from_slice(instead);
            }
        }
    }
}

const DIGITS: usize = 5;

#[test]
fn only_whole_ports_are_changed() {
    let ports = Ports::from([(*b"12001", *b"40001")]);
    let mut answer = *b"$5\r\n12001\r\n:12001\r\nx12001 120011 f12001a 127.0.0.1:12001@";
    translate(&mut answer, &ports);
    let expected = *b"$5\r\n40001\r\n:40001\r\nx12001 120011 f12001a 127.0.0.1:40001@";
    assert_eq!(answer, expected);
}
