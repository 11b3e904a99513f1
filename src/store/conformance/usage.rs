//! Claims about what is kept of how often keys were asked for.

use crate::clock::Timestamp;
use crate::store::Store;
use crate::store::conformance::id;
use crate::store::usage::{UsageRow, day_of, hour_of};

/// Hours that are old are not kept.
fn this_hour() -> u32 {
    hour_of(Timestamp::now())
}

fn row(number: u32, hour: u32, gateway: u64) -> UsageRow {
    // No text, as what is kept is none.
    let cells = [number.to_be_bytes(), hour.to_be_bytes()].concat();
    UsageRow { key: id(number), hour, gateway, cells: [cells, vec![0, 0xff, 0x80]].concat() }
}

async fn read(store: &Store, number: u32, (first, last): (u32, u32)) -> Vec<UsageRow> {
    let mut rows = store.usage(id(number), first, last).await.unwrap();
    rows.sort_by_key(|it| (it.hour, it.gateway));
    rows
}

pub async fn what_gateways_counted_is_there_by_the_hour(store: &Store) {
    let last = this_hour();
    let first = day_of(Timestamp::from_micros(i64::from(last - 24) * 3_600_000_000));
    let all: Vec<UsageRow> =
        (first..=last).flat_map(|hour| [row(1, hour, 7), row(1, hour, u64::MAX)]).collect();
    assert!(all.len() >= 50);
    assert_eq!(read(store, 1, (first, last)).await, []);
    store.note_usage(all.clone()).await.unwrap();
    store.note_usage(vec![row(2, last, 7)]).await.unwrap();
    assert_eq!(read(store, 1, (first, last)).await, all);
    assert_eq!(read(store, 1, (last - 1, last)).await, all[all.len() - 4..]);
    assert_eq!(read(store, 2, (first, last)).await, [row(2, last, 7)]);
    assert_eq!(read(store, 3, (first, last)).await, []);
}

pub async fn an_hour_that_is_written_again_is_what_it_was_last(store: &Store) {
    let hour = this_hour();
    let changed = UsageRow { cells: vec![1, 2, 3], ..row(1, hour, 7) };
    for _ in 0..3 {
        store.note_usage(vec![row(1, hour, 7), row(1, hour, 8)]).await.unwrap();
        store.note_usage(vec![changed.clone()]).await.unwrap();
    }
    assert_eq!(read(store, 1, (hour, hour)).await, [changed, row(1, hour, 8)]);
}

pub async fn many_hours_are_written_at_once(store: &Store) {
    let hour = this_hour();
    store.note_usage(Vec::new()).await.unwrap();
    store.note_usage((0..1_000).map(|it| row(it, hour, 7)).collect()).await.unwrap();
    for number in (0..1_000).step_by(37) {
        assert_eq!(read(store, number, (hour, hour)).await, [row(number, hour, 7)]);
    }
}
