//! Makes one change: checks, stores, numbers, announces, audits and remembers it.

use rand::TryRng;
use rand::rngs::SysRng;
use rusqlite::types::FromSqlError;
use rusqlite::{Connection, OptionalExtension, params};

use crate::clock::Timestamp;
use crate::key::text::KeyId;
use crate::store::sqlite::rows::{self, Bits};
use crate::store::sqlite::writer::Batch;
use crate::store::{
    Audit, CHANGES_KEPT, Expect, Held, Idempotency, Position, Revoked, Row, Ticket, Write, Written,
};

/// Makes the change, or says why not; then nothing was stored.
pub fn apply(batch: &Batch<'_>, write: &Write) -> rusqlite::Result<Written> {
    if let Some(idempotency) = &write.idempotency
        && let Some(earlier) = recall(batch, idempotency)?
    {
        return Ok(earlier);
    }
    let stored = rows::find(batch.conn, write.row.id)?;
    if !holds(batch.conn, write.expect, stored.as_ref())? {
        return Ok(Written::Conflict(stored));
    }
    if stored.is_none() {
        batch.room.check()?;
    }
    store(batch.conn, &write.row)?;
    let position = announce(batch, &write.row)?;
    audit(batch.conn, &write.audit)?;
    if let Some(idempotency) = &write.idempotency {
        remember(batch, idempotency, write.row.id)?;
    }
    let register = batch.register.clone();
    let held = Held::Enough;
    Ok(Written::Applied(Ticket { position, is_own: true, register, held, row: None }))
}

/// Replaces what is sealed in the records that have not been changed since.
pub fn reseal(batch: &Batch<'_>, rows: &[Row]) -> rusqlite::Result<usize> {
    let mut replaced = batch.conn.prepare_cached(
        "UPDATE records SET sealed = ?4 WHERE id = ?1 AND revision = ?2 AND revoked = ?3",
    )?;
    let mut count = 0;
    for row in rows {
        let sealed = row.sealed.as_bytes();
        count += replaced.execute(params![row.id, row.revision, row.revoked, sealed])?;
    }
    Ok(count)
}

/// Takes and announces the records that are missing here, or are here in an older state.
pub fn offer(batch: &Batch<'_>, rows: &[Row]) -> rusqlite::Result<usize> {
    let mut taken = 0;
    for row in rows {
        let stored = rows::find(batch.conn, row.id)?;
        if stored.is_none_or(|it| it.seniority() < row.seniority()) {
            store(batch.conn, row)?;
            announce(batch, row)?;
            taken += 1;
        }
    }
    Ok(taken)
}

/// Moves times of last use forward.
pub fn touch(batch: &Batch<'_>, used: &[(KeyId, Timestamp)]) -> rusqlite::Result<()> {
    batch.room.check()?;
    let mut touched = batch.conn.prepare_cached(
        "INSERT INTO last_used VALUES (?1, ?2)
         ON CONFLICT (id) DO UPDATE SET at = excluded.at WHERE excluded.at > at",
    )?;
    used.iter().try_for_each(|(id, at)| touched.execute(params![id, at]).map(drop))
}

/// Adds one line to the audit log.
pub fn audit(conn: &Connection, line: &Audit) -> rusqlite::Result<()> {
    let mut written = conn.prepare_cached(
        "INSERT INTO audit (at, operator, operator_name, address, action, target, before, after)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    let Audit { at, operator, operator_name, address, action, target, before, after } = line;
    let [before, after] = [before, after].map(|it| it.as_ref().map(ToString::to_string));
    let values = params![at, operator, operator_name, address, action, target, before, after];
    written.execute(values).map(drop)
}

fn recall(batch: &Batch<'_>, asked: &Idempotency) -> rusqlite::Result<Option<Written>> {
    forget_old(batch)?;
    let mut known = batch.conn.prepare_cached(
        "SELECT fingerprint, id FROM idempotency WHERE operator = ?1 AND key = ?2",
    )?;
    let known = known.query_row([&asked.operator, &asked.key], |row| {
        Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, KeyId>(1)?))
    });
    let Some((fingerprint, id)) = known.optional()? else { return Ok(None) };
    if fingerprint != asked.fingerprint {
        return Ok(Some(Written::IdempotencyConflict));
    }
    let end = rows::end(batch.conn, batch.identity)?;
    let register = batch.register.clone();
    let held = Held::Enough;
    let ticket = Ticket { position: end, is_own: false, register, held, row: None };
    Ok(Some(Written::Replayed { id, ticket }))
}

