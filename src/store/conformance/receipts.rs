//! Holds what every store promises to those who wait for receipts.

use std::time::Duration;

use futures_util::future::join_all;

use crate::clock::Moment;
use crate::config::WhenUnreachable;
use crate::store::conformance::{Gateway, applied, mint};
use crate::store::gateway::GatewayId;
use crate::store::register::{Propagation, ReceiptState, receipts};
use crate::store::{Left, Store, Ticket};

pub async fn with_nobody_in_the_register_a_change_is_complete(store: &Store) {
    let ticket = applied(store, mint(1)).await;
    let propagation = receipts(store, &ticket).await;
    assert!(propagation.complete);
    assert_eq!((propagation.gateways, propagation.unconfirmed), (vec![], vec![]));
}

pub async fn receipts_wait_for_every_gateway(store: &Store) {
    let (mut a, mut b) = (Gateway::new(store, "a").await, Gateway::new(store, "b").await);
    a.catch_up(store).await;
    b.catch_up(store).await;
    let ticket = applied(store, mint(1)).await;
    // One of them alone is not enough.
    let missing = async {
        a.catch_up(store).await;
        seen(store, |it| it == [("a-id".to_owned(), 1), ("b-id".to_owned(), 0)]).await;
    };
    tokio::select! {
        biased;
        early = receipts(store, &ticket) => panic!("b has not confirmed: {early:?}"),
        () = missing => {}
    }
    let propagation = with_followers(store, &ticket, [&mut a, &mut b]).await;
    assert!(propagation.complete);
    assert_eq!(
        states(&propagation),
        [("a", ReceiptState::Confirmed), ("b", ReceiptState::Confirmed)]
    );
}

pub async fn sixty_four_writers_get_their_receipts(store: &Store) {
    let (mut a, mut b) = (Gateway::new(store, "a").await, Gateway::new(store, "b").await);
    a.catch_up(store).await;
    b.catch_up(store).await;
    let writers = join_all((0..64).map(|writer| async move {
        for key in 0..4 {
            let ticket = applied(store, mint(writer * 4 + key)).await;
            let propagation = receipts(store, &ticket).await;
            assert_eq!(states(&propagation).len(), 2, "{propagation:?}");
        }
    }));
    tokio::select! {
        _all = writers => {}
        () = a.follow(store) => {}
        () = b.follow(store) => {}
    }
}

pub async fn a_receipt_says_how_many_streams_were_closed(store: &Store) {
    let mut gateway = Gateway::new(store, "a").await;
    gateway.card.closed = vec![(1, 7), (2, 9)];
    gateway.catch_up(store).await;
    let tickets = [applied(store, mint(1)).await, applied(store, mint(2)).await];
    gateway.catch_up(store).await;
    for (ticket, closed) in tickets.iter().zip([7, 9]) {
        assert_eq!(receipts(store, ticket).await.gateways[0].closed_streams, closed);
    }
    // Whoever only waits for the present end has closed nothing.
    let end = store.ticket().await.unwrap();
    assert_eq!(end.position, tickets[1].position);
    assert_eq!(receipts(store, &end).await.gateways[0].closed_streams, 0);
}

pub async fn a_silent_gateway_is_unconfirmed_after_its_lease_and_not_before(store: &Store) {
    let (propagation, silence) = silence(store, WhenUnreachable::ServeKnown).await;
    assert!(!propagation.complete);
    assert_eq!(propagation.unconfirmed, [GatewayId("silent-id".to_owned())]);
    assert_eq!(states(&propagation), [("lively", ReceiptState::Confirmed)]);
    assert!(silence >= Duration::from_millis(330), "{silence:?}");
}

pub async fn a_silent_gateway_that_refuses_is_fenced_after_its_lease_and_not_before(store: &Store) {
    let (propagation, silence) = silence(store, WhenUnreachable::Refuse).await;
    assert!(propagation.complete);
    assert_eq!(propagation.unconfirmed, []);
    let expected = [("lively", ReceiptState::Confirmed), ("silent", ReceiptState::Fenced)];
    assert_eq!(states(&propagation), expected);
    assert!(silence >= Duration::from_millis(330), "{silence:?}");
}

