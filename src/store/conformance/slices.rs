//! Claims about slices of limits.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::rate::Rate;
use crate::rate::quota::{Quota, Window};
use crate::store::Store;
use crate::store::conformance::id;
use crate::store::slices::{Away, Bucket, Leased, Rest, Slice, SliceRequest};

/// A request for `wanted` of a quota of 100 a day.
fn quota(account: u64, wanted: u64) -> SliceRequest {
    let quota = Quota { count: NonZeroU64::new(100).unwrap(), window: Window::Day };
    SliceRequest {
        key: id(1),
        bucket: Bucket::Quota(quota, quota.window.at(Timestamp::now()), 0),
        account,
        question: 1,
        spent: 0,
        rest: Rest::Kept(0),
        wanted,
        least: 1,
        away: Away::default(),
    }
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
