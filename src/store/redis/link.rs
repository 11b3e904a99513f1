//! Keeps one connection to the primary, whoever that is by now.
//!
//! A task of its own makes the connection, carries it, and makes another once it is broken or found
//! to lead to the wrong server. Whoever asks waits for it at most as long as they would wait for an
//! answer; while an attempt has failed and the next one is under way, they do not wait at all.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::{Cmd, RedisError, Value};
use tokio::sync::watch;

use crate::store::Unavailable;
use crate::store::redis::script::Operation;
use crate::store::redis::supervisor::{Breaks, Live, State, Supervisor, Terms, Voice};
use crate::tasks::Tasks;

/// The way to the primary.
#[derive(Debug)]
pub struct Link {
    state: watch::Receiver<State>,
    breaks: Arc<Breaks>,
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
            Some("NOROOM") => LinkFault::Refused(fault.detail().unwrap_or_default().to_owned()),
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

/// What a server says that is not, or not yet, the right one.
const MOVED: [&str; 8] =
    ["READONLY", "MOVED", "ASK", "TRYAGAIN", "LOADING", "CLUSTERDOWN", "MASTERDOWN", "UNBLOCKED"];

/// What it says of us, or of its own state, before it carries anything out.
const REFUSED: [&str; 6] = ["NOPERM", "NOAUTH", "MISCONF", "NOREPLICAS", "BUSY", "CROSSSLOT"];
