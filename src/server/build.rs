//! Puts the parts together, in the order in which they need each other.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Receiver;
use tokio::sync::{oneshot, watch};

use crate::admin::health::{Health, Readiness};
use crate::admin::reload::Reloads;
use crate::admin::serve::{Transport, Words};
use crate::admin::{self, Admin};
use crate::clock::{Moment, Timestamp};
use crate::config::change::Current;
use crate::config::{AccessLog, Config, Gateway};
use crate::gate::follow;
use crate::gate::keyring::Keyring;
use crate::gate::writeback::{self, NewTag};
use crate::listener::bind::BindFault;
use crate::listener::doors::Doors;
use crate::server::certificates::Shown;
use crate::server::metrics::Scrape;
use crate::server::opening::{self, Opening};
use crate::server::plan::Endpoints;
use crate::server::reload::{Counts, Reloading};
use crate::server::rollout::Rollout;
use crate::server::sockets::Sockets;
use crate::server::succession::predecessor::Predecessor;
use crate::server::succession::{Lineage, Succession};
use crate::server::workers::{Common, Workers};
use crate::server::{Addresses, Origin, care, exit, history, last_use, limits, tending};
use crate::store::gateway::{GatewayCard, GatewayId};
use crate::store::{OpenFault, Store, Unavailable};
use crate::tasks::Tasks;
use crate::tasks::descriptors::Descriptors;
use crate::tasks::permits::Stock;
use crate::telemetry::access::AccessSink;
use crate::telemetry::counters::WorkerCounters;
use crate::telemetry::outlet::Inlets;

/// What a server is made of.
pub struct Built {
    pub config: Arc<Config>,
    pub health: Arc<Health>,
    pub addresses: Addresses,
    pub parties: Parties,
    pub workers: Workers,
    pub reloading: Reloading,
    pub succession: Succession,
    pub succeeded: Arc<AtomicBool>,
    /// What turns out to be wrong with the store once it is reached.
    pub unfit: oneshot::Receiver<StartFault>,
}

/// Who works, by when they end.
#[derive(Debug)]
pub struct Parties {
    /// With the requests: workers.
    pub front: Tasks,
    /// With the requests too, where another process takes the calls that come: who lets operators in.
    pub reception: Tasks,
    /// After them: the admin listener, where operators may still wait for receipts.
    pub desk: Tasks,
    /// Last: what keeps the keyring true, and gives those receipts.
    pub back: Tasks,
}

impl Default for Parties {
    fn default() -> Self {
        let [front, desk, back] = [(); 3].map(|()| Tasks::default());
        Self { front, reception: desk.child(), desk, back }
    }
}

/// A gateway that cannot start. The message says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StartFault {
    message: String,
    exit: u8,
}

impl StartFault {
    /// The process's exit code.
    pub fn exit(&self) -> u8 {
        self.exit
    }

    /// A thread or runtime could not be started.
    pub fn thread(fault: &io::Error) -> Self {
        Self { message: format!("a thread could not be started: {fault}"), exit: exit::FAILED }
    }

    /// Something could not be done.
    pub fn failed(fault: &impl ToString) -> Self {
        Self { message: fault.to_string(), exit: exit::FAILED }
    }

    /// The configuration, a pepper or the store is not right.
    pub fn configuration(message: &impl ToString) -> Self {
        Self { message: message.to_string(), exit: exit::CONFIGURATION }
    }
}

impl From<OpenFault> for StartFault {
    fn from(fault: OpenFault) -> Self {
        Self::configuration(&fault)
    }
}

impl From<Unavailable> for StartFault {
    fn from(fault: Unavailable) -> Self {
        Self { message: fault.to_string(), exit: exit::FAILED }
    }
}

impl From<BindFault> for StartFault {
    fn from(fault: BindFault) -> Self {
        Self { message: fault.to_string(), exit: exit::FAILED }
    }
}

