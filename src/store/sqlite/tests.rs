//! Holds what the embedded store promises beyond what every store does.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures_util::future::join_all;
use proptest::prelude::*;
use rusqlite::Connection;

use crate::config::WhenUnreachable;
use crate::store::conformance::{Gateway, applied, change, id, mint, model, row};
use crate::store::register::{ReceiptState, receipts};
use crate::store::sqlite::Sqlite;
use crate::store::{Beat, Store, Unavailable, WriteFault, Written};

mod limits;
pub mod tables;

claims!(a_test_each, Place::new());

/// A store in a directory of its own.
struct Place {
    store: Store,
    path: PathBuf,
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyward.db");
        Self { store: open(&path), path, directory }
    }

    fn sqlite(&self) -> &Sqlite {
        match &self.store {
            Store::Embedded(sqlite) => sqlite,
            Store::Redis(_) => unreachable!(),
        }
    }

    /// What a crash at this moment leaves on the disk, elsewhere and with nobody living on it.
    fn crashed(&self) -> PathBuf {
        let copy = self.directory.path().join("crashed.db");
        fs::copy(&self.path, &copy).unwrap();
        fs::copy(wal(&self.path), wal(&copy)).unwrap();
        copy
    }
}

fn open(path: &Path) -> Store {
    Store::Embedded(Arc::new(Sqlite::open(path).unwrap()))
}

