//! Claims about the store in Redis, by a real one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::clock::Timestamp;
use crate::config::Config;
use crate::config::sources::load;
use crate::rate::quota::Window;
use crate::store::conformance::{Gateway, applied, id, mint, revoke, row};
use crate::store::endurance::Endurance;
use crate::store::redis::Redis as Ours;
use crate::store::redis::script::Names;
use crate::store::usage::{UsageRow, beginning_of, hour_of};
use crate::store::{Row, Store, WriteFault, Written};

mod hearing;
mod losses;
mod replicas;
mod slices;
mod topologies;

// Shared with the tests of the real program, which need more of them.
#[expect(dead_code, reason = "each of its users needs another part of it")]
#[path = "../../../tests/it/support/cluster.rs"]
mod cluster;
#[expect(dead_code, reason = "each of its users needs another part of it")]
#[path = "../../../tests/it/support/redis.rs"]
pub mod redis;
#[expect(dead_code, reason = "each of its users needs another part of it")]
#[path = "../../../tests/it/support/sentinel.rs"]
mod sentinel;

claims!(a_test_each, Place::new().await);

/// A store in a Redis of its own.
struct Place {
    store: Store,
    _directory: TempDir,
    server: redis::Redis,
}

impl Place {
    async fn new() -> Self {
        Self::on(redis::Redis::start()).await
    }

    async fn on(server: redis::Redis) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = opened(&format!("url = {:?}", server.url()), &directory).await;
        Self { store, _directory: directory, server }
    }
}

/// A store with these lines in `[store]`, which may say of nobody yet that their entry was lost.
async fn opened(lines: &str, directory: &TempDir) -> Store {
    let store = open(lines, directory);
    store.meta().await.unwrap();
    store.sight().trust_the_epoch().await;
    store
}

