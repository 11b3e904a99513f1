//! What the alarm clock brings, and what of it counts.

use super::Place;
use crate::store::conformance::{Gateway, applied, id, mint};
use crate::store::{Beat, Change, Heard, Store, Synced};

/// Syncs with what was heard; whether that stands, and what came behind.
async fn sync(store: &Store, gateway: &Gateway, heard: (u64, u64)) -> (Heard, Vec<Change>) {
    let (card, position) = (gateway.card.clone(), gateway.position.clone());
    let beat = Beat { card, position, heard: Some(heard) };
    match store.sync(beat).await.unwrap() {
        Synced::Followed { heard, changes, .. } => (heard, changes),
        Synced::Lost { epoch } => panic!("lost in {epoch}"),
    }
}

async fn confirmed(store: &Store) -> u64 {
    store.ticket().await.unwrap().register.entries[0].confirmed.number
}

#[tokio::test]
async fn what_was_heard_and_stands_is_confirmed_by_one_sync() {
    let place = Place::new().await;
    let store = &place.store;
    let mut gateway = Gateway::new(store, "a").await;
    gateway.sync(store).await.unwrap();
    for number in 1..=3 {
        applied(store, mint(number)).await;
    }
    let heard = store.alarm(&gateway.position, PATIENCE).await;
    assert_eq!(heard.iter().map(|it| it.number).collect::<Vec<_>>(), [1, 2, 3]);
    let (_, changes) = sync(store, &gateway, (1, heard[0].nonce)).await;
    assert_eq!(heard[1..], changes);
    let second = (heard[1].number, heard[1].nonce);
    let (stands, behind) = sync(store, &gateway, second).await;
    assert_eq!((stands, behind), (Heard::Stands, vec![heard[2].clone()]));
    assert_eq!(confirmed(store).await, 2);
}

#[tokio::test]
async fn what_was_heard_in_another_past_is_not_confirmed() {
    let place = Place::new().await;
    let store = &place.store;
    let gateway = Gateway::new(store, "a").await;
    let change = applied(store, mint(1)).await.position;
    for heard in [(1, change.nonce ^ 1), (2, change.nonce)] {
        let (stands, behind) = sync(store, &gateway, heard).await;
        assert_eq!((stands, behind.len()), (Heard::Unknown, 1), "{heard:?}");
        assert_eq!(confirmed(store).await, 0);
    }
}

#[tokio::test]
async fn nobody_is_let_in_by_a_life_of_the_store_that_is_not_open() {
    let place = Place::new().await;
    let Place { store, server, .. } = &place;
    applied(store, mint(1)).await;
    assert_eq!(store.find_settled(id(1)).await.unwrap(), store.find(id(1)).await.unwrap());
    server.restart();
    let ticket = loop {
        match store.ticket().await {
            Ok(ticket) => break ticket,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    };
    assert!(store.find(id(1)).await.unwrap().is_some());
    assert!(store.find_settled(id(1)).await.is_err());
    store.open_epoch(&ticket.position.epoch).await.unwrap();
    assert!(store.find_settled(id(1)).await.unwrap().is_some());
}

const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
