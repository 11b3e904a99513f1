//! By what a bucket is filled, and what follows from it for leasing.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use crate::rate::Rate;
use crate::rate::quota::Quota;
use crate::store::slices::Bucket;

/// By what a bucket is filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fill {
    /// All the time; a key's, on one route or on all.
    Rate(Rate, Option<Arc<str>>),
    /// With each window.
    Quota(Quota),
}

impl Fill {
    /// Whether a question was for this.
    pub fn is(&self, bucket: &Bucket) -> bool {
        match (self, bucket) {
            (Self::Rate(rate, _), Bucket::Rate(asked, _)) => rate == asked,
            (Self::Quota(quota), Bucket::Quota(asked, ..)) => quota == asked,
            (Self::Rate(..), Bucket::Quota(..)) | (Self::Quota(_), Bucket::Rate(..)) => false,
        }
    }

    /// What costs more than there can ever be takes all of it.
    pub fn clamp(&self, cost: u64) -> u64 {
        match self {
            Self::Rate(rate, _) => cost.min(u64::from(rate.burst.get())),
            Self::Quota(quota) => cost.min(quota.count.get()),
        }
    }

    /// Whether tokens are fetched one by one: they come seldom, or a bucket holds few.
    pub fn is_one_by_one(&self, fellows: u32) -> bool {
        match self {
            Self::Rate(rate, _) => is_slow(rate) || half_of_burst(rate, fellows) <= 1,
            Self::Quota(_) => false,
        }
    }

    /// Where fewer are in hand than this, of a slice of so many, more are fetched, if any are before
    /// somebody waits for them.
    pub fn low(&self, slice: u64, fellows: u32) -> u64 {
        if self.slice_max(fellows) == 0 { 0 } else { slice / 2 }
    }

    /// How large a slice may be that nobody waits for.
    pub fn slice_max(&self, fellows: u32) -> u64 {
        match self {
            Self::Rate(..) if self.is_one_by_one(fellows) => 0,
            Self::Rate(rate, _) => half_of_burst(rate, fellows),
            // So many are lost with a gateway that crashes.
            Self::Quota(quota) => NonZeroU64::get(quota.count) / QUOTA_SLICES,
        }
    }

    /// So many may be out for as long as a slice lives without anybody noticing it, where the store
    /// had `left`: they are leased for who comes seldom, and need not be given back.
    pub fn unnoticed(&self, left: u64, fellows: u32) -> u64 {
        match self {
            Self::Rate(..) if self.is_one_by_one(fellows) => 0,
            Self::Rate(rate, _) => {
                let of_burst = u64::from(rate.burst.get()) / UNNOTICED;
                of_burst.max(left / UNNOTICED_OF_LEFT) / u64::from(fellows.max(1))
            }
            Self::Quota(_) => self.slice_max(fellows),
        }
    }

    /// Whether so many that are out may be left to lapse. Of a quota nothing lapses.
    pub fn may_lapse(&self, out: u64, left: u64, fellows: u32) -> bool {
        match self {
            Self::Rate(..) => out <= self.unnoticed(left, fellows),
            Self::Quota(_) => out == 0,
        }
    }

    /// How long to let a bucket fill that was found empty: not until it flows over.
    pub fn pause(&self) -> Duration {
        match self {
            Self::Rate(rate, _) => {
                let half = rate
                    .period
                    .mul_f64(0.5 * f64::from(rate.burst.get()) / f64::from(rate.count.get()));
                half.clamp(PAUSE_MIN, PAUSE_MAX)
            }
            Self::Quota(_) => Duration::ZERO,
        }
    }

    /// After how long idleness its memory is given back. Of a quota a little later: who has seen that
    /// much was spent tells a store that has forgotten it.
    pub fn retired_after(&self) -> Duration {
        match self {
            Self::Rate(..) => RATE_RETIRED_AFTER,
            Self::Quota(_) => QUOTA_RETIRED_AFTER,
        }
    }

    /// After how long idleness what is unspent goes back.
    pub fn settles_after(&self) -> Duration {
        match self {
            Self::Rate(..) => RATE_SETTLES_AFTER,
            Self::Quota(_) => QUOTA_SETTLES_AFTER,
        }
    }
}

fn is_slow(rate: &Rate) -> bool {
    u64::from(rate.count.get()) / rate.period.as_secs().max(1) <= SLOW
}

/// Of one gateway.
fn half_of_burst(rate: &Rate, fellows: u32) -> u64 {
    u64::from(rate.burst.get()) / 2 / u64::from(fellows.max(1))
}

/// Up to so many a second, tokens come seldom.
const SLOW: u64 = 20;

/// So large a part is not noticed, over all gateways: a fiftieth of a bucket, and an eighth of what
/// nobody wanted.
const UNNOTICED: u64 = 50;
const UNNOTICED_OF_LEFT: u64 = 8;

/// A quota is leased in at least so many slices.
const QUOTA_SLICES: u64 = 2_000;

const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(40);

const RATE_SETTLES_AFTER: Duration = Duration::from_millis(80);
const QUOTA_SETTLES_AFTER: Duration = Duration::from_secs(1);
const RATE_RETIRED_AFTER: Duration = Duration::from_secs(2);
const QUOTA_RETIRED_AFTER: Duration = Duration::from_secs(30);
