//! Keeps records in Redis, shared by every gateway of a fleet.
//!
//! Everything that must agree is in one slot and every operation is one script, so that each is one
//! step. What a primary has said counts in its own life alone: the scripts say in which one they
//! were carried out.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Builder;

use crate::config;
use crate::config::{Location, Replicas, WhenUnreachable};
use crate::key::seal::Identity;
use crate::store::endurance::Endurance;
use crate::store::redis::client::{Arguments, Client, Way};
use crate::store::redis::dial::Dial;
use crate::store::redis::leasing::Leasing;
use crate::store::redis::reply::{Malformed, Reply};
use crate::store::redis::script::{Names, Operation};
use crate::store::redis::server::Disk;
use crate::store::redis::supervisor::{Live, Terms};
use crate::store::redis::text::bytes;
use crate::store::sight::Sight;
use crate::store::{Meta, OpenFault, Position, Unavailable};
use crate::tasks::Tasks;

pub mod client;
pub mod dial;
pub mod following;
pub mod inspect;
pub mod leasing;
pub mod link;
pub mod place;
pub mod records;
pub mod reply;
pub mod script;
pub mod server;
pub mod supervisor;
pub mod text;
pub mod usage;
pub mod watcher;
pub mod writing;

#[cfg(test)]
pub mod tests;

/// The store. Dropping it closes its connections.
#[derive(Debug)]
pub struct Redis {
    client: Arc<Client>,
    leasing: Leasing,
    sight: Arc<Sight>,
    replicas: Replicas,
    policy: WhenUnreachable,
    location: String,
    /// Whether every replica holds this process's entry in the register.
    is_known_everywhere: AtomicBool,
    tasks: Tasks,
    thread: Option<JoinHandle<()>>,
}

impl Redis {
    /// Begins to connect. Nothing is known before [`Redis::meta`] has answered.
    pub fn open(settings: &config::Store) -> Result<Self, OpenFault> {
        let Location::Redis(place) = &settings.location else {
            return Err(OpenFault(format!("`{}` is no Redis", settings.location)));
        };
        let dial = Dial::new(place, &settings.network).map_err(|it| OpenFault(it.to_string()))?;
        let names = Names::new(&settings.network.namespace);
        let terms = |slot: &str| {
            Arc::new(Terms {
                place: place.clone(),
                dial: dial.clone(),
                slot: slot.to_owned(),
                connect_timeout: settings.network.connect_timeout,
                named: AtomicU32::new(0),
            })
        };
        let fault =
            |it: io::Error| OpenFault(format!("the store's thread cannot be started ({it})"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(fault)?;
        let (tasks, sight) = (Tasks::default(), Arc::new(Sight::blank()));
        let (client, leasing) = {
            let _inside = runtime.enter();
            let leasing = Leasing::new(place, &names, terms, &tasks);
            (Arc::new(Client::start(names.clone(), &terms(names.any()), &tasks)), leasing)
        };
        let watching = watcher::run(Arc::clone(&client), Arc::clone(&sight));
        let stopped = tasks.clone();
        let work = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = watching => {}
                    () = stopped.stopped() => {}
                }
            });
        };
        let thread = thread::Builder::new().name("store-redis".to_owned()).spawn(work);
        Ok(Self {
            client,
            leasing,
            sight,
            replicas: settings.network.replicas,
            policy: settings.when_unreachable,
            location: settings.location.to_string(),
            is_known_everywhere: AtomicBool::new(false),
            tasks,
            thread: Some(thread.map_err(fault)?),
        })
    }

    /// From now on nobody waits longer for an answer.
    pub fn answer_within(&self, response_timeout: Duration) {
        self.client.answer_within(response_timeout);
    }

    /// The random name of this store; empty before it was reached.
    pub fn identity(&self) -> &Identity {
        self.client.identity()
    }

    /// What the store knows of itself; the first one makes it where there is none.
    pub async fn meta(&self) -> Result<Meta, Unavailable> {
        if !self.identity().0.is_empty() {
            let (reply, _live) = self.client.ask(Way::Read, Operation::Meta, vec![]).await?;
            return Ok(read_meta(reply)?.1);
        }
        let random = uuid::Uuid::now_v7().simple().to_string();
        let arguments = Arguments::for_any(vec![random.into_bytes(), bytes(FORMAT)]);
        let (reply, _live) = self.client.ask(Way::Write, Operation::Init, arguments).await?;
        let (format, meta) = read_meta(reply)?;
        if format != FORMAT {
            return Err(Unavailable(format!(
                "it was written by another version of keyward: its format is {format}, and this \
                 version knows {FORMAT}"
            )));
        }
        self.client.set_identity(meta.identity.clone());
        Ok(meta)
    }

    /// Remembers the check value of the pepper that seals from now on.
    pub async fn set_check(&self, check: [u8; 16]) -> Result<(), Unavailable> {
        self.client.ask(Way::Write, Operation::SetCheck, vec![check.to_vec()]).await?;
        Ok(())
    }

    /// The register as this process sees it move.
    pub fn sight(&self) -> &Sight {
        &self.sight
    }

    /// What is wrong with what was reached, so that it must not be used.
    pub fn unfit(&self) -> Option<String> {
        self.client.link(Way::Write).unfit()
    }

    /// What an acknowledged write survives here, as far as the primary was reached.
    pub fn endurance(&self) -> Endurance {
        let known =
            self.client.link(Way::Sync).known().or_else(|| self.client.link(Way::Write).known());
        known.map_or(Endurance::Unknown, |live| self.endurance_of(&live))
    }

    fn endurance_of(&self, live: &Live) -> Endurance {
        let named = self.client.named();
        match live.server.disk {
            Disk::Never => Endurance::Memory,
            // Where another server may take its place, one may that was not named yet.
            Disk::Always | Disk::EverySecond | Disk::Whenever if self.client.may_change_place() => {
                if named > 0 && self.wanted_of(named) >= named {
                    Endurance::AllReplicas
                } else {
                    Endurance::SomeReplicas
                }
            }
            Disk::Always => Endurance::Always,
            Disk::EverySecond => Endurance::EverySecond,
            Disk::Whenever => Endurance::Whenever,
        }
    }

    /// How many of so many replicas have to hold what this process writes.
    fn wanted_of(&self, replicas: u32) -> u32 {
        match (self.replicas, self.policy) {
            (Replicas::Number(number), _) => number,
            (Replicas::Auto, WhenUnreachable::ServeKnown) => 0,
            (Replicas::Auto, WhenUnreachable::Refuse) => replicas,
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.tasks.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_default();
        }
    }
}

/// What `meta` answers: the format, and the rest.
fn read_meta(mut reply: Reply) -> Result<(String, Meta), Malformed> {
    let (identity, format) = (reply.text()?, reply.text()?);
    let check = reply.maybe_bytes()?;
    let check = check.map(|it| it.try_into().map_err(|_length| Malformed)).transpose()?;
    let (records, epoch) = (reply.number()?, reply.text()?);
    let mut last = reply.inner()?;
    let (number, nonce) = (last.number()?, text::read_nonce(&last.bytes()?)?);
    let end = Position { epoch, number, nonce };
    Ok((format, Meta { identity: Identity(identity), check, records, end }))
}

impl From<Malformed> for Unavailable {
    fn from(fault: Malformed) -> Self {
        Self(fault.to_string())
    }
}

/// The format of records.
const FORMAT: &str = "1";
