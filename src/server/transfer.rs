//! Moves records from store to store: as lines of text, or at once. What moves are hashes; nobody
//! has the plaintexts.
//!
//! Each record is opened under the pepper of the store that it comes from, and sealed under the one
//! that it goes to. What the other store has in a newer state stays; what it takes it announces, so
//! that running gateways follow.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::gate::vault::{self, Vault};
use crate::key::record::KeyRecord;
use crate::key::seal::{Identity, Peppers};
use crate::store::{Audit, Row, Store, Unavailable};

/// A store and what opens its records.
#[derive(Debug)]
pub struct Stock {
    /// The store.
    pub store: Store,
    vault: Vault,
}

/// How many records were moved, and which were not.
#[derive(Debug, Default)]
pub struct Moved {
    /// How many were read.
    pub read: u64,
    /// How many of them the other store lacked, or had in an older state.
    pub taken: u64,
    /// Records that could not be moved, and why.
    pub left: Vec<String>,
}

/// Why a transfer stopped. What was moved stays, and doing it again does no harm.
#[derive(Debug, thiserror::Error)]
pub enum TransferFault {
    /// A store does not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The text cannot be read or written.
    #[error("the records cannot be read or written: {0}")]
    Text(#[from] io::Error),
    /// The text is something else.
    #[error("line {line}: {why}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heading {
    keyward_export: u32,
    /// The name of the store that it comes from.
    identity: Identity,
    exported_at: Timestamp,
}

/// Every other line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    record: KeyRecord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Timestamp>,
}

impl Stock {
    /// A store whose records these peppers open; its name is known by now.
    pub fn new(store: Store, peppers: Peppers) -> Self {
        let vault = Vault::new(peppers, store.identity().clone());
        Self { store, vault }
    }

    /// Writes every record that can be opened, a line each behind a heading.
    pub async fn export(&self, out: &mut dyn Write) -> Result<Moved, TransferFault> {
        let identity = self.store.identity().clone();
        let heading = Heading { keyward_export: FORMAT, identity, exported_at: Timestamp::now() };
        writeln!(out, "{}", text(&heading)?)?;
        let mut moved = Moved::default();
        let mut after = None;
        loop {
            let rows = self.store.page(after, PAGE).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.mark());
            let lines: Vec<Line> =
                rows.iter().filter_map(|row| moved.open(&self.vault, row)).collect();
            for line in &lines {
                writeln!(out, "{}", text(line)?)?;
            }
            moved.taken += lines.len() as u64;
        }
        out.flush()?;
        Ok(moved)
    }

    /// Takes over what [`Stock::export`] has written.
    pub async fn import(&self, lines: &mut dyn BufRead) -> Result<Moved, TransferFault> {
        let mut lines = lines.lines().zip(1..);
        let heading = lines.next().ok_or_else(|| malformed(1, "there is nothing in it"))?;
        let heading: Heading = parse(heading)?;
        if heading.keyward_export != FORMAT {
            let why = format!(
                "it has format {}, and this version knows {FORMAT}",
                heading.keyward_export
            );
            return Err(malformed(1, &why));
        }
        self.store.note(audit(&heading.identity)).await?;
        let mut moved = Moved::default();
        loop {
            let piece: Vec<Line> =
                lines.by_ref().take(PAGE).map(parse).collect::<Result<_, _>>()?;
            if piece.is_empty() {
                return Ok(moved);
            }
            self.take(piece, &mut moved).await?;
        }
    }

    /// Takes over every record of another store.
    pub async fn migrate_from(&self, other: &Self) -> Result<Moved, TransferFault> {
        self.store.note(audit(other.store.identity())).await?;
        let mut moved = Moved::default();
        let mut after = None;
        loop {
            let rows = other.store.page(after, PAGE).await?;
            let Some(last) = rows.last() else { return Ok(moved) };
            after = Some(last.mark());
            let lines = rows.iter().filter_map(|row| moved.open(&other.vault, row)).collect();
            self.take(lines, &mut moved).await?;
        }
    }

    async fn take(&self, lines: Vec<Line>, moved: &mut Moved) -> Result<(), Unavailable> {
        let (mut rows, mut used) = (Vec::new(), Vec::new());
        for Line { record, last_used_at } in &lines {
            moved.read += 1;
            used.extend(last_used_at.map(|it| (record.id, it)));
            match self.vault.seal(record) {
                Ok(row) => rows.push(row),
                Err(fault) => moved.left.push(vault::named(record.id, &fault)),
            }
        }
        moved.taken += self.store.offer(rows).await? as u64;
        self.store.touch(used).await
    }
}

impl Moved {
    /// What is in a row, if it can be trusted.
    fn open(&mut self, vault: &Vault, row: &Row) -> Option<Line> {
        match vault.open(row) {
            Ok(record) => Some(Line { record, last_used_at: row.last_used_at }),
            Err(fault) => {
                self.left.push(vault::named(row.id, &fault));
                None
            }
        }
    }
}

fn text(value: &impl Serialize) -> Result<String, TransferFault> {
    serde_json::to_string(value).map_err(|it| TransferFault::Text(it.into()))
}

fn parse<T: for<'a> Deserialize<'a>>(
    (line, number): (io::Result<String>, usize),
) -> Result<T, TransferFault> {
    serde_json::from_str(&line?).map_err(|it| malformed(number, &it.to_string()))
}

fn malformed(line: usize, why: &str) -> TransferFault {
    TransferFault::Malformed { line, why: why.to_owned() }
}

fn audit(from: &Identity) -> Audit {
    Audit {
        at: Timestamp::now(),
        operator: "keyward".to_owned(),
        operator_name: "keyward".to_owned(),
        address: "local".to_owned(),
        action: "store.import".to_owned(),
        target: from.0.clone(),
        before: None,
        after: None,
    }
}

const FORMAT: u32 = 1;
const PAGE: usize = 512;
