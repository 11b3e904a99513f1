//! Claims about when a change has reached everyone.

use super::*;
use crate::clock::Timestamp;
use crate::store::gateway::Register;
use crate::store::sight::Sight;

/// A gateway with a lease of one second that has confirmed `number`.
fn entry(number: u64, beat: u64) -> Registered {
    let card = GatewayCard {
        id: GatewayId("a".to_owned()),
        name: "a".to_owned(),
        version: String::new(),
        started_at: Timestamp::from_micros(0),
        lease_ms: 1_000,
        policy: WhenUnreachable::ServeKnown,
        serve_known_for_ms: 5_000,
        replicas: 0,
        keys: 0,
        complete: true,
        draining: false,
        closed: Vec::new(),
    };
    Registered { card, confirmed: position(number), beat }
}

fn position(number: u64) -> Position {
    Position { epoch: "one".to_owned(), number, nonce: number }
}

fn register(moves: u64, entries: Vec<Registered>) -> Register {
    Register { moves, entries }
}

fn at(millis: u64) -> Moment {
    Moment::from_nanos(millis * 1_000_000)
}

/// Change 7 was written at 10 s while the register held `entry` and had moved so often.
fn verdict(entry: &Registered, moves: u64, sight: &Sight, now: Moment) -> Verdict {
    let register = Arc::new(register(moves, vec![entry.clone()]));
    let held = Held::Enough;
    let ticket = Ticket { position: position(7), is_own: true, register, held, row: None };
    let seen = sight.watch().borrow().clone();
    Round::start(&ticket, at(10_000), at(10_000)).verdict(entry, &seen, now)
}

#[test]
fn a_lease_is_over_a_tenth_later_than_it_says() {
    let sight = Sight::blank();
    let waiting = |now| verdict(&entry(6, 1), 1, &sight, now);
    assert!(matches!(waiting(at(11_100)), Verdict::Waiting(_)));
    assert_eq!(waiting(at(11_101)), Verdict::Elapsed);
}

#[test]
fn a_beat_that_has_stood_still_for_a_lease_is_not_waited_for() {
    let sight = Sight::blank();
    sight.show(register(1, vec![entry(6, 1)]), at(5_000), at(5_000));
    sight.unmoved(at(6_100));
    assert!(matches!(verdict(&entry(6, 1), 1, &sight, at(10_000)), Verdict::Waiting(_)));
    sight.unmoved(at(6_101));
    assert_eq!(verdict(&entry(6, 1), 1, &sight, at(10_000)), Verdict::LeaseOver);
}

#[test]
fn a_beat_that_nobody_looked_at_has_not_stood_still() {
    let sight = Sight::blank();
    sight.show(register(1, vec![entry(6, 1)]), at(5_000), at(5_000));
    assert!(matches!(verdict(&entry(6, 1), 1, &sight, at(10_000)), Verdict::Waiting(_)));
}

#[test]
fn a_beat_that_moved_before_the_write_has_not_stood_still() {
    let sight = Sight::blank();
    sight.show(register(1, vec![entry(6, 1)]), at(5_000), at(5_000));
    sight.unmoved(at(9_999));
    assert!(matches!(verdict(&entry(6, 2), 2, &sight, at(10_000)), Verdict::Waiting(_)));
}

#[test]
fn only_a_later_reading_without_it_says_that_a_gateway_is_gone() {
    let sight = Sight::blank();
    sight.show(register(4, vec![]), at(9_000), at(9_000));
    assert!(matches!(verdict(&entry(6, 5), 5, &sight, at(10_000)), Verdict::Waiting(_)));
    sight.show(register(6, vec![]), at(10_000), at(10_000));
    assert_eq!(verdict(&entry(6, 5), 5, &sight, at(10_000)), Verdict::Gone);
}

#[test]
fn a_number_confirmed_in_another_epoch_is_no_receipt() {
    let sight = Sight::blank();
    let mut other = entry(7, 1);
    other.confirmed.epoch = "two".to_owned();
    assert!(matches!(verdict(&other, 1, &sight, at(10_000)), Verdict::Waiting(_)));
    assert_eq!(verdict(&entry(7, 1), 1, &sight, at(10_000)), Verdict::Confirmed);
}

