//! What keeps a gateway true to its store.

use super::*;
use crate::gate::Pass;
use crate::gate::around::Patience;
use crate::gate::follow::Follower;
use crate::gate::hearsay::Hearsay;
use crate::gate::intake::{Intake, Read};
use crate::gate::lease::Standing;
use crate::gate::recheck::Recheck;
use crate::key::seal::Sealed;
use crate::store::gateway::{GatewayCard, GatewayId, Register, Registered};
use crate::store::{Change, Position};

/// The one gateway.
pub fn card() -> GatewayCard {
    GatewayCard {
        id: GatewayId("gw_1".to_owned()),
        name: "one".to_owned(),
        version: "1".to_owned(),
        started_at: NOW,
        lease_ms: 8_000,
        policy: WhenUnreachable::Refuse,
        serve_known_for_ms: 0,
        replicas: 0,
        keys: 0,
        complete: false,
        draining: false,
        closed: Vec::new(),
    }
}

impl Place {
    pub fn follower(&self) -> Follower {
        Follower::new(Arc::clone(&self.keyring), card())
    }

    fn standing(&self) -> Standing {
        self.keyring.lease().standing(Moment::now())
    }

    /// Follows until all was read.
    async fn follow(&self, follower: &mut Follower) {
        while !self.keyring.entries().is_loaded() {
            follower.step().await.unwrap();
        }
    }

    /// The changes up to now are gone, as after another past.
    async fn lose_the_past(&self) {
        self.tamper("DELETE FROM changes");
        self.mint(1_000).await;
        self.keyring.lease().surrender();
    }
}

#[tokio::test]
async fn only_what_is_known_is_taken_from_a_life_that_is_not_open() {
    let place = Place::new();
    let known = place.mint(1).await;
    let mut follower = place.follower();
    place.follow(&mut follower).await;
    place.revoke(&known).await;
    let unknown = place.mint(2).await;
    let mut intake = Intake::new(Arc::clone(&place.keyring));
    assert_eq!(intake.all(Read::Known).await.unwrap(), Read::Known);
    assert!(place.keyring.entries().get(unknown.record.id).is_none());
    let entry = place.keyring.entries().get(known.record.id).unwrap();
    assert_eq!(entry.known().judge_state(NOW), Err(Refusal::RevokedKey));
    assert_eq!(intake.all(Read::Everything).await.unwrap(), Read::Everything);
    assert!(place.keyring.entries().get(unknown.record.id).is_some());
    let change = Change { number: 4, nonce: 1, row: place.row(&Minted::new(3).record) };
    let fill = place.keyring.entries().begin_fill(change.row.id).unwrap();
    assert!(intake.changes(std::slice::from_ref(&change), Read::Known).await.is_empty());
    assert!(fill.was_overtaken(), "what is being read may be older");
    assert!(place.keyring.entries().exists(change.row.id));
    assert!(place.keyring.entries().get(change.row.id).is_none());
    // With nothing unknown, all is read.
    assert_eq!(intake.all(Read::Known).await.unwrap(), Read::Everything);
}

#[tokio::test]
async fn what_is_heard_goes_ahead_only_where_it_is_newer() {
    let place = Place::new();
    let known = place.mint(1).await;
    let mut follower = place.follower();
    place.follow(&mut follower).await;
    let entries = place.keyring.entries();
    let change = |number, record: &KeyRecord| Change { number, nonce: 1, row: place.row(record) };
    let unknown = Minted::new(2).record;
    let tie = KeyRecord { disabled: true, ..known.record.clone() };
    let revoked = known.record.clone().revoked(NOW);
    let ends = |heard: Vec<Change>| Hearsay::behind(4, heard, entries).end().map(|it| it.0);
    assert_eq!(ends(vec![change(5, &unknown), change(6, &revoked)]), Some(6));
    // What another life says of the same revision may be what this one has overcome.
    assert_eq!(ends(vec![change(5, &unknown), change(6, &tie), change(7, &revoked)]), Some(5));
    assert_eq!(ends(vec![change(5, &unknown), change(7, &revoked)]), Some(5));
    assert_eq!(ends(vec![change(6, &revoked)]), None);
    let foreign = Row { sealed: Sealed::from_bytes(vec![u8::MAX]), ..place.row(&unknown) };
    assert!(foreign.sealed.is_newer());
    assert_eq!(ends(vec![Change { number: 5, nonce: 1, row: foreign }]), None);
    // Who does not know every key asks for what it does not know.
    assert_eq!(Hearsay::behind(4, Vec::new(), entries).scope, Read::Everything);
    place.keyring.merge_known(&place.row(&unknown));
    assert_eq!(Hearsay::behind(4, Vec::new(), entries).scope, Read::Known);
}

