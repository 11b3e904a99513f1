//! Claims about what is said of a store.

use super::*;
use crate::key::seal::{Identity, Pepper};
use crate::store::inspection::Count;

fn pepper(byte: u8) -> Pepper {
    Pepper::new([byte; 32])
}

fn seen() -> Inspection {
    Inspection {
        location: "keyward.db".to_owned(),
        identity: Identity("5eed".to_owned()),
        format: 1,
        specifics: Specifics::File { schema: 1, journal_mode: "wal".to_owned() },
        check: Some(pepper(2).check()),
        keys: Count { kept: 12, revoked: 3 },
        operators: Count { kept: 1, revoked: 0 },
        census: vec![
            (Some(pepper(1).name()), 10),
            (Some(pepper(2).name()), 5),
            (Some(pepper(3).name()), 1),
        ],
    }
}

#[test]
fn every_pepper_is_named_with_what_it_is_here() {
    let peppers = Peppers::new(pepper(2), vec![pepper(1)]);
    let status = Status::new(&seen(), Some(&peppers));
    let [one, two, three] = [1, 2, 3].map(|it| pepper(it).name());
    assert_eq!(
        status.text(&seen()),
        format!(
            "\
store            keyward.db
identity         5eed
format           1
schema           1
journal          wal
keys             12, and 3 revoked
operators        1, and 0 revoked
sealed with      current pepper
pepper {two}  current, 5 records
pepper {one}  retired, 10 records
pepper {three}  unknown, 1 record
"
        )
    );
}

#[test]
fn records_under_an_unknown_pepper_are_said_loudly() {
    let mut words = Vec::new();
    warn(&Status::new(&seen(), Some(&Peppers::new(pepper(2), Vec::new()))), &mut words).unwrap();
    let words = String::from_utf8(words).unwrap();
    assert!(words.starts_with("keyward: warning: 11 records sealed under peppers"), "{words}");
}

#[test]
fn without_any_pepper_every_record_is_unknown() {
    let status = Status::new(&seen(), None);
    assert_eq!((status.unknown(), status.check), (16, Role::Unknown));
}
