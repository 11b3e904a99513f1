//! How fast: the grammar of rates, `100/s burst 200`.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// So many per period, with bursts of so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        let count: NonZeroU32 = parse(count)?;
        let period = match unit {
            "s" => Duration::from_secs(1),
            "min" => Duration::from_mins(1),
            _ => return Err(MalformedRate),
        };
        let burst = match (words.next(), words.next(), words.next()) {
            (None, None, None) => count,
            (Some("burst"), Some(burst), None) => parse(burst)?,
            _ => return Err(MalformedRate),
        };
        Ok(Self { count, period, burst })
    }
}

/// The text is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a rate like \"100/s\", \"6000/min\" or \"100/s burst 200\", with numbers above 0"
)]
pub struct MalformedRate;

fn parse(text: &str) -> Result<NonZeroU32, MalformedRate> {
    let digits = text.bytes().all(|it| it.is_ascii_digit());
    if digits { text.parse().map_err(|_number| MalformedRate) } else { Err(MalformedRate) }
}

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
}