fn open(lines: &str, directory: &TempDir) -> Store {
    let file = directory.path().join("keyward.toml");
    std::fs::write(&file, format!("[store]\n{lines}\n")).unwrap();
    let config: Config = load(Some(&file), &[], std::iter::empty()).unwrap().config;
    Store::Redis(Arc::new(Ours::open(&config.store).unwrap()))
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_crash_of_redis() {
    let place = Place::new().await;
    let before = applied(&place.store, mint(1)).await;
    place.server.kill();
    assert!(place.store.find(id(1)).await.is_err());
    assert!(place.store.write(mint(2)).await.is_err());
    place.server.restart();
    assert_eq!(found(&place.store).await, Some(row(1)));
    // It is another life, and the changes go on.
    let after = applied(&place.store, mint(2)).await;
    assert_ne!(after.position.epoch, before.position.epoch);
    assert_eq!(after.position.number, 2);
    let common = place.store.common(&[(7, 7), (1, before.position.nonce)]).await.unwrap().unwrap();
    assert_eq!((common.epoch, common.number), (after.position.epoch, 1));
}

/// What is under the first id, once the store says so.
async fn found(store: &Store) -> Option<Row> {
    loop {
        if let Ok(found) = store.find(id(1)).await {
            return found;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test]
async fn an_emptied_redis_is_not_ours_any_more() {
    let place = Place::new().await;
    applied(&place.store, mint(1)).await;
    place.server.restart_empty();
    let fault = loop {
        match place.store.find(id(1)).await {
            Err(fault) if fault.to_string().contains("not ours") => break fault,
            Err(_) => tokio::time::sleep(PAUSE).await,
            Ok(found) => panic!("{found:?}"),
        }
    };
    assert!(fault.to_string().contains("keyward store restore"), "{fault}");
    assert!(matches!(place.store.write(mint(2)).await, Err(WriteFault::Unavailable(_))));
    assert_eq!(place.server.cli(&["DBSIZE"]).trim(), "0");
}

#[tokio::test]
async fn a_frozen_redis_keeps_nobody_waiting() {
    let place = Place::new().await;
    applied(&place.store, mint(1)).await;
    place.store.answer_within(Duration::from_millis(100));
    place.server.freeze();
    // Whoever asks first finds out; whoever comes later does not wait any more.
    for _ in 0..20 {
        let asked = timeout(Duration::from_secs(10), place.store.find(id(1))).await;
        assert!(asked.expect("it waits for ever").is_err());
    }
    assert!(place.store.write(mint(2)).await.is_err());
    place.server.thaw();
    assert_eq!(found(&place.store).await, Some(row(1)));
}

#[tokio::test]
async fn a_full_memory_takes_revocations_and_no_keys() {
    let place = Place::new().await;
    applied(&place.store, mint(1)).await;
    place.server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = place.store.write(mint(2)).await.unwrap_err();
    assert!(refused.to_string().contains("memory is full"), "{refused}");
    if place.server.info("redis_version").starts_with("6.") {
        // There is no way to say that a script takes little.
        assert!(place.store.write(revoke(1, 1)).await.is_err());
        return;
    }
    applied(&place.store, revoke(1, 1)).await;
    let mut gateway = Gateway::new(&place.store, "a").await;
    gateway.catch_up(&place.store).await;
    assert_eq!(gateway.position.number, 2);
}

#[tokio::test]
async fn history_leaves_the_last_of_the_memory_to_the_rest() {
    let place = Place::new().await;
    let hour = hour_of(Timestamp::now());
    let row = || vec![UsageRow { key: id(1), hour, gateway: 7, cells: vec![1] }];
    // Far more than what moves by itself.
    place.server.cli(&["SETRANGE", "ballast", "67108864", "x"]);
    let used: u64 = place.server.info("used_memory").parse().unwrap();
    let limit = |bytes: u64| {
        place.server.cli(&["CONFIG", "SET", "maxmemory", &bytes.to_string()]);
    };
    limit(used + used / 32);
    let refused = place.store.note_usage(row()).await.unwrap_err();
    assert!(refused.to_string().contains("sixteenth of its memory"), "{refused}");
    applied(&place.store, mint(1)).await;
    limit(used + used / 8);
    place.store.note_usage(row()).await.unwrap();
    assert_eq!(place.store.usage(id(1), hour, hour).await.unwrap(), row());
}

/// Whatever somebody has put in the place of one key's history, that of all others is written and
/// read.
#[tokio::test]
async fn history_that_is_none_is_written_anew() {
    let place = Place::new().await;
    let hour = hour_of(Timestamp::now());
    let rows = [1, 2].map(|it| UsageRow { key: id(it), hour, gateway: 7, cells: vec![1] });
    let day = Window::Day.at(beginning_of(hour)).name;
    let bucket = Names::new("kw").bucket(id(1), &format!("usage:{day}"));
    place.server.cli(&["SET", &bucket, "x"]);
    assert_eq!(place.store.usage(id(1), hour, hour).await.unwrap(), []);
    place.store.note_usage(rows.to_vec()).await.unwrap();
    for row in rows {
        assert_eq!(place.store.usage(row.key, hour, hour).await.unwrap(), [row]);
    }
}

#[tokio::test]
async fn a_redis_that_drops_what_it_likes_is_not_used() {
    let terms = redis::Terms::default().memory(0, "allkeys-lru");
    let server = redis::Redis::start_with(&terms);
    let directory = tempfile::tempdir().unwrap();
    let store = open(&format!("url = {:?}", server.url()), &directory);
    let fault = store.meta().await.unwrap_err().to_string();
    assert!(fault.contains("noeviction"), "{fault}");
    assert!(store.unfit().is_some_and(|it| it.contains("noeviction")));
}

#[tokio::test]
async fn what_it_survives_is_what_its_file_survives() {
    for (durability, endurance) in [
        (redis::durability::Durability::Always, Endurance::Always),
        (redis::durability::Durability::EverySecond, Endurance::EverySecond),
        (redis::durability::Durability::Nothing, Endurance::Memory),
    ] {
        let terms = redis::Terms::default().durability(durability);
        let place = Place::on(redis::Redis::start_with(&terms)).await;
        assert_eq!(place.store.endurance(), endurance);
    }
}

#[test]
fn a_write_whose_connection_breaks_is_made_once_or_said_to_be_unknown() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let place = runtime.block_on(Place::new());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| cut_until(&done, &place.server));
        let applied = runtime.block_on(mint_many(&place.store));
        done.store(true, Ordering::Relaxed);
        assert!(applied > 0);
    });
}

fn cut_until(done: &AtomicBool, server: &redis::Redis) {
    while !done.load(Ordering::Relaxed) {
        server.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    }
}

async fn mint_many(store: &Store) -> usize {
    let mut applied = 0;
    for number in 0..300 {
        match store.write(mint(number)).await {
            Ok(Written::Applied(_)) => applied += 1,
            // A conflict would be with itself.
            Ok(other) => panic!("{other:?}"),
            Err(WriteFault::OutcomeUnknown | WriteFault::Unavailable(_)) => {}
        }
    }
    applied
}

const PAUSE: Duration = Duration::from_millis(20);
