//! What may be said of each limit, and which of several says it.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::rate::quota::Quota;
use crate::rate::{Rate, whole};

/// What is said of one limit: `unlimited`, `100/s`, or `100/s shadow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setting<T> {
    /// There is none.
    Unlimited,
    /// This one.
    Limited(T, Mode),
}

/// What a limit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It refuses.
    Enforced,
    /// It counts and reports whom it would refuse.
    Shadow,
}

/// So many requests of one key under way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InFlight(pub NonZeroU32);

/// What a key, a scheme or the configuration says of each limit; `None`: nothing, so that the next
/// one is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// How fast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Setting<Rate>>,
    /// How much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Setting<Quota>>,
    /// How many at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<Setting<InFlight>>,
}

impl Limits {
    /// Says nothing of any.
    pub const SILENT: Self = Self { rate: None, quota: None, max_in_flight: None };

    /// Whether nothing is said of any.
    pub fn is_silent(&self) -> bool {
        *self == Self::SILENT
    }

    /// Whether no limit comes of it.
    pub fn is_unlimited(&self) -> bool {
        limit(self.rate).is_none()
            && limit(self.quota).is_none()
            && limit(self.max_in_flight).is_none()
    }

    /// The same, and what `other` says where this says nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            rate: self.rate.or(other.rate),
            quota: self.quota.or(other.quota),
            max_in_flight: self.max_in_flight.or(other.max_in_flight),
        }
    }
}

/// The limit that comes of what was said.
pub fn limit<T>(setting: Option<Setting<T>>) -> Option<(T, Mode)> {
    match setting {
        Some(Setting::Limited(limit, mode)) => Some((limit, mode)),
        Some(Setting::Unlimited) | None => None,
    }
}

impl<T: FromStr> FromStr for Setting<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == UNLIMITED {
            return Ok(Self::Unlimited);
        }
        match text.strip_suffix(SHADOW) {
            Some(limit) => limit.parse().map(|it| Self::Limited(it, Mode::Shadow)),
            None => text.parse().map(|it| Self::Limited(it, Mode::Enforced)),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Setting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str(UNLIMITED),
            Self::Limited(limit, Mode::Enforced) => limit.fmt(f),
            Self::Limited(limit, Mode::Shadow) => write!(f, "{limit}{SHADOW}"),
        }
    }
}

impl<T: fmt::Display> Serialize for Setting<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Setting<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for InFlight {
    type Err = MalformedCount;

    fn from_str(text: &str) -> Result<Self, MalformedCount> {
        whole(text).map(Self).ok_or(MalformedCount)
    }
}

impl fmt::Display for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is no number of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a number above 0, like 50, or \"50 shadow\"")]
pub struct MalformedCount;

const UNLIMITED: &str = "unlimited";
const SHADOW: &str = " shadow";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_reads_back_what_it_prints() {
        for text in ["unlimited", "100/s", "100/s burst 200 shadow"] {
            assert_eq!(text.parse::<Setting<Rate>>().unwrap().to_string(), text);
        }
        for text in ["5/day shadow", "unlimited"] {
            assert_eq!(text.parse::<Setting<Quota>>().unwrap().to_string(), text);
        }
        for text in ["50", "50 shadow"] {
            assert_eq!(text.parse::<Setting<InFlight>>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        for text in ["", "shadow", " shadow", "100/s shadow shadow", "unlimited shadow", "0"] {
            assert!(text.parse::<Setting<Rate>>().is_err(), "{text:?}");
            assert!(text.parse::<Setting<InFlight>>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_a_key_says_goes_before_what_its_scheme_says() {
        let key = Limits { rate: Some(Setting::Unlimited), ..Limits::SILENT };
        let quota = "5/day".parse().ok();
        let scheme = Limits { rate: "1/s".parse().ok(), quota, max_in_flight: None };
        let resolved = key.or(scheme);
        assert_eq!(limit(resolved.rate), None);
        assert_eq!(resolved.quota, quota);
        assert!(key.is_unlimited() && !resolved.is_unlimited() && !key.is_silent());
    }
}
