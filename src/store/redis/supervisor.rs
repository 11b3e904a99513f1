//! Makes the connections of a link: one, and another once it is broken or given up.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use crate::config::RedisPlace;
use crate::store::redis::dial::{Dial, DialFault, Introduce};
use crate::store::redis::place::{self, PlaceFault, Primary};
use crate::store::redis::server::{self, Eviction, Server};

/// Whether a link says in the log what becomes of it: of several to one server, one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// It does.
    Loud,
    /// It does not.
    Silent,
}

/// What every link of one store needs to know.
#[derive(Debug)]
pub struct Terms {
    /// Where the store is.
    pub place: RedisPlace,
    /// How connections are made.
    pub dial: Dial,
    /// Whoever owns this is the primary: what is kept has it in its names.
    pub slot: String,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How many replicas were named at most.
    pub named: AtomicU32,
}

impl Terms {
    /// Asks for the primary, and remembers how many replicas it is said to have.
    pub async fn find(&self) -> Result<Primary, PlaceFault> {
        let patience = self.connect_timeout / 2;
        let primary = place::find(&self.place, &self.dial, (&self.slot, patience)).await?;
        self.named.fetch_max(primary.replicas, Ordering::Relaxed);
        Ok(primary)
    }
}

/// Which connections were found to be no good.
#[derive(Debug, Default)]
pub struct Breaks {
    /// The last connection that was found to be no good.
    pub number: AtomicU64,
    /// That there is another one.
    pub word: Notify,
}

/// How a link stands.
#[derive(Clone)]
pub enum State {
    /// The first attempt, or the first after a connection that worked.
    Connecting,
    /// There is one.
    Up(Live),
    /// The last attempt failed.
    Down(Arc<str>),
    /// There is a server that must not be used.
    Unfit(Arc<str>),
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "Connecting",
            Self::Up(_) => "Up",
            Self::Down(_) => "Down",
            Self::Unfit(_) => "Unfit",
        })
    }
}

/// A connection that works, as far as anybody knows.
#[derive(Clone)]
pub struct Live {
    /// Counts the connections of a link.
    pub number: u64,
    /// Where commands are given.
    pub conn: MultiplexedConnection,
    /// What the server is, as it said when the connection was made.
    pub server: Server,
    /// Who it is.
    pub primary: Primary,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum ConnectFault {
    /// Nobody is there, or not yet.
    #[error("{0}")]
    Away(String),
    /// There is a server that must not be used.
    #[error("{0}")]
    Unfit(String),
}

impl From<ConnectFault> for State {
    fn from(fault: ConnectFault) -> Self {
        match fault {
            ConnectFault::Away(why) => Self::Down(why.into()),
            ConnectFault::Unfit(why) => Self::Unfit(why.into()),
        }
    }
}

impl From<PlaceFault> for ConnectFault {
    fn from(fault: PlaceFault) -> Self {
        Self::Away(fault.to_string())
    }
}

/// What keeps a link's connection.
#[derive(Debug)]
pub struct Supervisor {
    /// What it needs to know.
    pub terms: Arc<Terms>,
    /// Whether it says what becomes of it.
    pub voice: Voice,
    /// Where it says how the link stands.
    pub state: watch::Sender<State>,
    /// Which connections it is to give up.
    pub breaks: Arc<Breaks>,
}

impl Supervisor {
    /// Makes one connection after another, for as long as it is polled.
    pub async fn run(self) {
        let mut pause = PAUSE_MIN;
        let mut number = 0;
        let mut said: Option<String> = None;
        loop {
            number += 1;
            match self.connect(number).await {
                Ok((live, driver)) => {
                    pause = PAUSE_MIN;
                    self.say_up(&mut said, &live);
                    self.state.send_replace(State::Up(live));
                    tokio::select! {
                        () = driver => {}
                        () = self.is_given_up(number) => {}
                    }
                    self.state.send_replace(State::Connecting);
                }
                Err(fault) => {
                    self.say_down(&mut said, &fault);
                    self.state.send_replace(State::from(fault));
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    fn say_up(&self, said: &mut Option<String>, live: &Live) {
        if said.take().is_some() && self.voice == Voice::Loud {
            tracing::info!(primary = %live.primary.host, "the store is reached again");
        }
    }

    fn say_down(&self, said: &mut Option<String>, fault: &ConnectFault) {
        let why = fault.to_string();
        if said.as_ref() != Some(&why) && self.voice == Voice::Loud {
            tracing::warn!(fault = why, "the store cannot be reached");
        }
        *said = Some(why);
    }

    async fn is_given_up(&self, number: u64) {
        while self.breaks.number.load(Ordering::Acquire) < number {
            self.breaks.word.notified().await;
        }
    }

    async fn connect(
        &self,
        number: u64,
    ) -> Result<(Live, impl Future<Output = ()> + use<>), ConnectFault> {
        let limit = self.terms.connect_timeout;
        match timeout(limit, self.try_connect(number)).await {
            Ok(connected) => connected,
            Err(_elapsed) => Err(ConnectFault::Away(format!(
                "{}: no connection within {} ms",
                self.terms.place,
                limit.as_millis()
            ))),
        }
    }

    async fn try_connect(
        &self,
        number: u64,
    ) -> Result<(Live, impl Future<Output = ()> + use<>), ConnectFault> {
        let dial = &self.terms.dial;
        let primary = self.terms.find().await?;
        let fault = |fault| PlaceFault::Server { host: primary.host.clone(), fault };
        let mut dialled = dial.connect(&primary.host, Introduce::Yes).await.map_err(fault)?;
        let server = server::ask(&mut dialled).await.map_err(fault)?;
        if !server.is_primary {
            return Err(fault(DialFault::Replica).into());
        }
        if server.eviction == Eviction::On {
            return Err(ConnectFault::Unfit(format!(
                "the store at {} drops records where its memory is full: set its maxmemory-policy \
                 to noeviction",
                primary.host
            )));
        }
        let live = Live { number, conn: dialled.conn, server, primary };
        Ok((live, dialled.driver))
    }
}

const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);
