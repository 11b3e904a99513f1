//! Says what limits would have refused of the last day's requests, without changing anything.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::admin::Admin;
use crate::admin::answer::{Answer, Done};
use crate::admin::asked::Asked;
use crate::admin::documents::max_in_flight;
use crate::admin::keys::limits::GivenLimits;
use crate::admin::rejection::Rejection;
use crate::clock::Timestamp;
use crate::key::record::{Holder, KeyRecord};
use crate::key::text::KeyId;
use crate::rate::Rate;
use crate::rate::limits::{Limits, Setting, limit};
use crate::rate::preview::{Demand, Outcome};
use crate::rate::quota::Quota;
use crate::rate::timeline;
use crate::store::Kind;
use crate::store::usage::{UsageRow, beginning_of, day_of, hour_of};

#[derive(Serialize)]
struct Preview {
    id: KeyId,
    proposed: Proposed,
    since: Timestamp,
    until: Timestamp,
    requests: u64,
    refused: u64,
    share: f64,
    by_limit: ByLimit,
    resolution: Resolution,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// The limits as they would be: the key's, its scheme's, or the configuration's.
#[derive(Serialize)]
struct Proposed {
    rate: Option<Setting<Rate>>,
    quota: Option<Setting<Quota>>,
    max_in_flight: Option<Value>,
}

/// What each would refuse if it were the only one.
#[derive(Serialize)]
struct ByLimit {
    rate: Option<Part>,
    quota: Option<QuotaPart>,
    max_in_flight: (),
}

#[derive(Serialize)]
struct Part {
    refused: u64,
    share: f64,
}

#[derive(Serialize)]
struct QuotaPart {
    #[serde(flatten)]
    part: Part,
    /// What was used before is not known.
    counted_since: Timestamp,
}

/// How well it is known when requests came, as shares of them.
#[derive(Serialize)]
struct Resolution {
    exact: f64,
    summarised: f64,
}

/// Says what the limits of a key would have refused if it had been changed so, a day ago: what is
/// not given stays as it is, and `null` is what its scheme says.
pub async fn preview(mut asked: Asked) -> Result<Answer, Rejection> {
    let id = asked.record_id()?;
    let mut fields = asked.fields().await?;
    let given = GivenLimits::read(&mut fields);
    fields.end()?;
    let (admin, now) = (&asked.admin, asked.now());
    let found = admin.find(id, Kind::Key).await?;
    let limits = admin.limits_of(&found.record, given);
    let minute = now.as_micros() - now.as_micros().rem_euclid(MINUTE_MICROS);
    let since = Timestamp::from_micros(minute).before(DAY);
    // From midnight on, so that a day's quota is counted as a whole.
    let first = day_of(since);
    let demand = admin.demand(id, (first, hour_of(now))).await?;
    let outcome = demand.under(&limits, since);
    let counted_since = beginning_of(first);
    let by_limit = by_limit(&outcome, counted_since);
    let Outcome { requests, refused, .. } = outcome;
    let exact = if requests == 0 { 1.0 } else { share(outcome.exact, requests) };
    let document = Preview {
        id,
        proposed: Proposed {
            rate: limits.rate,
            quota: limits.quota,
            max_in_flight: limits.max_in_flight.map(max_in_flight),
        },
        since,
        until: now,
        requests,
        refused,
        share: share(refused, requests),
        by_limit,
        resolution: Resolution { exact, summarised: 1.0 - exact },
        note: note(&limits, (counted_since, now)),
    };
    Answer::json(Done::Well, &document)
}

impl Admin {
    /// The limits of a key for which this is said.
    fn limits_of(&self, record: &KeyRecord, given: GivenLimits) -> Limits {
        let (scheme, own) = match &record.holder {
            Holder::Caller(scope) => (scope.scheme.as_str(), scope.limits),
            Holder::Operator(_) => ("", Limits::SILENT),
        };
        let config = self.config();
        let scheme = config.schemes.iter().find(|it| it.name == scheme);
        let scheme = scheme.map_or(Limits::SILENT, |it| it.limits);
        given.over(own).or(scheme).or(config.limits.limits)
    }

    /// What all gateways have counted of a key in these hours: as the store knows it, and this
    /// process up to now.
    async fn demand(&self, id: KeyId, (first, last): (u32, u32)) -> Result<Demand, Rejection> {
        let entries = self.keyring.entries();
        if let Some(entry) = entries.get(id) {
            entry.hand_over(entries.history());
        }
        let told = self.keyring.store().usage(id, first, last).await?;
        let here = entries.history().of(id).into_iter().filter(|it| it.hour >= first);
        let rows: HashMap<(u32, u64), UsageRow> =
            told.into_iter().chain(here).map(|it| ((it.hour, it.gateway), it)).collect();
        let mut demand = Demand::default();
        for row in rows.into_values() {
            match timeline::read(&row.cells) {
                Ok(cells) => demand.add(row.hour, &cells),
                Err(fault) => tracing::warn!(key.id = %id, %fault, "an hour is not counted"),
            }
        }
        Ok(demand)
    }
}

fn by_limit(outcome: &Outcome, counted_since: Timestamp) -> ByLimit {
    let part = |refused| Part { refused, share: share(refused, outcome.requests) };
    ByLimit {
        rate: outcome.by_rate.map(part),
        quota: outcome.by_quota.map(|it| QuotaPart { part: part(it), counted_since }),
        max_in_flight: (),
    }
}

/// What the numbers do not say.
fn note(limits: &Limits, (counted_since, now): (Timestamp, Timestamp)) -> Option<String> {
    let in_flight = limit(limits.max_in_flight).map(|_| NOTE_ON_IN_FLIGHT.to_owned());
    let quota = limit(limits.quota).filter(|(it, _)| it.window.at(now).start < counted_since);
    let quota = quota.map(|_| {
        format!("what was used of the quota before {counted_since} is not known, and not counted")
    });
    in_flight.into_iter().chain(quota).reduce(|one, other| one + "; " + &other)
}

/// Of nothing it is nothing.
#[expect(clippy::cast_precision_loss, reason = "a share is read by people")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

const DAY: Duration = Duration::from_hours(24);
const MINUTE_MICROS: i64 = 60_000_000;
const NOTE_ON_IN_FLIGHT: &str = "what max_in_flight would have refused cannot be told from counts: \
                                 they do not say how long requests took";
