//! What it costs to prove a key, and who is charged.

use super::*;
use crate::gate::writeback;
use crate::rate::Rate;

fn one_failure(_settings: &mut Settings, limits: &mut Limits) {
    limits.failures_per_address = Some("1/min burst 1".parse::<Rate>().unwrap());
}

impl Place {
    /// As if a sync had just been answered.
    fn hold_the_lease(&self) {
        self.keyring.lease().renew(Moment::now());
    }
}

#[tokio::test]
async fn who_asks_for_keys_that_exist_is_not_charged() {
    let place = Place::with(one_failure);
    place.hold_the_lease();
    for seed in 0..20 {
        let key = place.mint(seed).await;
        assert!(place.prove(&key).await.is_ok());
    }
    assert_eq!(place.fills(), 20);
}

#[tokio::test]
async fn who_asks_for_keys_that_do_not_exist_is_charged_and_nobody_else() {
    let place = Place::with(one_failure);
    place.hold_the_lease();
    let mut refused = Vec::new();
    for seed in 0..5 {
        refused.push(place.prove(&Minted::new(seed)).await.unwrap_err());
        // The charge is made by whoever asked the store, right after the answer.
        tokio::task::yield_now().await;
    }
    assert_eq!(refused[0], Refusal::UnknownKey);
    assert_eq!(refused[4], Refusal::Overloaded);
    assert!(place.fills() < 5);
    let elsewhere = place.prove_from(&Minted::new(9), [127, 0, 0, 2].into()).await;
    assert_eq!(elsewhere.unwrap_err(), Refusal::UnknownKey);
}

#[tokio::test]
async fn beyond_the_bound_unknown_ids_are_refused_from_memory() {
    let place = Place::with(|settings, _| settings.max_keys_in_memory = NonZeroUsize::MIN);
    place.hold_the_lease();
    for seed in 0..3 {
        let key = place.mint(seed).await;
        place.keyring.merge(&place.row(&key.record));
    }
    place.keyring.entries().set_loaded();
    for seed in 10..20 {
        assert_eq!(place.prove(&Minted::new(seed)).await.unwrap_err(), Refusal::UnknownKey);
    }
    assert_eq!(place.fills(), 0);
}

#[tokio::test]
async fn a_tag_that_finds_no_way_back_is_made_again() {
    let mut place = Place::new();
    place.hold_the_lease();
    let old = Peppers::new(Pepper::new([6; 32]), vec![]);
    let key = Minted::new(1);
    let record = KeyRecord { tag: Some(old.tag(&key.key.digest())), ..key.record.clone() };
    place.keyring.merge(&place.row(&record));
    // The way back is full.
    let other = Minted::new(2);
    let tag = || peppers().tag(&other.key.digest());
    let new = || NewTag { id: other.record.id, revision: 1, tag: tag() };
    let mut sent = 0;
    while place.keyring.write_back(new()) {
        sent += 1;
    }
    assert!(place.prove(&key).await.is_ok());
    for _ in 0..sent {
        assert_eq!(place.tags.recv().await.unwrap().id, other.record.id);
    }
    assert!(place.prove(&key).await.is_ok());
    assert_eq!(place.tags.try_recv().unwrap().id, key.record.id);
    assert!(place.prove(&key).await.is_ok());
    assert!(place.tags.try_recv().is_err(), "it was made anew twice");
}

#[tokio::test]
async fn tags_that_wait_are_written_back_before_the_end() {
    let place = Place::new();
    place.hold_the_lease();
    let key = Minted::new(1).without_tag();
    place.write(&key.record, Expect::Absent).await;
    assert!(place.prove(&key).await.is_ok());
    let tasks = Tasks::default();
    tasks.stop();
    writeback::run(place.tags, place.store.clone(), place.keyring.vault().clone(), tasks).await;
    let row = place.store.find(key.record.id).await.unwrap().unwrap();
    assert!(place.keyring.vault().open(&row).unwrap().tag.is_some());
}

#[tokio::test]
async fn whoever_waits_for_a_store_that_fails_hears_of_it() {
    let place = Place::new();
    place.hold_the_lease();
    place.tamper("DROP TABLE records");
    assert_eq!(place.prove(&Minted::new(1)).await.unwrap_err(), Refusal::StoreUnreachable);
}

#[tokio::test]
async fn whoever_waits_for_a_read_that_never_began_hears_of_it() {
    let gone = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let background = gone.handle().clone();
    gone.shutdown_background();
    let place = Place::working_on(background, |_settings, _limits| {});
    place.hold_the_lease();
    let key = place.mint(1).await;
    for _ in 0..2 {
        let proved = tokio::time::timeout(Duration::from_secs(20), place.prove(&key)).await;
        assert_eq!(proved.expect("it waits for ever").unwrap_err(), Refusal::StoreUnreachable);
    }
}
