//! Asks a gateway with keys, and notes what becomes of it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::operator::Held;
use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::history::{Notes, Outcome, Recorder, now};
use crate::support::upstream::{Received, Upstream, ok};

/// Somebody who asks one gateway, and waits for each answer. What was noted is handed over when
/// this is dropped.
#[derive(Debug)]
pub struct Asker {
    gateway: u16,
    address: SocketAddr,
    client: Option<Client>,
    notes: Notes,
    seen: Arc<Seen>,
}

/// Which requests have reached the upstream, so that one is known to be let in whose answer was
/// lost.
#[derive(Debug)]
pub struct Seen {
    next: AtomicU64,
    /// By gateway, as many as may be under way at once, each in the place that its number gives.
    latest: Vec<[AtomicU64; UNDER_WAY]>,
}

impl Seen {
    /// By way of so many gateways.
    pub fn by(gateways: usize) -> Self {
        let none = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { next: AtomicU64::new(1), latest: (0..gateways).map(|_| none()).collect() }
    }

    /// An upstream that sees them.
    pub fn upstream(this: &Arc<Self>) -> Upstream {
        let seen = Arc::clone(this);
        Upstream::answering(move |request| {
            seen.note(request);
            ok("let in")
        })
    }

    fn note(&self, request: &Received) {
        let number = |name: &str| request.header(name)?.parse::<u64>().ok();
        if let (Some(gateway), Some(number)) = (number(GATEWAY), number(NUMBER)) {
            self.place(gateway, number).store(number, Ordering::SeqCst);
        }
    }

    fn has(&self, gateway: u64, number: u64) -> bool {
        self.place(gateway, number).load(Ordering::SeqCst) == number
    }

    fn place(&self, gateway: u64, number: u64) -> &AtomicU64 {
        let place = usize::try_from(number).unwrap() % UNDER_WAY;
        &self.latest[usize::try_from(gateway).unwrap()][place]
    }
}

impl Asker {
    /// Of the gateway with this number.
    pub fn new(gateway: u16, address: SocketAddr, recorder: &Recorder, seen: &Arc<Seen>) -> Self {
        let (notes, seen) = (recorder.notes(), Arc::clone(seen));
        Self { gateway, address, client: None, notes, seen }
    }

    /// Asks with a key; what became of it, or nothing where nobody takes connections.
    pub fn ask(&mut self, key: &Held) -> Option<Outcome> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::over(TcpStream::connect(self.address).ok()?),
        };
        let number = self.seen.next.fetch_add(1, Ordering::Relaxed);
        let ask = Ask::get("/").header("api-key", &key.plaintext);
        let ask =
            ask.header(GATEWAY, &self.gateway.to_string()).header(NUMBER, &number.to_string());
        let begun = now();
        let answered: io::Result<_> = client.try_ask(&ask);
        let outcome = match &answered {
            Ok(answer) => Outcome::of(answer.status),
            Err(_) if self.seen.has(u64::from(self.gateway), number) => Outcome::LetIn,
            Err(_) => Outcome::Other,
        };
        self.notes.request(key.number, self.gateway, begun, outcome);
        let goes_on = answered.is_ok_and(|it| it.head.get("connection") != Some("close"));
        self.client = goes_on.then_some(client);
        Some(outcome)
    }
}

const GATEWAY: &str = "x-asked-at";
const NUMBER: &str = "x-number";
const UNDER_WAY: usize = 1024;
