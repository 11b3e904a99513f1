//! Holds what a record says of its limits in a few bytes.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rate::Rate;
use crate::rate::limits::{InFlight, Limits, Mode, Setting};
use crate::rate::quota::{Quota, Window};

/// What a record says of its limits. Most say nothing, and that takes a byte.
#[derive(Debug, Serialize, Deserialize)]
pub struct PackedLimits(Option<(Said<PackedRate>, Said<PackedQuota>, Said<NonZeroU32>)>);

#[derive(Debug, Serialize, Deserialize)]
enum Said<T> {
    Nothing,
    Unlimited,
    Enforced(T),
    Shadow(T),
}

/// How many, in how many seconds, and how many at once.
type PackedRate = (NonZeroU32, u64, NonZeroU32);

#[derive(Debug, Serialize, Deserialize)]
enum PackedQuota {
    Day(NonZeroU64),
    Month(NonZeroU64),
}

impl From<&Limits> for PackedLimits {
    fn from(limits: &Limits) -> Self {
        if limits.is_silent() {
            return Self(None);
        }
        let rate = |it: Rate| (it.count, it.period.as_secs(), it.burst);
        let quota = |it: Quota| match it.window {
            Window::Day => PackedQuota::Day(it.count),
            Window::Month => PackedQuota::Month(it.count),
        };
        Self(Some((
            Said::of(limits.rate, rate),
            Said::of(limits.quota, quota),
            Said::of(limits.max_in_flight, |it| it.0),
        )))
    }
}

impl From<PackedLimits> for Limits {
    fn from(packed: PackedLimits) -> Self {
        let Some((rate, quota, max_in_flight)) = packed.0 else { return Self::SILENT };
        let quota_of = |it| match it {
            PackedQuota::Day(count) => Quota { count, window: Window::Day },
            PackedQuota::Month(count) => Quota { count, window: Window::Month },
        };
        let rate_of =
            |(count, secs, burst)| Rate { count, period: Duration::from_secs(secs), burst };
        Self {
            rate: rate.setting(rate_of),
            quota: quota.setting(quota_of),
            max_in_flight: max_in_flight.setting(InFlight),
        }
    }
}

impl<T> Said<T> {
    fn of<L>(setting: Option<Setting<L>>, pack: impl Fn(L) -> T) -> Self {
        match setting {
            None => Self::Nothing,
            Some(Setting::Unlimited) => Self::Unlimited,
            Some(Setting::Limited(limit, Mode::Enforced)) => Self::Enforced(pack(limit)),
            Some(Setting::Limited(limit, Mode::Shadow)) => Self::Shadow(pack(limit)),
        }
    }

    fn setting<L>(self, unpack: impl Fn(T) -> L) -> Option<Setting<L>> {
        match self {
            Self::Nothing => None,
            Self::Unlimited => Some(Setting::Unlimited),
            Self::Enforced(limit) => Some(Setting::Limited(unpack(limit), Mode::Enforced)),
            Self::Shadow(limit) => Some(Setting::Limited(unpack(limit), Mode::Shadow)),
        }
    }
}
