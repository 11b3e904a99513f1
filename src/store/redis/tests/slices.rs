//! What the scripts that lease tokens make of answers that came late, or never.

use std::time::Duration;

use super::redis::Redis as Server;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::config::sources::load;
use crate::rate::quota::{Quota, Window};
use crate::store::conformance::id;
use crate::store::redis::Redis;
use crate::store::redis::script::Names;
use crate::store::slices::{Away, Bucket, Leased, Rest, SliceRequest};
use crate::store::usage::{HOURS_KEPT, UsageRow, hour_of};

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

/// Whatever somebody has put in the place of one limit, all others are none the worse for it, and so
/// is that one: the store answers, and begins anew.
#[tokio::test]
async fn what_cannot_be_read_of_a_limit_is_as_though_it_had_never_been() {
    let server = Server::start();
    let store = open(&server).await;
    let quota: Quota = "10/day".parse().unwrap();
    let of_quota = |it: SliceRequest| {
        let bucket = Bucket::Quota(quota, quota.window.at(time(0)), 0);
        SliceRequest { bucket, ..it }
    };
    let today = quota.window.at(time(0)).start.as_micros().to_string();
    let account = format!("{:016x}", 7);
    let spoils: [(&str, &[&str]); 6] = [
        ("SET", &["x"]),
        ("RPUSH", &["x"]),
        ("HSET", &["bucket", "x", &account, "x y"]),
        ("HSET", &["bucket", "nan inf 1 2 3", &account, "1 2 3"]),
        ("HSET", &["window", "20261122 17", "used", "x"]),
        ("HSET", &["window", &today, "used", "-5", "out", "x"]),
    ];
    for (number, spoiled @ (command, rest)) in spoils.iter().enumerate() {
        for name in ["rate", "day", "month"].map(bucket) {
            server.cli(&["DEL", &name]);
            server.cli(&[&[*command, &name], *rest].concat());
        }
        let account = 100 + u64::try_from(number).unwrap();
        assert_eq!(granted(&store, &question(account, 1, 8), 0).await, 8, "{spoiled:?}");
        assert_eq!(granted(&store, &question(account + 50, 1, 8), 0).await, 2, "{spoiled:?}");
        let counted = |account| of_quota(question(account, 1, 8));
        assert_eq!(granted(&store, &counted(account), 0).await, 8, "{spoiled:?}");
        assert_eq!(granted(&store, &counted(account + 50), 0).await, 2, "{spoiled:?}");
    }
}

/// A key that is revoked, or that nobody uses any more, leaves nothing behind.
#[tokio::test]
async fn everything_that_is_counted_goes_by_itself() {
    let server = Server::start();
    let store = open(&server).await;
    let (now, hour) = (Timestamp::now(), Duration::from_hours(1));
    for (quota, left) in [("100/day", 24..=48), ("100/month", 24..=56 * 24)] {
        let quota: Quota = quota.parse().unwrap();
        let asked = SliceRequest {
            bucket: Bucket::Quota(quota, quota.window.at(now), 0),
            ..question(1, 1, 10)
        };
        store.lease_slice(&asked).await.unwrap();
        let name = if left.end() == &48 { "day" } else { "month" };
        assert!(left.contains(&goes_in(&server, name).as_secs().div_ceil(3_600)), "{name}");
    }
    store.lease_slice(&question(1, 1, 10)).await.unwrap();
    assert!(goes_in(&server, "rate") < hour);
    let row = UsageRow { key: id(1), hour: hour_of(now), gateway: 7, cells: vec![1] };
    store.note_usage(vec![row]).await.unwrap();
    let name = format!("usage:{}", Window::Day.at(now).name);
    let hours = goes_in(&server, &name).as_secs().div_ceil(3_600);
    let kept = u64::from(HOURS_KEPT);
    assert!((kept..=kept + 3).contains(&hours), "{hours}");
}

/// In how long Redis lets go of it.
#[track_caller]
fn goes_in(server: &Server, name: &str) -> Duration {
    let said = server.cli(&["PTTL", &bucket(name)]);
    let millis = said.trim().parse().unwrap_or_else(|_| panic!("{name} stays for ever: {said}"));
    Duration::from_millis(millis)
}

/// Where it is.
fn bucket(name: &str) -> String {
    Names::new("kw").bucket(id(1), name)
}
