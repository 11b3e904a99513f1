//! Claims about one purse, question by question.

use std::time::Duration;

use crate::clock::{Moment, Timestamp};
use crate::gate::around::{Around, Patience, Reach};
use crate::gate::purse::Purse;
use crate::gate::supply::Fill;
use crate::gate::swept::{Asking, Swept};
use crate::gate::taking::{Spent, Taking};
use crate::store::Unavailable;
use crate::store::slices::{Bucket, Leased, Rest, Slice, SliceRequest};

/// Shortly before a midnight in UTC.
const EVENING: i64 = 1_800_057_590_000_000;

/// A moment so many milliseconds behind the start, with a store that answers.
fn at(millis: u64) -> Around {
    Around {
        now: Moment::from_nanos(1_000_000_000_000 + millis * 1_000_000),
        time: Timestamp::from_micros(EVENING).after(Duration::from_millis(millis)),
        fellows: 2,
        reach: Reach::Answering,
        silent_since: Moment::from_nanos(u64::MAX),
        patience: Patience::Fresh,
    }
}

/// The same with a store that does not answer.
fn cut_off(millis: u64) -> Around {
    Around { reach: Reach::Silent, ..at(millis) }
}

fn rate(text: &str) -> Fill {
    Fill::Rate(text.parse().unwrap(), None)
}

fn quota(text: &str) -> Fill {
    Fill::Quota(text.parse().unwrap())
}

fn purse(fill: &Fill) -> Purse {
    Purse::new("000000000001".parse().unwrap(), 1, fill.clone())
}

/// The store's answer to a question, at the moment at which it was sent.
fn answer(purse: &Purse, question: &SliceRequest, granted: u64, spent: u64, millis: u64) {
    let Around { now, time, .. } = at(millis);
    let slice = Slice { granted, left: 0, enough_in: Duration::ZERO, spent, now: time };
    purse.answer(question, now, &Ok(Leased::Slice(slice)), now);
}

/// A purse with so many in hand.
fn with(fill: &Fill, tokens: u64) -> Purse {
    let purse = purse(fill);
    let question = purse.take(1, || fill.clone(), &at(0)).1.unwrap();
    answer(&purse, &question, tokens, 0, 0);
    purse
}

#[track_caller]
fn spend(purse: &Purse, fill: &Fill, around: &Around) -> Spent {
    let taking = purse.take(1, || fill.clone(), around).0;
    let Taking::Taken(spent) = taking else { panic!("{taking:?}") };
    spent
}

/// The same for several.
#[track_caller]
fn spend_all(purse: &Purse, fill: &Fill, count: u32, around: &Around) {
    for _ in 0..count {
        spend(purse, fill, around);
    }
}

#[test]
fn what_is_given_back_is_there_again_while_a_question_is_on_its_way() {
    let fill = rate("1000/s burst 1000");
    let purse = with(&fill, 10);
    let all = (0..10).map(|_| spend(&purse, &fill, &at(1)));
    let spent: Vec<Spent> = all.collect();
    for it in &spent {
        purse.give_back(it);
    }
    let first = spend(&purse, &fill, &at(2));
    assert_eq!(purse.left(&first), 9);
    // What the store hears to be spent stays spent.
    spend_all(&purse, &fill, 5, &at(2));
    let question = purse.tend(|| fill.clone(), || at(2)).unwrap();
    assert_eq!((question.spent, question.rest), (6, Rest::Kept(4)));
    purse.give_back(&first);
    assert_eq!(purse.left(&first), 4);
    // What it has not heard of does not.
    let later = spend(&purse, &fill, &at(3));
    purse.give_back(&later);
    assert_eq!(purse.left(&first), 4);
    answer(&purse, &question, 0, 0, 3);
    purse.give_back(&later);
    assert_eq!(purse.left(&first), 4);
}