#[tokio::test]
async fn what_was_missed_is_read_before_anything_is_confirmed() {
    let place = Place::new();
    let (kept, lost) = (place.mint(1).await, place.mint(2).await);
    let mut follower = place.follower();
    place.follow(&mut follower).await;
    assert!(place.prove(&lost).await.is_ok());

    place.revoke(&lost).await;
    place.lose_the_past().await;
    let confirmed = place.store.ticket().await.unwrap().register.entries[0].confirmed.clone();
    follower.step().await.unwrap();
    assert_eq!(place.standing(), Standing::Lost, "it trusts what may be stale");
    let register = place.store.ticket().await.unwrap().register;
    assert_eq!(register.entries[0].confirmed, confirmed, "it confirmed what it has not applied");

    follower.step().await.unwrap();
    assert_eq!(place.standing(), Standing::Held);
    let judged = |it: &Arc<Entry>| it.known().judge_state(NOW);
    assert_eq!(judged(&place.prove(&lost).await.unwrap()), Err(Refusal::RevokedKey));
    assert_eq!(judged(&place.prove(&kept).await.unwrap()), Ok(()));
    let ticket = place.store.ticket().await.unwrap();
    assert_eq!(ticket.register.entries[0].confirmed, ticket.position);
}

#[tokio::test]
async fn what_was_missed_is_read_again_beyond_the_bound_too() {
    let place = Place::with(|settings, _| settings.max_keys_in_memory = NonZeroUsize::MIN);
    let keys = [place.mint(1).await, place.mint(2).await, place.mint(3).await];
    let mut follower = place.follower();
    place.follow(&mut follower).await;
    // Whichever is in memory.
    for key in &keys {
        assert!(place.prove(key).await.is_ok());
        place.revoke(key).await;
    }
    place.lose_the_past().await;
    follower.step().await.unwrap();
    follower.step().await.unwrap();
    assert_eq!(place.standing(), Standing::Held);
    for key in &keys {
        let entry = place.prove(key).await.unwrap();
        assert_eq!(entry.known().judge_state(NOW), Err(Refusal::RevokedKey));
    }
}

#[tokio::test]
async fn what_the_store_has_lost_is_written_back_and_counted() {
    let place = Place::new();
    let (lost, older) = (place.mint(1).await, place.mint(2).await);
    let before = place.row(&older.record);
    place.revoke(&older).await;
    let mut follower = place.follower();
    place.follow(&mut follower).await;
    let (one, two) = (lost.record.id, older.record.id);
    let stored = place.store.find(one).await.unwrap();

    // An older copy of the store is put back.
    place.tamper(&format!("DELETE FROM records WHERE id = '{one}'"));
    place.tamper(&format!(
        "UPDATE records SET revision = 1, revoked = 0, sealed = x'{}' WHERE id = '{two}'",
        hex(before.sealed.as_bytes())
    ));
    place.lose_the_past().await;
    follower.step().await.unwrap();
    follower.step().await.unwrap();

    assert_eq!(place.keyring.counts().rollbacks.load(Ordering::Relaxed), 2);
    assert_eq!(place.store.find(one).await.unwrap(), stored);
    let record = place.keyring.vault().open(&place.store.find(two).await.unwrap().unwrap());
    assert!(record.unwrap().revoked_at.is_some());
    let judged = place.prove(&older).await.unwrap().known().judge_state(NOW);
    assert_eq!(judged, Err(Refusal::RevokedKey));
}

