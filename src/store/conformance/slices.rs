//! Claims about slices of limits.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::rate::Rate;
use crate::rate::quota::Quota;
use crate::store::Store;
use crate::store::conformance::id;
use crate::store::slices::{Away, Bucket, Leased, Rest, Slice, SliceRequest};

/// The first question for so many of a quota.
pub fn asking(quota: &str, now: Timestamp, wanted: u64) -> SliceRequest {
    let quota: Quota = quota.parse().unwrap();
    SliceRequest {
        key: id(1),
        bucket: Bucket::Quota(quota, quota.window.at(now), 0),
        account: 1,
        question: 1,
        spent: 0,
        rest: Rest::Kept(0),
        wanted,
        least: 1,
        away: Away::default(),
    }
}

/// A request for `wanted` of a quota of 100 a day.
fn quota(account: u64, wanted: u64) -> SliceRequest {
    SliceRequest { account, ..asking("100/day", Timestamp::now(), wanted) }
}

/// What is leased; once more where midnight passes.
async fn lease(store: &Store, mut request: SliceRequest) -> Slice {
    for _ in 0..3 {
        match store.lease_slice(request.clone()).await.unwrap() {
            Leased::Slice(slice) => return slice,
            Leased::OtherWindow(now) => {
                let Bucket::Quota(quota, _, seen) = request.bucket else { panic!("a rate") };
                request.bucket = Bucket::Quota(quota, quota.window.at(now), seen);
            }
        }
    }
    panic!("no window is the right one");
}

/// So many are given as there are, to each once.
pub async fn no_more_of_a_quota_is_leased_than_there_is(store: &Store) {
    assert_eq!(lease(store, quota(1, 60)).await.granted, 60);
    let rest = lease(store, quota(2, 60)).await;
    assert_eq!((rest.granted, rest.left), (40, 0));
    let nothing = lease(store, quota(3, 1)).await;
    assert_eq!(nothing.granted, 0);
    let (hour, day) = (Duration::from_secs(0), Duration::from_hours(24));
    assert!(nothing.enough_in > hour && nothing.enough_in <= day, "{nothing:?}");
}

/// What goes back is there for others; what is spent is not.
pub async fn what_is_returned_of_a_quota_can_be_leased_again(store: &Store) {
    assert_eq!(lease(store, quota(1, 60)).await.granted, 60);
    let back =
        SliceRequest { question: 2, spent: 25, rest: Rest::Returned(35), least: 0, ..quota(1, 0) };
    assert_eq!(lease(store, back).await.left, 75);
    assert_eq!(lease(store, quota(2, 100)).await.granted, 75);
}

/// What was spent while the store was away counts when it is told of it.
pub async fn what_was_spent_without_the_store_counts(store: &Store) {
    let away = Away { told: 0, spent: 70, owed: 70, time: Duration::from_secs(3) };
    let told = lease(store, SliceRequest { away, least: 0, ..quota(1, 0) }).await;
    assert_eq!((told.granted, told.left), (0, 30));
    assert_eq!(lease(store, quota(2, 100)).await.granted, 30);
}

/// Less than what is of use is not given.
pub async fn what_is_too_little_is_not_given(store: &Store) {
    let wanted = SliceRequest { least: 101, ..quota(1, 101) };
    let slice = lease(store, wanted).await;
    assert_eq!((slice.granted, slice.left), (0, 100));
}

/// A rate is given too.
pub async fn a_rate_is_leased(store: &Store) {
    let ten = NonZeroU32::new(10).unwrap();
    let rate = Rate { count: ten, period: Duration::from_secs(1), burst: ten };
    let bucket = Bucket::Rate(rate, None);
    let slice = lease(store, SliceRequest { bucket, wanted: 4, ..quota(1, 4) }).await;
    assert_eq!(slice.granted, 4);
}

/// One who spends at once all that it is given, of quotas that change, and says so.
struct Spender<'a> {
    store: &'a Store,
    questions: u64,
    spent: u64,
}

impl<'a> Spender<'a> {
    const fn new(store: &'a Store) -> Self {
        Self { store, questions: 0, spent: 0 }
    }

    /// How much of `wanted` there is at a time.
    async fn spends(&mut self, wanted: u64, quota: &str, time: &str) -> u64 {
        let granted = self.asks(wanted, (quota, time)).await;
        self.spent += granted;
        assert_eq!(self.asks(0, (quota, time)).await, 0);
        granted
    }