#[test]
fn what_is_given_back_to_a_share_is_there_again() {
    let fill = rate("20/s burst 10");
    let purse = purse(&fill);
    // Of the share, a tenth of a second is one token.
    let take = |millis| {
        let (taking, question) = purse.take(1, || fill.clone(), &cut_off(millis));
        if let Some(question) = question {
            let now = cut_off(millis).now;
            purse.answer(&question, now, &Err(Unavailable(String::new())), now);
        }
        taking
    };
    assert!(matches!(take(0), Taking::Refused(_)));
    assert!(matches!(take(99), Taking::Refused(_)));
    let Taking::Taken(spent) = take(101) else { panic!("nothing is in the share") };
    assert!(matches!(take(102), Taking::Refused(_)));
    purse.give_back(&spent);
    assert!(matches!(take(103), Taking::Taken(_)));
    assert!(matches!(take(104), Taking::Refused(_)));
}

#[test]
fn what_is_given_back_to_a_share_is_there_again_though_the_store_was_tried_with_it() {
    let fill = rate("20/s burst 10");
    let purse = purse(&fill);
    drop(purse.take(1, || fill.clone(), &cut_off(0)));
    let (taking, _) = purse.take(1, || fill.clone(), &cut_off(101));
    let Taking::Taken(spent) = taking else { panic!("{taking:?}") };
    // Nobody was asked since: that the last question fails says nothing of it.
    purse.give_back(&spent);
    assert_eq!(spend(&purse, &fill, &cut_off(102)).source, spent.source);
}

#[test]
fn a_share_is_kept_while_it_fills_though_nothing_is_in_it_yet() {
    let fill = rate("20/min burst 20");
    let purse = purse(&fill);
    assert!(matches!(purse.take(1, || fill.clone(), &cut_off(0)).0, Taking::Refused(_)));
    for millis in [1_000, 3_000, 5_000] {
        assert!(matches!(purse.sweep(&cut_off(millis), Asking::Later), Swept::Used));
    }
    spend(&purse, &fill, &cut_off(6_001));
}

#[test]
fn who_may_not_wait_asks_nobody() {
    let fill = quota("100000/day");
    let purse = purse(&fill);
    let refused = Around { patience: Patience::Over, ..at(1) };
    let (taking, question) = purse.take(1, || fill.clone(), &refused);
    assert!(matches!(taking, Taking::Unknown) && question.is_none());
}

#[test]
fn a_share_goes_over_to_another_rate_with_what_it_holds() {
    let slow = rate("1/min burst 2");
    let purse = purse(&slow);
    drop(purse.take(1, || slow.clone(), &cut_off(0)));
    let fast = rate("1000/s burst 1000");
    // Nothing was in it, so nothing is; but it fills at the new pace.
    assert!(matches!(purse.take(1, || fast.clone(), &cut_off(1)).0, Taking::Refused(_)));
    spend_all(&purse, &fast, 9, &cut_off(20));
}

#[test]
fn what_is_left_of_a_window_that_is_over_is_not_spent_in_the_next() {
    let fill = quota("100000/day");
    let purse = with(&fill, 50);
    spend_all(&purse, &fill, 30, &at(1));
    // By this clock the next day has begun; the slice, which was asked for earlier, still lives.
    let midnight = Around { now: at(9_000).now, ..at(10_001) };
    let question = purse.tend(|| fill.clone(), || midnight).unwrap();
    assert_eq!(question.rest, Rest::Returned(0));
    assert!(matches!(&question.bucket, Bucket::Quota(_, span, 0) if span.start <= midnight.time));
    answer(&purse, &question, 7, 0, 10_001);
    let spent = spend(&purse, &fill, &at(10_002));
    assert_eq!(purse.left(&spent), 6);
}

#[test]
fn what_is_left_of_a_window_of_which_the_store_says_that_it_is_over_is_not_spent() {
    let fill = quota("100000/day");
    let purse = with(&fill, 50);
    spend_all(&purse, &fill, 30, &at(1));
    let question = purse.tend(|| fill.clone(), || at(1)).unwrap();
    assert_eq!(question.rest, Rest::Kept(20));
    let night = Ok(Leased::OtherWindow(at(10_001).time));
    purse.answer(&question, at(1).now, &night, at(2).now);
    let (taking, question) = purse.take(1, || fill.clone(), &at(3));
    assert!(matches!(taking, Taking::Wait(_)));
    assert_eq!(question.unwrap().rest, Rest::Returned(0));
}

