//! Carries operations to the primary, in time.
//!
//! Three connections: one for following alone, whose alarm clock blocks it; one for writes, whose
//! `WAIT` does; one for what reads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::Value;
use tokio::time::{Instant, timeout, timeout_at};

use crate::key::seal::Identity;
use crate::store::redis::link::{Call, Link, LinkFault, Live, Terms, Voice};
use crate::store::redis::reply::{Malformed, Reply};
use crate::store::redis::script::{Names, Operation};
use crate::tasks::Tasks;

/// The ways to the primary, and what every operation needs to know.
#[derive(Debug)]
pub struct Client {
    sync: Link,
    write: Link,
    read: Link,
    names: Names,
    identity: OnceLock<Identity>,
    /// The epoch in which this process last synced.
    followed: ArcSwapOption<String>,
    /// In milliseconds.
    response_timeout: AtomicU64,
}

/// Which connection an operation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// That of the one who follows.
    Sync,
    /// That of writes.
    Write,
    /// That of everything else.
    Read,
}

impl Client {
    /// Begins to connect.
    pub fn start(terms: &Arc<Terms>, tasks: &Tasks) -> Self {
        let link = |voice| Link::start(Arc::clone(terms), voice, tasks);
        Self {
            sync: link(Voice::Loud),
            write: link(Voice::Silent),
            read: link(Voice::Silent),
            names: terms.names.clone(),
            identity: OnceLock::new(),
            followed: ArcSwapOption::empty(),
            response_timeout: AtomicU64::new(PATIENCE_MS),
        }
    }

    /// From now on nobody waits longer for an answer.
    pub fn answer_within(&self, response_timeout: Duration) {
        let millis = u64::try_from(response_timeout.as_millis()).unwrap_or(u64::MAX);
        self.response_timeout.store(millis, Ordering::Relaxed);
    }

    /// How long anybody waits for an answer.
    pub fn response_timeout(&self) -> Duration {
        Duration::from_millis(self.response_timeout.load(Ordering::Relaxed))
    }

    /// The names of what is kept.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The random name of the store, once it was opened.
    pub fn identity(&self) -> &Identity {
        static NONE: Identity = Identity(String::new());
        self.identity.get().unwrap_or(&NONE)
    }

    /// The store has this name for as long as the process lives.
    pub fn set_identity(&self, identity: Identity) {
        drop(self.identity.set(identity));
    }

    /// The epoch in which this process last synced.
    pub fn followed(&self) -> Option<Arc<String>> {
        self.followed.load_full()
    }

    /// This process has synced in `epoch`; says whether that is news.
    pub fn set_followed(&self, epoch: &str) -> bool {
        let is_new = self.followed.load().as_ref().is_none_or(|it| it.as_str() != epoch);
        if is_new {
            self.followed.store(Some(Arc::new(epoch.to_owned())));
        }
        is_new
    }

