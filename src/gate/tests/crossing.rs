//! Claims about the way from one life of the store to the next, on a real Redis.

use tokio::time::timeout;

use super::*;
use crate::config::sources::load;
use crate::gate::follow::Follower;
use crate::gate::lease::Standing;
use crate::gate::tests::following::card;
use crate::store::Beat;
use crate::store::gateway::{GatewayCard, GatewayId};
use crate::store::redis::Redis;

// Shared with the tests of the store and of the real program, which need more of them.
#[expect(dead_code, reason = "each of its users needs another part of it")]
#[expect(clippy::duplicate_mod, reason = "no floor may name the tests of another one")]
#[path = "../../../tests/it/support/redis.rs"]
mod redis;
#[expect(dead_code, reason = "each of its users needs another part of it")]
#[expect(clippy::duplicate_mod, reason = "no floor may name the tests of another one")]
#[path = "../../../tests/it/support/sentinel.rs"]
mod sentinel;

impl Place {
    /// On the store that these lines of `[store]` name.
    async fn on_redis(lines: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keyward.toml");
        std::fs::write(&file, format!("[store]\n{lines}\n")).unwrap();
        let settings = load(Some(&file), &[], std::iter::empty()).unwrap().config.store;
        let store = Store::Redis(Arc::new(Redis::open(&settings).unwrap()));
        store.meta().await.unwrap();
        let limits = Limits { failures_per_address: None, ..Limits::default() };
        Self::on(store, directory, &settings, &limits)
    }

    /// Goes on until that is so, whatever fails on the way.
    async fn follow_until(&self, follower: &mut Follower, is_so: impl Fn(&Self) -> bool) {
        let steps = async {
            while !is_so(self) {
                try_step(follower).await;
            }
        };
        timeout(PATIENCE, steps).await.expect("it goes on and on");
    }

    fn is_held(&self) -> bool {
        self.keyring.lease().standing(Moment::now()) == Standing::Held
    }

    fn written_back(&self) -> u64 {
        self.keyring.counts().rollbacks.load(Ordering::Relaxed)
    }
}

/// How many steps it got on: one, or none.
async fn try_step(follower: &mut Follower) -> usize {
    let step = follower.step().await;
    if step.is_err() {
        tokio::time::sleep(PAUSE).await;
    }
    usize::from(step.is_ok())
}

/// All that a store keeps, as it is now; or puts it back, as after a failover that lost the rest.
fn copy(server: &redis::Redis, from: &str, to: &str) {
    for part in ["meta", "records", "changes", "order"] {
        let (from, to) = (format!("{from}:{part}"), format!("{to}:{part}"));
        assert_eq!(server.cli(&["COPY", &from, &to, "REPLACE"]), "1", "{from}");
    }
}

#[tokio::test]
async fn what_a_primary_lost_is_brought_again_where_the_next_one_loses_it_too() {
    let server = redis::Redis::start();
    let place = Place::on_redis(&format!("url = {:?}", server.url())).await;
    let (key, other) = (place.mint(1).await, place.mint(2).await);
    let mut follower = place.follower();
    place.follow_until(&mut follower, |it| it.keyring.entries().is_loaded() && it.is_held()).await;
    copy(&server, "{kw}", "{kw}:kept");
    place.revoke(&key).await;
    let minted = place.mint(3).await;
    let is_known = |it: &Place| it.keyring.entries().get(minted.record.id).is_some();
    place.follow_until(&mut follower, is_known).await;
    // Each time it is lost again before the gateway has heard of it from the store.
    for count in [2, 4, 6] {
        copy(&server, "{kw}:kept", "{kw}");
        server.restart();
        place.follow_until(&mut follower, |it| it.written_back() >= count).await;
        assert_eq!(place.written_back(), count);
    }
    place.keyring.lease().surrender();
    place.follow_until(&mut follower, Place::is_held).await;
    for (minted, is_revoked) in [(&key, true), (&other, false), (&minted, false)] {
        let row = place.store.find(minted.record.id).await.unwrap().unwrap();
        let record = place.keyring.vault().open(&row).unwrap();
        assert_eq!(record.revoked_at.is_some(), is_revoked);
    }
}

