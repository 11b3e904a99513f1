//! Looks at a store from outside, beside whoever lives on it, without changing anything.

use std::path::Path;

use rusqlite::Connection;

use crate::key::seal::Identity;
use crate::store::OpenFault;
use crate::store::inspection::{Count, Inspection, Specifics};
use crate::store::sqlite::open;
use crate::store::sqlite::reader;
use crate::store::sqlite::schema::Unfit;

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
        location: path.display().to_string(),
        identity,
        format,
        specifics: Specifics::File {
            schema,
            journal_mode: snapshot.pragma_query_value(None, "journal_mode", |it| it.get(0))?,
        },
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