    async fn asks(&mut self, wanted: u64, terms: (&str, &str)) -> u64 {
        self.questions += 1;
        let (question, spent, rest) = (self.questions, self.spent, Rest::Returned(0));
        let request = SliceRequest { question, spent, rest, ..quota(1, wanted) };
        lease_at(self.store, request, terms).await.granted
    }
}

/// What is leased of a quota at a time of the store's clock: far ahead, since what is in a store goes
/// at its time.
async fn lease_at(store: &Store, request: SliceRequest, (quota, time): (&str, &str)) -> Slice {
    let quota: Quota = quota.parse().unwrap();
    let time: Timestamp = time.parse().unwrap();
    let bucket = Bucket::Quota(quota, quota.window.at(time), 0);
    let request = SliceRequest { bucket, ..request };
    let leased = match store {
        Store::Embedded(it) => it.lease_slice_at(request, Some(time)).await,
        Store::Redis(it) => it.lease_slice_at(&request, Some(time)).await,
    };
    match leased.unwrap() {
        Leased::Slice(slice) => slice,
        Leased::OtherWindow(now) => panic!("it is {now}"),
    }
}

/// So a quota forgets nothing however often it goes over from one to the other.
pub async fn what_is_spent_in_a_day_is_spent_in_its_month_and_the_other_way(store: &Store) {
    let mut key = Spender::new(store);
    assert_eq!(key.spends(20, "10/month", "2096-10-01T08:00:00Z").await, 10);
    assert_eq!(key.spends(20, "12/day", "2096-10-01T08:00:01Z").await, 2);
    assert_eq!(key.spends(20, "12/month", "2096-10-01T08:00:02Z").await, 0);
    assert_eq!(key.spends(888, "900/month", "2096-10-03T08:00:00Z").await, 888);
    for day in 10..12 {
        let time = format!("2096-10-{day}T23:59:59.999999Z");
        assert_eq!(key.spends(200, "100/day", &time).await, 100);
    }
    assert_eq!(key.spends(1, "1100/month", "2096-10-12T00:00:00Z").await, 0);
    assert_eq!(key.spends(20, "1107/month", "2096-10-12T00:00:00Z").await, 7);
    assert_eq!(key.spends(20, "10/day", "2096-10-12T23:59:59.999999Z").await, 3);
    // Both are over.
    assert_eq!(key.spends(20, "10/day", "2096-11-01T00:00:00Z").await, 10);
    assert_eq!(key.spends(20, "15/month", "2096-11-30T00:00:00Z").await, 5);
}

pub async fn a_month_goes_on_over_a_midnight(store: &Store) {
    let mut key = Spender::new(store);
    assert_eq!(key.spends(50, "100/month", "2096-10-01T23:59:59.999999Z").await, 50);
    assert_eq!(key.spends(10, "100/month", "2096-10-02T00:00:00Z").await, 10);
    assert_eq!(key.spends(100, "30/day", "2096-10-02T00:00:00Z").await, 20);
    assert_eq!(key.spends(100, "100/month", "2096-10-02T12:00:00Z").await, 20);
}

/// What comes back of it is there for the month.
pub async fn what_was_leased_yesterday_takes_nothing_off_what_is_spent_today(store: &Store) {
    let (evening, morning) = ("2096-10-01T23:00:00Z", "2096-10-02T01:00:00Z");
    let leased = lease_at(store, quota(1, 40), ("100/month", evening)).await;
    assert_eq!((leased.granted, leased.left), (40, 60));
    let rest = Rest::Returned(40);
    let back = SliceRequest { question: 2, rest, least: 0, ..quota(1, 0) };
    assert_eq!(lease_at(store, back, ("100/month", morning)).await.left, 100);
    let all = lease_at(store, quota(2, 60), ("30/day", morning)).await;
    assert_eq!((all.granted, all.left), (30, 0));
}

pub async fn what_was_spent_without_the_store_counts_in_both_windows(store: &Store) {
    let time = "2096-10-01T08:00:00Z";
    let away = Away { told: 0, spent: 70, owed: 70, time: Duration::from_secs(3) };
    let telling = SliceRequest { away, least: 0, ..quota(1, 0) };
    assert_eq!(lease_at(store, telling, ("100/month", time)).await.left, 30);
    assert_eq!(lease_at(store, quota(2, 100), ("80/day", time)).await.granted, 10);
    assert_eq!(lease_at(store, quota(3, 100), ("90/month", time)).await.granted, 10);
}