#[test]
fn who_cannot_be_read_is_named_and_the_others_have_their_receipts() {
    let unread = crate::store::redis::text::registered(b"b", b"no entry");
    let limit = unread.card.lease_over_after();
    let register = register(2, vec![entry(7, 1), unread]);
    let sight = Sight::blank();
    sight.show(register.clone(), at(10_000), at(10_000));
    let (register, held) = (Arc::new(register), Held::Enough);
    let ticket = Ticket { position: position(7), is_own: true, register, held, row: None };
    let seen = sight.watch().borrow().clone();
    let mut round = Round::start(&ticket, at(10_000), at(10_000));
    assert!(round.judge(&seen, at(10_000).after(limit)).is_some());
    let end = at(10_001).after(limit);
    assert_eq!(round.judge(&seen, end), None);
    let propagation = round.end(end);
    assert!(!propagation.complete);
    assert_eq!(propagation.unconfirmed, [GatewayId("b".to_owned())]);
    let names: Vec<&str> = propagation.gateways.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["a"]);
}

#[test]
fn a_propagation_reads_as_the_admin_api_says() {
    let card = entry(7, 1).card;
    let confirmed = receipt(&card, ReceiptState::Confirmed, Duration::from_micros(1_001));
    let propagation = Propagation {
        complete: false,
        elapsed_ms: 3,
        gateways: vec![confirmed],
        unconfirmed: vec![GatewayId("b".to_owned())],
        too_few_replicas: false,
    };
    let expected = serde_json::json!({
        "complete": false,
        "elapsed_ms": 3,
        "gateways": [{
            "id": "a", "name": "a", "state": "confirmed", "applied_ms": 2, "closed_streams": 0,
        }],
        "unconfirmed": ["b"],
    });
    assert_eq!(serde_json::to_value(propagation).unwrap(), expected);
}

/// Change 7 was written at 10 s; a gateway confirmed it, or its time is over by the clock.
fn ends(entry: &Registered, looked: Moment, now: Moment, over: Option<Moment>) -> bool {
    let held = Held::Enough;
    let register = Arc::new(register(1, vec![entry.clone()]));
    let ticket = Ticket { position: position(7), is_own: true, register, held, row: None };
    let sight = Sight::blank();
    sight.show(Register { moves: 1, entries: vec![entry.clone()] }, looked, looked);
    let seen = sight.watch().borrow().clone();
    let mut round = Round::start(&ticket, at(10_000), at(10_000));
    round.over = over;
    assert_eq!(round.judge(&seen, now), None);
    round.is_settled_by(&seen, now)
}

#[test]
fn who_was_seen_to_confirm_needs_no_further_look() {
    assert!(ends(&entry(7, 2), at(10_002), at(10_004), None));
    // What was seen a while ago says nothing of now.
    assert!(!ends(&entry(7, 2), at(10_002), at(10_102), None));
}

#[test]
fn where_a_lease_ran_out_by_the_clock_it_is_looked_once_more() {
    assert!(!ends(&entry(6, 1), at(11_199), at(11_200), None));
    let sight = Sight::blank();
    sight.show(register(1, vec![entry(6, 1)]), at(11_199), at(11_199));
    let held = Held::Enough;
    let register = Arc::new(register(1, vec![entry(6, 1)]));
    let ticket = Ticket { position: position(7), is_own: true, register, held, row: None };
    let mut round = Round::start(&ticket, at(10_000), at(10_000));
    assert_eq!(round.judge(&sight.watch().borrow(), at(11_200)), None);
    sight.unmoved(at(11_201));
    assert!(round.is_settled_by(&sight.watch().borrow(), at(11_202)));
}

#[test]
fn looks_that_take_long_end_all_the_same() {
    let over = Some(at(10_100));
    assert!(!ends(&entry(7, 2), at(10_050), at(10_150), over));
    assert!(ends(&entry(7, 2), at(10_110), at(10_200), over));
}
