//! Claims about the store in Redis, by a real one.

use std::sync::Arc;

use tempfile::TempDir;

use crate::config::sources::load;
use crate::config::{Config, WhenUnreachable};
use crate::store::conformance::{Gateway, applied, mint};
use crate::store::redis::Redis;
use crate::store::{Store, Unavailable, Write};

#[path = "../../../tests/it/support/redis.rs"]
pub mod server;

conformance!(Place::new().await);

/// A store in a Redis of its own.
struct Place {
    store: Store,
    _directory: TempDir,
    server: server::Redis,
}

impl Place {
    async fn new() -> Self {
        Self::on(server::Redis::start()).await
    }

    async fn on(server: server::Redis) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&server.url(), &directory);
        store.meta().await.unwrap();
        store.sight().trust_the_epoch().await;
        Self { store, _directory: directory, server }
    }
}

fn open(url: &str, directory: &TempDir) -> Store {
    let file = directory.path().join("keyward.toml");
    std::fs::write(&file, format!("[store]\nurl = \"{url}\"\n")).unwrap();
    let config: Config = load(Some(&file), &[], std::iter::empty()).unwrap().config;
    assert_eq!(config.store.when_unreachable, WhenUnreachable::ServeKnown);
    Store::Redis(Arc::new(Redis::open(&config.store).unwrap()))
}
