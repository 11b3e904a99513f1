//! How much in all: quotas, and the calendar windows in which they count.

use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::clock::Timestamp;
use crate::rate::whole;

/// So many in each window: `100000/day`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    /// How many; at most 10¹⁵, so that it is exact in a double too.
    pub count: NonZeroU64,
    /// In which window.
    pub window: Window,
}

/// A calendar window, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the first of the next.
    Month,
}

/// One window of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// By which it is told from others of its kind: `20261122`, or `202611`.
    pub name: u32,
    /// Its first moment.
    pub start: Timestamp,
    /// The first moment behind it.
    pub end: Timestamp,
}

thread_local! {
    /// The last day and the last month that were asked for: most often it is the same again.
    static LAST: Cell<[Option<Span>; 2]> = const { Cell::new([None; 2]) };
}

impl Window {
    /// The one that holds `now`.
    pub fn at(self, now: Timestamp) -> Span {
        let mut last = LAST.get();
        let [day, month] = &mut last;
        let place = match self {
            Self::Day => day,
            Self::Month => month,
        };
        if let Some(span) = place.filter(|it| it.start <= now && now < it.end) {
            return span;
        }
        let span = self.work_out(now);
        *place = Some(span);
        LAST.set(last);
        span
    }

    fn work_out(self, now: Timestamp) -> Span {
        let zoned = jiff::Timestamp::from_microsecond(now.as_micros());
        let today = zoned.map_or(Date::MAX, |it| it.to_zoned(TimeZone::UTC).date());
        let (first, next) = match self {
            Self::Day => (today, today.tomorrow()),
            Self::Month => {
                let first = today.first_of_month();
                (first, first.last_of_month().tomorrow())
            }
        };
        let name = |it: Date| {
            let month = i32::from(it.year()) * 100 + i32::from(it.month());
            let name = match self {
                Self::Day => month * 100 + i32::from(it.day()),
                Self::Month => month,
            };
            u32::try_from(name).unwrap_or_default()
        };
        let (start, end) = (midnight(first), next.map_or(FAR, midnight));
        Span { name: name(first), start, end }
    }
}

fn midnight(day: Date) -> Timestamp {
    let zoned = day.to_zoned(TimeZone::UTC);
    zoned.map_or(FAR, |it| Timestamp::from_micros(it.timestamp().as_microsecond()))
}

impl FromStr for Quota {
    type Err = MalformedQuota;

    fn from_str(text: &str) -> Result<Self, MalformedQuota> {
        let (count, window) = text.split_once('/').ok_or(MalformedQuota)?;
        let count: NonZeroU64 = whole(count).ok_or(MalformedQuota)?;
        let window = match window {
            "day" => Window::Day,
            "month" => Window::Month,
            _ => return Err(MalformedQuota),
        };
        if count.get() > COUNT_MAX { Err(MalformedQuota) } else { Ok(Self { count, window }) }
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let window = match self.window {
            Window::Day => "day",
            Window::Month => "month",
        };
        write!(f, "{}/{window}", self.count)
    }
}

/// The text is no quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a quota like \"100000/day\" or \"1000000/month\", with a number above 0")]
pub struct MalformedQuota;

const COUNT_MAX: u64 = 1_000_000_000_000_000;
/// Behind every calendar.
const FAR: Timestamp = Timestamp::from_micros(i64::MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check(window: Window, now: &str, expected: (u32, &str, &str)) {
        let (name, start, end) = expected;
        assert_eq!(window.at(at(now)), Span { name, start: at(start), end: at(end) });
    }

    #[test]
    fn a_day_is_from_midnight_to_midnight_in_utc() {
        let day = (20_261_122, "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z");
        check(Window::Day, "2026-11-22T00:00:00Z", day);
        check(Window::Day, "2026-11-22T23:59:59.999999Z", day);
        check(Window::Day, "2026-11-23T01:00:00+02:00", day);
    }

    #[test]
    fn a_month_is_as_long_as_it_is() {
        check(
            Window::Month,
            "2028-02-29T12:00:00Z",
            (202_802, "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        );
        check(
            Window::Month,
            "2026-12-31T23:59:59Z",
            (202_612, "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        );
    }

    #[test]
    fn what_is_no_quota_is_refused() {
        for text in ["", "100", "0/day", "-1/day", "1/week", "1 /day", "1000000000000001/day"] {
            assert_eq!(text.parse::<Quota>(), Err(MalformedQuota), "{text:?}");
        }
    }

    #[test]
    fn a_quota_reads_back_what_it_prints() {
        for text in ["100000/day", "1000000/month"] {
            assert_eq!(text.parse::<Quota>().unwrap().to_string(), text);
        }
    }
}
