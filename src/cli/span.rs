//! Decides how a span of time is typed: `30d`, `12h`.

use std::str::FromStr;
use std::time::Duration;

/// A span of time that is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = MalformedSpan;

    fn from_str(text: &str) -> Result<Self, MalformedSpan> {
        let unit = text.chars().last().ok_or(MalformedSpan)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => 24 * 60 * 60,
            'w' => 7 * 24 * 60 * 60,
            _ => return Err(MalformedSpan),
        };
        let count: u32 = text
            .strip_suffix(unit)
            .filter(|it| it.bytes().all(|it| it.is_ascii_digit()))
            .and_then(|it| it.parse().ok())
            .filter(|it| *it > 0)
            .ok_or(MalformedSpan)?;
        Ok(Self(Duration::from_secs(u64::from(count) * seconds)))
    }
}

/// The text is no span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a number and its unit, like 30d, 12h or 45m (s, m, h, d, w)")]
pub struct MalformedSpan;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, seconds: Option<u64>) {
        let read = text.parse::<Span>().ok().map(|it| it.0.as_secs());
        assert_eq!(read, seconds, "reading {text:?}");
    }

    #[test]
    fn a_span_is_a_number_with_a_unit() {
        check("45s", Some(45));
        check("30d", Some(30 * 86_400));
        check("2w", Some(14 * 86_400));
    }

    #[test]
    fn a_span_without_a_unit_of_zero_or_with_a_sign_is_refused() {
        for text in ["", "30", "0d", "+3d", "-3d", "d", "3 d", "3y", "99999999999d", "1é"] {
            check(text, None);
        }
    }
}
