//! What is in memory, and what is not.

use super::*;
use crate::gate::entries::{Entries, Looked, Merged};
use crate::gate::fill::{Ended, FillRead, Outcome};
use crate::gate::known::{Known, Stored};
use crate::key::text::KeyId;

fn known(place: &Place, minted: &Minted) -> Stored {
    holding(place, &minted.record)
}

fn holding(place: &Place, record: &KeyRecord) -> Stored {
    Stored::Readable(Box::new(Known::new(record, &place.row(record)).unwrap()))
}

fn fill(entries: &Entries, id: KeyId, read: FillRead) -> Outcome {
    let fill = entries.begin_fill(id).unwrap();
    assert_eq!(entries.end_fill(id, &fill, read), Ended::Settled);
    match entries.look(id) {
        Looked::Known(entry) => Outcome::Found(entry),
        Looked::Absent => Outcome::Absent,
        Looked::Filling(_) | Looked::New => Outcome::Failed,
    }
}

#[tokio::test]
async fn beyond_the_bound_every_id_is_known_and_only_some_keys_are() {
    let place = Place::new();
    let entries = Entries::new(2);
    let keys: Vec<Minted> = (0..5).map(Minted::new).collect();
    for key in &keys {
        entries.merge(key.record.id, known(&place, key));
    }
    entries.set_loaded();
    assert_eq!(entries.count(), 2);
    assert!(!entries.is_complete());
    let looked: Vec<Looked> = keys.iter().map(|it| entries.look(it.record.id)).collect();
    assert!(matches!(&looked[..2], [Looked::Known(_), Looked::Known(_)]), "{looked:?}");
    assert!(matches!(&looked[2..], [Looked::New, Looked::New, Looked::New]), "{looked:?}");
    assert!(matches!(entries.look(Minted::new(9).record.id), Looked::Absent));
}

#[tokio::test]
async fn within_the_bound_the_map_is_complete_once_all_was_read() {
    let place = Place::new();
    let entries = Entries::new(2);
    let key = Minted::new(1);
    assert!(matches!(entries.look(key.record.id), Looked::New));
    entries.merge(key.record.id, known(&place, &key));
    assert!(!entries.is_complete());
    entries.set_loaded();
    assert!(entries.is_complete());
    // One more is minted than fits, and one less is there.
    for seed in 2..4 {
        let key = Minted::new(seed);
        entries.merge(key.record.id, known(&place, &key));
    }
    assert!(!entries.is_complete());
    entries.set_stale();
    assert!(matches!(entries.look(Minted::new(9).record.id), Looked::New));
}

#[tokio::test]
async fn who_came_first_goes_first_unless_used_meanwhile() {
    let place = Place::new();
    let entries = Entries::new(3);
    let keys: Vec<Minted> = (0..6).map(Minted::new).collect();
    let come = |key: &Minted| {
        drop(fill(&entries, key.record.id, FillRead::Found(known(&place, key))));
    };
    keys[..3].iter().for_each(come);
    entries.get(keys[0].record.id).unwrap().used(NOW);
    let held = entries.get(keys[1].record.id).unwrap();
    keys[3..5].iter().for_each(come);
    let here = || keys.iter().map(|it| entries.get(it.record.id).is_some()).collect::<Vec<_>>();
    // The first was used, the second is in use: the third and the fourth went.
    assert_eq!(here(), [true, true, false, false, true, false]);
    assert_eq!((entries.count(), entries.evicted()), (3, 2));
    // Spared once, and not for ever.
    drop(held);
    keys[5..].iter().for_each(come);
    assert_eq!(entries.count(), 3);
    assert!(here()[5]);
}

#[tokio::test]
async fn operators_come_in_and_stay_whatever_comes() {
    let place = Place::new();
    let entries = Entries::new(1);
    let operator = Minted::operator(1);
    entries.merge(Minted::new(2).record.id, known(&place, &Minted::new(2)));
    entries.merge(operator.record.id, known(&place, &operator));
    for seed in 3..20 {
        let key = Minted::new(seed);
        fill(&entries, key.record.id, FillRead::Found(known(&place, &key)));
    }
    assert!(entries.get(operator.record.id).is_some());
}

