//! Holds a store against a map that does the same, over random histories.

use std::collections::HashMap;

use proptest::prelude::*;

use crate::key::seal::Sealed;
use crate::store::conformance::{Gateway, id, mint};
use crate::store::{Expect, Revoked, Row, Store, Write, Written};

/// One step of a history.
#[derive(Clone, Debug)]
pub enum Step {
    /// A write, right or wrong.
    Write { number: u32, expect: Expect, revoked: Revoked },
    /// A look.
    Find { number: u32 },
    /// One of two gateways syncs.
    Sync { gateway: usize },
}

/// Random histories over few keys, so that they meet.
pub fn histories() -> impl Strategy<Value = Vec<Step>> {
    let expect = prop_oneof![
        Just(Expect::Absent),
        (1_u64..4).prop_map(Expect::Revision),
        Just(Expect::NoOperator),
    ];
    let revoked = prop_oneof![4 => Just(Revoked::No), 1 => Just(Revoked::Yes)];
    let write = (0_u32..4, expect, revoked).prop_map(|(number, expect, revoked)| Step::Write {
        number,
        expect,
        revoked,
    });
    let find = (0_u32..4).prop_map(|number| Step::Find { number });
    let sync = (0_usize..2).prop_map(|gateway| Step::Sync { gateway });
    prop::collection::vec(prop_oneof![4 => write, 1 => find, 1 => sync], 1..60)
}

/// Takes every step on the store and on the map, and compares.
pub async fn agrees_with_a_map(store: &Store, history: Vec<Step>) {
    let mut map = HashMap::new();
    let mut changes = Vec::new();
    let mut gateways = [Gateway::new(store, "a").await, Gateway::new(store, "b").await];
    for (step, salt) in history.into_iter().zip(0_u32..) {
        match step {
            Step::Write { number, expect, revoked } => {
                let write = salted(number, expect, revoked, salt);
                let expected = holds(expect, map.get(&number));
                let written = store.write(write.clone()).await.unwrap();
                assert_eq!(matches!(written, Written::Applied(_)), expected, "{write:?}");
                if expected {
                    map.insert(number, write.row.clone());
                    changes.push(write.row);
                }
            }
            Step::Find { number } => {
                assert_eq!(store.find(id(number)).await.unwrap().as_ref(), map.get(&number));
            }
            Step::Sync { gateway } => {
                gateways[gateway].sync(store).await.expect("lost");
                let seen: Vec<&Row> = gateways[gateway].changes.iter().map(|it| &it.row).collect();
                assert_eq!(seen, changes.iter().collect::<Vec<_>>());
            }
        }
    }
}

fn salted(number: u32, expect: Expect, revoked: Revoked, salt: u32) -> Write {
    let revision = match expect {
        Expect::Revision(revision) => revision + 1,
        Expect::Absent | Expect::NoOperator => 1,
    };
    let sealed = Sealed::from_bytes(salt.to_be_bytes().to_vec());
    let write = mint(number);
    Write { row: Row { revision, revoked, sealed, ..write.row }, expect, ..write }
}

fn holds(expect: Expect, stored: Option<&Row>) -> bool {
    match expect {
        // No history makes an operator.
        Expect::Absent | Expect::NoOperator => stored.is_none(),
        Expect::Revision(revision) => {
            stored.is_some_and(|it| it.revision == revision && it.revoked == Revoked::No)
        }
    }
}
