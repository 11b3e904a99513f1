//! Reads what is said of a key's limits.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::admin::fields::{Fields, Given, Spot};
use crate::rate::Rate;
use crate::rate::limits::{InFlight, Limits, Setting};
use crate::rate::quota::Quota;

/// What is said of each limit; `null` leaves it to the key's scheme.
#[derive(Clone, Debug)]
pub struct GivenLimits {
    rate: Given<Setting<Rate>>,
    quota: Given<Setting<Quota>>,
    max_in_flight: Given<Setting<InFlight>>,
}

impl GivenLimits {
    /// Takes them out.
    pub fn read(fields: &mut Fields) -> Self {
        Self {
            rate: fields.take("rate", |it, spot| setting(&it, spot)),
            quota: fields.take("quota", |it, spot| setting(&it, spot)),
            max_in_flight: fields.take("max_in_flight", |it, spot| setting(&it, spot)),
        }
    }

    /// What a key says that said `before`.
    pub fn over(self, before: Limits) -> Limits {
        Limits {
            rate: self.rate.over(before.rate),
            quota: self.quota.over(before.quota),
            max_in_flight: self.max_in_flight.over(before.max_in_flight),
        }
    }
}

/// A number is read as it would be written: it is one where the grammar is content with it.
fn setting<T>(value: &Value, spot: &mut Spot<'_>) -> Option<Setting<T>>
where
    T: FromStr<Err: fmt::Display>,
{
    let setting = match value {
        Value::String(text) => text.parse(),
        Value::Number(number) => number.to_string().parse(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => "".parse(),
    };
    let words = |fault: T::Err| spot.fault(format!("{fault}, or \"unlimited\""));
    setting.map_err(words).ok()
}
