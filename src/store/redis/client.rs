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

use crate::clock::Moment;
use crate::config::Topology;
use crate::key::seal::Identity;
use crate::store::redis::link::{Call, Link, LinkFault};
use crate::store::redis::reply::{Malformed, Reply};
use crate::store::redis::script::{Names, Operation};
use crate::store::redis::supervisor::{Live, Terms, Voice};
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
    /// When replicas were last waited for in vain, in nanoseconds.
    fell_short: AtomicU64,
    terms: Arc<Terms>,
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
    pub fn start(names: Names, terms: &Arc<Terms>, tasks: &Tasks) -> Self {
        let link = |voice| Link::start(Arc::clone(terms), voice, tasks);
        Self {
            sync: link(Voice::Loud),
            write: link(Voice::Silent),
            read: link(Voice::Silent),
            names,
            identity: OnceLock::new(),
            followed: ArcSwapOption::empty(),
            response_timeout: AtomicU64::new(PATIENCE_MS),
            fell_short: AtomicU64::new(0),
            terms: Arc::clone(terms),
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
        let before = self.followed.load();
        if before.as_ref().is_some_and(|it| it.as_str() == epoch) {
            return false;
        }
        self.followed.store(Some(Arc::new(epoch.to_owned())));
        before.is_some()
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

    /// The same for who writes in the epoch that is followed: a connection that leads elsewhere is
    /// given up.
    pub fn check_write(&self, epoch: &str, live: &Live) -> Result<(), LinkFault> {
        self.check(epoch).inspect_err(|_| self.write.give_up(live))
    }

    /// How many replicas were named at most: one that is away for now still counts.
    pub fn named(&self) -> u32 {
        self.terms.named.load(Ordering::Relaxed)
    }

    /// Whether another server may take the primary's place.
    pub fn may_change_place(&self) -> bool {
        self.terms.place.topology != Topology::Standalone
    }

    /// Asks once more who the primary is and how many replicas it has: one may have come.
    pub async fn ask_for_the_place(&self) {
        if !self.may_change_place() {
            return;
        }
        let Ok(Ok(primary)) = timeout(self.terms.connect_timeout, self.terms.find()).await else {
            return;
        };
        for link in [&self.sync, &self.write, &self.read] {
            if let Some(live) = link.known().filter(|it| it.primary.host != primary.host) {
                link.give_up(&live);
            }
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

    /// The same for all but who follows.
    pub fn renew_others(&self) {
        [&self.write, &self.read].into_iter().for_each(Link::renew);
    }

    /// Has an operation carried out once.
    pub async fn once(
        &self,
        way: Way,
        operation: Operation,
        arguments: impl Into<Arguments>,
    ) -> Result<(Reply, Live), LinkFault> {
        self.once_by(way, operation, arguments.into(), self.end_of(way)).await
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
        let (arguments, end) = (arguments.into(), self.end_of(way));
        let first = self.once_by(way, operation, arguments.clone(), end).await;
        let end = if way == Way::Read { end } else { self.end_of(way) };
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

    /// Who writes may stand behind one who waits for replicas.
    fn end_of(&self, way: Way) -> Instant {
        let behind = u32::from(way == Way::Write && self.named() > 0);
        self.end() + self.response_timeout() * behind
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
        // Whoever comes after one that waited in vain does not hold the others up as well.
        let short = Moment::from_nanos(self.fell_short.load(Ordering::Relaxed));
        let now = Moment::now();
        let longest = if now.since(short) < IN_VAIN { longest.min(SHORT_WAIT) } else { longest };
        let held = link.held(live, wanted, longest);
        match timeout(longest + GRACE, held).await {
            Ok(Ok(held)) => {
                let short = if held < wanted { now.as_nanos() } else { 0 };
                self.fell_short.store(short, Ordering::Relaxed);
                Ok(held)
            }
            Ok(fault) => fault,
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
const PATIENCE_MS: u64 = 30_000;

/// For the answer to a `WAIT` to come back.
const IN_VAIN: Duration = Duration::from_secs(1);
const SHORT_WAIT: Duration = Duration::from_millis(5);
const GRACE: Duration = Duration::from_millis(100);
