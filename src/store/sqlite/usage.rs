//! Keeps how often keys were asked for in the file.

use rusqlite::{Connection, params};

use crate::key::text::KeyId;
use crate::store::sqlite::writer::Batch;
use crate::store::usage::{HOURS_KEPT, UsageRow, hour_of};

/// Writes what a process has counted in hours of keys.
pub fn note(batch: &Batch<'_>, rows: &[UsageRow]) -> rusqlite::Result<()> {
    batch.room.check()?;
    let mut noted =
        batch.conn.prepare_cached("INSERT OR REPLACE INTO usage VALUES (?1, ?2, ?3, ?4)")?;
    for UsageRow { key, hour, gateway, cells } in rows {
        noted.execute(params![key, hour, format!("{gateway:016x}"), cells])?;
    }
    Ok(())
}

/// Forgets some of what is old, whether there is room for anything new or not.
pub fn forget(batch: &Batch<'_>) -> rusqlite::Result<()> {
    let oldest = hour_of(batch.now).saturating_sub(HOURS_KEPT);
    let mut forgotten = batch.conn.prepare_cached(
        "DELETE FROM usage WHERE (id, hour, gateway) IN
         (SELECT id, hour, gateway FROM usage WHERE hour < ?1 LIMIT ?2)",
    )?;
    forgotten.execute(params![oldest, FORGOTTEN_AT_ONCE]).map(drop)
}

/// What all processes have counted of a key from the hour `first` to `last`.
pub fn read(
    conn: &Connection,
    key: KeyId,
    (first, last): (u32, u32),
) -> rusqlite::Result<Vec<UsageRow>> {
    let mut rows = conn.prepare_cached(
        "SELECT hour, gateway, cells FROM usage WHERE id = ?1 AND hour BETWEEN ?2 AND ?3",
    )?;
    let rows = rows.query_map(params![key, first, last], |row| {
        let gateway: String = row.get(1)?;
        let gateway = u64::from_str_radix(&gateway, 16).unwrap_or_default();
        Ok(UsageRow { key, hour: row.get(0)?, gateway, cells: row.get(2)? })
    })?;
    rows.collect()
}

/// More than is written at once, so that what is old becomes less.
const FORGOTTEN_AT_ONCE: u32 = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::store::conformance::id;
    use crate::store::sqlite::room::Room;
    use crate::store::sqlite::tests::tables::{tables, within};

    #[test]
    fn on_an_almost_full_disk_history_is_left_out() {
        let conn = tables();
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        let row = UsageRow { key: id(1), hour: hour_of(now), gateway: 7, cells: vec![1, 2, 3] };
        for (room, is_noted) in [(Room::Little, false), (Room::Enough, true)] {
            let note = |batch: &Batch<'_>| note(batch, std::slice::from_ref(&row));
            assert_eq!(within(&conn, now, room, note).is_ok(), is_noted);
            let noted = read(&conn, id(1), (row.hour, row.hour)).unwrap();
            assert_eq!(!noted.is_empty(), is_noted);
        }
    }

    #[test]
    fn what_is_old_is_forgotten_on_an_almost_full_disk_too() {
        let conn = tables();
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        let row =
            |ago| UsageRow { key: id(1), hour: hour_of(now) - ago, gateway: 7, cells: vec![1] };
        let rows = [0, HOURS_KEPT, HOURS_KEPT + 1, 2 * HOURS_KEPT].map(row);
        within(&conn, now, Room::Enough, |batch| note(batch, &rows)).unwrap();
        within(&conn, now, Room::Little, forget).unwrap();
        let left = read(&conn, id(1), (0, u32::MAX)).unwrap();
        let hours: Vec<u32> = left.iter().map(|it| hour_of(now) - it.hour).collect();
        assert_eq!(hours, [HOURS_KEPT, 0]);
    }
}
