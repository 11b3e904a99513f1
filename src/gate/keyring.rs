//! Holds what the process knows of all keys, and proves with it that a shown key is the one.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::clock::Moment;
use crate::config;
use crate::gate::Refusal;
use crate::gate::entries::{Entries, Looked, Merged};
use crate::gate::entry::Entry;
use crate::gate::fill::{Fill, Outcome};
use crate::gate::filling::Filling;
use crate::gate::hashing::Hashing;
use crate::gate::known::{Known, OperatorRights, Rights, Stored};
use crate::gate::lease::{Lease, Standing};
use crate::gate::leasing::Leasing;
use crate::gate::limits::Limits;
use crate::gate::recheck::Workers;
use crate::gate::throttle::{Throttle, network};
use crate::gate::vault::Vault;
use crate::gate::writeback::{NewTag, Writeback};
use crate::key::seal::Comparison;
use crate::key::text::{Digest, KeyId, PresentedKey};
use crate::store::{Row, Store};
use crate::tasks::Tasks;

/// What the process knows of all keys.
#[derive(Debug)]
pub struct Keyring {
    entries: Entries,
    lease: Lease,
    vault: Vault,
    store: Store,
    hashing: Hashing,
    throttle: Throttle,
    workers: Workers,
    writeback: Writeback,
    background: (Tasks, Handle),
    fills: Arc<Semaphore>,
    limits: Limits,
    counts: Counts,
}

/// What the keyring did so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Ids that had to be asked for.
    pub fills: AtomicU64,
    /// Records that could not be read.
    pub unreadable: AtomicU64,
    /// Records that the store held in an older state than was known here, or had lost.
    pub rollbacks: AtomicU64,
    /// Requests refused because they would have cost too much.
    pub throttled: AtomicU64,
}

impl Keyring {
    /// Knows nothing yet; [`crate::gate::follow`] fills it. Background work runs on `runtime`.
    pub fn new(parts: Parts, limits: &config::Limits, store: &config::Store) -> Self {
        let (background, account) = (parts.background.clone(), parts.first_account);
        let leasing = Leasing::new(parts.store.clone(), background, limits.scope, account);
        Self {
            entries: Entries::new(store.max_keys_in_memory.get()),
            lease: Lease::new(store.lease, store.when_unreachable, store.serve_known_for),
            vault: parts.vault,
            store: parts.store,
            hashing: parts.hashing,
            throttle: Throttle::new(limits.failures_per_address),
            workers: Workers::default(),
            writeback: parts.writeback,
            background: parts.background,
            fills: Arc::new(Semaphore::new(FILLS_MAX)),
            limits: Limits::new(leasing),
            counts: Counts::default(),
        }
    }

    /// Proves that `key` is the one that was minted under its id; says nothing of its state.
    /// The moment is `now`, or a later one if that took a while.
    pub async fn prove(
        self: &Arc<Self>,
        key: &PresentedKey<'_>,
        address: IpAddr,
        now: Moment,
    ) -> Result<(Arc<Entry>, Moment), Refusal> {
        if self.lease.standing(now) == Standing::Lost {
            return Err(Refusal::StoreUnreachable);
        }
        let known = self.entries.get(key.id());
        let digest = key.digest();
        if let Some(entry) = known {
            match self.compare(&entry, &digest) {
                Compared::Same => return Ok((entry, now)),
                Compared::Another => return Err(Refusal::UnknownKey),
                Compared::NeedsArgon2 => {}
            }
        }
        Box::pin(self.prove_slowly(key.id(), digest, address)).await
    }

    /// The operator whose token is shown, for whom the store is always asked to be reachable.
    pub async fn operator(
        self: &Arc<Self>,
        token: &PresentedKey<'_>,
        address: IpAddr,
        now: Moment,
    ) -> Result<(KeyId, OperatorRights), Refusal> {
        let (entry, now) = self.prove(token, address, now).await?;
        if self.lease.standing(now) != Standing::Held {
            return Err(Refusal::StoreUnreachable);
        }
        let known = entry.known();
        known.judge_state(self.lease.store_time(now))?;
        entry.used(self.lease.store_time(now));
        match known.rights() {
            Rights::Operator => {
                let rights = known.operator().ok_or(Refusal::StoreUnreachable)?;
                Ok((entry.id(), rights))
            }
            Rights::Caller | Rights::LimitedCaller => Err(Refusal::UnknownKey),
            Rights::Unreadable => Err(Refusal::StoreUnreachable),
        }
    }

