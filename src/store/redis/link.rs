//! Keeps one connection to the primary, whoever that is by now.
//!
//! A task of its own makes the connection, carries it, and makes another once it is broken or found
//! to lead to the wrong server. Whoever asks waits for it at most as long as they would wait for an
//! answer; while an attempt has failed and the next one is under way, they do not wait at all.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use crate::config::RedisPlace;
use crate::store::Unavailable;
use crate::store::redis::dial::{Dial, DialFault, Introduce};
use crate::store::redis::place::{self, PlaceFault, Primary};
use crate::store::redis::script::{Names, Operation};
use crate::store::redis::server::{self, Eviction, Server};
use crate::tasks::Tasks;

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
    /// The names of what is kept.
    pub names: Names,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How many replicas were named at most.
    pub named: AtomicU32,
}

impl Terms {
    /// Asks for the primary, and remembers how many replicas it is said to have.
    pub async fn find(&self) -> Result<Primary, PlaceFault> {
        let patience = self.connect_timeout / 2;
        let primary = place::find(&self.place, &self.dial, (self.names.any(), patience)).await?;
        self.named.fetch_max(primary.replicas, Ordering::Relaxed);
        Ok(primary)
    }
}

/// The way to the primary.
#[derive(Debug)]
pub struct Link {
    state: watch::Receiver<State>,
    breaks: Arc<Breaks>,
}

#[derive(Debug, Default)]
struct Breaks {
    /// The last connection that was found to be no good.
    number: AtomicU64,
    word: Notify,
}

#[derive(Clone)]
enum State {
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
    number: u64,
    conn: MultiplexedConnection,
    /// What the server is, as it said when the connection was made.
    pub server: Server,
    /// Who it is.
    pub primary: Primary,
}

/// Why an operation has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkFault {
    /// It was not carried out, nor will be.
    #[error("{0}")]
    Refused(String),
    /// It was not carried out: the connection is no good, and another one is on its way.
    #[error("{0}")]
    Moved(String),
    /// Nobody knows whether it was, or still will be.
    #[error("{0}")]
    Lost(String),
}

impl From<LinkFault> for Unavailable {
    fn from(fault: LinkFault) -> Self {
        Self(fault.to_string())
    }
}