#[test]
fn an_answer_of_another_window_says_nothing_of_this_one() {
    let (month, day) = (quota("1000000/month"), quota("100000/day"));
    let purse = with(&month, 10);
    spend_all(&purse, &month, 9, &at(1));
    let question = purse.tend(|| month.clone(), || at(1)).unwrap();
    purse.change(day.clone());
    answer(&purse, &question, 0, 900_000, 2);
    let question = purse.take(1, || day.clone(), &at(3)).1.unwrap();
    assert!(matches!(question.bucket, Bucket::Quota(_, _, 0)), "{question:?}");
}

#[test]
fn who_hears_of_another_window_does_not_ask_for_its_own_again() {
    let fill = quota("100000/day");
    let purse = purse(&fill);
    // This clock is ahead of the store's.
    let question = purse.take(1, || fill.clone(), &at(10_001)).1.unwrap();
    let evening = Ok(Leased::OtherWindow(at(9_990).time));
    purse.answer(&question, at(10_001).now, &evening, at(10_001).now);
    let question = purse.take(1, || fill.clone(), &at(10_002)).1.unwrap();
    assert!(matches!(&question.bucket, Bucket::Quota(_, span, _) if span.end <= at(10_000).time));
}

#[test]
fn a_rate_that_nobody_uses_is_given_up_unasked_once_its_slice_has_lapsed() {
    let fill = rate("1000/s burst 1000");
    let purse = with(&fill, 10);
    assert!(matches!(purse.sweep(&at(1), Asking::Later), Swept::Used));
    assert!(matches!(purse.sweep(&at(1_500), Asking::Later), Swept::Used));
    assert!(matches!(purse.sweep(&at(2_100), Asking::Later), Swept::Retired));
    assert!(matches!(purse.take(1, || fill.clone(), &at(2_101)).0, Taking::Retired));
    // What was spent without the store has to be said first.
    let purse = self::purse(&fill);
    drop(purse.take(1, || fill.clone(), &cut_off(0)));
    spend(&purse, &fill, &cut_off(500));
    assert!(matches!(purse.sweep(&cut_off(501), Asking::Later), Swept::Used));
    assert!(matches!(purse.sweep(&cut_off(60_000), Asking::Later), Swept::Used));
}

#[test]
fn a_slice_in_use_is_renewed_before_it_ends() {
    let fill = rate("1000/s burst 1000");
    let purse = with(&fill, 30);
    spend_all(&purse, &fill, 2, &at(700));
    assert!(matches!(purse.sweep(&at(870), Asking::Now), Swept::Used));
    assert!(matches!(purse.sweep(&at(890), Asking::Later), Swept::Used));
    let Swept::Asks(question) = purse.sweep(&at(890), Asking::Now) else { panic!("not renewed") };
    assert_eq!((question.rest, question.spent, question.least), (Rest::Kept(28), 2, 0));
    // Meanwhile the others are spent, and then what was kept lives as long as what was given.
    spend(&purse, &fill, &at(900));
    answer(&purse, &question, 1, 0, 890);
    spend_all(&purse, &fill, 20, &at(1_800));
    assert!(purse.tend(|| fill.clone(), || at(1_800)).is_none());
    assert_eq!(purse.left(&spend(&purse, &fill, &at(1_800))), 7);
    // The last of them are not waited for.
    assert!(purse.tend(|| fill.clone(), || at(1_800)).is_none());
    spend(&purse, &fill, &at(1_800));
    assert!(purse.tend(|| fill.clone(), || at(1_800)).is_some());
}

#[test]
fn where_the_store_had_too_few_it_is_known_that_there_are() {
    let fill = rate("1000/s burst 1000");
    let purse = with(&fill, 10);
    spend_all(&purse, &fill, 9, &at(9));
    let question = purse.tend(|| fill.clone(), || at(9)).unwrap();
    assert!(question.wanted > 1);
    answer(&purse, &question, 1, 0, 10);
    spend_all(&purse, &fill, 2, &at(10));
    // Who knows what has come since; but the store was asked just now.
    let (taking, question) = purse.take(1, || fill.clone(), &at(30));
    assert!(matches!(taking, Taking::Refused(_)) && question.is_none(), "{taking:?}");
}

