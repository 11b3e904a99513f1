//! Holds what every store promises to those who follow its changes.

use std::time::Duration;

use futures_util::future::{join, join_all};

use crate::clock::Moment;
use crate::store::conformance::{Gateway, applied, change, id, mint, revoke};
use crate::store::{CHANGES_KEPT, More, Position, Store};

pub async fn a_change_is_there_for_whoever_syncs(store: &Store) {
    let mut gateway = Gateway::new(store, "a").await;
    assert_eq!(gateway.sync(store).await, Some(More::End));
    for write in [mint(1), change(1, 1), revoke(1, 2)] {
        let ticket = applied(store, write.clone()).await;
        assert_eq!(gateway.sync(store).await, Some(More::End));
        assert_eq!(gateway.position, ticket.position);
        assert_eq!(gateway.changes.last().map(|it| &it.row), Some(&write.row));
    }
    let numbers: Vec<u64> = gateway.changes.iter().map(|it| it.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

pub async fn a_long_way_behind_is_brought_in_pieces(store: &Store) {
    join_all((0..600).map(|it| applied(store, mint(it)))).await;
    let mut gateway = Gateway::new(store, "a").await;
    assert_eq!(gateway.sync(store).await, Some(More::Yes));
    assert_eq!(gateway.sync(store).await, Some(More::End));
    let numbers: Vec<u64> = gateway.changes.iter().map(|it| it.number).collect();
    assert_eq!(numbers, (1..=600).collect::<Vec<_>>());
}

pub async fn a_position_that_never_was_is_lost(store: &Store) {
    let real = applied(store, mint(1)).await.position;
    let false_ones = [
        Position { nonce: real.nonce ^ 1, ..real.clone() },
        Position { number: 2, ..real.clone() },
        Position { epoch: "another".to_owned(), ..real.clone() },
        Position { number: 0, ..real.clone() },
    ];
    for position in false_ones {
        let mut gateway = Gateway { position, ..Gateway::new(store, "a").await };
        assert_eq!(gateway.sync(store).await, None, "{:?}", gateway.position);
    }
    let mut gateway = Gateway { position: real, ..Gateway::new(store, "a").await };
    assert_eq!(gateway.sync(store).await, Some(More::End));
}

pub async fn who_is_lost_confirms_nothing(store: &Store) {
    let mut gateway = Gateway::new(store, "a").await;
    gateway.catch_up(store).await;
    let position = applied(store, mint(1)).await.position;
    gateway.position = Position { nonce: position.nonce ^ 1, ..position };
    assert_eq!(gateway.sync(store).await, None);
    let register = store.ticket().await.unwrap().register;
    let confirmed: Vec<u64> = register.entries.iter().map(|it| it.confirmed.number).collect();
    assert_eq!(confirmed, [0]);
}

pub async fn who_is_further_behind_than_the_changes_reach_is_lost(store: &Store) {
    let first = applied(store, mint(0)).await.position;
    let rest: Vec<u32> = (1..=u32::try_from(CHANGES_KEPT).unwrap()).collect();
    for some in rest.chunks(256) {
        join_all(some.iter().map(|it| applied(store, mint(*it)))).await;
    }
    let beginning = Position { number: 0, nonce: 0, ..first.clone() };
    for position in [beginning, first] {
        let mut gateway = Gateway { position, ..Gateway::new(store, "a").await };
        assert_eq!(gateway.sync(store).await, None);
    }
    assert!(store.find(id(0)).await.unwrap().is_some());
}

pub async fn an_alarm_rings_for_what_came_before_it(store: &Store) {
    let before = store.meta().await.unwrap().end;
    applied(store, mint(1)).await;
    let start = Moment::now();
    store.alarm(&before, LONG).await;
    assert!(Moment::now().since(start) < LONG);
}

pub async fn an_alarm_rings_for_what_comes(store: &Store) {
    let before = store.meta().await.unwrap().end;
    let start = Moment::now();
    join(store.alarm(&before, LONG), applied(store, mint(1))).await;
    assert!(Moment::now().since(start) < LONG);
}

const LONG: Duration = Duration::from_mins(1);
