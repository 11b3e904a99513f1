//! What was counted of keys, until the store knows.

use super::*;
use crate::gate::entries::Entries;
use crate::gate::entry::Entry;
use crate::gate::fill::FillRead;
use crate::gate::history::{History, PARTS, Tally};
use crate::gate::known::{Known, Stored};
use crate::key::text::KeyId;
use crate::rate::timeline::{Cell, read};
use crate::store::usage::{UsageRow, hour_of};

fn after(micros: i64) -> Timestamp {
    Timestamp::from_micros(NOW.as_micros() + micros)
}

fn entry() -> Entry {
    let (place, key) = (Place::new(), Minted::new(1));
    let known = Known::new(&key.record, &place.row(&key.record)).unwrap();
    Entry::new(key.record.id, known)
}

/// Every second that was counted exactly, since `NOW`.
fn seconds(history: &History, key: KeyId) -> Vec<(i64, u32)> {
    let mut seconds = Vec::new();
    for row in history.of(key) {
        for (minute, cell) in read(&row.cells).unwrap() {
            let Cell::Exact(pairs) = cell else { panic!("{cell:?}") };
            let first = i64::from(row.hour) * 3_600 + i64::from(minute) * 60;
            let first = first - NOW.as_micros() / 1_000_000;
            seconds.extend(pairs.iter().map(|it| (first + i64::from(it.0), it.1)));
        }
    }
    seconds
}

fn taken(history: &History) -> Vec<UsageRow> {
    (0..PARTS).flat_map(|it| history.take(it)).collect()
}

fn note(history: &History, key: KeyId, time: Timestamp, count: u32) {
    history.note(key, Tally { time, count });
}

#[tokio::test]
async fn requests_are_counted_by_the_second_and_nothing_is_lost() {
    let (entry, history) = (entry(), History::new());
    for (micros, cost) in [
        (400_000, 1),
        (999_999, 2),
        // Another worker's clock is a little slow.
        (300_000, 4),
        (1_000_000, 8),
        // More than an entry has room for.
        (1_500_000, 65_535),
        (1_600_000, 1_000_000),
        (65_000_000, 16),
        // A clock that was set back.
        (62_500_000, 32),
    ] {
        entry.asked(after(micros), cost, &history);
        let used = entry.last_used().unwrap().as_micros() - NOW.as_micros();
        assert!((micros - 1_000_000..=micros + 1_000_000).contains(&used), "{micros} {used}");
    }
    assert_eq!(seconds(&history, entry.id()), [(0, 7), (1, 1_065_543), (65, 16)]);
    entry.hand_over(&history);
    entry.hand_over(&history);
    entry.asked(after(62_600_000), 3, &history);
    entry.hand_over(&history);
    assert_eq!(seconds(&history, entry.id()), [(0, 7), (1, 1_065_543), (65, 16), (62, 35)]);
}

#[tokio::test]
async fn workers_that_count_at_once_lose_nothing() {
    let (entry, history) = (entry(), History::new());
    let work = |worker: i64| {
        (0..50_000).for_each(|it| entry.asked(after(it * 1_000 + worker), 3, &history));
    };
    std::thread::scope(|scope| {
        (0..4).for_each(|worker| drop(scope.spawn(move || work(worker))));
    });
    entry.hand_over(&history);
    let rows = taken(&history);
    let told = rows.iter().flat_map(|it| read(&it.cells).unwrap()).map(|it| it.1.total());
    assert_eq!(told.sum::<u64>(), 4 * 50_000 * 3);
}

#[tokio::test]
async fn what_an_entry_has_counted_is_in_the_history_once_it_is_gathered_or_leaves() {
    let (place, entries) = (Place::new(), Entries::new(1));
    let [first, second] = [1, 2].map(Minted::new);
    let come = |key: &Minted| {
        let stored = Known::new(&key.record, &place.row(&key.record)).unwrap();
        let (id, read) = (key.record.id, FillRead::Found(Stored::Readable(Box::new(stored))));
        let fill = entries.begin_fill(id).unwrap();
        entries.end_fill(id, &fill, read);
        drop(fill);
        entries.get(id).unwrap()
    };
    let (id, history) = (first.record.id, entries.history());
    let entry = come(&first);
    entry.asked(NOW, 3, history);
    assert_eq!(seconds(history, id), []);
    entries.gather();
    assert_eq!(seconds(history, id), [(0, 3)]);
    entry.asked(after(10), 4, history);
    drop(entry);
    drop(come(&second));
    assert!(entries.get(id).is_none());
    assert_eq!(seconds(history, id), [(0, 7)]);
}

#[test]
fn what_the_store_did_not_take_comes_again_whole() {
    let (history, key) = (History::new(), Minted::new(1).record.id);
    note(&history, key, NOW, 5);
    let rows = taken(&history);
    assert_eq!((rows.len(), taken(&history).len()), (1, 0));
    (0..PARTS).for_each(|it| history.untold(it, &rows));
    assert_eq!(taken(&history), rows);
    note(&history, key, after(3_000_000), 6);
    let rows = taken(&history);
    assert_eq!(rows, history.of(key));
    assert_eq!(seconds(&history, key), [(0, 5), (3, 6)]);
}

#[test]
fn an_hour_is_let_go_of_once_it_is_over_and_told() {
    let (history, key) = (History::new(), Minted::new(1).record.id);
    let hour = 3_600_000_000;
    note(&history, key, NOW, 5);
    history.close(after(2 * hour));
    assert_eq!(history.held(), 1, "the store does not know it yet");
    assert_eq!(taken(&history).len(), 1);
    history.close(NOW);
    assert_eq!(history.held(), 1, "it is not over");
    history.close(after(2 * hour));
    assert_eq!((history.held(), history.lost()), (0, 0));
    // The store has it whole; what is written now would take its place.
    note(&history, key, after(1), 7);
    assert_eq!((history.held(), history.lost(), taken(&history).len()), (0, 7, 0));
    note(&history, key, after(2 * hour), 1);
    assert_eq!(history.of(key)[0].hour, hour_of(after(2 * hour)));
}

#[test]
fn what_is_held_is_bounded_in_keys_and_in_hours() {
    let (history, key) = (History::new(), Minted::new(1).record.id);
    for hour in 0..10 {
        note(&history, key, after(hour * 3_600_000_000), 1);
    }
    assert_eq!((history.held(), history.lost()), (4, 6));
    let history = History::new();
    for number in 0..120_000_u64 {
        let id: KeyId = format!("{number:012}").parse().unwrap();
        note(&history, id, NOW, 1);
    }
    let held = history.held() as u64;
    assert!((90_000..=100_000).contains(&held), "{held}");
    assert_eq!(held + history.lost(), 120_000);
}