/// Sockets first: whatever else goes wrong, nothing was written while another process serves.
/// Requests last: when the first one comes, everything behind the gate is at work.
pub async fn build(
    config: Arc<Config>,
    lines: &Inlets,
    (admin_runtime, origin): (&Handle, Origin),
) -> Result<Built, StartFault> {
    let Origin { lineage: Lineage { inherited, predecessor, program }, reread } = origin;
    let others_wait = !inherited.is_empty();
    let shown = Shown::load(&config)?;
    let count = workers(&config);
    let (descriptors, admins_max) = descriptors(&config, count);
    let endpoints = endpoints(&config, count, &descriptors)?;
    let (groups, watched) = watch::channel(endpoints.groups());
    let sockets = Sockets::open(&config, count, &shown, inherited)?;
    let copies = sockets.copies().map_err(|it| StartFault::failed(&it))?;
    let (opening, tags) = opening::open(&config).await?;
    let keyring = Arc::clone(&opening.keyring);
    let (parties, succeeded) = (Parties::default(), Arc::<AtomicBool>::default());
    let (card, draining) = (card(&config)?, Arc::<AtomicBool>::default());
    let unfit = take_up(opening, (&card, &draining), &parties.back).await?;
    write_back(&keyring, tags, &parties.back);
    shown.watch(&parties.back);
    let counters: Vec<Arc<WorkerCounters>> = (0..count).map(|_| Arc::default()).collect();
    let common = Common {
        access: access(&config, lines),
        tasks: parties.front.clone(),
        succeeded: Arc::clone(&succeeded),
        ..common(&config, &keyring, &endpoints, &descriptors)
    };
    let health = Arc::new(Health::new(Arc::clone(&keyring), draining));
    let current = Current::new(Arc::clone(&config).into());
    let ((reloads, wishes), counts) = (Reloads::channel(), Arc::new(Counts::new(Timestamp::now())));
    let scrape = Scrape {
        keyring: Arc::clone(&keyring),
        id: card.id,
        tally: Arc::default(),
        workers: counters.clone(),
        lines: lines.clone(),
        groups: watched.clone(),
        shown: shown.clone(),
        reloads: Arc::clone(&counts),
        descriptors: descriptors.clone(),
    };
    if others_wait {
        await_readiness(&health, predecessor.as_ref()).await?;
    }
    let parts = admin::Parts {
        keyring: Arc::clone(&keyring),
        config: Arc::clone(&current),
        health: Arc::clone(&health),
        tally: Arc::clone(&scrape.tally),
        scrape: Box::new(move || scrape.text()),
        reloads,
    };
    let entrance = (sockets.admin, admin::serve::doors(admins_max));
    serve_admin(entrance, &shown.admin(), parts, (&parties, admin_runtime));
    let thread = |it: io::Error| StartFault::thread(&it);
    care::start(watched, parties.back.clone()).map_err(thread)?;
    let workers = Workers::start(&common, sockets.gateway, &counters).map_err(thread)?;
    predecessor.into_iter().for_each(Predecessor::may_go);
    let succession = Succession::new(program, copies);
    let rollout = Rollout::new(endpoints, groups, workers.swaps());
    let reloading = Reloading { reread, current, shown, keyring, rollout, counts, wishes };
    Ok(Built {
        config,
        health,
        addresses: sockets.addresses,
        parties,
        workers,
        reloading,
        succession,
        succeeded,
        unfit,
    })
}

/// What every worker is given, with nobody's tasks and without an access log.
fn common(
    config: &Arc<Config>,
    keyring: &Arc<Keyring>,
    endpoints: &Endpoints,
    descriptors: &Descriptors,
) -> Common {
    let count = workers(config);
    Common {
        doors: doors(&config.gateway, descriptors.clone(), count),
        endpoints: endpoints.clone(),
        in_flight: Stock::new(config.gateway.max_in_flight, count),
        config: Arc::clone(config),
        keyring: Arc::clone(keyring),
        access: None,
        tasks: Tasks::default(),
        acceptors: Tasks::default(),
        succeeded: Arc::default(),
    }
}

/// Takes the store up and follows it, here or, where it is away for longer, behind our back; then
/// what is wrong with it may come later.
async fn take_up(
    opening: Opening,
    (card, draining): (&GatewayCard, &Arc<AtomicBool>),
    back: &Tasks,
) -> Result<oneshot::Receiver<StartFault>, StartFault> {
    let (faulty, mut unfit) = oneshot::channel();
    let (keyring, draining) = (Arc::clone(&opening.keyring), Arc::clone(draining));
    let following = follow::run(keyring, card.clone(), draining, back.clone());
    if matches!(opening.keyring.store(), Store::Embedded(_)) {
        opening.take_up().await?;
        back.spawn(following);
        return Ok(unfit);
    }
    let (taken, reached) = oneshot::channel();
    let stop = back.clone();
    back.spawn(async move {
        let taking_up = tokio::select! {
            taking_up = opening.take_up() => taking_up,
            () = stop.stopped() => return,
        };
        match taking_up {
            Ok(()) => {
                taken.send(()).unwrap_or_default();
                following.await;
            }
            Err(fault) => drop(faulty.send(fault)),
        }
    });
    tokio::select! {
        biased;
        Ok(fault) = &mut unfit => return Err(fault),
        _taken_up = reached => {}
        () = tokio::time::sleep(REACHED_WITHIN) => {
            tracing::warn!("the store is away: until it is reached, keys are answered 503");
        }
    }
    Ok(unfit)
}

