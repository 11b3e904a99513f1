//! Opens the store, and takes it up: as soon as it is reached, be that at the start or later.
//!
//! A file is there or is not. A store in the network may be away while a gateway starts: then the
//! gateway serves all the same, and answers 503 where it would have to know a key.

use std::sync::Arc;
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Receiver;

use crate::config::{Config, Location};
use crate::gate::hashing::Hashing;
use crate::gate::keyring::{Keyring, Parts};
use crate::gate::vault::Vault;
use crate::gate::writeback::{NewTag, Writeback};
use crate::server::build::StartFault;
use crate::server::{first_token, peppers};
use crate::store::redis::Redis;
use crate::store::sqlite::Sqlite;
use crate::store::{Meta, OpenFault, Store, Unavailable};
use crate::tasks::Tasks;

/// What the process will know of keys, the tags that it makes anew on their way back, and the store
/// that is to be taken up.
pub async fn open(config: &Arc<Config>) -> Result<(Opening, Receiver<NewTag>), StartFault> {
    let store = open_store(config)?;
    let (peppers, meta) = match &store {
        Store::Embedded(_) => {
            let meta = store.meta().await?;
            (peppers::load(&config.store, &meta), Some(meta))
        }
        // A fleet shares one, so none is made here.
        Store::Redis(_) => (peppers::look(&config.store), None),
    };
    let peppers = peppers.map_err(|fault| StartFault::configuration(&fault))?;
    let keys = &config.keys;
    let hashing = Hashing::start(keys.argon2, keys.argon2_threads, keys.argon2_queue);
    let (writeback, tags) = Writeback::channel();
    let parts = Parts {
        store,
        vault: Vault::unplaced(peppers),
        hashing: hashing.map_err(|it| StartFault::thread(&it))?,
        writeback,
        background: (Tasks::default(), Handle::current()),
        first_account: SysRng.try_next_u64().map_err(|it| StartFault::thread(&it.into()))?,
    };
    let keyring = Arc::new(Keyring::new(parts, &config.limits, &config.store));
    keyring.limits().set_defaults(&config.limits, &config.schemes);
    Ok((Opening { keyring, config: Arc::clone(config), meta }, tags))
}

fn open_store(config: &Config) -> Result<Store, OpenFault> {
    Ok(match &config.store.location {
        Location::Sqlite(path) => Store::Embedded(Arc::new(Sqlite::open(path)?)),
        Location::Redis(_) => Store::Redis(Arc::new(Redis::open(&config.store)?)),
    })
}

/// A store that was opened and not yet taken up.
#[derive(Debug)]
pub struct Opening {
    /// What the process will know of keys.
    pub keyring: Arc<Keyring>,
    config: Arc<Config>,
    meta: Option<Meta>,
}

impl Opening {
    /// Takes the store up, however long it is away; an error says that it is not the right one.
    pub async fn take_up(&self) -> Result<(), StartFault> {
        loop {
            match self.try_take_up().await {
                Ok(()) => return Ok(()),
                Err(TakeFault::Unfit(fault)) => return Err(fault),
                Err(TakeFault::Away(fault)) => match self.keyring.store() {
                    Store::Embedded(_) => return Err(fault.into()),
                    Store::Redis(_) => {}
                },
            }
            if let Some(why) = self.keyring.store().unfit() {
                return Err(StartFault::configuration(&why));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_take_up(&self) -> Result<(), TakeFault> {
        let store = self.keyring.store();
        let meta = match &self.meta {
            Some(meta) => meta.clone(),
            None => store.meta().await?,
        };
        let vault = self.keyring.vault();
        let unfit = |it: &dyn std::fmt::Display| TakeFault::Unfit(StartFault::configuration(&it));
        peppers::fit(vault.peppers(), &self.config.store, &meta).map_err(|it| unfit(&it))?;
        if meta.check != Some(vault.check()) {
            // The first, or another one since the last start: the old one may be dropped one day.
            store.set_check(vault.check()).await?;
        }
        vault.place(meta.identity);
        let operators = store.operators().await?;
        let written = first_token::write(&self.config, &self.keyring, operators);
        written.await.map_err(TakeFault::Unfit)?;
        store.answer_within(self.config.store.response_timeout);
        say(store, &self.config);
        Ok(())
    }
}

/// Which row of the protocol's table the store is in.
fn say(store: &Store, config: &Config) {
    let survives = store.endurance().survives().join(", ");
    let location = &config.store.location;
    if survives.is_empty() {
        tracing::warn!(
            store = %location,
            identity = store.identity().0,
            "the store keeps nothing over a crash: acknowledged keys and revocations can be lost. \
             Turn its append-only file on (appendonly yes)"
        );
    } else {
        let identity = &store.identity().0;
        tracing::info!(store = %location, identity, survives, "acknowledged writes are kept");
    }
}

/// Why a store could not be taken up.
enum TakeFault {
    /// It does not answer.
    Away(Unavailable),
    /// It is not the right one, or this process is not set up for it.
    Unfit(StartFault),
}

impl From<Unavailable> for TakeFault {
    fn from(fault: Unavailable) -> Self {
        Self::Away(fault)
    }
}

const PAUSE: Duration = Duration::from_millis(100);
