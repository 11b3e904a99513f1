//! Requests without end, by clients that expect every one of them to be answered well.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::wait::eventually;

/// Some clients that keep their connections, and some that do not.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    ask: Ask,
    stopped: AtomicBool,
    served: AtomicUsize,
    failed: AtomicUsize,
}

impl Load {
    /// Begins.
    pub fn begin(address: SocketAddr, ask: &Ask) -> Self {
        let shared = Arc::new(Shared {
            address,
            ask: ask.clone(),
            stopped: AtomicBool::new(false),
            served: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
        });
        let client = |work: fn(&Shared)| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || work(&shared))
        };
        let keeping = (0..KEEPING).map(|_| client(keep));
        let clients = keeping.chain((0..COMING).map(|_| client(come))).collect();
        Self { shared, clients }
    }

    /// Waits until so many more requests were served.
    #[track_caller]
    pub fn go_on(&self, count: usize) {
        let before = self.shared.served.load(Ordering::SeqCst);
        eventually("requests are served", || {
            self.shared.served.load(Ordering::SeqCst) >= before + count
        });
    }

    /// How many requests were not answered as they should have been.
    pub fn failed(&self) -> usize {
        self.shared.failed.load(Ordering::SeqCst)
    }

    /// Ends, and holds that every request was answered well.
    #[track_caller]
    pub fn end(mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            client.join().unwrap();
        }
        let served = self.shared.served.load(Ordering::SeqCst);
        assert_eq!(self.failed(), 0, "{} failed beside {served} that were served", self.failed());
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
    }
}

/// Asks again and again over one connection, and over another once it is told that this one ends.
fn keep(shared: &Shared) {
    let mut kept = None;
    while !shared.stopped.load(Ordering::SeqCst) {
        let client = match kept.take() {
            Some(client) => Some(client),
            None => shared.connect(),
        };
        kept = client.and_then(|it| shared.ask(it));
        thread::sleep(PAUSE);
    }
}

/// Asks once over each connection.
fn come(shared: &Shared) {
    while !shared.stopped.load(Ordering::SeqCst) {
        if let Some(client) = shared.connect() {
            shared.ask(client);
        }
        thread::sleep(PAUSE);
    }
}

impl Shared {
    fn connect(&self) -> Option<Client> {
        match TcpStream::connect(self.address) {
            Ok(stream) => Some(Client::over(stream)),
            Err(fault) => self.fail(&format!("connecting: {fault}")),
        }
    }

    /// The client, if it may ask again.
    fn ask(&self, mut client: Client) -> Option<Client> {
        match client.try_ask(&self.ask) {
            Ok(answer) if answer.status == 200 => {
                self.served.fetch_add(1, Ordering::SeqCst);
                Some(client).filter(|_| answer.head.get("connection") != Some("close"))
            }
            Ok(answer) => self.fail(&format!("answered {}", answer.status)),
            Err(fault) => self.fail(&format!("asking: {fault}")),
        }
    }

    fn fail<T>(&self, words: &str) -> Option<T> {
        self.failed.fetch_add(1, Ordering::SeqCst);
        eprintln!("a request failed: {words}");
        None
    }
}

const KEEPING: usize = 4;
const COMING: usize = 3;
const PAUSE: Duration = Duration::from_millis(1);
