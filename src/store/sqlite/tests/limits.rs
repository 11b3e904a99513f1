//! What becomes of leases while the disk stands still.

use std::sync::mpsc;
use std::time::Duration;

use futures_util::future::join_all;

use super::Place;
use crate::clock::Timestamp;
use crate::store::conformance::slices::asking;
use crate::store::slices::{Leased, Slice, SliceRequest};
use crate::store::sqlite::Sqlite;

/// Leases so many of 100 a month.
fn wanting(wanted: u64) -> SliceRequest {
    asking("100/month", time(), wanted)
}

fn time() -> Timestamp {
    "2096-10-01T08:00:00Z".parse().unwrap()
}

#[tokio::test]
async fn nothing_is_leased_to_who_has_given_up() {
    let place = Place::new();
    let hasty = Sqlite::open(&place.path).unwrap();
    let (release, gate) = mpsc::channel::<()>();
    let hold = hasty.change(move |_| {
        gate.recv().unwrap_or_default();
        Ok(())
    });
    let given_up = async {
        hasty.answer_within(Duration::from_millis(20));
        let asked = (0..5).map(|_| hasty.lease_slice_at(wanting(10), Some(time())));
        for answer in join_all(asked).await {
            assert!(answer.unwrap_err().to_string().contains("did not answer within 20 ms"));
        }
        drop(release);
    };
    let (first, ()) = futures_util::future::join(hold, given_up).await;
    first.unwrap();
    hasty.answer_within(Duration::from_secs(30));
    let leased = hasty.lease_slice_at(wanting(10), Some(time())).await.unwrap();
    assert!(matches!(leased, Leased::Slice(Slice { granted: 10, left: 90, .. })), "{leased:?}");
}