#[test]
fn a_slice_that_is_not_in_use_is_not_renewed() {
    let fill = rate("1000/s burst 1000");
    let purse = with(&fill, 2);
    spend(&purse, &fill, &at(1));
    assert!(matches!(purse.sweep(&at(900), Asking::Now), Swept::Used));
    // One by one is one by one.
    let fill = rate("20/s");
    let purse = with(&fill, 5);
    spend_all(&purse, &fill, 4, &at(850));
    assert!(matches!(purse.sweep(&at(900), Asking::Now), Swept::Used));
}

/// What a purse asks for that has spent 20 in a tenth of a second, where the store has so many left.
fn wanted_with(left: u64) -> u64 {
    let fill = rate("1000/s burst 1000");
    let purse = purse(&fill);
    let question = purse.take(1, || fill.clone(), &at(0)).1.unwrap();
    let Around { now, time, .. } = at(0);
    let enough_in = Duration::ZERO;
    let slice = Slice { granted: 20, left, enough_in, spent: 0, now: time };
    purse.answer(&question, now, &Ok(Leased::Slice(slice)), now);
    spend_all(&purse, &fill, 20, &at(100));
    purse.tend(|| fill.clone(), || at(100)).unwrap().wanted
}

#[test]
fn where_much_is_left_more_is_leased_than_will_be_spent_soon() {
    // 200 a second: in a tenth of a second 20, in two seconds 400; an eighth of what is left, shared
    // by two.
    assert_eq!(wanted_with(0), 20);
    assert_eq!(wanted_with(800), 50);
    assert_eq!(wanted_with(8_000), 400);
}

#[test]
fn of_many_who_wait_the_first_asks_for_all() {
    let fill = rate("20/s burst 200");
    let purse = purse(&fill);
    let take = |millis| purse.take(1, || fill.clone(), &at(millis));
    let question = take(0).1.unwrap();
    for _ in 1..100 {
        let (taking, another) = take(0);
        assert!(matches!(taking, Taking::Wait(0)) && another.is_none());
    }
    assert_eq!((question.wanted, question.least), (1, 1));
    answer(&purse, &question, 1, 0, 1);
    // One has it, and says that it is spent; with that the others ask.
    spend(&purse, &fill, &at(1));
    let question = purse.tend(|| fill.clone(), || at(1)).unwrap();
    assert_eq!((question.wanted, question.spent), (99, 1));
    (0..99).for_each(|_| drop(take(1)));
    answer(&purse, &question, 60, 0, 2);
    spend_all(&purse, &fill, 60, &at(2));
    // The others ask once more; whoever has gone since is not asked for.
    assert_eq!(purse.tend(|| fill.clone(), || at(2)).unwrap().wanted, 39);
    let question = purse.tend(|| fill.clone(), || at(2));
    assert!(question.is_none(), "{question:?}");
}

#[test]
fn who_waited_long_ago_is_not_asked_for() {
    let fill = rate("20/s burst 200");
    let purse = purse(&fill);
    let question = purse.take(1, || fill.clone(), &at(0)).1.unwrap();
    (0..50).for_each(|_| drop(purse.take(1, || fill.clone(), &at(0))));
    answer(&purse, &question, 1, 0, 1);
    spend(&purse, &fill, &at(60));
    assert_eq!(purse.tend(|| fill.clone(), || at(60)).unwrap().wanted, 0);
}

#[test]
fn a_share_fills_from_when_the_store_fell_silent() {
    let fill = rate("100/s burst 100");
    let purse = purse(&fill);
    // Of two gateways; whoever waited for an answer in vain gets in with it.
    let late = Around { silent_since: at(0).now, ..cut_off(50) };
    spend_all(&purse, &fill, 2, &late);
    assert!(matches!(purse.take(1, || fill.clone(), &late).0, Taking::Refused(_)));
    // What was heard meanwhile was asked before, and tells of what was left then.
    let purse = with(&fill, 0);
    assert!(matches!(purse.take(1, || fill.clone(), &late).0, Taking::Taken(_)));
    let purse = self::purse(&fill);
    let question = purse.take(1, || fill.clone(), &at(40)).1.unwrap();
    answer(&purse, &question, 0, 0, 45);
    assert!(matches!(purse.take(1, || fill.clone(), &late).0, Taking::Refused(_)));
}