    /// Whether an operator who was let in before may still change something at `now`.
    pub fn judge_operator(&self, id: KeyId, now: Moment) -> Result<(), Refusal> {
        if self.lease.standing(now) != Standing::Held {
            return Err(Refusal::StoreUnreachable);
        }
        let entry = self.entries.get(id).ok_or(Refusal::StoreUnreachable)?;
        entry.known().judge_state(self.lease.store_time(now))
    }

    /// What the map holds.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// How long it may be trusted.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Where records are opened and sealed.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Where records live.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Argon2's threads.
    pub fn hashing(&self) -> &Hashing {
        &self.hashing
    }

    /// The workers that are to end requests.
    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    /// What it did so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Forgets whoever has been quiet; called now and then.
    pub fn forget_quiet(&self, now: Moment) {
        self.throttle.forget_quiet(now);
    }

    /// Goes over to other limits; who is limited as before stays so.
    pub fn limit(&self, before: &config::Limits, after: &config::Config) {
        if before.failures_per_address != after.limits.failures_per_address {
            self.throttle.set_by_address(after.limits.failures_per_address);
        }
        self.limits.set_defaults(&after.limits, &after.schemes);
    }

    /// What keys may spend.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Takes over a record that the store told of.
    pub fn merge(&self, row: &Row) -> Merged {
        self.entries.merge(row.id, self.read(row))
    }

    /// The same where only what is known can be told what to make of it: of another key, no more is
    /// taken over than that it exists.
    pub fn merge_known(&self, row: &Row) -> Merged {
        self.entries.merge_known(row.id, self.read(row))
    }

    /// What the gate needs of a stored row; one that cannot be read lets nobody in.
    pub fn read(&self, row: &Row) -> Stored {
        match self.vault.open(row).and_then(|it| Known::new(&it, row)) {
            Ok(known) if known.tag().is_some_and(|it| self.vault.knows(it.pepper())) => {
                Stored::Readable(Box::new(known))
            }
            Ok(known) => Stored::Untagged(Box::new(known)),
            Err(fault) => {
                self.counts.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::error!(key.id = %row.id, %fault, "a record cannot be read: its key gets 503");
                Stored::Unreadable
            }
        }
    }

    fn compare(&self, entry: &Entry, digest: &Digest) -> Compared {
        let known = entry.known();
        let Some(tag) = known.tag() else { return Compared::NeedsArgon2 };
        match self.vault.compare(tag, digest) {
            Comparison::Match if self.vault.is_current(tag.pepper()) => Compared::Same,
            Comparison::Match => {
                self.renew_tag(entry, known.revision(), digest);
                Compared::Same
            }
            Comparison::Mismatch => Compared::Another,
            Comparison::UnknownPepper => Compared::NeedsArgon2,
        }
    }

    /// The key is not in memory, or only argon2 can judge it.
    async fn prove_slowly(
        self: &Arc<Self>,
        id: KeyId,
        digest: Digest,
        address: IpAddr,
    ) -> Result<(Arc<Entry>, Moment), Refusal> {
        let entry = self.ask(id, address).await?;
        match self.compare(&entry, &digest) {
            Compared::Same => {}
            Compared::Another => return Err(Refusal::UnknownKey),
            Compared::NeedsArgon2 => self.run_argon2(&entry, digest, address).await?,
        }
        let now = Moment::now();
        match self.lease.standing(now) {
            Standing::Held | Standing::ServingKnown => Ok((entry, now)),
            Standing::Lost => Err(Refusal::StoreUnreachable),
        }
    }

    /// The entry of an id, from the store if need be.
    async fn ask(self: &Arc<Self>, id: KeyId, address: IpAddr) -> Result<Arc<Entry>, Refusal> {
        let held = || self.lease.standing(Moment::now()) == Standing::Held;
        let fill = loop {
            let begun = match self.entries.look(id) {
                Looked::Known(entry) => return Ok(entry),
                Looked::Filling(fill) => Some(fill),
                Looked::Absent if held() => return Err(Refusal::UnknownKey),
                Looked::Absent | Looked::New => self.begin_fill(id, address)?,
            };
            // Where somebody was faster there is something to be seen now.
            if let Some(fill) = begun {
                break fill;
            }
        };
        match fill.outcome().await {
            Outcome::Found(entry) => Ok(entry),
            // Past the lease nobody knows.
            Outcome::Absent if held() => Err(Refusal::UnknownKey),
            Outcome::Absent | Outcome::Failed => Err(Refusal::StoreUnreachable),
        }
    }