#[tokio::test]
async fn nothing_overtakes_a_fill() {
    let place = Place::new();
    let entries = Entries::new(1);
    entries.merge(Minted::new(2).record.id, known(&place, &Minted::new(2)));
    let key = Minted::new(1);
    let id = key.record.id;
    let fill = entries.begin_fill(id).unwrap();
    assert!(entries.begin_fill(id).is_none(), "two asked at once");
    // While the read is under way, the key is revoked; what was read is from before.
    let revoked = Minted { record: key.record.clone().revoked(NOW), key: Minted::new(1).key };
    assert!(matches!(entries.merge(id, known(&place, &revoked)), Merged::Quiet));
    let ended = entries.end_fill(id, &fill, FillRead::Found(known(&place, &key)));
    assert_eq!(ended, Ended::Overtaken);
    assert!(entries.get(id).is_none());
    let ended = entries.end_fill(id, &fill, FillRead::Found(known(&place, &revoked)));
    assert_eq!(ended, Ended::Settled);
    let judged = entries.get(id).unwrap().known().judge_state(NOW);
    assert_eq!(judged, Err(Refusal::RevokedKey));
}

#[tokio::test]
async fn what_may_have_been_missed_overtakes_a_fill_too() {
    let entries = Entries::new(10);
    let id = Minted::new(1).record.id;
    let fill = entries.begin_fill(id).unwrap();
    entries.set_stale();
    assert_eq!(entries.end_fill(id, &fill, FillRead::Absent), Ended::Overtaken);
    assert_eq!(entries.end_fill(id, &fill, FillRead::Absent), Ended::Settled);
    assert!(matches!(entries.look(id), Looked::Absent));
    // A negative answer ends with the key's minting.
    let place = Place::new();
    entries.merge(id, known(&place, &Minted::new(1)));
    assert!(matches!(entries.look(id), Looked::Known(_)));
}

#[tokio::test]
async fn an_old_answer_that_a_key_is_unknown_ends_with_its_finding() {
    let place = Place::new();
    let entries = Entries::new(1);
    let (key, other) = (Minted::new(1), Minted::new(2));
    let id = key.record.id;
    // Past the lease it is asked for again, though it was said to be unknown.
    drop(fill(&entries, id, FillRead::Absent));
    drop(fill(&entries, id, FillRead::Found(known(&place, &key))));
    drop(fill(&entries, other.record.id, FillRead::Found(known(&place, &other))));
    assert!(matches!(entries.look(id), Looked::New), "its key gets 401");
    // A change that meets a read, or comes to a full map, ends it too.
    let minted = Minted::new(3);
    drop(fill(&entries, minted.record.id, FillRead::Absent));
    let asked = entries.begin_fill(minted.record.id).unwrap();
    entries.merge(minted.record.id, known(&place, &minted));
    entries.end_fill(minted.record.id, &asked, FillRead::Failed);
    assert!(matches!(entries.look(minted.record.id), Looked::New), "its key gets 401");
}

#[tokio::test]
async fn what_the_store_has_lost_keeps_no_map_from_being_complete() {
    let place = Place::new();
    let entries = Entries::new(1);
    let (key, lost) = (Minted::new(1), Minted::new(2));
    entries.merge(key.record.id, known(&place, &key));
    entries.merge(lost.record.id, known(&place, &lost));
    entries.set_loaded();
    assert!(!entries.is_complete());
    let asked = entries.begin_fill(lost.record.id).unwrap();
    // Not while a change may have passed the read.
    entries.merge(lost.record.id, known(&place, &lost));
    assert_eq!(entries.end_fill(lost.record.id, &asked, FillRead::Absent), Ended::Overtaken);
    assert!(!entries.is_complete());
    assert_eq!(entries.end_fill(lost.record.id, &asked, FillRead::Absent), Ended::Settled);
    assert!(entries.is_complete());
    assert!(matches!(entries.look(lost.record.id), Looked::Absent));
}

#[tokio::test]
async fn where_there_is_room_a_change_answers_whoever_asks_for_its_key() {
    let place = Place::new();
    let entries = Entries::new(10);
    let key = Minted::new(1);
    let id = key.record.id;
    entries.set_loaded();
    let asked = entries.begin_fill(id).unwrap();
    assert!(matches!(entries.merge(id, known(&place, &key)), Merged::Quiet));
    assert!(asked.is_settled(), "nobody was told");
    let Outcome::Found(answer) = asked.outcome().await else { panic!("it was told otherwise") };
    assert!(Arc::ptr_eq(&answer, &entries.get(id).unwrap()));
    // However the read ends, it ends nothing any more.
    for read in [FillRead::Failed, FillRead::Absent, FillRead::Found(known(&place, &key))] {
        assert_eq!(entries.end_fill(id, &asked, read), Ended::Settled);
        assert!(Arc::ptr_eq(&answer, &entries.get(id).unwrap()));
    }
    assert_eq!(entries.count(), 1);
    assert!(entries.is_complete());
}