impl Link {
    /// Begins to connect, on the runtime of the caller; ends when told to stop.
    pub fn start(terms: Arc<Terms>, voice: Voice, tasks: &Tasks) -> Self {
        let (sender, state) = watch::channel(State::Connecting);
        let breaks = Arc::<Breaks>::default();
        let supervisor = Supervisor { terms, voice, state: sender, breaks: Arc::clone(&breaks) };
        let stop = tasks.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = supervisor.run() => {}
                () = stop.stopped() => {}
            }
        });
        Self { state, breaks }
    }

    /// The connection, once there is one; why not, where the last attempt failed.
    pub async fn live(&self) -> Result<Live, LinkFault> {
        let mut state = self.state.clone();
        // One that was given up stands there until the supervisor has heard of it.
        let is_settled = |it: &State| match it {
            State::Connecting => false,
            State::Up(live) => live.number > self.breaks.number.load(Ordering::Acquire),
            State::Down(_) | State::Unfit(_) => true,
        };
        let state = state.wait_for(is_settled).await;
        match state.as_deref() {
            Ok(State::Up(live)) => Ok(live.clone()),
            Ok(State::Down(why) | State::Unfit(why)) => Err(LinkFault::Refused(why.to_string())),
            Ok(State::Connecting) | Err(_) => Err(LinkFault::Refused("it is closed".to_owned())),
        }
    }

    /// The connection, if there is one now.
    pub fn known(&self) -> Option<Live> {
        match &*self.state.borrow() {
            State::Up(live) => Some(live.clone()),
            State::Connecting | State::Down(_) | State::Unfit(_) => None,
        }
    }

    /// Why the server that there is must not be used.
    pub fn unfit(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Unfit(why) => Some(why.to_string()),
            State::Connecting | State::Down(_) | State::Up(_) => None,
        }
    }

    /// Says that a connection is no good: another one is made.
    pub fn give_up(&self, live: &Live) {
        self.breaks.number.fetch_max(live.number, Ordering::AcqRel);
        self.breaks.word.notify_one();
    }

    /// Gives up whatever there is.
    pub fn renew(&self) {
        if let State::Up(live) = &*self.state.borrow() {
            self.give_up(live);
        }
    }

    /// Has a script carried out. A connection over which that failed is given up, unless the fault
    /// is the operation's own.
    pub async fn run(
        &self,
        live: &Live,
        operation: Operation,
        call: &Call,
    ) -> Result<Value, LinkFault> {
        let script = operation.script(live.server.dialect);
        let mut invocation = script.prepare_invoke();
        for key in &call.keys {
            invocation.key(key);
        }
        for argument in &call.arguments {
            invocation.arg(argument.as_slice());
        }
        let answer = invocation.invoke_async(&mut live.conn.clone()).await;
        answer.map_err(|fault| self.judge(live, &fault))
    }

    /// Sends a command of Redis's own.
    pub async fn send(&self, live: &Live, command: &Cmd) -> Result<Value, LinkFault> {
        let answer = live.conn.clone().send_packed_command(command).await;
        answer.map_err(|fault| self.judge(live, &fault))
    }

    /// How many replicas have all that was written over this connection so far, waiting for it at
    /// most that long.
    pub async fn held(
        &self,
        live: &Live,
        wanted: u32,
        longest: Duration,
    ) -> Result<u32, LinkFault> {
        let mut command = redis::cmd("WAIT");
        command.arg(wanted).arg(u64::try_from(longest.as_millis()).unwrap_or(u64::MAX).max(1));
        let Value::Int(count) = self.send(live, &command).await? else {
            return Err(LinkFault::Lost("it does not answer WAIT as Redis does".to_owned()));
        };
        Ok(u32::try_from(count).unwrap_or_default())
    }

    fn judge(&self, live: &Live, fault: &RedisError) -> LinkFault {
        let said = fault.to_string();
        match fault.code() {
            // The operation's own: the connection is as good as before.
            Some("NOTOURS") => LinkFault::Refused(not_ours(fault.detail().unwrap_or_default())),
            Some("OOM") => LinkFault::Refused("its memory is full (maxmemory)".to_owned()),
            // Redis 6.2 says so within the fault of a script.
            Some("ERR") if said.contains("-OOM ") => {
                LinkFault::Refused("its memory is full (maxmemory)".to_owned())
            }
            // It said no, as another server would not: a replica, one that loads, one that moved.
            Some(code) if MOVED.contains(&code) || said.contains("-READONLY ") => {
                self.give_up(live);
                LinkFault::Moved(said)
            }
            // It says no before it does anything, and would again.
            Some(code) if REFUSED.contains(&code) => LinkFault::Refused(said),
            // A script that broke off may have done something.
            Some(_code) => LinkFault::Lost(said),
            None => {
                self.give_up(live);
                LinkFault::Lost(said)
            }
        }
    }
}

/// What a script is given.
#[derive(Debug)]
pub struct Call {
    /// The names of what it touches.
    pub keys: Vec<String>,
    /// What it reads.
    pub arguments: Vec<Vec<u8>>,
}

fn not_ours(found: &str) -> String {
    if found == "none" {
        "it is not ours any more: it was emptied, or replaced by an empty one. If its contents are \
         lost for good, have the gateways write back what they know with `keyward store restore`"
            .to_owned()
    } else {
        format!("it is not ours any more: another store, {found}, is in its place")
    }
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

struct Supervisor {
    terms: Arc<Terms>,
    voice: Voice,
    state: watch::Sender<State>,
    breaks: Arc<Breaks>,
}

impl Supervisor {
    async fn run(self) {
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

/// What a server says that is not, or not yet, the right one.
const MOVED: [&str; 8] =
    ["READONLY", "MOVED", "ASK", "TRYAGAIN", "LOADING", "CLUSTERDOWN", "MASTERDOWN", "UNBLOCKED"];

/// What it says of us, or of its own state, before it carries anything out.
const REFUSED: [&str; 6] = ["NOPERM", "NOAUTH", "MISCONF", "NOREPLICAS", "BUSY", "CROSSSLOT"];

const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);
