//! Decides how the tables look, and brings older ones up to date.

use rusqlite::{Connection, TransactionBehavior};

/// What is wrong with a database that was to be ours.
#[derive(Debug)]
pub enum Unfit {
    /// It belongs to another program.
    Foreign,
    /// A newer version of ours wrote it.
    Newer(u32),
    /// Its file system cannot do what several processes on one file need.
    NoWal,
    /// SQLite says no.
    Fault(rusqlite::Error),
}

impl From<rusqlite::Error> for Unfit {
    fn from(fault: rusqlite::Error) -> Self {
        Self::Fault(fault)
    }
}

/// Whether the database is ours or empty, and not too new. Only reads.
pub fn inspect(conn: &Connection) -> Result<u32, Unfit> {
    let application: u32 = conn.pragma_query_value(None, "application_id", |it| it.get(0))?;
    let version: u32 = conn.pragma_query_value(None, "user_version", |it| it.get(0))?;
    let tables: u32 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |it| it.get(0))?;
    match application {
        APPLICATION if version > VERSION => Err(Unfit::Newer(version)),
        APPLICATION => Ok(version),
        0 if tables == 0 && version == 0 => Ok(0),
        _ => Err(Unfit::Foreign),
    }
}

/// Makes the migrations that are missing, each in a transaction of its own.
pub fn migrate(conn: &mut Connection) -> Result<(), Unfit> {
    for (version, migration) in (1..).zip(MIGRATIONS) {
        // Looked at inside the transaction: another process may be doing the same.
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if inspect(&transaction)? < version {
            transaction.execute_batch(migration)?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", version)?;
        }
        transaction.commit()?;
    }
    Ok(())
}

/// The newest schema this version knows.
pub const VERSION: u32 = 2;

/// "keyw", at byte 68 of the file.
const APPLICATION: u32 = 0x6b65_7977;

/// From nothing to [`VERSION`]. One that has been released is never changed; a process of the
/// version before may still be running on the tables, so nothing it uses is taken away.
const MIGRATIONS: [&str; VERSION as usize] = [FIRST, SECOND];

const SECOND: &str = "
CREATE TABLE quotas (
    id TEXT NOT NULL,
    -- 'day' or 'month'
    kind TEXT NOT NULL,
    window INTEGER NOT NULL,
    used INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    PRIMARY KEY (id, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX quotas_by_end ON quotas (ends_at);

CREATE TABLE usage (
    id TEXT NOT NULL,
    -- since 1970
    hour INTEGER NOT NULL,
    gateway TEXT NOT NULL,
    cells BLOB NOT NULL,
    PRIMARY KEY (id, hour, gateway)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_by_hour ON usage (hour);
";

const FIRST: &str = "
CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    identity TEXT NOT NULL,
    format INTEGER NOT NULL,
    pepper_check BLOB CHECK (length(pepper_check) = 16),
    register_moves INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES (1, lower(hex(randomblob(16))), 1, NULL, 0);

CREATE TABLE records (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('key', 'operator')),
    created_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    revoked INTEGER NOT NULL CHECK (revoked IN (0, 1)),
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX records_by_age ON records (created_at DESC, id DESC);
CREATE INDEX records_of_operators ON records (id) WHERE kind = 'operator';

CREATE TABLE changes (
    number INTEGER PRIMARY KEY,
    nonce INTEGER NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    revoked INTEGER NOT NULL,
    sealed BLOB NOT NULL
) STRICT;

CREATE TABLE gateways (
    id TEXT NOT NULL PRIMARY KEY,
    card TEXT NOT NULL,
    epoch TEXT NOT NULL,
    number INTEGER NOT NULL,
    nonce INTEGER NOT NULL,
    beat INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    operator TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
    id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (operator, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (created_at);

CREATE TABLE last_used (
    id TEXT NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    operator TEXT NOT NULL,
    operator_name TEXT NOT NULL,
    address TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    before TEXT,
    after TEXT
) STRICT;
";
