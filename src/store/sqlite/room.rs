//! Decides what still works when the disk is full: heartbeats, revocations and what is counted already;
//! not minting, nor history.
//!
//! The write-ahead log is written again from its start once all of it is folded into the
//! database, so what only changes pages that exist needs no more room. For that, the database
//! must not wait for room itself: what makes it larger stops while some is left.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, ffi};

/// How much room the disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Enough, or it is not known.
    Enough,
    /// What is left is for what must go on.
    Little,
}

impl Room {
    /// On the disk that holds `path`.
    pub fn around(path: &Path) -> Self {
        let left = rustix::fs::statvfs(path).map(|it| it.f_bavail.saturating_mul(it.f_frsize));
        match left {
            Ok(left) if left < RESERVE_BYTES => Self::Little,
            Ok(_) | Err(_) => Self::Enough,
        }
    }

    /// For what would make the store larger.
    pub fn check(self) -> rusqlite::Result<()> {
        match self {
            Self::Enough => Ok(()),
            Self::Little => {
                let why = format!("less than {} MiB are left on the disk", RESERVE_BYTES >> 20);
                let full = ffi::Error::new(ffi::SQLITE_FULL);
                Err(rusqlite::Error::SqliteFailure(full, Some(why)))
            }
        }
    }
}

/// Whether the disk was full.
pub fn is_full(fault: &rusqlite::Error) -> bool {
    fault.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Folds the write-ahead log into the database, as far as nobody else needs it.
pub fn fold(conn: &Connection) {
    // What cannot be folded now stays in the log, where it is just as safe.
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap_or_default();
}

const RESERVE_BYTES: u64 = 8 << 20;
