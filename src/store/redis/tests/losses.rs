//! What was lost, left half done or damaged in Redis takes nothing else along.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::redis::Terms;
use super::redis::patience::eventually;
use super::sentinel::Sentinel;
use super::topologies::Place as Somewhere;
use super::{Place, redis};
use crate::key::seal::Sealed;
use crate::key::text::KeyId;
use crate::store::conformance::{Gateway, applied, id, mint, revoke, row};
use crate::store::register::receipts;
use crate::store::{Beat, Held, Position, Row, Store, Synced, Ticket};

#[tokio::test]
async fn a_revocation_that_a_failover_lost_is_there_again_before_it_is_answered_again() {
    let sentinel = Sentinel::start();
    let place = Somewhere::new(&format!("url = {:?}", sentinel.url()));
    let store = place.store("a").await;
    let minted = applied(&store, mint(1)).await.position;
    let mut gateway = Gateway::new(&store, "a").await;
    gateway.catch_up(&store).await;
    let (first, replicas) = (sentinel.primary(), sentinel.replicas());
    let record = ["HGET", "{a}:records", "000000000001"];
    eventually("the replicas have the key", || {
        replicas.iter().all(|it| !it.cli(&record).is_empty())
    });
    sentinel.part_replicas();
    let revoked = revoke(1, 1);
    let lost = applied(&store, revoked.clone()).await.position;
    first.kill();
    for it in replicas {
        it.thaw();
    }
    let second = sentinel.promoted_after(first.address());
    assert!(second.cli(&record).starts_with("k:a:1:"));

    let ticket = timeout(PATIENCE, repeated(&store, &revoked.row, &lost)).await.expect("never");
    assert!(second.cli(&record).starts_with("k:r:2:"), "{}", second.cli(&record));
    assert_eq!((ticket.position.number, ticket.held), (2, Held::Enough));
    assert_ne!(ticket.position.nonce, lost.nonce);
    // It is another change, and the receipts are for that.
    let mut seen = store.sight().watch();
    drop(seen.wait_for(|it| *it.epoch == *ticket.position.epoch).await);
    store.sight().trust_the_epoch().await;
    gateway.position = Position { epoch: ticket.position.epoch.clone(), ..minted };
    timeout(PATIENCE, reached(&store, &gateway)).await.expect("it is never followed");
    tokio::select! {
        early = receipts(&store, &ticket) => panic!("nobody has confirmed it: {early:?}"),
        () = sleep(Duration::from_millis(300)) => {}
    }
    let propagation = tokio::select! {
        propagation = receipts(&store, &ticket) => propagation,
        () = gateway.follow(&store) => unreachable!(),
    };
    assert!(propagation.complete, "{propagation:?}");
    assert_eq!(gateway.changes.last().map(|it| &it.row), Some(&revoked.row));

    // Once it is there it is not announced again; and what does not stand there is not held.
    let again = store.ticket_for(&revoked.row).await.unwrap();
    assert_eq!((&again.position, again.held), (&ticket.position, Held::Enough));
    let other = Row { sealed: Sealed::from_bytes(b"another".to_vec()), ..row(1) };
    assert_eq!(store.ticket_for(&other).await.unwrap().held, Held::TooFew);
}

