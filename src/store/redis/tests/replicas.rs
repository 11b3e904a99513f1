//! How many replicas there are is known also while one is away, and once another one comes.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::cluster::{Cluster, Replicas};
use super::redis::patience::eventually;
use super::redis::{Redis, Terms};
use super::sentinel::Sentinel;
use super::topologies::Place;
use crate::store::conformance::{Gateway, applied, mint};
use crate::store::endurance::Endurance;
use crate::store::{Held, Store};

#[tokio::test]
async fn a_replica_of_a_cluster_that_is_away_is_waited_for_all_the_same() {
    let cluster = Cluster::start_with(&Terms::default(), Replicas::One);
    let owner = cluster.owner_of("{a}:meta");
    let replica = cluster.replicas_of(owner)[0];
    let id = replica.cli(&["CLUSTER", "MYID"]);
    replica.kill();
    let living = || cluster.servers().iter().filter(|it| it.pid() != replica.pid());
    eventually("the lists of slots leave it out", || {
        living().all(|it| !it.cli(&["CLUSTER", "SLOTS"]).contains(&id))
    });
    let url = format!("url = {:?}", cluster.url());
    let strict = Place::new(&format!("{url}\nwhen_unreachable = \"refuse\"")).store("a").await;
    strict.answer_within(Duration::from_millis(200));
    assert_eq!(strict.endurance(), Endurance::AllReplicas);
    assert_eq!(applied(&strict, mint(1)).await.held, Held::TooFew);
    let mild = Place::new(&url).store("a").await;
    assert_eq!(mild.endurance(), Endurance::SomeReplicas);
    assert_eq!(applied(&mild, mint(2)).await.held, Held::Enough);
}

#[tokio::test]
async fn a_replica_that_comes_later_is_waited_for_too() {
    let sentinel = Sentinel::start();
    let lines = format!("url = {:?}\nwhen_unreachable = \"refuse\"", sentinel.url());
    let place = Place::new(&lines);
    let store = place.store("a").await;
    let mut gateway = Gateway::new(&store, "a").await;
    gateway.catch_up(&store).await;
    assert_eq!(waited_for(&store).await, 2);
    let port = sentinel.primary().address().port();
    let third = Redis::start_with(&Terms::default().line(&format!("replicaof 127.0.0.1 {port}")));
    let noticed = async {
        while waited_for(&store).await < 3 {
            sleep(PAUSE).await;
            gateway.sync(&store).await;
        }
    };
    timeout(PATIENCE, noticed).await.expect("nobody has noticed");
    let is_following = || third.cli(&["ROLE"]).contains("connected");
    eventually("it has all", is_following);
    assert_eq!(applied(&store, mint(1)).await.held, Held::Enough);
    third.freeze();
    store.answer_within(Duration::from_millis(200));
    assert_eq!(applied(&store, mint(2)).await.held, Held::TooFew);
}

/// For how many replicas the one gateway says that it waits.
async fn waited_for(store: &Store) -> u32 {
    store.ticket().await.unwrap().register.entries[0].card.replicas
}

const PAUSE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(30);
