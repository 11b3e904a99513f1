//! The words in which the store keeps how often keys were asked for.

use crate::clock::Timestamp;
use crate::key::text::KeyId;
use crate::rate::quota::Window;

/// What one gateway has counted of a key in one hour. It is written as a whole, so writing it again
/// changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// Whose hour.
    pub key: KeyId,
    /// Which: a number since 1970.
    pub hour: u32,
    /// By which what this process counts is told from what others do.
    pub gateway: u64,
    /// As [`timeline`](crate::rate::timeline) writes it.
    pub cells: Vec<u8>,
}

/// The hour that holds `time`.
pub fn hour_of(time: Timestamp) -> u32 {
    u32::try_from(time.as_micros().div_euclid(HOUR_MICROS)).unwrap_or_default()
}

/// When an hour begins.
pub fn beginning_of(hour: u32) -> Timestamp {
    Timestamp::from_micros(i64::from(hour) * HOUR_MICROS)
}

/// The first hour of the day, in UTC, that holds `time`: the store keeps whole days.
pub fn day_of(time: Timestamp) -> u32 {
    hour_of(Window::Day.at(time).start)
}

const HOUR_MICROS: i64 = 3_600_000_000;

/// So many hours of a key are kept at least, behind the one that is being counted: a day, and the
/// rest of the day on which it begins.
pub const HOURS_KEPT: u32 = 48;