#[tokio::test]
async fn what_is_heard_is_known_at_once_and_confirmed_once_the_store_has_it() {
    let server = redis::Redis::start();
    let place = Place::on_redis(&format!("url = {:?}", server.url())).await;
    let mut follower = place.follower();
    place.follow_until(&mut follower, |it| it.keyring.entries().is_loaded() && it.is_held()).await;
    let confirmed = async || {
        let ticket = place.store.ticket().await.unwrap();
        (ticket.position.number, ticket.register.entries[0].confirmed.number)
    };
    let one = hear(&mut follower, place.mint(1)).await;
    assert!(place.keyring.entries().exists(one.record.id));
    assert_eq!(confirmed().await, (1, 0));
    place.keyring.lease().surrender();
    place.follow_until(&mut follower, Place::is_held).await;
    let entry = place.keyring.entries().get(one.record.id).unwrap();
    assert_eq!((entry.known().judge_state(NOW), confirmed().await), (Ok(()), (1, 1)));
    hear(&mut follower, place.revoke(&one)).await;
    assert_eq!(entry.known().judge_state(NOW), Err(Refusal::RevokedKey));
    assert_eq!(confirmed().await, (2, 1));
    place.keyring.lease().surrender();
    place.follow_until(&mut follower, Place::is_held).await;
    assert_eq!(confirmed().await, (2, 2));

    // Where it is gone again before that, in the same life, it is offered to the store.
    let two = place.mint(2).await;
    place.keyring.lease().surrender();
    place.follow_until(&mut follower, Place::is_held).await;
    hear(&mut follower, place.revoke(&two)).await;
    server.cli(&["XDEL", "{kw}:changes", "4-0"]);
    server.cli(&["HDEL", "{kw}:records", two.record.id.as_str()]);
    place.keyring.lease().surrender();
    place.follow_until(&mut follower, Place::is_held).await;
    let revoked = two.record.clone().revoked(NOW);
    assert_eq!(place.store.find(revoked.id).await.unwrap(), Some(place.row(&revoked)));
}

/// Has something changed while the follower waits for the alarm clock.
async fn hear<T>(follower: &mut Follower, change: impl Future<Output = T>) -> T {
    let later = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        change.await
    };
    let (step, changed) = tokio::join!(follower.step(), later);
    step.unwrap();
    changed
}

#[tokio::test]
async fn who_reads_all_again_finds_its_way_though_the_store_begins_yet_another_life() {
    let server = redis::Redis::start();
    let place = Place::on_redis(&format!("url = {:?}", server.url())).await;
    let key = place.mint(1).await;
    let mut follower = place.follower();
    place.follow_until(&mut follower, |it| it.keyring.entries().is_loaded() && it.is_held()).await;
    // Nothing of the changes that it knows is left.
    server.cli(&["DEL", "{kw}:changes"]);
    server.restart();
    while try_step(&mut follower).await == 0 {}
    server.restart();
    place.keyring.lease().surrender();
    place.follow_until(&mut follower, Place::is_held).await;
    assert!(place.prove(&key).await.is_ok());
}