#[tokio::test]
async fn operators_take_up_nobodys_place() {
    let place = Place::new();
    let entries = Entries::new(2);
    let operators: Vec<Minted> = (1..4).map(Minted::operator).collect();
    let keys: Vec<Minted> = (4..6).map(Minted::new).collect();
    for key in operators.iter().chain(&keys) {
        entries.merge(key.record.id, known(&place, key));
    }
    entries.set_loaded();
    assert!(entries.is_complete(), "all fit");
    // Nor does one whose record can no longer be read: it came in as an operator's.
    entries.merge(operators[0].record.id, Stored::Unreadable);
    assert_eq!(entries.count(), 5);
    let more: Vec<Minted> = (6..9).map(Minted::new).collect();
    for key in &more {
        drop(fill(&entries, key.record.id, FillRead::Found(known(&place, key))));
    }
    let here = |it: &&Minted| entries.get(it.record.id).is_some();
    assert_eq!(operators.iter().filter(here).count(), 3);
    assert_eq!(keys.iter().chain(&more).filter(here).count(), 2);
    assert_eq!(entries.count(), 5);
}

#[tokio::test]
async fn one_that_turns_out_to_be_an_operators_gives_its_place_back() {
    let place = Place::new();
    let entries = Entries::new(1);
    let (operator, key) = (Minted::operator(1), Minted::new(2));
    entries.merge(operator.record.id, Stored::Unreadable);
    entries.merge(operator.record.id, known(&place, &operator));
    entries.merge(key.record.id, known(&place, &key));
    entries.set_loaded();
    assert!(entries.is_complete());
}

#[tokio::test]
async fn a_revoked_operator_is_like_any_other_key() {
    let place = Place::new();
    let entries = Entries::new(1);
    let operator = Minted::operator(1);
    let id = operator.record.id;
    let come = |seed| {
        let key = Minted::new(seed);
        drop(fill(&entries, key.record.id, FillRead::Found(known(&place, &key))));
    };
    entries.merge(id, known(&place, &operator));
    (2..9).for_each(come);
    assert!(entries.get(id).is_some());
    entries.merge(id, holding(&place, &operator.record.clone().revoked(NOW)));
    (10..13).for_each(come);
    assert!(entries.get(id).is_none());
    assert_eq!(entries.count(), 1);
    // Nor does it come in by itself where there is no room.
    entries.merge(id, holding(&place, &operator.record.revoked(NOW)));
    assert!(entries.get(id).is_none());
}

#[tokio::test]
async fn the_bound_holds_where_every_key_is_used_all_the_time() {
    const MAX: usize = 300;
    let place = Place::new();
    let entries = Entries::new(MAX);
    let key = Minted::new(1);
    let (mut rng, mut ids, mut now) = (StdRng::seed_from_u64(2), Vec::new(), NOW);
    for _ in 0..3 * MAX {
        let id = ApiKey::mint(&"kw".parse().unwrap(), &mut rng).id();
        ids.push(id);
        drop(fill(&entries, id, FillRead::Found(known(&place, &key))));
        now = Timestamp::from_micros(now.as_micros() + 2_000_000);
        ids.iter().filter_map(|it| entries.get(*it)).for_each(|it| it.used(now));
        assert!(entries.count() <= MAX, "{}", entries.count());
    }
    // Those in use stay, though they came first.
    let held: Vec<Arc<Entry>> = ids.iter().filter_map(|it| entries.get(*it)).collect();
    let late = Minted::new(3);
    drop(fill(&entries, late.record.id, FillRead::Found(known(&place, &late))));
    assert!(held.iter().all(|it| entries.get(it.id()).is_some()));
    drop(held);
    let last = Minted::new(4);
    drop(fill(&entries, last.record.id, FillRead::Found(known(&place, &last))));
    assert_eq!(entries.count(), MAX);
}

#[tokio::test]
async fn the_last_use_of_a_key_that_had_to_go_is_told_until_it_has_arrived() {
    let place = Place::new();
    let entries = Entries::new(1);
    let come = |seed| {
        let key = Minted::new(seed);
        drop(fill(&entries, key.record.id, FillRead::Found(known(&place, &key))));
        entries.get(key.record.id)
    };
    let entry = come(1).unwrap();
    entry.used(NOW);
    let used = vec![(entry.id(), NOW)];
    drop(entry);
    drop(come(2));
    assert!(entries.get(used[0].0).is_none());
    // The store may not have been there the first time.
    assert_eq!(entries.untold_uses(), used);
    assert_eq!(entries.untold_uses(), used);
    entries.uses_told(Timestamp::from_micros(NOW.as_micros() + 1));
    assert_eq!(entries.untold_uses(), []);
    // What was told before it went is not told again.
    let entry = come(1).unwrap();
    entry.used(NOW);
    drop(entry);
    drop(come(3));
    assert_eq!(entries.untold_uses(), []);
}
