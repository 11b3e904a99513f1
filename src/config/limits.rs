//! Holds what is set for limits, and for the families of keys that have limits of their own.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::key::text::Prefix;
use crate::rate::Rate;
use crate::rate::limits::{self, Setting};

/// What holds where neither a key nor its scheme says anything, and what costs, by address:
/// `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Of keys; something is said of each.
    pub limits: limits::Limits,
    /// Among whom a limit is shared.
    pub scope: Scope,
    /// Look-ups of unknown ids and argon2 runs; `None`: unlimited.
    pub failures_per_address: Option<Rate>,
    /// Whether answers tell of limits in the old way too.
    pub x_ratelimit_headers: XRateLimit,
}

/// Among whom a limit is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All gateways on one store together let through so many.
    Fleet,
    /// Each gateway lets through so many.
    Gateway,
}

/// Whether answers have `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XRateLimit {
    /// They do not.
    Off,
    /// They do, beside `RateLimit`.
    On,
}

/// A family of keys: one of `[[schemes]]`. The scheme `default` is in [`super::Keys`].
#[derive(Clone, Debug, PartialEq)]
pub struct Scheme {
    /// What keys and whoever mints them call it; unique.
    pub name: String,
    /// What its keys begin with; unique.
    pub prefix: Prefix,
    /// Of its keys, where they say nothing; nothing where it was not written.
    pub limits: limits::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        let limits = limits::Limits {
            rate: Some(Setting::Unlimited),
            quota: Some(Setting::Unlimited),
            max_in_flight: Some(Setting::Unlimited),
        };
        let failures_per_address = Some(FAILURES);
        let (scope, x_ratelimit_headers) = (Scope::Fleet, XRateLimit::Off);
        Self { limits, scope, failures_per_address, x_ratelimit_headers }
    }
}

const FAILURES: Rate = Rate {
    count: NonZeroU32::new(20).unwrap(),
    period: Duration::from_secs(1),
    burst: NonZeroU32::new(200).unwrap(),
};