fn wal(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

#[track_caller]
fn check_refused(path: &Path, expected: &str) {
    let before = around(path);
    let fault = Sqlite::open(path).unwrap_err();
    assert!(fault.to_string().contains(expected), "{fault}");
    assert_eq!(around(path), before, "something was changed");
}

/// What lies in the same directory, and a hash of each file; nothing of `/dev`, and nothing of the
/// memory that SQLite's processes share.
fn around(path: &Path) -> BTreeMap<PathBuf, Option<blake3::Hash>> {
    let directory = path.parent().filter(|it| !it.starts_with("/dev"));
    let entries = directory.and_then(|it| fs::read_dir(it).ok()).into_iter().flatten();
    let paths = entries.map(|it| it.unwrap().path());
    let paths = paths.filter(|it| !it.as_os_str().as_encoded_bytes().ends_with(b"-shm"));
    let hash = |path: &PathBuf| fs::read(path).ok().map(|it| blake3::hash(&it));
    paths.map(|it| (it.clone(), hash(&it))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_history_agrees_with_a_map(history in model::histories()) {
        let place = Place::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(model::agrees_with_a_map(&place.store, history));
    }
}

#[test]
fn a_newer_schema_is_refused() {
    let place = Place::new();
    let path = place.path;
    drop(place.store);
    let raw = Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", 7).unwrap();
    drop(raw);
    check_refused(&path, "newer version of keyward (schema 7, this one knows up to 2): update");
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for content in ["hello", &"hello, world\n".repeat(1_000)] {
        let path = directory.path().join("notes.txt");
        fs::write(&path, content).unwrap();
        check_refused(&path, "is no SQLite database and was left as it is");
    }
}

#[test]
fn a_database_of_another_program_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for pragma in ["application_id = 1", "journal_mode = WAL", "user_version = 1"] {
        let path = directory.path().join(pragma);
        let raw = Connection::open(&path).unwrap();
        raw.execute_batch(&format!("PRAGMA {pragma}; CREATE TABLE contacts (name TEXT)")).unwrap();
        check_refused(&path, "of another program and was left as it is");
        drop(raw);
        check_refused(&path, "of another program and was left as it is");
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("inner")).unwrap();
    check_refused(&directory.path().join("inner"), "is a directory: name a file in it");
    check_refused(&directory.path().join("missing/keyward.db"), "make it first");
    check_refused(Path::new("/dev/null"), "is no ordinary file");
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    check_refused(&file.join("keyward.db"), "cannot be opened (Not a directory");
}

#[tokio::test]
async fn only_the_owner_can_read_it() {
    let place = Place::new();
    applied(&place.store, mint(1)).await;
    for entry in fs::read_dir(place.directory.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
    assert!(wal(&place.path).exists());
}

#[tokio::test]
async fn an_acknowledged_write_survives_a_crash() {
    let place = Place::new();
    let tickets = join_all((0..100).map(|it| applied(&place.store, mint(it)))).await;
    let store = open(&place.crashed());
    let end = store.meta().await.unwrap().end;
    assert_eq!(Some(&end), tickets.iter().map(|it| &it.position).max_by_key(|it| it.number));
    for number in 0..100 {
        assert_eq!(store.find(id(number)).await.unwrap(), Some(row(number)));
    }
}

#[tokio::test]
async fn closing_folds_everything_into_one_file() {
    let place = Place::new();
    applied(&place.store, mint(1)).await;
    drop(place.store);
    assert!(!wal(&place.path).exists());
    assert_eq!(open(&place.path).find(id(1)).await.unwrap(), Some(row(1)));
}

#[tokio::test]
async fn after_a_crash_nobody_is_waited_for() {
    let place = Place::new();
    Gateway::new(&place.store, "a").await.catch_up(&place.store).await;
    let store = open(&place.crashed());
    let ticket = applied(&store, mint(1)).await;
    assert_eq!(ticket.register.entries, []);
}

#[tokio::test]
async fn a_second_process_leaves_the_register_alone() {
    let place = Place::new();
    Gateway::new(&place.store, "a").await.catch_up(&place.store).await;
    let second = open(&place.path);
    assert_eq!(second.ticket().await.unwrap().register.entries.len(), 1);
}

#[tokio::test]
async fn two_processes_confirm_like_a_fleet_of_two() {
    let place = Place::new();
    let (one, two) = (&place.store, &open(&place.path));
    let mut a = Gateway::new(one, "a").await;
    let mut b = Gateway::new(two, "b").await;
    a.catch_up(one).await;
    b.catch_up(two).await;
    let changes = async {
        for (store, write) in [(one, mint(1)), (two, change(1, 1)), (one, change(1, 2))] {
            let ticket = applied(store, write).await;
            let propagation = receipts(store, &ticket).await;
            let states: Vec<_> = propagation.gateways.iter().map(|it| it.state).collect();
            assert_eq!(states, [ReceiptState::Confirmed; 2], "{propagation:?}");
        }
    };
    tokio::select! {
        () = changes => {}
        () = a.follow(one) => {}
        () = b.follow(two) => {}
    }
}

#[tokio::test]
async fn two_processes_take_turns_in_numbering() {
    let place = Place::new();
    let second = open(&place.path);
    let writes = (0..64).map(|it| {
        let store = if it % 2 == 0 { &place.store } else { &second };
        applied(store, mint(it))
    });
    let tickets = join_all(writes).await;
    let mut numbers: Vec<u64> = tickets.iter().map(|it| it.position.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=64).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_silent_process_is_found_out_by_another() {
    let place = Place::new();
    let second = open(&place.path);
    let mut silent = Gateway::new(&second, "silent").await.with(50, WhenUnreachable::Refuse);
    silent.catch_up(&second).await;
    let ticket = applied(&place.store, mint(1)).await;
    let propagation = receipts(&place.store, &ticket).await;
    assert!(propagation.complete);
    assert_eq!(propagation.gateways[0].state, ReceiptState::Fenced);
}

#[tokio::test]
async fn a_file_put_back_from_a_backup_is_found_out() {
    let place = Place::new();
    applied(&place.store, mint(1)).await;
    let backup = place.crashed();
    let mut gateway = Gateway::new(&place.store, "a").await;
    applied(&place.store, mint(2)).await;
    gateway.catch_up(&place.store).await;
    let restored = open(&backup);
    assert_eq!(gateway.sync(&restored).await, None);
    let again = applied(&restored, mint(3)).await.position;
    assert_eq!(again.number, gateway.position.number);
    assert_eq!(gateway.sync(&restored).await, None);
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_loses_none() {
    let place = Place::new();
    join_all((0..50).map(|it| applied(&place.store, mint(it)))).await;
    limit_pages(&place, 1).await;
    let refused = fill(&place.store).await;
    assert!(refused.to_string().contains("free space on the disk"), "{refused}");
    let end = place.store.meta().await.unwrap().end.number;
    assert_eq!(place.store.meta().await.unwrap().records, end);
    limit_pages(&place, 1_000_000).await;
    assert_eq!(applied(&place.store, mint(1_000_000)).await.position.number, end + 1);
    for number in 0..50 {
        assert_eq!(place.store.find(id(number)).await.unwrap(), Some(row(number)));
    }
}

/// As if the disk had room for so many pages and no more, or for what there is already.
async fn limit_pages(place: &Place, pages: u32) {
    let limit = place.sqlite().change(move |batch| {
        let sql = format!("PRAGMA max_page_count = {pages}");
        batch.conn.query_row(&sql, [], |row| row.get::<_, u32>(0))
    });
    limit.await.unwrap();
}

/// Mints, many at once, until there is no more room.
async fn fill(store: &Store) -> Unavailable {
    for round in 1..1_000 {
        let all = join_all((0..64).map(|it| store.write(mint(round * 64 + it)))).await;
        let refused = all.into_iter().find_map(Result::err);
        match refused {
            None => {}
            Some(WriteFault::Unavailable(fault)) => return fault,
            Some(WriteFault::OutcomeUnknown) => panic!("a write without an outcome"),
        }
    }
    panic!("the disk never filled up")
}

#[tokio::test]
async fn one_failing_job_does_not_spoil_the_others() {
    let place = Place::new();
    let fails = place.sqlite().change(|batch| {
        batch.conn.execute("DELETE FROM meta", [])?;
        batch.conn.execute("no such statement", [])
    });
    let (failed, ticket) = futures_util::future::join(fails, applied(&place.store, mint(1))).await;
    assert!(failed.unwrap_err().to_string().contains("syntax error"));
    assert_eq!(ticket.position.number, 1);
    assert_eq!(place.store.meta().await.unwrap().records, 1);
}

#[tokio::test]
async fn a_job_that_panics_leaves_nobody_waiting() {
    let place = Place::new();
    let panics = place.sqlite().change::<()>(|_| panic!("on purpose"));
    assert!(panics.await.is_err());
    let panics = place.sqlite().ask::<()>(|_| panic!("on purpose"));
    assert!(panics.await.is_err());
    let panics = place.sqlite().follow::<()>(|_| panic!("on purpose"));
    assert!(panics.await.is_err());
    applied(&place.store, mint(1)).await;
    assert_eq!(place.store.find(id(1)).await.unwrap(), Some(row(1)));
    Gateway::new(&place.store, "a").await.catch_up(&place.store).await;
}

#[tokio::test]
async fn a_write_that_takes_too_long_has_an_unknown_outcome() {
    let place = Place::new();
    let hasty = Sqlite::open(&place.path).unwrap();
    hasty.answer_within(Duration::from_millis(20));
    let (release, gate) = mpsc::channel::<()>();
    let hold = hasty.change(move |_| {
        gate.recv().unwrap_or_default();
        Ok(())
    });
    assert!(hold.await.unwrap_err().to_string().contains("did not answer within 20 ms"));
    assert_eq!(hasty.write(mint(1)).await.unwrap_err(), WriteFault::OutcomeUnknown);
    drop(release);
    // It is made all the same, as soon as the store gets there.
    let mut gateway = Gateway::new(&place.store, "a").await;
    place.store.alarm(&gateway.position, Duration::from_mins(1)).await;
    gateway.catch_up(&place.store).await;
    assert_eq!(gateway.changes.len(), 1);
}

#[tokio::test]
async fn a_file_that_is_no_longer_there_takes_no_writes_and_gives_no_lease() {
    let place = Place::new();
    let mut gateway = Gateway::new(&place.store, "a").await;
    gateway.catch_up(&place.store).await;
    let aside = place.path.with_extension("aside");
    fs::rename(&place.path, &aside).unwrap();
    for replaced in [false, true] {
        if replaced {
            fs::copy(&aside, &place.path).unwrap();
        }
        let said = place.store.write(mint(1)).await.unwrap_err().to_string();
        assert!(
            said.contains("removed or replaced") && said.contains("put the file back"),
            "{said}"
        );
        let (card, position) = (gateway.card.clone(), gateway.position.clone());
        let beat = Beat { card, position, heard: None };
        assert!(place.store.sync(beat).await.is_err());
    }
    fs::rename(&aside, &place.path).unwrap();
    applied(&place.store, mint(1)).await;
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let place = Place::new();
    let (release, gate) = mpsc::channel::<()>();
    let hold = place.sqlite().ask(move |_| {
        gate.recv().unwrap_or_default();
        Ok(())
    });
    let finds = join_all((0..5_000).map(|it| place.store.find(id(it))));
    let release = async {
        // Polled last: by then every question has been asked.
        drop(release);
    };
    let (_, found, ()) = futures_util::future::join3(hold, finds, release).await;
    let refused: Vec<_> = found.into_iter().filter_map(Result::err).collect();
    assert!(!refused.is_empty());
    assert!(refused.iter().all(|it| it.to_string().contains("overloaded")));
}

#[tokio::test]
async fn two_stores_that_open_at_once_are_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keyward.db");
    let stores = std::thread::scope(|scope| {
        let all: Vec<_> = (0..6).map(|_| scope.spawn(|| open(&path))).collect();
        all.into_iter().map(|it| it.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(stores.iter().all(|it| it.identity() == stores[0].identity()));
    let tickets = join_all(stores.iter().zip(0..).map(|(it, n)| applied(it, mint(n)))).await;
    assert_eq!(tickets.len(), 6);
    assert!(matches!(stores[0].write(mint(0)).await, Ok(Written::Conflict(Some(_)))));
}