#[tokio::test]
async fn nobody_comes_in_by_a_change_of_a_life_that_is_not_open() {
    let terms = redis::Terms::default().durability(redis::Durability::EverySecond);
    let server = redis::Redis::start_with(&terms);
    let place = Place::on_redis(&format!("url = {:?}\nlease = \"8s\"", server.url())).await;
    let mut follower = place.follower();
    place.follow_until(&mut follower, |it| it.keyring.entries().is_loaded() && it.is_held()).await;
    // There is a key that it does not know, and somebody else who follows.
    let key = Minted::new(1);
    place.keyring.merge_known(&place.row(&key.record));
    let fellow = async || {
        let position = place.store.ticket().await.unwrap().position;
        let card = GatewayCard { id: GatewayId("gw_2".to_owned()), ..card() };
        place.store.sync(Beat { card, position, heard: None }).await.unwrap();
    };
    fellow().await;
    let sees_both = |it: &Place| it.store.sight().watch().borrow().entries.len() == 2;
    place.follow_until(&mut follower, sees_both).await;
    follower.step().await.unwrap();

    server.restart();
    while place.store.ticket().await.is_err() {
        tokio::time::sleep(PAUSE).await;
    }
    place.mint(1).await;
    let confirms = async || {
        let ticket = place.store.ticket().await.unwrap();
        let own = ticket.register.entries.iter().find(|it| it.card.id == card().id);
        own.is_some_and(|it| it.confirmed == ticket.position)
    };
    while !confirms().await {
        try_step(&mut follower).await;
    }
    assert!(place.is_held() && place.keyring.entries().get(key.record.id).is_none());
    assert!(matches!(place.prove(&key).await, Err(Refusal::StoreUnreachable)));
    // All are across, so it may be opened.
    fellow().await;
    place.keyring.lease().surrender();
    place.follow_until(&mut follower, Place::is_held).await;
    assert!(place.prove(&key).await.is_ok());
}

/// In which life of the store leases were given last.
fn opened(primary: &redis::Redis, namespace: &str) -> String {
    primary.cli(&["HGET", &format!("{{{namespace}}}:meta"), "opened"])
}

#[tokio::test]
async fn who_does_not_know_every_key_opens_no_life_of_the_store() {
    let sentinel = sentinel::Sentinel::start();
    let lines = format!("url = {:?}\nlease = \"30s\"", sentinel.url());
    let bound = "namespace = \"a\"\nmax_keys_in_memory = 1";
    let some = Place::on_redis(&format!("{lines}\n{bound}")).await;
    let all = Place::on_redis(&format!("{lines}\nnamespace = \"b\"")).await;
    let mut followers = [some.follower(), all.follower()];
    let mut keys = Vec::new();
    for (place, follower) in [&some, &all].into_iter().zip(&mut followers) {
        keys.push(place.mint(1).await);
        let is_loaded = |it: &Place| it.keyring.entries().is_loaded() && it.is_held();
        place.follow_until(follower, is_loaded).await;
        // Who else follows is seen by now, and remembered with the next lease.
        place.store.sight().trust_the_epoch().await;
        keys.push(place.mint(2).await);
        follower.step().await.unwrap();
    }
    assert!(!some.keyring.entries().is_complete());
    assert!(all.keyring.entries().is_complete());
    let before = ["a", "b"].map(|it| opened(sentinel.primary(), it));
    let primary = sentinel.fail_over();
    let [doubtful, sure] = &mut followers;
    all.follow_until(sure, |_| opened(primary, "b") != before[1]).await;
    let mut steps = 0;
    while steps < STEPS {
        steps += try_step(doubtful).await;
    }
    // It is across, and had its lease.
    let ticket = some.store.ticket().await.unwrap();
    assert_eq!(ticket.register.entries[0].confirmed.epoch, ticket.position.epoch);
    assert_ne!(ticket.position.epoch, before[0]);
    assert!(some.is_held());
    assert_eq!(opened(primary, "a"), before[0]);
    // Of a key that it does not know, what the life before said may be lost.
    let is_known = |it: &&Minted| some.keyring.entries().get(it.record.id).is_some();
    let (known, unknown): (Vec<_>, Vec<_>) = keys[..2].iter().partition(is_known);
    assert!(some.prove(known[0]).await.is_ok());
    assert!(matches!(some.prove(unknown[0]).await, Err(Refusal::StoreUnreachable)));
}

/// More than it takes to come across.
const STEPS: usize = 10;
const PAUSE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(30);
