//! Counts quotas in the file. What is leased counts as used, so that a crash loses no count.

use std::time::Duration;

use rusqlite::{OptionalExtension, params};

use crate::clock::Timestamp;
use crate::key::text::KeyId;
use crate::rate::quota::{Quota, Span, Window};
use crate::store::slices::{Bucket, Leased, Rest, Slice, SliceRequest};
use crate::store::sqlite::writer::Batch;

/// Leases a part of a quota. What another process or one before has leased and not returned is
/// spent.
pub fn lease(batch: &Batch<'_>, request: &SliceRequest) -> rusqlite::Result<Leased> {
    match &request.bucket {
        Bucket::Quota(quota, span, seen) => lease_quota(batch, request, (quota, span, *seen)),
        // There is one gateway, and it has the bucket: all of what is wanted is its own.
        Bucket::Rate(..) => Ok(Leased::Slice(Slice {
            granted: request.wanted,
            left: 0,
            enough_in: Duration::ZERO,
            spent: 0,
            now: batch.now,
        })),
    }
}

fn lease_quota(
    batch: &Batch<'_>,
    request: &SliceRequest,
    (quota, span, seen): (&Quota, &Span, u64),
) -> rusqlite::Result<Leased> {
    let kind = match quota.window {
        Window::Day => DAY,
        Window::Month => MONTH,
    };
    let held = count(batch, request.key, kind)?;
    // A clock that was set back stands still: no window begins twice.
    let today = quota.window.at(batch.now).name;
    let ahead = held.filter(|(window, ..)| *window > today);
    let now = ahead.map_or(batch.now, |(_, _, ends_at)| Timestamp::from_micros(ends_at - 1));
    if now < span.start || now >= span.end {
        return Ok(Leased::OtherWindow(now));
    }
    let used = match held.filter(|it| it.0 == span.name) {
        Some((_, used, _)) => used,
        // What was spent today is a part of what was spent this month.
        None if quota.window == Window::Month => {
            let day = count(batch, request.key, DAY)?.filter(|it| it.0 / 100 == span.name);
            day.map_or(0, |it| it.1)
        }
        None => 0,
    };
    // What this process has out is among what is used.
    let (returned, kept) = match request.rest {
        Rest::Returned(count) => (count, 0),
        Rest::Kept(count) => (0, count),
    };
    let used = used.saturating_sub(returned).max(seen) + request.away.spent;
    let left = quota.count.get().saturating_sub(used);
    let is_enough = request.wanted > 0 && left >= request.least;
    let granted = if is_enough { request.wanted.min(left) } else { 0 };
    batch
        .conn
        .prepare_cached("INSERT OR REPLACE INTO quotas VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![request.key, kind, span.name, used + granted, span.end.as_micros()])?;
    forget_old(batch)?;
    let wait = if granted < request.wanted { span.end.as_micros() - now.as_micros() } else { 0 };
    Ok(Leased::Slice(Slice {
        granted,
        left: left - granted,
        enough_in: Duration::from_micros(u64::try_from(wait).unwrap_or_default()),
        spent: used.saturating_sub(kept),
        now,
    }))
}

/// In which window how much of a quota was used, and when that ends.
fn count(batch: &Batch<'_>, key: KeyId, kind: &str) -> rusqlite::Result<Option<(u32, u64, i64)>> {
    let mut held = batch
        .conn
        .prepare_cached("SELECT window, used, ends_at FROM quotas WHERE id = ?1 AND kind = ?2")?;
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    held.query_row(params![key, kind], row).optional()
}

const DAY: &str = "day";
const MONTH: &str = "month";

/// Of windows that ended long ago nothing is asked any more.
fn forget_old(batch: &Batch<'_>) -> rusqlite::Result<()> {
    let oldest = batch.now.as_micros().saturating_sub(KEPT_MICROS);
    let mut forgotten = batch.conn.prepare_cached("DELETE FROM quotas WHERE ends_at < ?1")?;
    forgotten.execute([oldest]).map(drop)
}

/// A day behind its end, as in Redis.
const KEPT_MICROS: i64 = 86_400_000_000;