    /// Has the store asked for an id; `None` if somebody else was faster.
    fn begin_fill(
        self: &Arc<Self>,
        id: KeyId,
        address: IpAddr,
    ) -> Result<Option<Arc<Fill>>, Refusal> {
        if !self.entries.exists(id) {
            let looked_up = self.throttle.look_up(address, Moment::now());
            looked_up.map_err(|_throttled| self.overloaded())?;
        }
        let permit =
            Arc::clone(&self.fills).try_acquire_owned().map_err(|_full| self.overloaded())?;
        let Some(fill) = self.entries.begin_fill(id) else { return Ok(None) };
        self.counts.fills.fetch_add(1, Ordering::Relaxed);
        let filling = Filling::new(Arc::clone(self), id, Arc::clone(&fill), permit);
        let keyring = Arc::clone(self);
        let (tasks, runtime) = &self.background;
        tasks.spawn_on(
            async move {
                if matches!(filling.read().await, Outcome::Absent) {
                    keyring.throttle.failed(address, Moment::now());
                }
            },
            runtime,
        );
        Ok(Some(fill))
    }

    /// Has argon2 judge a key, one at a time for each id. What is shared is the tag that it
    /// makes, never its verdict: whoever waited compares their own key with that tag.
    async fn run_argon2(
        &self,
        entry: &Arc<Entry>,
        digest: Digest,
        address: IpAddr,
    ) -> Result<(), Refusal> {
        let time = self.lease.store_time(Moment::now());
        if entry.known().rights() == Rights::Unreadable {
            return Err(Refusal::StoreUnreachable);
        }
        entry.known().judge_state(time).map_err(|_state| Refusal::UnknownKey)?;
        self.throttle.slow(address).map_err(|_throttled| self.overloaded())?;
        let turn = entry.turns().take(network(address)).await.map_err(|_full| self.overloaded())?;
        match self.compare(entry, &digest) {
            Compared::Same => return Ok(()),
            Compared::Another => return Err(Refusal::UnknownKey),
            Compared::NeedsArgon2 => {}
        }
        let (phc, revision) = entry.known().argon2id().ok_or(Refusal::StoreUnreachable)?;
        while let Some(pause) = self.throttle.pause_before_run(entry.id()) {
            tokio::time::sleep(pause).await;
        }
        let pending = self.hashing.verify(digest, phc).map_err(|_full| self.overloaded())?;
        let verified = pending.await.map_err(|_ended| Refusal::StoreUnreachable)?;
        match verified.verdict {
            Ok(true) => self.renew_tag(entry, revision, &verified.digest),
            Ok(false) => return Err(Refusal::UnknownKey),
            Err(fault) => {
                tracing::error!(key.id = %entry.id(), %fault, "a stored hash cannot be used");
                return Err(Refusal::StoreUnreachable);
            }
        }
        drop(turn);
        Ok(())
    }

    /// Makes a tag under the current pepper, for this process now and for the store soon.
    fn renew_tag(&self, entry: &Entry, revision: u64, digest: &Digest) {
        let tag = self.vault.tag(digest);
        let new = NewTag { id: entry.id(), revision, tag: tag.clone() };
        // Where too many wait to be written back, a retired pepper still does: the next use of the
        // key tries again. What argon2 has proved is kept here at least.
        let waits = self.write_back(new);
        let is_slow = !entry.known().tag().is_some_and(|it| self.vault.knows(it.pepper()));
        if waits || is_slow {
            entry.learn(revision, &tag);
        }
    }

    /// Sends a tag on its way into the store; says whether there was room.
    pub fn write_back(&self, tag: NewTag) -> bool {
        self.writeback.submit(tag)
    }

    fn overloaded(&self) -> Refusal {
        self.counts.throttled.fetch_add(1, Ordering::Relaxed);
        Refusal::Overloaded
    }
}

/// What a keyring is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where records live.
    pub store: Store,
    /// Where they are opened.
    pub vault: Vault,
    /// Argon2's threads.
    pub hashing: Hashing,
    /// The way of new tags into the store.
    pub writeback: Writeback,
    /// Where reads for requests run.
    pub background: (Tasks, Handle),
    /// By which what this process leases is told from what others do: random.
    pub first_account: u64,
}

enum Compared {
    Same,
    Another,
    NeedsArgon2,
}

/// How many ids are asked for at once.
const FILLS_MAX: usize = 512;
