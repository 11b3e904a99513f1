//! What the scripts that lease tokens make of answers that came late, or never.

use std::time::Duration;

use super::redis::Redis as Server;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::config::sources::load;
use crate::rate::quota::Quota;
use crate::store::conformance::id;
use crate::store::redis::Redis;
use crate::store::redis::script::Names;
use crate::store::slices::{Away, Bucket, Leased, Rest, SliceRequest};

/// A store whose clock stands where a question says.
async fn open(server: &Server) -> Redis {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keyward.toml");
    let lines = format!("[store]\nurl = {:?}\npepper_file = \"p\"\n", server.url());
    std::fs::write(&path, lines).unwrap();
    let config: Config = load(Some(&path), &[], std::iter::empty()).unwrap().config;
    let store = Redis::open(&config.store).unwrap();
    store.meta().await.unwrap();
    store
}

/// A question for tokens of a bucket of 10/s.
fn question(account: u64, question: u64, wanted: u64) -> SliceRequest {
    SliceRequest {
        key: id(1),
        bucket: Bucket::Rate("10/s".parse().unwrap(), None),
        account,
        question,
        spent: 0,
        rest: Rest::Returned(0),
        wanted,
        least: u64::from(wanted > 0),
        away: Away::default(),
    }
}

async fn granted(store: &Redis, asked: &SliceRequest, millis: u64) -> u64 {
    match store.lease_slice_at(asked, Some(time(millis))).await.unwrap() {
        Leased::Slice(slice) => slice.granted,
        Leased::OtherWindow(now) => panic!("{now}"),
    }
}

/// A morning far ahead: what is in Redis goes at a time of its clock.
fn time(millis: u64) -> Timestamp {
    Timestamp::from_micros(4_000_000_000_000_000).after(Duration::from_millis(millis))
}

#[tokio::test]
async fn what_is_given_to_who_has_just_lapsed_is_out() {
    let server = Server::start();
    let store = open(&server).await;
    assert_eq!(granted(&store, &question(1, 1, 10), 0).await, 10);
    // Lapsed at 1.1 s; nine more have come since.
    assert_eq!(granted(&store, &question(1, 2, 10), 2_000).await, 9);
    // The bucket refills to its burst less what is out.
    assert_eq!(granted(&store, &question(2, 1, 10), 3_000).await, 1);
}

#[tokio::test]
async fn a_question_that_was_overtaken_does_nothing() {
    let server = Server::start();
    let store = open(&server).await;
    let settling = question(1, 1, 0);
    assert_eq!(granted(&store, &question(1, 2, 10), 0).await, 10);
    assert_eq!(granted(&store, &settling, 300).await, 0);
    assert_eq!(granted(&store, &question(2, 1, 10), 600).await, 0);
    // The next one counts.
    assert_eq!(granted(&store, &question(1, 3, 0), 700).await, 0);
    assert_eq!(granted(&store, &question(2, 2, 10), 700).await, 10);
}

/// A question that says what was spent while the store was away, and asks for nothing.
fn telling(number: u64, told: u64, spent: u64) -> SliceRequest {
    let away = Away { told, spent, owed: spent, time: Duration::ZERO };
    SliceRequest { away, ..question(1, number, 0) }
}

/// An answer that is thrown away is as good as lost.
#[tokio::test]
async fn what_a_rate_was_told_in_a_question_whose_answer_was_lost_counts_once() {
    let server = Server::start();
    let store = open(&server).await;
    granted(&store, &telling(1, 0, 3), 0).await;
    granted(&store, &telling(2, 0, 5), 0).await;
    granted(&store, &telling(3, 5, 0), 0).await;
    granted(&store, &telling(4, 5, 1), 0).await;
    assert_eq!(granted(&store, &question(2, 1, 10), 0).await, 4);
    // Then it has nothing out, and goes.
    granted(&store, &telling(5, 6, 0), 0).await;
    assert_eq!(server.cli(&["HKEYS", &bucket("rate")]).lines().count(), 2);
}

#[tokio::test]
async fn what_a_quota_was_told_in_a_question_whose_answer_was_lost_counts_once() {
    let server = Server::start();
    let store = open(&server).await;
    let quota: Quota = "100/day".parse().unwrap();
    let of_quota = |it: SliceRequest| {
        let bucket = Bucket::Quota(quota, quota.window.at(time(0)), 0);
        SliceRequest { bucket, ..it }
    };
    granted(&store, &of_quota(telling(1, 0, 30)), 0).await;
    granted(&store, &of_quota(telling(2, 0, 50)), 60_000).await;
    granted(&store, &of_quota(telling(3, 50, 0)), 60_000).await;
    granted(&store, &of_quota(telling(4, 50, 10)), 60_000).await;
    assert_eq!(granted(&store, &of_quota(question(2, 1, 100)), 60_000).await, 40);
}

/// A gateway that spent its slice of a month over a midnight may have spent all of it on the new day.
#[tokio::test]
async fn what_is_out_over_a_midnight_counts_on_the_day_on_which_its_gateway_speaks_again() {
    let server = Server::start();
    let store = open(&server).await;
    let ask = |quota: &str, asked: SliceRequest, millis: u64| {
        let quota: Quota = quota.parse().unwrap();
        let bucket = Bucket::Quota(quota, quota.window.at(time(millis)), 0);
        let (store, asked) = (&store, SliceRequest { bucket, ..asked });
        async move { granted(store, &asked, millis).await }
    };
    let tomorrow = 24 * 3_600_000;
    assert_eq!(ask("1000/month", question(1, 1, 40), 0).await, 40);
    assert_eq!(ask("1000/month", question(2, 1, 10), tomorrow).await, 10);
    let of_forty = SliceRequest { spent: 25, ..question(1, 2, 0) };
    assert_eq!(ask("1000/month", of_forty, tomorrow).await, 0);
    assert_eq!(ask("50/day", question(3, 1, 50), tomorrow).await, 15);
    assert_eq!(ask("1000/month", question(4, 1, 1_000), tomorrow).await, 950);
}

/// Where it is.
fn bucket(name: &str) -> String {
    Names::new("kw").bucket(id(1), name)
}
