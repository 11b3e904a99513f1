//! Holds the limits of one key, as they come of what it says itself, its scheme and the configuration.

use std::num::NonZeroU32;

use crate::rate::Rate;
use crate::rate::bucket::Pace;
use crate::rate::limits::{Limits, Mode, limit};
use crate::rate::quota::Quota;

/// The limits of a key. Many keys have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How fast.
    pub rate: Option<Paced>,
    /// How much.
    pub quota: Option<(Quota, Mode)>,
    /// How many at once, over all gateways.
    pub in_flight: Option<(NonZeroU32, Mode)>,
}

/// A rate, ready to be counted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paced {
    /// As it was said.
    pub rate: Rate,
    /// As it is counted.
    pub pace: Pace,
    /// What it does.
    pub mode: Mode,
}

impl Bounds {
    /// None at all.
    pub const NONE: Self = Self { rate: None, quota: None, in_flight: None };

    /// What comes of all that was said.
    pub fn new(limits: Limits) -> Self {
        Self {
            rate: limit(limits.rate).map(Paced::from),
            quota: limit(limits.quota),
            in_flight: limit(limits.max_in_flight).map(|(it, mode)| (it.0, mode)),
        }
    }
}

impl From<(Rate, Mode)> for Paced {
    fn from((rate, mode): (Rate, Mode)) -> Self {
        Self { rate, pace: Pace::new(&rate, 1), mode }
    }
}
