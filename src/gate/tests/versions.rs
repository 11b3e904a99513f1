//! What another version wrote, and this one only hands on.

use serde_json::{Value, json};

use super::*;
use crate::gate::known::Known;
use crate::gate::writeback;
use crate::key::seal::{Sealed, Tag};

/// A field of which nobody here knows, with a number that no float holds.
const STRANGE: &str = r#"{"limits":["100/s"],"budget":12345678901234567890.5,"#;

/// The record as a version would write it that knows one field more, under a pepper of its own.
fn strange(place: &Place, record: &KeyRecord, under: &Peppers) -> Row {
    let body = serde_json::to_string(record).unwrap().replacen('{', STRANGE, 1);
    let sealed = under.seal_body(place.store.identity(), record.id, body.as_bytes());
    Row { sealed, ..place.row(record) }
}

fn body(sealed: &Sealed) -> &str {
    str::from_utf8(&sealed.as_bytes()[37..]).unwrap()
}

fn retired() -> Peppers {
    Peppers::new(Pepper::new([6; 32]), vec![])
}

async fn put(place: &Place, row: Row) {
    let write = Write { row, expect: Expect::Absent, idempotency: None, audit: audit() };
    assert!(matches!(place.store.write(write).await, Ok(Written::Applied(_))));
}

#[tokio::test]
async fn a_tag_is_written_back_beside_what_another_version_wrote() {
    let place = Place::new();
    place.keyring.lease().renew(Moment::now());
    let key = Minted::new(1).without_tag();
    put(&place, strange(&place, &key.record, &peppers())).await;
    assert!(place.prove(&key).await.is_ok());
    let (vault, tasks) = (place.keyring.vault().clone(), Tasks::default());
    tasks.stop();
    writeback::run(place.tags, place.store.clone(), vault.clone(), tasks).await;

    let row = place.store.find(key.record.id).await.unwrap().unwrap();
    let tag: Tag = vault.tag(&key.key.digest());
    assert_eq!(vault.open(&row).unwrap(), KeyRecord { tag: Some(tag), ..key.record });
    let written: Value = serde_json::from_str(body(&row.sealed)).unwrap();
    assert_eq!(written["limits"], json!(["100/s"]));
    assert!(body(&row.sealed).contains("12345678901234567890.5"), "{}", body(&row.sealed));
}

#[tokio::test]
async fn what_this_version_wrote_is_written_back_as_it_would_write_it() {
    let place = Place::new();
    let key = Minted::new(1).without_tag();
    let (vault, tag) = (place.keyring.vault(), peppers().tag(&key.key.digest()));
    let row = vault.retag(&place.row(&key.record), 1, &tag).unwrap().unwrap();
    let record = KeyRecord { tag: Some(tag.clone()), ..key.record };
    assert!(row.sealed.spells(&record));
    assert_eq!(vault.retag(&row, 2, &tag), Ok(None), "it was made for another revision");
}

#[tokio::test]
async fn under_another_pepper_a_record_stays_the_same_to_the_byte() {
    let place = Place::new();
    let (key, vault) = (Minted::new(1), place.keyring.vault());
    let row = strange(&place, &key.record, &retired());
    let anew = vault.reseal(&row).unwrap().unwrap();
    assert!(vault.is_current(anew.sealed.pepper().unwrap()));
    assert_eq!(body(&anew.sealed), body(&row.sealed));
    assert_eq!(vault.open(&anew).unwrap(), key.record);
    assert_eq!(vault.reseal(&anew), Ok(None), "it is under the current pepper already");
    // What is written back, should the store lose it, is sealed anew as well.
    let known = Known::new(&key.record, &row).unwrap();
    assert_eq!(known.row(key.record.id, vault), Some(anew));
}
