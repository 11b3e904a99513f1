//! What a caller is told of its limits.

use std::borrow::Cow;
use std::time::Duration;

use crate::clock::seconds_until;
use crate::rate::Rate;
use crate::rate::quota::{Quota, Span};

/// What is left of each limit that a key has; of one that refuses nobody, nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Of its rate.
    pub rate: Option<Left>,
    /// Of its rate on this route.
    pub route: Option<Left>,
    /// Of its quota.
    pub quota: Option<Left>,
    /// Of what it may have under way.
    pub in_flight: Option<Left>,
}

/// What is left of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// How many there are in a window.
    pub limit: u64,
    /// How long that is, in seconds; 0: it is no window, but how many may be under way.
    pub window_s: u32,
    /// How many are left.
    pub units: u64,
    /// In how many seconds there will be more; 0: nobody knows.
    pub more_in_s: u32,
}

/// A refusal by a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// Of which kind.
    pub which: Which,
    /// In how long this request gets in, if nobody else spends.
    pub retry_after: Duration,
    /// What the caller is told of it.
    pub left: Left,
}

/// A kind of limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// How fast.
    Rate,
    /// How fast on one route.
    RouteRate,
    /// How much.
    Quota,
    /// How many at once.
    InFlight,
}

impl Which {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Rate, Self::RouteRate, Self::Quota, Self::InFlight];

    const fn bit(self) -> u8 {
        match self {
            Self::Rate => 1,
            Self::RouteRate => 2,
            Self::Quota => 4,
            Self::InFlight => 8,
        }
    }

    /// As metrics and logs call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::RouteRate => "route_rate",
            Self::Quota => "quota",
            Self::InFlight => "max_in_flight",
        }
    }
}

/// Some kinds of limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// None.
    pub const NONE: Self = Self(0);

    /// Adds one.
    pub const fn add(&mut self, which: Which) {
        self.0 |= which.bit();
    }

    /// Whether it is one of them.
    pub const fn has(self, which: Which) -> bool {
        self.0 & which.bit() != 0
    }

    /// As logs call them; none for none.
    pub fn names(self) -> Option<Cow<'static, str>> {
        let names = Which::ALL.into_iter().filter(|it| self.has(*it)).map(Which::name);
        names.map(Cow::Borrowed).reduce(|all, name| all + "," + name)
    }
}

impl Remaining {
    /// Where one kind of limit stands.
    pub const fn place(&mut self, which: Which) -> &mut Option<Left> {
        match which {
            Which::Rate => &mut self.rate,
            Which::RouteRate => &mut self.route,
            Which::Quota => &mut self.quota,
            Which::InFlight => &mut self.in_flight,
        }
    }
}

impl Over {
    /// What the caller is told: of this limit alone, so that nothing points elsewhere.
    pub fn remaining(&self) -> Remaining {
        let mut remaining = Remaining::default();
        *remaining.place(self.which) = Some(self.left);
        remaining
    }
}

impl Left {
    /// Of what may be under way.
    pub fn of_in_flight(max: u32, units: u64) -> Self {
        Self { limit: u64::from(max), window_s: 0, units, more_in_s: 0 }
    }

    /// Of a rate.
    pub fn of_rate(rate: &Rate, units: u64, more_in: Duration) -> Self {
        let window_s = u32::try_from(rate.period.as_secs()).unwrap_or(u32::MAX);
        Self { limit: u64::from(rate.count.get()), window_s, units, more_in_s: seconds(more_in) }
    }

    /// Of a quota.
    pub fn of_quota(quota: &Quota, span: &Span, units: u64, more_in: Duration) -> Self {
        let window_s = seconds(span.end.since(span.start));
        Self { limit: quota.count.get(), window_s, units, more_in_s: seconds(more_in) }
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(seconds_until(time)).unwrap_or(u32::MAX)
}
