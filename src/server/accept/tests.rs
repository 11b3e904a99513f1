//! Claims about a store whose pepper was lost.

use std::sync::Arc;

use super::*;
use crate::key::record::{Holder, Permissions, Scope};
use crate::key::seal::{Comparison, Pepper, Sealed};
use crate::key::text::{ApiKey, Prefix};
use crate::store::sqlite::Sqlite;
use crate::store::{Expect, Write, Written};

use rand::SeedableRng;
use rand::rngs::StdRng;

/// A store with records in it.
struct Place {
    directory: tempfile::TempDir,
    store: Store,
    rng: StdRng,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        Self { directory, store, rng: StdRng::seed_from_u64(7) }
    }

    fn vault(&self, bytes: &[u8]) -> Vault {
        Vault::new(peppers(bytes), self.store.identity().clone())
    }

    /// Mints under the first of `peppers`.
    async fn mint(&mut self, holder: Holder, vault: &Vault) -> ApiKey {
        let (key, row) = self.minted(holder, vault);
        self.put(row).await;
        key
    }

    fn minted(&mut self, holder: Holder, vault: &Vault) -> (ApiKey, Row) {
        let key = ApiKey::mint(&"kw".parse::<Prefix>().unwrap(), &mut self.rng);
        let record = KeyRecord {
            id: key.id(),
            prefix: "kw".parse().unwrap(),
            last_digits: key.last_digits().to_owned(),
            name: "a name".parse().unwrap(),
            holder,
            created_at: Timestamp::from_micros(1),
            created_by: "test".to_owned(),
            expires_at: None,
            disabled: false,
            revoked_at: None,
            revision: 1,
            argon2id: "$argon2id$".to_owned(),
            tag: Some(vault.tag(&key.digest())),
        };
        let row = vault.seal(&record).unwrap();
        (key, row)
    }

    async fn put(&self, row: Row) {
        let audit = audit(peppers(&[1]).current().name(), Timestamp::from_micros(1));
        let write = Write { row, expect: Expect::Absent, idempotency: None, audit };
        assert!(matches!(self.store.write(write).await.unwrap(), Written::Applied(_)));
    }

    async fn accept(&self, bytes: &[u8]) -> Accepted {
        accept(&self.store, peppers(bytes), Timestamp::from_micros(2)).await.unwrap()
    }

    async fn record(&self, key: &ApiKey, vault: &Vault) -> Result<KeyRecord, SealFault> {
        vault.open(&self.store.find(key.id()).await.unwrap().unwrap())
    }
}

fn open(directory: &std::path::Path) -> Store {
    let store = Sqlite::open(&directory.join("keyward.db")).unwrap();
    Store::Embedded(Arc::new(store))
}

/// The first seals, the others verify.
fn peppers(bytes: &[u8]) -> Peppers {
    let mut peppers = bytes.iter().map(|it| Pepper::new([*it; 32]));
    Peppers::new(peppers.next().unwrap(), peppers.collect())
}

fn caller() -> Holder {
    Holder::Caller(Scope::default())
}

#[tokio::test]
async fn every_record_is_sealed_anew_and_its_tag_dropped() {
    let mut place = Place::new();
    let lost = place.vault(&[1]);
    let key = place.mint(caller(), &lost).await;
    let operator = place.mint(Holder::Operator(Permissions::all()), &lost).await;
    let accepted = place.accept(&[2]).await;
    assert_eq!((accepted.resealed, accepted.vouched, accepted.tags_dropped), (2, 2, 2));
    assert_eq!(accepted.operators, [(operator.id(), "a name".to_owned())]);
    assert_eq!(accepted.left, [""; 0]);
    let record = place.record(&key, &place.vault(&[2])).await.unwrap();
    assert_eq!((record.id, record.tag, record.revision), (key.id(), None, 1));
    let check = place.store.meta().await.unwrap().check;
    assert_eq!(check, Some(peppers(&[2]).current().check()));
}

#[tokio::test]
async fn a_tag_under_a_pepper_that_is_here_stays() {
    let mut place = Place::new();
    let retired = place.vault(&[1]);
    let key = place.mint(caller(), &retired).await;
    let accepted = place.accept(&[2, 1]).await;
    assert_eq!((accepted.resealed, accepted.vouched, accepted.tags_dropped), (1, 0, 0));
    let vault = place.vault(&[2, 1]);
    let tag = place.record(&key, &vault).await.unwrap().tag.unwrap();
    assert_eq!(vault.compare(&tag, &key.digest()), Comparison::Match);
}

#[tokio::test]
async fn doing_it_again_changes_nothing() {
    let mut place = Place::new();
    let lost = place.vault(&[1]);
    place.mint(caller(), &lost).await;
    place.accept(&[2]).await;
    let again = place.accept(&[2]).await;
    assert_eq!((again.resealed, again.vouched, again.tags_dropped), (0, 0, 0));
}

#[tokio::test]
async fn a_seal_that_does_not_fit_is_not_overruled() {
    let mut place = Place::new();
    let here = place.vault(&[2]);
    let (key, mut row) = place.minted(caller(), &here);
    let mut bytes = row.sealed.as_bytes().to_vec();
    bytes[10] ^= 1;
    row.sealed = Sealed::from_bytes(bytes);
    place.put(row).await;
    let accepted = place.accept(&[2]).await;
    assert_eq!(accepted.resealed, 0);
    assert_eq!(accepted.left, [format!("record {}: {}", key.id(), SealFault::Forged)]);
}

#[tokio::test]
async fn a_record_that_is_not_its_rows_is_not_vouched_for() {
    let mut place = Place::new();
    let lost = place.vault(&[1]);
    let (key, _row) = place.minted(caller(), &lost);
    let (_operator, row) = place.minted(Holder::Operator(Permissions::all()), &lost);
    place.put(Row { id: key.id(), ..row }).await;
    let accepted = place.accept(&[2]).await;
    assert_eq!((accepted.resealed, accepted.left.len()), (0, 1));
    assert_eq!(accepted.operators, []);
}

#[tokio::test]
async fn more_records_than_a_page_are_all_sealed_anew() {
    let mut place = Place::new();
    let lost = place.vault(&[1]);
    for _ in 0..=PAGE {
        place.mint(caller(), &lost).await;
    }
    assert_eq!(place.accept(&[2]).await.resealed, PAGE as u64 + 1);
}

#[tokio::test]
async fn a_store_that_somebody_lives_on_is_not_opened_alone() {
    let place = Place::new();
    let path = place.directory.path().join("keyward.db");
    let words = Sqlite::open_alone(&path).unwrap_err().to_string();
    assert!(
        words.ends_with("is in use by another process: stop every keyward on it first"),
        "{words}"
    );
    drop(place.store);
    assert!(Sqlite::open_alone(&path).is_ok());
}
