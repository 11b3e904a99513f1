//! How fast, how much and how many at once: the grammar of limits, and the arithmetic behind them.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

pub mod bucket;
pub mod limits;
pub mod preview;
pub mod quota;
pub mod timeline;

/// So many per period, with bursts of so many at once: `100/s burst 200`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In which time: a second or a minute.
    pub period: Duration,
    /// How many at once.
    pub burst: NonZeroU32,
}

impl FromStr for Rate {
    type Err = MalformedRate;

    fn from_str(text: &str) -> Result<Self, MalformedRate> {
        let mut words = text.split_ascii_whitespace();
        let (count, unit) = words.next().and_then(|it| it.split_once('/')).ok_or(MalformedRate)?;
        let count: NonZeroU32 = whole(count).ok_or(MalformedRate)?;
        let period = match unit {
            "s" => SECOND,
            "min" => MINUTE,
            _ => return Err(MalformedRate),
        };
        let burst = match (words.next(), words.next(), words.next()) {
            (None, None, None) => count,
            (Some("burst"), Some(burst), None) => whole(burst).ok_or(MalformedRate)?,
            _ => return Err(MalformedRate),
        };
        Ok(Self { count, period, burst })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.period == SECOND { "s" } else { "min" };
        write!(f, "{}/{unit}", self.count)?;
        if self.burst == self.count { Ok(()) } else { write!(f, " burst {}", self.burst) }
    }
}

/// The text is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a rate like \"100/s\", \"6000/min\" or \"100/s burst 200\", with numbers above 0"
)]
pub struct MalformedRate;

/// A number of digits alone: no sign, no space.
fn whole<T: FromStr>(text: &str) -> Option<T> {
    let digits = text.bytes().all(|it| it.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(u32, u64, u32)>) {
        let actual = text.parse::<Rate>().ok();
        let actual = actual.map(|it| (it.count.get(), it.period.as_secs(), it.burst.get()));
        assert_eq!(actual, expected, "parsing {text:?}");
    }

    #[test]
    fn a_burst_is_as_large_as_the_rate_unless_it_is_said() {
        check("100/s", Some((100, 1, 100)));
        check("6000/min", Some((6000, 60, 6000)));
        check("100/s burst 200", Some((100, 1, 200)));
    }

    #[test]
    fn a_zero_rate_is_refused() {
        check("0/s", None);
        check("100/s burst 0", None);
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in [
            "",
            "100",
            "100/h",
            "/s",
            "+1/s",
            "-1/s",
            "1/s burst",
            "1/s burst 2 3",
            "99999999999/s",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn a_rate_reads_back_what_it_prints() {
        for text in ["100/s", "6000/min", "100/s burst 200", "7/min burst 1"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
    }
}