/// One gateway with a lease of 300 ms falls silent, one goes on; how long that silence lasted when
/// the receipts for a change were there.
async fn silence(store: &Store, policy: WhenUnreachable) -> (Propagation, Duration) {
    let mut lively = Gateway::new(store, "lively").await;
    let mut silent = Gateway::new(store, "silent").await.with(300, policy);
    lively.catch_up(store).await;
    let before = Moment::now();
    silent.catch_up(store).await;
    let ticket = applied(store, mint(1)).await;
    tokio::select! {
        propagation = receipts(store, &ticket) => (propagation, Moment::now().since(before)),
        () = lively.follow(store) => unreachable!(),
    }
}

pub async fn who_leaves_is_not_waited_for(store: &Store) {
    let mut gateway = Gateway::new(store, "a").await;
    gateway.catch_up(store).await;
    let ticket = applied(store, mint(1)).await;
    assert_eq!(store.leave(&gateway.card.id, None).await, Ok(Left::Now));
    let propagation = receipts(store, &ticket).await;
    assert!(propagation.complete);
    assert_eq!(states(&propagation), []);
}

pub async fn who_is_forgotten_was_known_before(store: &Store) {
    let mut gateway = Gateway::new(store, "a").await;
    gateway.catch_up(store).await;
    assert_eq!(store.leave(&gateway.card.id, None).await, Ok(Left::Now));
    assert_eq!(store.leave(&gateway.card.id, None).await, Ok(Left::Unknown));
}

pub async fn who_came_back_is_not_forgotten(store: &Store) {
    let mut gateway = Gateway::new(store, "a").await;
    gateway.catch_up(store).await;
    let beat = |ticket: Ticket| ticket.register.entries[0].beat;
    let judged = beat(store.ticket().await.unwrap());
    gateway.catch_up(store).await;
    assert_eq!(store.leave(&gateway.card.id, Some(judged)).await, Ok(Left::Unknown));
    let judged = beat(store.ticket().await.unwrap());
    assert_eq!(store.leave(&gateway.card.id, Some(judged)).await, Ok(Left::Now));
}

pub async fn who_stays_silent_goes_out_of_the_register(store: &Store) {
    let mut silent = Gateway::new(store, "silent").await.with(50, WhenUnreachable::Refuse);
    let mut lively = Gateway::new(store, "lively").await;
    silent.catch_up(store).await;
    lively.catch_up(store).await;
    seen(store, |it| it == [("lively-id".to_owned(), 0)]).await;
    let register = store.ticket().await.unwrap().register;
    assert_eq!(register.entries.len(), 1);
}

/// Resolves once the register is seen to hold these ids and numbers.
async fn seen(store: &Store, expected: impl Fn(&[(String, u64)]) -> bool) {
    let mut sight = store.sight().watch();
    let holds = sight.wait_for(|seen| {
        let entries = seen.entries.iter().map(|it| &it.entry);
        let entries = entries.map(|it| (it.card.id.0.clone(), it.confirmed.number));
        expected(&entries.collect::<Vec<_>>())
    });
    drop(tokio::time::timeout(Duration::from_mins(1), holds).await.expect("never seen"));
}

async fn with_followers(
    store: &Store,
    ticket: &Ticket,
    followers: [&mut Gateway; 2],
) -> Propagation {
    let [a, b] = followers;
    tokio::select! {
        propagation = receipts(store, ticket) => propagation,
        () = a.follow(store) => unreachable!(),
        () = b.follow(store) => unreachable!(),
    }
}

fn states(propagation: &Propagation) -> Vec<(&str, ReceiptState)> {
    propagation.gateways.iter().map(|it| (it.name.as_str(), it.state)).collect()
}
