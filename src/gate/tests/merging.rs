//! What becomes of a record that the store told of, where something is known already.

use std::rc::Rc;

use super::*;
use crate::config::Access;
use crate::gate::entries::{Entries, Merged};
use crate::gate::fill::FillRead;
use crate::gate::known::{Known, Stored};
use crate::gate::limits::Taken;
use crate::gate::running::Running;
use crate::gate::{Caller, Terms};
use crate::rate::limits::Limits;

fn holding(place: &Place, record: &KeyRecord) -> Stored {
    Stored::Readable(Box::new(Known::new(record, &place.row(record)).unwrap()))
}

#[tokio::test]
async fn an_older_state_changes_nothing_and_revoked_wins() {
    let place = Place::new();
    let entries = Entries::new(10);
    let key = Minted::new(1);
    let at = |revision, revoked: bool| {
        let record = KeyRecord { revision, ..key.record.clone() };
        holding(&place, &if revoked { record.revoked(NOW) } else { record })
    };
    let id = key.record.id;
    assert!(matches!(entries.merge(id, at(5, false)), Merged::Quiet));
    let _in_use = entries.get(id).unwrap();
    assert!(matches!(entries.merge(id, at(4, false)), Merged::Kept(_)));
    assert!(matches!(entries.merge(id, at(5, false)), Merged::Quiet), "the same is no change");
    assert!(matches!(entries.merge(id, at(2, true)), Merged::Changed(_)));
    assert!(matches!(entries.merge(id, at(9, false)), Merged::Kept(_)));
    assert!(matches!(entries.merge(id, Stored::Unreadable), Merged::Changed(_)));
    assert!(matches!(entries.merge(id, at(9, true)), Merged::Changed(_)));
}

#[tokio::test]
async fn on_a_tie_whatever_opens_something_else_is_a_change() {
    let place = Place::new();
    let entries = Entries::new(10);
    let record = Minted::new(1).record;
    let id = record.id;
    let narrow = |routes: &[&str], networks: &[&str]| {
        let routes = Some(routes.iter().map(|it| (*it).to_owned()).collect());
        let allow_addresses = Some(networks.iter().map(|it| it.parse().unwrap()).collect());
        let holder = Holder::Caller(Scope { routes, allow_addresses, ..Scope::default() });
        KeyRecord { holder, ..record.clone() }
    };
    entries.merge(id, holding(&place, &narrow(&["a"], &["10.0.0.0/8"])));
    let entry = entries.get(id).unwrap();
    // All of them were written at one revision, in pasts of which the store kept one.
    let others = [
        KeyRecord { disabled: true, ..record.clone() },
        KeyRecord { expires_at: Some(NOW), ..record.clone() },
        record.clone(),
        narrow(&["b"], &["10.0.0.0/8"]),
        narrow(&["b"], &["11.0.0.0/8"]),
    ];
    for other in others {
        assert!(matches!(entries.merge(id, holding(&place, &other)), Merged::Changed(_)));
        assert!(matches!(entries.merge(id, holding(&place, &other)), Merged::Quiet));
        let known = Known::new(&other, &place.row(&other)).unwrap();
        assert!(entry.known().opens_the_same_as(&known), "the store's stays");
    }
}

#[tokio::test]
async fn a_tag_that_was_made_here_outlives_a_page_that_was_read_before_it() {
    let place = Place::new();
    place.keyring.lease().renew(Moment::now());
    let key = Minted::new(1).without_tag();
    let row = place.row(&key.record);
    place.keyring.merge(&row);
    assert!(place.prove(&key).await.is_ok());
    let tag = || {
        let entry = place.keyring.entries().get(key.record.id).unwrap();
        entry.known().tag().cloned()
    };
    let made = Some(peppers().tag(&key.key.digest()));
    assert_eq!(tag(), made);
    place.keyring.merge(&row);
    assert_eq!(tag(), made, "argon2 has to run again");
    // Nor does one help that was made under a pepper which is not here.
    let gone = Peppers::new(Pepper::new([5; 32]), vec![]).tag(&key.key.digest());
    let foreign = KeyRecord { tag: Some(gone), ..key.record.clone() };
    place.keyring.merge(&place.row(&foreign));
    assert_eq!(tag(), made);
    // It was made for these contents and for no others.
    let other = KeyRecord { disabled: true, ..key.record.clone() };
    place.keyring.merge(&place.row(&other));
    assert_eq!(tag(), None);
}

#[tokio::test]
async fn a_change_of_a_key_that_nobody_holds_is_no_workers_business() {
    let place = Place::new();
    let entries = Entries::new(10);
    let record = Minted::new(1).record;
    let id = record.id;
    let at = |revision| holding(&place, &KeyRecord { revision, ..record.clone() });
    entries.merge(id, at(1));
    assert!(matches!(entries.merge(id, at(2)), Merged::Quiet));
    assert_eq!(entries.get(id).unwrap().known().revision(), 2, "it is taken over all the same");

    let (running, route) = (Rc::<Running>::default(), Rc::new(terms()));
    let caller = Caller { address: [127, 0, 0, 1].into(), route: &route };
    let grant = running.enter(entries.get(id), &caller, Taken::NOTHING);
    assert!(matches!(entries.merge(id, at(3)), Merged::Changed(_)), "a request runs with it");
    let run = Rc::clone(grant.run());
    drop(grant);
    assert!(matches!(entries.merge(id, at(4)), Merged::Changed(_)), "it outlives its grant");
    drop(run);
    assert!(matches!(entries.merge(id, at(5)), Merged::Quiet));
    // Who waits for a read holds what it found.
    let other = Minted::new(2).record;
    let asked = entries.begin_fill(other.id).unwrap();
    entries.end_fill(other.id, &asked, FillRead::Found(holding(&place, &other)));
    let revoked = |it: &KeyRecord| holding(&place, &it.clone().revoked(NOW));
    assert!(matches!(entries.merge(other.id, revoked(&other)), Merged::Changed(_)));
}

#[tokio::test]
async fn a_change_of_limits_is_a_change_that_lets_in_as_before() {
    let place = Place::new();
    let entries = Entries::new(10);
    let record = Minted::new(1).record;
    let id = record.id;
    let limited = |scheme: &str, limits: Limits| {
        let scope = Scope { scheme: scheme.to_owned(), limits, ..Scope::default() };
        KeyRecord { holder: Holder::Caller(scope), ..record.clone() }
    };
    let own = Limits { rate: "5/s shadow".parse().ok(), ..Limits::SILENT };
    entries.merge(id, holding(&place, &limited("default", Limits::SILENT)));
    let entry = entries.get(id).unwrap();
    assert!(!entry.known().has_limits());
    for (scheme, limits, has_limits) in [
        ("default", own, true),
        ("partners", own, true),
        ("partners", Limits::SILENT, true),
        ("default", Limits::SILENT, false),
    ] {
        let merged = entries.merge(id, holding(&place, &limited(scheme, limits)));
        assert!(matches!(merged, Merged::Changed(_)), "{scheme}, {limits:?}");
        let known = entry.known();
        assert_eq!(known.limits(), Some((scheme, limits)));
        assert_eq!(known.has_limits(), has_limits);
        assert_eq!(known.judge(&terms(), [127, 0, 0, 1].into(), NOW), Ok(()));
    }
    entries.merge(id, Stored::Unreadable);
    assert_eq!((entry.known().has_limits(), entry.known().limits()), (false, None));
}

fn terms() -> Terms {
    Terms::new("all", Access::Key)
}
