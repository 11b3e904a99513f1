//! What the scripts that lease tokens make of answers that came late, or never.

use std::time::Duration;

use super::redis::Redis as Server;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::config::sources::load;
use crate::store::conformance::id;
use crate::store::redis::Redis;
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
    let time = Timestamp::from_micros(1_800_000_000_000_000).after(Duration::from_millis(millis));
    match store.lease_slice_at(asked, Some(time)).await.unwrap() {
        Leased::Slice(slice) => slice.granted,
        Leased::OtherWindow(now) => panic!("{now}"),
    }
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
