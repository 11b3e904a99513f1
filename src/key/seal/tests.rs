//! Claims about tags and seals.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::clock::Timestamp;
use crate::key::record::{Holder, Scope};
use crate::key::text::{ApiKey, Prefix};

fn pepper(byte: u8) -> Pepper {
    Pepper::new([byte; 32])
}

fn peppers(current: u8, retired: &[u8]) -> Peppers {
    Peppers::new(pepper(current), retired.iter().map(|it| pepper(*it)).collect())
}

fn key(seed: u64) -> ApiKey {
    ApiKey::mint(&"kw".parse::<Prefix>().unwrap(), &mut StdRng::seed_from_u64(seed))
}

fn record(key: &ApiKey, peppers: &Peppers) -> KeyRecord {
    KeyRecord {
        id: key.id(),
        prefix: "kw".parse().unwrap(),
        last_digits: key.last_digits().to_owned(),
        name: "billing".parse().unwrap(),
        holder: Holder::Caller(Scope::default()),
        created_at: Timestamp::from_micros(1),
        created_by: "test".to_owned(),
        expires_at: None,
        disabled: false,
        revoked_at: None,
        revision: 1,
        argon2id: String::new(),
        tag: Some(peppers.tag(&key.digest())),
    }
}

fn store(name: &str) -> Identity {
    Identity(name.to_owned())
}

#[test]
fn a_sealed_record_opens_as_it_was() {
    let (key, peppers) = (key(1), peppers(1, &[]));
    let record = record(&key, &peppers);
    let sealed = peppers.seal(&store("a"), &record).unwrap();
    assert_eq!(peppers.open(&store("a"), key.id(), &sealed).unwrap(), record);
}

#[test]
fn no_changed_byte_of_a_sealed_record_ever_opens() {
    let (key, peppers) = (key(1), peppers(1, &[]));
    let sealed = peppers.seal(&store("a"), &record(&key, &peppers)).unwrap();
    for at in 0..sealed.as_bytes().len() {
        let mut bytes = sealed.as_bytes().to_vec();
        bytes[at] ^= 1;
        let changed = Sealed::from_bytes(bytes);
        assert!(peppers.open(&store("a"), key.id(), &changed).is_err(), "byte {at}");
    }
    for length in 0..sealed.as_bytes().len() {
        let short = Sealed::from_bytes(sealed.as_bytes()[..length].to_vec());
        assert!(peppers.open(&store("a"), key.id(), &short).is_err(), "cut to {length}");
    }
}

#[test]
fn a_record_cannot_be_moved_to_another_id_or_store() {
    let (first, peppers) = (key(1), peppers(1, &[]));
    let sealed = peppers.seal(&store("a"), &record(&first, &peppers)).unwrap();
    assert_eq!(peppers.open(&store("a"), key(2).id(), &sealed), Err(SealFault::Forged));
    assert_eq!(peppers.open(&store("b"), first.id(), &sealed), Err(SealFault::Forged));
}

#[test]
fn a_retired_pepper_opens_and_verifies_and_a_dropped_one_does_not() {
    let key = key(1);
    let old = peppers(1, &[]);
    let sealed = old.seal(&store("a"), &record(&key, &old)).unwrap();
    let tag = old.tag(&key.digest());

    let rotated = peppers(2, &[1]);
    assert!(rotated.open(&store("a"), key.id(), &sealed).is_ok());
    assert_eq!(rotated.compare(&tag, &key.digest()), Comparison::Match);

    let dropped = peppers(2, &[]);
    let name = old.current().name();
    assert_eq!(dropped.open(&store("a"), key.id(), &sealed), Err(SealFault::UnknownPepper(name)));
    assert_eq!(dropped.compare(&tag, &key.digest()), Comparison::UnknownPepper);
}

#[test]
fn a_tag_matches_its_own_key_alone() {
    let peppers = peppers(1, &[]);
    let tag = peppers.tag(&key(1).digest());
    assert_eq!(peppers.compare(&tag, &key(1).digest()), Comparison::Match);
    assert_eq!(peppers.compare(&tag, &key(2).digest()), Comparison::Mismatch);
}

#[test]
fn a_newer_format_is_told_from_a_forgery() {
    let sealed = Sealed::from_bytes(vec![9; 100]);
    let opened = peppers(1, &[]).open(&store("a"), key(1).id(), &sealed);
    assert_eq!(opened, Err(SealFault::NewerFormat(9)));
}

#[test]
fn a_tag_reads_back_what_it_prints() {
    let tag = peppers(1, &[]).tag(&key(1).digest());
    assert_eq!(Tag::try_from(String::from(tag.clone())), Ok(tag));
    assert_eq!(Tag::try_from("ä".repeat(40)), Err(MalformedTag));
}