fn forget_old(batch: &Batch<'_>) -> rusqlite::Result<()> {
    let oldest = batch.now.as_micros().saturating_sub(REMEMBERED_MICROS);
    let mut forgotten =
        batch.conn.prepare_cached("DELETE FROM idempotency WHERE created_at <= ?1")?;
    forgotten.execute([oldest]).map(drop)
}

fn remember(batch: &Batch<'_>, asked: &Idempotency, id: KeyId) -> rusqlite::Result<()> {
    let mut remembered =
        batch.conn.prepare_cached("INSERT INTO idempotency VALUES (?1, ?2, ?3, ?4, ?5)")?;
    let Idempotency { operator, key, fingerprint } = asked;
    remembered.execute(params![operator, key, fingerprint, id, batch.now]).map(drop)
}

fn holds(conn: &Connection, expect: Expect, stored: Option<&Row>) -> rusqlite::Result<bool> {
    Ok(match expect {
        Expect::Absent => stored.is_none(),
        Expect::Revision(revision) => {
            stored.is_some_and(|it| it.revision == revision && it.revoked == Revoked::No)
        }
        Expect::NoOperator => stored.is_none() && !has_operator(conn)?,
    })
}

fn has_operator(conn: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM records WHERE kind = 'operator')";
    conn.prepare_cached(sql)?.query_row([], |row| row.get(0))
}

fn store(conn: &Connection, row: &Row) -> rusqlite::Result<()> {
    let mut stored = conn.prepare_cached(
        "INSERT INTO records (id, kind, created_at, revision, revoked, sealed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, created_at = excluded.created_at,
             revision = excluded.revision, revoked = excluded.revoked, sealed = excluded.sealed",
    )?;
    let Row { id, kind, created_at, revision, revoked, last_used_at: _, sealed } = row;
    let sealed = sealed.as_bytes();
    stored.execute(params![id, kind, created_at, revision, revoked, sealed]).map(drop)
}

fn announce(batch: &Batch<'_>, row: &Row) -> rusqlite::Result<Position> {
    let end = rows::end(batch.conn, batch.identity)?;
    let position = Position { number: end.number + 1, nonce: draw()?, ..end };
    let mut announced =
        batch.conn.prepare_cached("INSERT INTO changes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    let Row { id, kind, created_at, revision, revoked, last_used_at: _, sealed } = row;
    let (nonce, sealed) = (Bits(position.nonce), sealed.as_bytes());
    let number = position.number;
    announced.execute(params![number, nonce, id, kind, created_at, revision, revoked, sealed])?;
    let mut trimmed = batch.conn.prepare_cached("DELETE FROM changes WHERE number <= ?1")?;
    trimmed.execute([number.saturating_sub(CHANGES_KEPT)])?;
    Ok(position)
}

fn draw() -> rusqlite::Result<u64> {
    SysRng.try_next_u64().map_err(|it| FromSqlError::other(it).into())
}

const REMEMBERED_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::{mint, repeated, revoke};
    use crate::store::sqlite::room::Room;
    use crate::store::sqlite::tests::tables::{tables, within};

    fn try_apply(
        conn: &Connection,
        write: &Write,
        room: Room,
        hour: i64,
    ) -> rusqlite::Result<Written> {
        let now = Timestamp::from_micros(1_800_000_000_000_000 + hour * 3_600_000_000);
        within(conn, now, room, |batch| apply(batch, write))
    }

    #[track_caller]
    fn check(hours: i64, expected: fn(&Written) -> bool) {
        let conn = tables();
        let write = |number, hour| {
            try_apply(&conn, &repeated(mint(number), 1), Room::Enough, hour).unwrap()
        };
        assert!(matches!(write(1, 0), Written::Applied(_)));
        let again = write(2, hours);
        assert!(expected(&again), "after {hours} h: {again:?}");
    }

    #[test]
    fn an_idempotency_key_is_remembered_for_a_day() {
        check(23, |it| matches!(it, Written::Replayed { .. }));
    }

    #[test]
    fn an_idempotency_key_is_forgotten_after_a_day() {
        check(24, |it| matches!(it, Written::Applied(_)));
    }

    #[test]
    fn on_an_almost_full_disk_keys_are_revoked_and_not_minted() {
        let conn = tables();
        assert!(try_apply(&conn, &mint(1), Room::Enough, 0).is_ok());
        let refused = try_apply(&conn, &mint(2), Room::Little, 0).unwrap_err();
        assert_eq!(refused.to_string(), "less than 8 MiB are left on the disk");
        let revoked = try_apply(&conn, &revoke(1, 1), Room::Little, 0).unwrap();
        assert!(matches!(revoked, Written::Applied(_)));
    }
}
