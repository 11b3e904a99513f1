//! Answers questions that change nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use rusqlite::{Connection, params};

use crate::key::seal::{Identity, PepperName, Sealed};
use crate::store::sqlite::rows;
use crate::store::{Held, Meta, PageMark, Row, Ticket};
use crate::tasks::survive;

/// One question for the reading thread.
pub type Job = Box<dyn FnOnce(&Connection) + Send>;

/// Answers questions until the queue is closed.
pub fn serve(conn: &Connection, jobs: &Receiver<Job>) {
    for job in jobs {
        survive(|| job(conn));
    }
}

/// At most `count` records, newest first, after `after`.
pub fn page(
    conn: &Connection,
    after: Option<PageMark>,
    count: usize,
) -> rusqlite::Result<Vec<Row>> {
    let mut page = conn.prepare_cached(if after.is_some() { NEXT_PAGE } else { FIRST_PAGE })?;
    let rows = match after {
        Some(mark) => {
            page.query_map(params![count, mark.created_at, mark.id], rows::used_record)?
        }
        None => page.query_map([count], rows::used_record)?,
    };
    rows.collect()
}

/// Every operator's record, newest first.
pub fn operators(conn: &Connection) -> rusqlite::Result<Vec<Row>> {
    conn.prepare_cached(OPERATORS)?.query_map([], rows::used_record)?.collect()
}

/// What the store knows of itself.
pub fn meta(conn: &Connection, identity: &Identity) -> rusqlite::Result<Meta> {
    let snapshot = conn.unchecked_transaction()?;
    let check = snapshot.query_row("SELECT pepper_check FROM meta", [], |row| row.get(0))?;
    let records = snapshot.query_row("SELECT count(*) FROM records", [], |row| row.get(0))?;
    Ok(Meta { identity: identity.clone(), check, records, end: rows::end(&snapshot, identity)? })
}

/// The present end of the changes, and who is in the register.
pub fn ticket(conn: &Connection, identity: &Identity) -> rusqlite::Result<Ticket> {
    let snapshot = conn.unchecked_transaction()?;
    let register = Arc::new(rows::register(&snapshot)?);
    let position = rows::end(&snapshot, identity)?;
    Ok(Ticket { position, is_own: false, register, held: Held::Enough, row: None })
}

/// How many records need which pepper: for their seal, or for their tag.
pub fn census(conn: &Connection) -> rusqlite::Result<Vec<(Option<PepperName>, u64)>> {
    let mut census: HashMap<Option<PepperName>, u64> = HashMap::new();
    let mut records = conn.prepare_cached("SELECT sealed FROM records")?;
    let mut records = records.query([])?;
    while let Some(record) = records.next()? {
        let sealed = Sealed::from_bytes(record.get(0)?);
        let (of_seal, of_tag) = (sealed.pepper(), sealed.tag_pepper());
        *census.entry(of_seal).or_default() += 1;
        if of_tag.is_some() && of_tag != of_seal {
            *census.entry(of_tag).or_default() += 1;
        }
    }
    Ok(census.into_iter().collect())
}

const FIRST_PAGE: &str = "
    SELECT r.id, r.kind, r.created_at, r.revision, r.revoked, r.sealed, u.at
    FROM records r LEFT JOIN last_used u ON u.id = r.id
    ORDER BY r.created_at DESC, r.id DESC LIMIT ?1";

const NEXT_PAGE: &str = "
    SELECT r.id, r.kind, r.created_at, r.revision, r.revoked, r.sealed, u.at
    FROM records r LEFT JOIN last_used u ON u.id = r.id
    WHERE (r.created_at, r.id) < (?2, ?3)
    ORDER BY r.created_at DESC, r.id DESC LIMIT ?1";

const OPERATORS: &str = "
    SELECT r.id, r.kind, r.created_at, r.revision, r.revoked, r.sealed, u.at
    FROM records r LEFT JOIN last_used u ON u.id = r.id
    WHERE r.kind = 'operator' ORDER BY r.created_at DESC, r.id DESC";
