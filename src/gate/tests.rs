//! Claims about what a gateway knows, on a real store.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rusqlite::Connection;
use serde_json::Map;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::clock::{Moment, Timestamp};
use crate::config::{Limits, Location, Network, Store as Settings, WhenUnreachable};
use crate::gate::Refusal;
use crate::gate::entry::Entry;
use crate::gate::hashing::Hashing;
use crate::gate::keyring::{Keyring, Parts};
use crate::gate::vault::Vault;
use crate::gate::writeback::{NewTag, Writeback};
use crate::key::argon2id::{self, Cost, Scratch};
use crate::key::record::{Holder, KeyRecord, Permissions, Scope};
use crate::key::seal::{Pepper, Peppers};
use crate::key::text::{ApiKey, PresentedKey};
use crate::store::sqlite::Sqlite;
use crate::store::{Audit, Expect, Row, Store, Write, Written};
use crate::tasks::Tasks;

mod bound;
mod crossing;
mod following;
mod history;
mod merging;
mod proving;
mod purses;
mod slices;
mod versions;

/// A store and what one gateway knows of it.
struct Place {
    store: Store,
    keyring: Arc<Keyring>,
    tags: mpsc::Receiver<NewTag>,
    directory: TempDir,
}

/// A key that was minted.
struct Minted {
    key: ApiKey,
    record: KeyRecord,
}

impl Place {
    fn new() -> Self {
        Self::with(|_settings, _limits| {})
    }

    fn with(change: impl FnOnce(&mut Settings, &mut Limits)) -> Self {
        Self::working_on(Handle::current(), change)
    }

    fn working_on(background: Handle, change: impl FnOnce(&mut Settings, &mut Limits)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyward.db");
        let mut settings = Settings {
            location: Location::Sqlite(path.clone()),
            network: Network::default(),
            response_timeout: Duration::from_secs(20),
            pepper_file: directory.path().join("pepper"),
            retired_pepper_files: Vec::new(),
            when_unreachable: WhenUnreachable::Refuse,
            serve_known_for: Duration::from_mins(1),
            lease: Duration::from_secs(8),
            max_keys_in_memory: NonZeroUsize::new(1_000).unwrap(),
        };
        let mut limits = Limits { failures_per_address: None, ..Limits::default() };
        change(&mut settings, &mut limits);
        let store = Store::Embedded(Arc::new(Sqlite::open(&path).unwrap()));
        Self::of((store, directory), &settings, &limits, background)
    }

    /// A gateway with these settings, and a store.
    fn on(store: Store, directory: TempDir, settings: &Settings, limits: &Limits) -> Self {
        Self::of((store, directory), settings, limits, Handle::current())
    }

    fn of(
        (store, directory): (Store, TempDir),
        settings: &Settings,
        limits: &Limits,
        background: Handle,
    ) -> Self {
        let (writeback, tags) = Writeback::channel();
        let one = NonZeroUsize::MIN;
        let parts = Parts {
            vault: Vault::new(peppers(), store.identity().clone()),
            store: store.clone(),
            hashing: Hashing::start(CHEAP, one, one.saturating_add(63)).unwrap(),
            writeback,
            background: (Tasks::default(), background),
            first_account: 0,
        };
        let keyring = Arc::new(Keyring::new(parts, limits, settings));
        Self { store, keyring, tags, directory }
    }

    /// Mints a key, as an operator would by another gateway.
    async fn mint(&self, seed: u64) -> Minted {
        let minted = Minted::new(seed);
        self.write(&minted.record, Expect::Absent).await;
        minted
    }

    async fn revoke(&self, minted: &Minted) {
        let revoked = minted.record.clone().revoked(NOW);
        self.write(&revoked, Expect::Revision(minted.record.revision)).await;
    }

    async fn write(&self, record: &KeyRecord, expect: Expect) {
        let row = self.keyring.vault().seal(record).unwrap();
        let write = Write { row, expect, idempotency: None, audit: audit() };
        assert!(matches!(self.store.write(write).await, Ok(Written::Applied(_))));
    }

    fn row(&self, record: &KeyRecord) -> Row {
        self.keyring.vault().seal(record).unwrap()
    }

    async fn prove(&self, minted: &Minted) -> Result<Arc<Entry>, Refusal> {
        self.prove_from(minted, [127, 0, 0, 1].into()).await
    }

    async fn prove_from(&self, minted: &Minted, address: IpAddr) -> Result<Arc<Entry>, Refusal> {
        let shown = PresentedKey::parse(minted.key.expose().as_bytes()).unwrap();
        self.keyring.prove(&shown, address, Moment::now()).await.map(|(entry, _)| entry)
    }

    /// The store, behind the back of everybody who uses it.
    fn tamper(&self, sql: &str) {
        let store = Connection::open(self.directory.path().join("keyward.db")).unwrap();
        store.busy_timeout(Duration::from_secs(20)).unwrap();
        store.execute_batch(sql).unwrap();
    }

    fn fills(&self) -> u64 {
        self.keyring.counts().fills.load(Ordering::Relaxed)
    }
}

impl Minted {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let key = ApiKey::mint(&"kw".parse().unwrap(), &mut rng);
        let phc = argon2id::hash(&key.digest(), CHEAP, &mut rng, &mut Scratch::default()).unwrap();
        let record = KeyRecord {
            id: key.id(),
            prefix: "kw".parse().unwrap(),
            last_digits: key.last_digits().to_owned(),
            name: "billing".parse().unwrap(),
            holder: Holder::Caller(Scope { metadata: Map::new(), ..Scope::default() }),
            created_at: Timestamp::from_micros(NOW.as_micros() + i64::from(rng.random::<u16>())),
            created_by: "alice".to_owned(),
            expires_at: None,
            disabled: false,
            revoked_at: None,
            revision: 1,
            argon2id: phc,
            tag: Some(peppers().tag(&key.digest())),
        };
        Self { key, record }
    }

    fn operator(seed: u64) -> Self {
        let minted = Self::new(seed);
        let holder = Holder::Operator(Permissions::all());
        Self { record: KeyRecord { holder, ..minted.record }, ..minted }
    }

    fn without_tag(self) -> Self {
        Self { record: KeyRecord { tag: None, ..self.record }, ..self }
    }
}

fn peppers() -> Peppers {
    Peppers::new(Pepper::new([7; 32]), vec![Pepper::new([6; 32])])
}

fn audit() -> Audit {
    Audit {
        at: NOW,
        operator: "alice".to_owned(),
        operator_name: "Alice".to_owned(),
        address: "127.0.0.1".to_owned(),
        action: "key.create".to_owned(),
        target: "a key".to_owned(),
        before: None,
        after: None,
    }
}

const CHEAP: Cost = Cost { memory_kib: 8, iterations: 1 };
const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
