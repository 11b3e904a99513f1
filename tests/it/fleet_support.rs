//! A fleet is what was planned, and what it does is noted.

use std::time::Duration;

use tempfile::TempDir;

use crate::support::fleet::traffic::Keys;
use crate::support::fleet::{Admins, Fleet, Plan};
use crate::support::history::check::check;
use crate::support::history::{Answer, Kind, Outcome};
use crate::support::wait::eventually;

/// On one file.
fn plan(store: &TempDir) -> Plan {
    let path = store.path().join("keyward.db");
    Plan::of(3, &format!("sqlite:{}", path.display()))
}

#[test]
fn a_fleet_that_is_asked_while_it_is_operated_keeps_its_promise() {
    let store = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(&plan(&store).admins(Admins::Node));
    let keys = Keys::default();
    let mut operators = [fleet.operator(fleet.node().unwrap()), fleet.operator(fleet.gateway(1))];
    let traffic = fleet.begin_traffic(100, &keys);
    for round in 0..20 {
        let operator = &mut operators[round % 2];
        let [key, kept] = [(), ()].map(|()| operator.mint().unwrap());
        keys.add(&key);
        keys.add(&kept);
        assert_eq!(fleet.asker(round % 3).ask(&kept), Some(Outcome::LetIn));
        assert_eq!(operator.revoke(&key), Answer::Complete);
        assert_eq!(fleet.asker(round % 3).ask(&key), Some(Outcome::Refused));
    }
    let brief = operators[0].mint_for(Duration::from_millis(300)).unwrap();
    keys.add(&brief);
    eventually("it expires", || fleet.asker(0).ask(&brief) == Some(Outcome::Refused));
    keys.remove(&brief);
    fleet.kill(2);
    fleet.restart(2);
    assert!(traffic.end() > 100);
    drop(operators);
    let history = fleet.history();
    check(&history, CLOCKS).assert_clean(&history);
    let of = |kind: &Kind| history.changes.iter().filter(|it| it.kind == *kind).count();
    assert_eq!((of(&Kind::Revoke), of(&Kind::Mint { expires: None })), (20, 40));
    assert_eq!(history.gateways[2], fleet.gateway(2).id());
    let asked_at = |it| history.requests.iter().any(|request| request.gateway == it);
    assert!((0..3).all(asked_at) && fleet.size() == 3);
}

/// Well above what two clocks of one machine differ by in a second.
const CLOCKS: u64 = 100_000_000;
