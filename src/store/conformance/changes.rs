//! Holds what every store promises of its records.

use std::collections::HashMap;

use futures_util::future::{join, join_all};

use crate::clock::Timestamp;
use crate::key::seal::Sealed;
use crate::store::conformance::{Gateway, applied, change, id, mint, repeated, revoke, row};
use crate::store::{Expect, Idempotency, Kind, Revoked, Row, Store, Write, Written};

pub async fn numbers_have_no_gaps_under_concurrent_writers(store: &Store) {
    let writers = (0..64).map(|writer| async move {
        let mut numbers = Vec::new();
        for key in 0..8 {
            numbers.push(applied(store, mint(writer * 8 + key)).await.position.number);
        }
        numbers
    });
    let mut numbers: Vec<u64> = join_all(writers).await.concat();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=512).collect::<Vec<_>>());
}

pub async fn an_id_is_taken_once(store: &Store) {
    applied(store, mint(1)).await;
    let again = store.write(mint(1)).await.unwrap();
    assert!(matches!(again, Written::Conflict(Some(it)) if it == row(1)));
    assert_eq!(store.meta().await.unwrap().end.number, 1);
}

pub async fn a_change_needs_the_revision_it_was_made_from(store: &Store) {
    let missing = store.write(change(1, 1)).await.unwrap();
    assert!(matches!(missing, Written::Conflict(None)));
    applied(store, mint(1)).await;
    applied(store, change(1, 1)).await;
    let late = store.write(change(1, 1)).await.unwrap();
    assert!(matches!(late, Written::Conflict(Some(it)) if it.revision == 2));
    assert_eq!(store.find(id(1)).await.unwrap(), Some(change(1, 1).row));
}

pub async fn a_revoked_record_takes_no_other_change(store: &Store) {
    applied(store, mint(1)).await;
    applied(store, revoke(1, 1)).await;
    for write in [change(1, 2), revoke(1, 2), mint(1)] {
        let refused = store.write(write).await.unwrap();
        assert!(matches!(refused, Written::Conflict(Some(it)) if it == revoke(1, 1).row));
    }
    assert_eq!(store.find(id(1)).await.unwrap(), Some(revoke(1, 1).row));
}

pub async fn of_five_first_operators_there_is_one(store: &Store) {
    applied(store, mint(9)).await;
    let all = join_all((0..5).map(|it| store.write(first_operator(it)))).await;
    let made = all.iter().filter(|it| matches!(it, Ok(Written::Applied(_)))).count();
    let refused = all.iter().filter(|it| matches!(it, Ok(Written::Conflict(_)))).count();
    assert_eq!((made, refused), (1, 4));
}

fn first_operator(number: u32) -> Write {
    let row = Row { kind: Kind::Operator, ..row(number) };
    Write { row, expect: Expect::NoOperator, ..mint(number) }
}

pub async fn five_repetitions_at_once_mint_one_key(store: &Store) {
    let all = join_all((0..5).map(|it| store.write(repeated(mint(it), 1)))).await;
    let mut minted = Vec::new();
    let mut replayed = Vec::new();
    for written in all {
        match written.unwrap() {
            Written::Applied(ticket) => minted.push(ticket.position),
            Written::Replayed { id, ticket } => replayed.push((id, ticket.position)),
            other @ (Written::IdempotencyConflict | Written::Conflict(_)) => {
                panic!("neither minted nor replayed: {other:?}")
            }
        }
    }
    let found = store.page(None, 10).await.unwrap();
    assert_eq!((minted.len(), replayed.len(), found.len()), (1, 4, 1));
    assert!(replayed.iter().all(|it| *it == (found[0].id, minted[0].clone())));
}

pub async fn another_body_under_the_same_idempotency_key_is_a_conflict(store: &Store) {
    applied(store, repeated(mint(1), 1)).await;
    let other = store.write(repeated(mint(2), 2)).await.unwrap();
    assert!(matches!(other, Written::IdempotencyConflict));
    assert_eq!(store.find(id(2)).await.unwrap(), None);
}

pub async fn operators_do_not_see_each_others_idempotency_keys(store: &Store) {
    applied(store, repeated(mint(1), 1)).await;
    let mut bobs = repeated(mint(2), 2);
    bobs.idempotency = bobs.idempotency.map(|it| Idempotency { operator: "bob".to_owned(), ..it });
    applied(store, bobs).await;
}

pub async fn operators_are_found_among_keys(store: &Store) {
    let operator = |number| Row { kind: Kind::Operator, ..row(number) };
    join_all((0..100).map(|it| applied(store, mint(it)))).await;
    for number in [200, 201] {
        applied(store, Write { row: operator(number), ..mint(number) }).await;
    }
    assert_eq!(store.operators().await.unwrap(), [operator(201), operator(200)]);
}

pub async fn pages_are_newest_first_and_go_on_after_their_mark(store: &Store) {
    // Two of each age: among those of one age the id decides.
    let aged = |number: u32| Row { created_at: row(number / 2).created_at, ..row(number) };
    join_all((0..10).map(|it| applied(store, Write { row: aged(it), ..mint(it) }))).await;
    let first = store.page(None, 4).await.unwrap();
    let rest = store.page(first.last().map(Row::mark), 100).await.unwrap();
    let shown: Vec<Row> = [first, rest].concat();
    assert_eq!(shown, (0..10).rev().map(aged).collect::<Vec<_>>());
}

