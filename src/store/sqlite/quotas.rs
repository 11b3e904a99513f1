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
    let other = match quota.window {
        Window::Day => Window::Month,
        Window::Month => Window::Day,
    };
    let held = count(batch, request.key, quota.window)?;
    let beside = count(batch, request.key, other)?;
    // A clock that was set back stands still: no window begins twice.
    let begun = [&held, &beside].into_iter().flatten().map(|it| it.span.start);
    let now = begun.fold(batch.now, Ord::max);
    if now < span.start || now >= span.end {
        return Ok(Leased::OtherWindow(now));
    }
    if held.is_none() && beside.is_none() {
        batch.room.check()?;
    }
    let before = held.filter(|it| it.span.name == span.name).map(|it| it.used);
    // What this process has out is among what is used.
    let (returned, kept) = match request.rest {
        Rest::Returned(count) => (count, 0),
        Rest::Kept(count) => (0, count),
    };
    let used = before.unwrap_or_default().saturating_sub(returned).max(seen) + request.away.spent;
    let left = quota.count.get().saturating_sub(used);
    let is_enough = request.wanted > 0 && left >= request.least;
    let granted = if is_enough { request.wanted.min(left) } else { 0 };
    let after = used + granted;
    put(batch, request.key, &Count { kind: quota.window, span: *span, used: after })?;
    // Both count all of it, so that a quota may go over from days to months and back.
    let span_beside = other.at(now);
    let before_beside = match beside.filter(|it| it.span.name == span_beside.name) {
        Some(it) => it.used,
        // What was out when it began may be spent in it.
        None => before.map_or(0, |_| returned + kept),
    };
    let used_beside = (before_beside + after).saturating_sub(before.unwrap_or_default());
    put(batch, request.key, &Count { kind: other, span: span_beside, used: used_beside })?;
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

/// How much of a window is used, by whatever quota.
struct Count {
    kind: Window,
    span: Span,
    used: u64,
}

fn count(batch: &Batch<'_>, key: KeyId, kind: Window) -> rusqlite::Result<Option<Count>> {
    let mut held = batch
        .conn
        .prepare_cached("SELECT used, ends_at FROM quotas WHERE id = ?1 AND kind = ?2")?;
    let row = |row: &rusqlite::Row<'_>| {
        let last = row.get::<_, i64>(1)?.saturating_sub(1);
        Ok(Count { kind, span: kind.at(Timestamp::from_micros(last)), used: row.get(0)? })
    };
    held.query_row(params![key, name(kind)], row).optional()
}

fn put(batch: &Batch<'_>, key: KeyId, count: &Count) -> rusqlite::Result<()> {
    let mut put =
        batch.conn.prepare_cached("INSERT OR REPLACE INTO quotas VALUES (?1, ?2, ?3, ?4, ?5)")?;
    let Count { kind, span, used } = count;
    put.execute(params![key, name(*kind), span.name, used, span.end.as_micros()]).map(drop)
}

const fn name(kind: Window) -> &'static str {
    match kind {
        Window::Day => "day",
        Window::Month => "month",
    }
}

/// Of windows that ended long ago nothing is asked any more. Of many that end at one midnight, a few
/// go at a time: a heartbeat or a revocation may be waiting.
fn forget_old(batch: &Batch<'_>) -> rusqlite::Result<()> {
    let oldest = batch.now.as_micros().saturating_sub(KEPT_MICROS);
    let mut forgotten = batch.conn.prepare_cached(
        "DELETE FROM quotas WHERE (id, kind) IN
         (SELECT id, kind FROM quotas WHERE ends_at < ?1 LIMIT ?2)",
    )?;
    forgotten.execute(params![oldest, FORGOTTEN_AT_ONCE]).map(drop)
}

/// More than a lease makes, so that what is old becomes less; and many leases are one commit.
const FORGOTTEN_AT_ONCE: u32 = 16;

/// A day behind its end, as in Redis.
const KEPT_MICROS: i64 = 86_400_000_000;

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::store::conformance::id;
    use crate::store::conformance::slices::asking;
    use crate::store::sqlite::room::Room;
    use crate::store::sqlite::tests::tables::{tables, within};

    /// Leases one of 100 a day.
    fn try_lease(conn: &Connection, key: u32, room: Room, time: &str) -> rusqlite::Result<Leased> {
        let now = time.parse().unwrap();
        let request = SliceRequest { key: id(key), ..asking("100/day", now, 1) };
        within(conn, now, room, |batch| lease(batch, &request))
    }

    #[test]
    fn on_an_almost_full_disk_what_is_counted_goes_on_and_nothing_new_is() {
        let conn = tables();
        let (today, tomorrow) = ("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z");
        try_lease(&conn, 1, Room::Enough, today).unwrap();
        // Of who was not there for days one window may be forgotten.
        conn.execute("DELETE FROM quotas WHERE kind = 'day'", []).unwrap();
        for time in [today, tomorrow] {
            try_lease(&conn, 1, Room::Little, time).unwrap();
            let refused = try_lease(&conn, 2, Room::Little, time).unwrap_err();
            assert_eq!(refused.to_string(), "less than 8 MiB are left on the disk");
        }
        assert_eq!(rows(&conn), 2);
    }

    fn rows(conn: &Connection) -> u32 {
        conn.query_row("SELECT count(*) FROM quotas", [], |it| it.get(0)).unwrap()
    }

    #[test]
    fn what_ended_long_ago_goes_a_little_with_each_lease_until_all_is_gone() {
        let conn = tables();
        (0..500).for_each(|it| drop(try_lease(&conn, it, Room::Enough, "2026-11-01T00:00:00Z")));
        assert_eq!(rows(&conn), 1_000);
        // The month goes on, and its first day is kept for one more.
        let later = ["2026-11-02T23:59:59Z", "2026-11-03T00:00:01Z", "2026-11-03T00:00:01Z"];
        for (time, expected) in later.into_iter().zip([1_000, 984, 968]) {
            try_lease(&conn, 0, Room::Enough, time).unwrap();
            assert_eq!(rows(&conn), expected);
        }
        (0..40).for_each(|_| drop(try_lease(&conn, 0, Room::Enough, "2026-11-03T00:00:02Z")));
        assert_eq!(rows(&conn), 501);
        (0..40).for_each(|_| drop(try_lease(&conn, 0, Room::Enough, "2026-12-02T00:00:01Z")));
        assert_eq!(rows(&conn), 2);
    }
}
