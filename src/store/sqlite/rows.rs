//! Reads and writes the store's types in SQLite's rows.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params};

use crate::clock::Timestamp;
use crate::key::seal::{Identity, Sealed};
use crate::key::text::KeyId;
use crate::store::gateway::{GatewayCard, Register, Registered};
use crate::store::{Change, Kind, Position, Revoked, Row};

/// The record under `id`.
pub fn find(conn: &Connection, id: KeyId) -> rusqlite::Result<Option<Row>> {
    let mut found = conn.prepare_cached(
        "SELECT r.id, r.kind, r.created_at, r.revision, r.revoked, r.sealed, u.at
         FROM records r LEFT JOIN last_used u ON u.id = r.id WHERE r.id = ?1",
    )?;
    found.query_row([id], used_record).optional()
}

/// A record and when it was last used, from the first seven columns.
pub fn used_record(row: &SqlRow<'_>) -> rusqlite::Result<Row> {
    Ok(Row { last_used_at: row.get(6)?, ..record(row, 0)? })
}

/// Where the changes end.
pub fn end(conn: &Connection, epoch: &Identity) -> rusqlite::Result<Position> {
    let mut last =
        conn.prepare_cached("SELECT number, nonce FROM changes ORDER BY number DESC LIMIT 1")?;
    let last = last.query_row([], |row| Ok((row.get(0)?, row.get::<_, Bits>(1)?.0))).optional()?;
    let (number, nonce) = last.unwrap_or_default();
    Ok(Position { epoch: epoch.0.clone(), number, nonce })
}

/// The changes after `number`, at most `count`.
pub fn changes(conn: &Connection, number: u64, count: usize) -> rusqlite::Result<Vec<Change>> {
    let mut changes = conn.prepare_cached(
        "SELECT number, nonce, id, kind, created_at, revision, revoked, sealed
         FROM changes WHERE number > ?1 ORDER BY number LIMIT ?2",
    )?;
    let changes = changes.query_map(params![number, count], |row| {
        let nonce: Bits = row.get(1)?;
        Ok(Change { number: row.get(0)?, nonce: nonce.0, row: record(row, 2)? })
    })?;
    changes.collect()
}

/// Who is in the register.
pub fn register(conn: &Connection) -> rusqlite::Result<Register> {
    let mut entries =
        conn.prepare_cached("SELECT card, epoch, number, nonce, beat FROM gateways ORDER BY id")?;
    let entries = entries.query_map([], registered)?.collect::<Result<_, _>>()?;
    Ok(Register { moves: register_moves(conn)?, entries })
}

/// How often the register has moved.
pub fn register_moves(conn: &Connection) -> rusqlite::Result<u64> {
    conn.prepare_cached("SELECT register_moves FROM meta")?.query_row([], |row| row.get(0))
}

/// Counts one more move of the register; answers the new count, which is nobody else's beat.
pub fn move_register(conn: &Connection) -> rusqlite::Result<u64> {
    let mut moved = conn.prepare_cached(
        "UPDATE meta SET register_moves = register_moves + 1 RETURNING register_moves",
    )?;
    moved.query_row([], |row| row.get(0))
}

fn record(row: &SqlRow<'_>, first: usize) -> rusqlite::Result<Row> {
    Ok(Row {
        id: row.get(first)?,
        kind: row.get(first + 1)?,
        created_at: row.get(first + 2)?,
        revision: row.get(first + 3)?,
        revoked: row.get(first + 4)?,
        last_used_at: None,
        sealed: Sealed::from_bytes(row.get(first + 5)?),
    })
}

fn registered(row: &SqlRow<'_>) -> rusqlite::Result<Registered> {
    let nonce: Bits = row.get(3)?;
    let confirmed = Position { epoch: row.get(1)?, number: row.get(2)?, nonce: nonce.0 };
    Ok(Registered { card: row.get(0)?, confirmed, beat: row.get(4)? })
}

/// All 64 bits of a number, in SQLite's signed integer.
#[derive(Clone, Copy, Debug)]
pub struct Bits(pub u64);

impl ToSql for Bits {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(Value::Integer(self.0.cast_signed())))
    }
}

impl FromSql for Bits {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(|it| Self(it.cast_unsigned()))
    }
}

impl ToSql for KeyId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for KeyId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(FromSqlError::other)
    }
}

impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_micros().into())
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self::from_micros)
    }
}

impl ToSql for Kind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Key => "key".into(),
            Self::Operator => "operator".into(),
        })
    }
}

impl FromSql for Kind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "key" => Ok(Self::Key),
            "operator" => Ok(Self::Operator),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

impl ToSql for Revoked {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok((*self == Self::Yes).into())
    }
}

impl FromSql for Revoked {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(if bool::column_result(value)? { Self::Yes } else { Self::No })
    }
}

impl ToSql for GatewayCard {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let text = serde_json::to_string(self);
        Ok(text.map_err(|it| rusqlite::Error::ToSqlConversionFailure(Box::new(it)))?.into())
    }
}

impl FromSql for GatewayCard {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map_err(FromSqlError::other)
    }
}