    /// An answer to who reads records counts only in the epoch that is followed: what another
    /// primary says may be of the past.
    pub fn check(&self, epoch: &str) -> Result<(), LinkFault> {
        match &*self.followed.load() {
            Some(followed) if followed.as_str() != epoch => {
                Err(LinkFault::Moved("it has another primary than is followed".to_owned()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The connection of a way.
    pub fn link(&self, way: Way) -> &Link {
        match way {
            Way::Sync => &self.sync,
            Way::Write => &self.write,
            Way::Read => &self.read,
        }
    }

    /// Finds the primary anew, whatever the connections say.
    pub fn renew(&self) {
        [&self.sync, &self.write, &self.read].into_iter().for_each(Link::renew);
    }

    /// Has an operation carried out once.
    pub async fn once(
        &self,
        way: Way,
        operation: Operation,
        arguments: impl Into<Arguments>,
    ) -> Result<(Reply, Live), LinkFault> {
        self.once_by(way, operation, arguments.into(), self.end()).await
    }

    async fn once_by(
        &self,
        way: Way,
        operation: Operation,
        arguments: Arguments,
        end: Instant,
    ) -> Result<(Reply, Live), LinkFault> {
        if arguments.whose == Whose::Ours && self.identity().0.is_empty() {
            return Err(LinkFault::Refused("it was not reached yet".to_owned()));
        }
        let link = self.link(way);
        let live = match timeout_at(end, link.live()).await {
            Ok(live) => live?,
            Err(_elapsed) => return Err(LinkFault::Refused(self.silence())),
        };
        let call = self.call(&arguments);
        let value = match timeout_at(end, link.run(&live, operation, &call)).await {
            Ok(answer) => answer?,
            Err(_elapsed) => {
                link.give_up(&live);
                return Err(LinkFault::Lost(self.silence()));
            }
        };
        Ok((reply(value)?, live))
    }

    /// Has an operation carried out that does no harm if it is carried out twice: where a
    /// connection breaks over it, over the next one. Who reads waits no longer for that; a write
    /// whose outcome is not known is worth another wait.
    pub async fn ask(
        &self,
        way: Way,
        operation: Operation,
        arguments: impl Into<Arguments>,
    ) -> Result<(Reply, Live), LinkFault> {
        let (arguments, end) = (arguments.into(), self.end());
        let first = self.once_by(way, operation, arguments.clone(), end).await;
        let end = if way == Way::Read { end } else { self.end() };
        match first {
            Err(LinkFault::Moved(_)) => self.once_by(way, operation, arguments, end).await,
            Err(lost @ LinkFault::Lost(_)) => {
                // What the first one did is not known, whatever becomes of the second.
                let second = self.once_by(way, operation, arguments, end).await;
                second.map_err(|_again| lost)
            }
            done @ (Ok(_) | Err(LinkFault::Refused(_))) => done,
        }
    }

    fn end(&self) -> Instant {
        Instant::now() + self.response_timeout()
    }

    /// How many replicas hold what was written last over this way, if any have to.
    pub async fn held(&self, way: Way, live: &Live, wanted: u32) -> Result<u32, LinkFault> {
        self.held_within(way, live, (wanted, self.response_timeout())).await
    }

    /// The same, for no longer than that.
    pub async fn held_within(
        &self,
        way: Way,
        live: &Live,
        (wanted, longest): (u32, Duration),
    ) -> Result<u32, LinkFault> {
        if wanted == 0 {
            return Ok(0);
        }
        let link = self.link(way);
        let held = link.held(live, wanted, longest);
        match timeout(longest + GRACE, held).await {
            Ok(held) => held,
            Err(_elapsed) => {
                link.give_up(live);
                Err(LinkFault::Lost(self.silence()))
            }
        }
    }

    fn silence(&self) -> String {
        format!("it did not answer within {} ms", self.response_timeout().as_millis())
    }

    fn call(&self, arguments: &Arguments) -> Call {
        let identity = match arguments.whose {
            Whose::Ours => self.identity().0.clone().into_bytes(),
            Whose::Anybodys => Vec::new(),
        };
        let keys = self.names.common().iter().cloned().chain(arguments.key.clone()).collect();
        let values = arguments.values.iter().cloned();
        Call { keys, arguments: std::iter::once(identity).chain(values).collect() }
    }
}

/// What an operation is given.
#[derive(Clone, Debug)]
pub struct Arguments {
    whose: Whose,
    key: Option<String>,
    values: Arc<[Vec<u8>]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Ours,
    Anybodys,
}

impl From<Vec<Vec<u8>>> for Arguments {
    fn from(values: Vec<Vec<u8>>) -> Self {
        Self { whose: Whose::Ours, key: None, values: values.into() }
    }
}

impl Arguments {
    /// For a store that may have any name, or none yet.
    pub fn for_any(values: Vec<Vec<u8>>) -> Self {
        Self { whose: Whose::Anybodys, ..values.into() }
    }

    /// With one more key.
    #[must_use]
    pub fn with_key(self, key: Option<String>) -> Self {
        Self { key, ..self }
    }
}

impl From<Malformed> for LinkFault {
    fn from(fault: Malformed) -> Self {
        Self::Lost(fault.to_string())
    }
}

/// A number stands for itself.
fn reply(value: Value) -> Result<Reply, Malformed> {
    if matches!(value, Value::Int(_)) {
        Reply::of(Value::Array(vec![value]))
    } else {
        Reply::of(value)
    }
}

/// At a start.
const PATIENCE_MS: u64 = 5_000;

/// For the answer to a `WAIT` to come back.
const GRACE: Duration = Duration::from_millis(100);
