//! Looks at a store from outside, beside whoever lives on it, without changing anything.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::key::seal::{Identity, PepperName};
use crate::store::OpenFault;
use crate::store::sqlite::open;
use crate::store::sqlite::reader;
use crate::store::sqlite::schema::Unfit;

/// What can be seen of a store from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The file.
    pub path: PathBuf,
    /// Its random name.
    pub identity: Identity,
    /// The format of its records.
    pub format: u32,
    /// The version of its tables.
    pub schema: u32,
    /// How SQLite keeps its journal: `wal`.
    pub journal_mode: String,
    /// By which it knows its pepper.
    pub check: Option<[u8; 16]>,
    /// Callers' keys.
    pub keys: Count,
    /// Operators' tokens.
    pub operators: Count,
    /// How many records need which pepper, by its name: for their seal, or for their tag.
    pub census: Vec<(Option<PepperName>, u64)>,
}

/// How many records of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Not revoked.
    pub kept: u64,
    /// Revoked.
    pub revoked: u64,
}

/// Looks at the store at `path`.
pub fn inspect(path: &Path) -> Result<Inspection, OpenFault> {
    let path = open::find(path)?;
    let (conn, schema) = open::look(&path).map_err(|it| open::describe(&path, it))?;
    if schema == 0 {
        return Err(OpenFault(format!(
            "`{}` is empty: no gateway has used it yet",
            path.display()
        )));
    }
    read(&conn, &path, schema).map_err(|it| open::describe(&path, Unfit::Fault(it)))
}

fn read(conn: &Connection, path: &Path, schema: u32) -> rusqlite::Result<Inspection> {
    conn.pragma_update(None, "query_only", true)?;
    let snapshot = conn.unchecked_transaction()?;
    let (identity, format, check) =
        snapshot.query_row("SELECT identity, format, pepper_check FROM meta", [], |row| {
            Ok((Identity(row.get(0)?), row.get(1)?, row.get(2)?))
        })?;
    Ok(Inspection {
        path: path.to_owned(),
        identity,
        format,
        schema,
        journal_mode: snapshot.pragma_query_value(None, "journal_mode", |it| it.get(0))?,
        check,
        keys: count(&snapshot, "key")?,
        operators: count(&snapshot, "operator")?,
        census: reader::census(&snapshot)?,
    })
}

fn count(conn: &Connection, kind: &str) -> rusqlite::Result<Count> {
    let sql = "SELECT count(*) FILTER (WHERE NOT revoked), count(*) FILTER (WHERE revoked)
               FROM records WHERE kind = ?1";
    conn.query_row(sql, [kind], |row| Ok(Count { kept: row.get(0)?, revoked: row.get(1)? }))
}