#[tokio::test]
async fn whoever_asks_for_a_record_that_was_put_back_gets_the_newer_one() {
    let place = Place::new();
    let key = place.mint(1).await;
    let (id, before) = (key.record.id, place.row(&key.record));
    place.revoke(&key).await;
    place.follow(&mut place.follower()).await;
    place.tamper(&format!(
        "UPDATE records SET revision = 1, revoked = 0, sealed = x'{}' WHERE id = '{id}'",
        hex(before.sealed.as_bytes())
    ));
    let stored = place.store.find(id).await.unwrap().unwrap();
    let current = place.keyring.current(stored.clone()).await.unwrap();
    assert!(place.keyring.vault().open(&current).unwrap().revoked_at.is_some());
    assert_ne!(current, stored);
    assert_eq!(place.store.find(id).await.unwrap(), Some(current));
    assert_eq!(place.keyring.counts().rollbacks.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_not_written_back() {
    let place = Place::new();
    let key = place.mint(1).await;
    let id = key.record.id;
    let mut follower = place.follower();
    place.follow(&mut follower).await;
    place.tamper(&format!("UPDATE records SET sealed = x'00', revision = 0 WHERE id = '{id}'"));
    place.lose_the_past().await;
    follower.step().await.unwrap();
    follower.step().await.unwrap();
    assert_eq!(place.prove(&key).await.unwrap_err(), Refusal::StoreUnreachable);
    assert_eq!(place.keyring.counts().rollbacks.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_several_changes_of_a_key_end_is_told_with_the_last() {
    let place = Place::new();
    let key = place.mint(1).await;
    let mut follower = place.follower();
    place.follow(&mut follower).await;
    let mut worker = place.keyring.workers().join();
    let _in_use = place.keyring.entries().get(key.record.id).unwrap();
    let disabled = KeyRecord { disabled: true, revision: 2, ..key.record.clone() };
    place.write(&disabled, Expect::Revision(1)).await;
    place.write(&disabled.clone().revoked(NOW), Expect::Revision(2)).await;
    let last = place.store.ticket().await.unwrap().position.number;
    let answer = async {
        let recheck: Recheck = worker.recv().await.unwrap();
        recheck.answer(vec![3]);
    };
    let (step, ()) = tokio::join!(follower.step(), answer);
    step.unwrap();
    follower.step().await.unwrap();
    let card = place.store.ticket().await.unwrap().register.entries[0].card.clone();
    assert_eq!(card.closed, [(last, 3)]);
}

#[tokio::test]
async fn what_comes_behind_a_newer_format_is_applied_and_not_confirmed() {
    let place = Place::new();
    let (newer, key) = (Minted::new(1), place.mint(2).await);
    let mut follower = place.follower();
    place.follow(&mut follower).await;
    let row = Row { sealed: Sealed::from_bytes(vec![0xFF; 64]), ..place.row(&newer.record) };
    let write = Write { row, expect: Expect::Absent, idempotency: None, audit: audit() };
    assert!(matches!(place.store.write(write).await, Ok(Written::Applied(_))));
    let before = place.store.ticket().await.unwrap().position.number - 1;
    place.revoke(&key).await;
    follower.step().await.unwrap();
    follower.step().await.unwrap();
    let judged = place.prove(&key).await.unwrap().known().judge_state(NOW);
    assert_eq!(judged, Err(Refusal::RevokedKey));
    assert_eq!(place.prove(&newer).await.unwrap_err(), Refusal::StoreUnreachable);
    let register = place.store.ticket().await.unwrap().register;
    assert_eq!(register.entries[0].confirmed.number, before);
}

#[tokio::test]
async fn who_leaves_the_register_lets_nobody_in_any_more() {
    let place = Place::new();
    let key = place.mint(1).await;
    let mut follower = place.follower();
    place.follow(&mut follower).await;
    assert!(place.prove(&key).await.is_ok());
    follower.leave().await;
    assert!(place.store.ticket().await.unwrap().register.entries.is_empty());
    assert_eq!(place.prove(&key).await.unwrap_err(), Refusal::StoreUnreachable);
}

#[tokio::test]
async fn what_is_sealed_under_a_retired_pepper_is_sealed_anew_beyond_the_bound_too() {
    let place = Place::with(|settings, _| settings.max_keys_in_memory = NonZeroUsize::MIN);
    let old =
        Vault::new(Peppers::new(Pepper::new([6; 32]), vec![]), place.store.identity().clone());
    for seed in 0..5 {
        let row = old.seal(&Minted::new(seed).without_tag().record).unwrap();
        let write = Write { row, expect: Expect::Absent, idempotency: None, audit: audit() };
        assert!(matches!(place.store.write(write).await, Ok(Written::Applied(_))));
    }
    let name = |secret| Pepper::new([secret; 32]).name();
    assert_eq!(place.store.census().await.unwrap(), [(Some(name(6)), 5)]);
    place.follow(&mut place.follower()).await;
    assert_eq!(place.store.census().await.unwrap(), [(Some(name(7)), 5)]);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, it| text + &format!("{it:02x}"))
}

/// By how many it divides limits, it has to know before it has seen the register of a new life.
#[tokio::test]
async fn in_a_new_life_of_the_store_a_gateway_does_not_take_itself_for_alone() {
    let place = Place::new();
    let leasing = place.keyring.limits().leasing();
    let pass = Pass { now: Moment::now(), time: NOW, patience: Patience::Over };
    let fellows = || {
        leasing.sweep(&pass);
        leasing.around("000000000001".parse().unwrap(), &pass).fellows
    };
    let entry = |beat| {
        let confirmed = Position { epoch: "one".to_owned(), number: 0, nonce: 0 };
        Registered { card: card(), confirmed, beat }
    };
    let register = Register { moves: 1, entries: (0..3).map(entry).collect() };
    place.store.sight().show(register, pass.now, pass.now);
    assert_eq!(fellows(), 3);
    place.store.sight().begin("another", pass.now);
    assert_eq!(fellows(), 3);
}