fn endpoints(config: &Config, workers: usize, max: &Descriptors) -> Result<Endpoints, StartFault> {
    let endpoints = Endpoints::new(config, workers, max.clone());
    endpoints.map_err(|fault| StartFault::configuration(&fault))
}

/// For the sockets of the data plane, and how many connections the control plane may have.
fn descriptors(config: &Config, workers: usize) -> (Descriptors, usize) {
    let files = limits::raise_descriptors();
    let gateway = config.gateway.listen.len() + config.gateway.listen_tls.len();
    let listening = gateway * workers + config.admin.listen.len();
    (Descriptors::new(limits::sockets(files, listening, workers)), limits::admin(files))
}

fn doors(gateway: &Gateway, descriptors: Descriptors, workers: usize) -> Doors {
    let max = limits::connections(gateway.max_connections, descriptors.max());
    Doors::new(max, gateway.max_connections_per_address, workers, descriptors)
}

/// Starts what tells the store of what only the gateway learns.
fn write_back(keyring: &Arc<Keyring>, tags: Receiver<NewTag>, back: &Tasks) {
    back.spawn(last_use::run(Arc::clone(keyring), back.clone()));
    back.spawn(tending::run(Arc::clone(keyring), back.clone()));
    back.spawn(history::run(Arc::clone(keyring), back.clone()));
    let (store, vault) = (keyring.store().clone(), keyring.vault().clone());
    back.spawn(writeback::run(tags, store, vault, back.clone()));
}

fn serve_admin(
    (sockets, doors): (Vec<TcpListener>, Doors),
    transport: &Transport,
    parts: admin::Parts,
    (parties, runtime): (&Parties, &Handle),
) {
    let admin = Arc::new(Admin::new(parts));
    for socket in sockets {
        let (transport, admin) = (transport.clone(), Arc::clone(&admin));
        let (stop, close) = (parties.desk.clone(), parties.reception.clone());
        let rules = (doors.clone(), Words { stop, close });
        parties.desk.spawn_on(admin::serve::run(socket, transport, admin, rules), runtime);
    }
}

/// Who waits in a queue waits better a little longer there than to be told that nobody knows yet.
async fn await_readiness(
    health: &Health,
    predecessor: Option<&Predecessor>,
) -> Result<(), StartFault> {
    let ready = async {
        while health.readiness(Moment::now()) != Readiness::Ready {
            tokio::time::sleep(READINESS_PAUSE).await;
        }
    };
    let limit = if predecessor.is_some() { READINESS_TIME_MAX } else { QUEUE_TIME_MAX };
    match tokio::time::timeout(limit, ready).await {
        Ok(()) => Ok(()),
        // Whoever serves already does it better.
        Err(_elapsed) if predecessor.is_some() => Err(StartFault::failed(
            &"the store did not answer: the process before this one goes on",
        )),
        Err(_elapsed) => Ok(()),
    }
}

/// How many there are to be: where nobody can connect, none.
fn workers(config: &Config) -> usize {
    let is_idle = config.gateway.listen.is_empty() && config.gateway.listen_tls.is_empty();
    if is_idle { 0 } else { limits::workers(config.gateway.workers) }
}

fn access(config: &Config, lines: &Inlets) -> Option<AccessSink> {
    match config.log.access {
        AccessLog::Off => None,
        AccessLog::On => Some(AccessSink::new(lines.access.clone())),
    }
}

/// What this process says of itself in the register.
fn card(config: &Config) -> Result<GatewayCard, StartFault> {
    let random = SysRng.try_next_u64().map_err(|it| StartFault::thread(&it.into()))?;
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let millis = |it: Duration| u64::try_from(it.as_millis()).unwrap_or(u64::MAX);
    Ok(GatewayCard {
        id: GatewayId(format!("gw_{random:016x}")),
        name: format!("{name}-{}", std::process::id()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: Timestamp::now(),
        lease_ms: millis(config.store.lease),
        policy: config.store.when_unreachable,
        serve_known_for_ms: millis(config.store.serve_known_for),
        replicas: 0,
        keys: 0,
        complete: false,
        draining: false,
        closed: Vec::new(),
    })
}

/// Most often it is there, and nobody has to be told that it is not.
const REACHED_WITHIN: Duration = Duration::from_millis(900);
const READINESS_PAUSE: Duration = Duration::from_millis(5);
/// The process that waits for this one waits longer.
const READINESS_TIME_MAX: Duration = Duration::from_secs(30);
const QUEUE_TIME_MAX: Duration = Duration::from_secs(5);