pub async fn a_page_is_whole_however_large_it_is(store: &Store) {
    store.offer((0..1_300).map(row).collect()).await.unwrap();
    let first = store.page(None, 1_200).await.unwrap();
    let rest = store.page(first.last().map(Row::mark), 1_200).await.unwrap();
    assert_eq!((first.len(), rest.len()), (1_200, 100));
    let shown: Vec<Row> = [first, rest].concat();
    assert_eq!(shown, (0..1_300).rev().map(row).collect::<Vec<_>>());
}

pub async fn a_walk_shows_every_earlier_key_once_while_a_thousand_are_minted(store: &Store) {
    join_all((0..1_000).map(|it| applied(store, mint(it)))).await;
    let minting = async {
        for hundred in 10..20 {
            join_all((0..100).map(|it| applied(store, mint(hundred * 100 + it)))).await;
        }
    };
    let (seen, ()) = join(walk(store), minting).await;
    for number in 0..1_000 {
        assert_eq!(seen.get(&id(number).to_string()), Some(&1), "key {number}");
    }
}

async fn walk(store: &Store) -> HashMap<String, u32> {
    let mut seen = HashMap::new();
    let mut mark = None;
    loop {
        let page = store.page(mark, 7).await.unwrap();
        let Some(last) = page.last() else { return seen };
        mark = Some(last.mark());
        for row in page {
            *seen.entry(row.id.to_string()).or_default() += 1;
        }
    }
}

pub async fn resealing_leaves_the_revision_and_announces_nothing(store: &Store) {
    let end = applied(store, mint(1)).await.position;
    let resealed = Row { sealed: Sealed::from_bytes(b"sealed anew".to_vec()), ..row(1) };
    assert_eq!(store.reseal(vec![resealed.clone(), row(2)]).await, Ok(1));
    assert_eq!(store.find(id(1)).await.unwrap(), Some(resealed));
    assert_eq!(store.meta().await.unwrap().end, end);
}

pub async fn what_was_changed_meanwhile_is_not_resealed(store: &Store) {
    join_all([1, 2].map(|it| applied(store, mint(it)))).await;
    applied(store, change(1, 1)).await;
    applied(store, revoke(2, 1)).await;
    let unrevoked = Row { revision: 2, ..row(2) };
    assert_eq!(store.reseal(vec![row(1), row(2), unrevoked]).await, Ok(0));
}

pub async fn a_time_of_last_use_never_moves_back(store: &Store) {
    applied(store, mint(1)).await;
    for (at, expected) in [(5, 5), (3, 5), (9, 9)] {
        store.touch(vec![(id(1), Timestamp::from_micros(at))]).await.unwrap();
        let found = store.find(id(1)).await.unwrap().unwrap();
        assert_eq!(found.last_used_at, Some(Timestamp::from_micros(expected)));
    }
    let page = store.page(None, 1).await.unwrap();
    assert_eq!(page[0].last_used_at, Some(Timestamp::from_micros(9)));
}

pub async fn an_offer_is_taken_where_the_store_knows_less(store: &Store) {
    applied(store, mint(1)).await;
    let before = applied(store, change(1, 1)).await.position.number;
    let at = |number, revision, revoked| Row { revision, revoked, ..row(number) };
    let offers = [
        (at(1, 1, Revoked::No), 0),
        (at(1, 2, Revoked::No), 0),
        (at(1, 3, Revoked::No), 1),
        (at(2, 7, Revoked::No), 1),
        (at(1, 1, Revoked::Yes), 1),
        (at(1, 9, Revoked::No), 0),
    ];
    for (row, taken) in offers {
        assert_eq!(store.offer(vec![row.clone()]).await.unwrap(), taken, "{row:?}");
    }
    assert_eq!(store.find(id(1)).await.unwrap(), Some(at(1, 1, Revoked::Yes)));
    assert_eq!(store.find(id(2)).await.unwrap(), Some(at(2, 7, Revoked::No)));
    let mut gateway = Gateway::new(store, "a").await;
    gateway.catch_up(store).await;
    let announced = gateway.changes.iter().filter(|it| it.number > before);
    let announced: Vec<_> = announced.map(|it| (it.row.id, it.row.revision)).collect();
    assert_eq!(announced, [(id(1), 3), (id(2), 7), (id(1), 1)]);
}

pub async fn a_store_knows_its_records_and_its_pepper(store: &Store) {
    let new = store.meta().await.unwrap();
    assert_eq!((new.records, new.check, new.end.number), (0, None, 0));
    store.set_check([7; 16]).await.unwrap();
    let (one, two) = ([1, 2, 3, 4], [5, 6, 7, 8]);
    let tagged = |tag: &str| format!(r#"{{"tag":"{tag}{:064}"}}"#, 0);
    let sealed = [
        seal_under(one, "{}"),
        seal_under(one, &tagged("01020304")),
        seal_under(one, &tagged("05060708")),
        seal_under(two, "{}"),
        vec![0xff; 5],
    ];
    for (number, sealed) in (0..).zip(sealed) {
        let row = Row { sealed: Sealed::from_bytes(sealed), ..row(number) };
        applied(store, Write { row, ..mint(number) }).await;
    }
    let meta = store.meta().await.unwrap();
    assert_eq!((meta.records, meta.check, meta.end.number), (5, Some([7; 16]), 5));
    let census = store.census().await.unwrap();
    let mut census: Vec<_> =
        census.into_iter().map(|(it, n)| (it.map(|it| it.to_string()), n)).collect();
    census.sort();
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(census, [(None, 1), (named("01020304"), 3), (named("05060708"), 2)]);
}

fn seal_under(name: [u8; 4], record: &str) -> Vec<u8> {
    let format = Sealed::from_bytes([&[1], &name[..], &[0; 32], record.as_bytes()].concat());
    assert!(format.pepper().is_some(), "records no longer begin with format 1");
    format.as_bytes().to_vec()
}
