//! What becomes of a record that the store told of, where something is known already.

use super::*;
use crate::gate::entries::{Entries, Merged};
use crate::gate::known::{Known, Stored};

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