/// The ticket for a record in the life of the store that follows on the one where it was `lost`.
async fn repeated(store: &Store, row: &Row, lost: &Position) -> Ticket {
    loop {
        match store.ticket_for(row).await {
            Ok(ticket) if ticket.position.epoch != lost.epoch => return ticket,
            Ok(_) | Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Resolves once a gateway is answered where it stands.
async fn reached(store: &Store, gateway: &Gateway) {
    loop {
        let (card, position) = (gateway.card.clone(), gateway.position.clone());
        let beat = Beat { card, position, heard: None };
        match store.sync(beat).await {
            Ok(Synced::Followed { .. }) => return,
            Ok(Synced::Lost { .. }) | Err(_) => sleep(PAUSE).await,
        }
    }
}

#[tokio::test]
async fn a_script_that_breaks_off_leaves_nothing_unannounced() {
    let terms = Terms::default().user("keyward", "s3cret", "~* +@all");
    let server = redis::Redis::start_with(&terms);
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    std::fs::write(&password, "s3cret").unwrap();
    let lines =
        format!("url = {:?}\nuser = \"keyward\"\npassword_file = {password:?}", server.url());
    let store = super::opened(&lines, &directory).await;
    let mut gateway = Gateway::new(&store, "a").await;
    let may = |right: &str| assert_eq!(server.cli(&["ACL", "SETUSER", "keyward", right]), "OK");
    // It breaks off at each of them in turn, over a new key and over one that is revoked.
    for (number, command) in (1..).zip(["xadd", "hset", "zadd"]) {
        applied(&store, mint(number)).await;
        may(&format!("-{command}"));
        assert!(store.write(revoke(number, 1)).await.is_err(), "{command}");
        assert!(store.write(mint(number + 100)).await.is_err(), "{command}");
        may(&format!("+{command}"));
        assert_all_announced(&store, &mut gateway).await;
        // All goes on as if it had not been tried.
        applied(&store, revoke(number, 1)).await;
        applied(&store, mint(number + 100)).await;
        assert_all_announced(&store, &mut gateway).await;
    }
    let page = store.page(None, 10).await.unwrap();
    let ids: Vec<_> = page.iter().map(|it| it.id).collect();
    assert_eq!(ids, [103, 102, 101, 3, 2, 1].map(id));
}

/// Holds a gateway to having been told of every record in the state that is stored, or of more.
async fn assert_all_announced(store: &Store, gateway: &mut Gateway) {
    gateway.catch_up(store).await;
    for number in [1, 2, 3, 101, 102, 103] {
        let told = gateway.changes.iter().rev().map(|it| &it.row).find(|it| it.id == id(number));
        if let Some(stored) = store.find(id(number)).await.unwrap() {
            let is_known = told.is_some_and(|it| it.seniority() >= stored.seniority());
            assert!(is_known, "{stored:?} is stored, and {told:?} was announced");
        }
    }
}

#[tokio::test]
async fn an_entry_of_the_register_that_cannot_be_read_holds_up_nobody_elses_receipt() {
    let Place { store, server, _directory } = Place::new().await;
    let mut gateway = Gateway::new(&store, "a").await;
    gateway.catch_up(&store).await;
    // As a version would enter itself whose cards are not understood here.
    let beat = server.cli(&["HINCRBY", "{kw}:meta", "moves", "1"]);
    server.cli(&["ZADD", "{kw}:beats", &beat, "b-id"]);
    server.cli(&["HSET", "{kw}:gateways", "b-id", "no entry"]);
    let ticket = applied(&store, mint(1)).await;
    let names = |it: &Ticket| -> Vec<String> {
        it.register.entries.iter().map(|it| it.card.name.clone()).collect()
    };
    assert_eq!(names(&ticket), ["a", "b-id (cannot be read)"]);
    gateway.catch_up(&store).await;
    let mut sight = store.sight().watch();
    let confirmed = sight.wait_for(|seen| {
        let numbers = seen.entries.iter().map(|it| it.entry.confirmed.number);
        numbers.eq([1, 0])
    });
    drop(timeout(PATIENCE, confirmed).await.expect("the register was not seen"));
    tokio::select! {
        early = receipts(&store, &ticket) => panic!("nobody knows of the other: {early:?}"),
        () = sleep(Duration::from_millis(300)) => {}
    }
    let forgotten = crate::store::gateway::GatewayId("b-id".to_owned());
    assert_eq!(store.leave(&forgotten, None).await, Ok(crate::store::Left::Now));
    let propagation = receipts(&store, &ticket).await;
    assert!(propagation.complete, "{propagation:?}");
    assert_eq!(propagation.gateways.len(), 1);
}

#[tokio::test]
async fn pages_go_on_behind_records_that_are_missing() {
    let Place { store, server, _directory } = Place::new().await;
    for number in 1..=9 {
        applied(&store, mint(number)).await;
    }
    for number in 3..=8 {
        let id = id(number).to_string();
        assert_eq!(server.cli(&["HDEL", "{kw}:records", &id]), "1");
    }
    for count in [1, 2, 3, 20] {
        assert_eq!(walk(&store, count).await, [9, 2, 1].map(id), "{count} at once");
    }
}

/// The ids on all pages, so many on each.
async fn walk(store: &Store, count: usize) -> Vec<KeyId> {
    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let rows = store.page(after, count).await.unwrap();
        let Some(last) = rows.last() else { return read };
        after = Some(last.mark());
        read.extend(rows.iter().map(|it| it.id));
    }
}

const PAUSE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(30);
