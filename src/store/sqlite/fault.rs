//! Decides what people are told of SQLite's errors.

use rusqlite::ErrorCode;

use crate::store::Unavailable;

/// What to say of an error in a store that was opened.
pub fn unavailable(fault: &rusqlite::Error) -> Unavailable {
    Unavailable(format!("{fault}{}", advice(fault)))
}

/// What somebody can do about it.
pub fn advice(fault: &rusqlite::Error) -> &'static str {
    let code = fault.sqlite_error_code();
    let row = ADVICE.iter().find(|(it, _)| Some(*it) == code);
    row.map_or("", |(_, advice)| advice)
}

const ADVICE: [(ErrorCode, &str); 8] = [
    (ErrorCode::DiskFull, ": free space on the disk that holds the store; it goes on by itself"),
    (ErrorCode::SystemIoFailure, ": the disk that holds the store fails; look at the system's log"),
    (ErrorCode::DatabaseBusy, ": another process has kept it locked for five seconds"),
    (ErrorCode::ReadOnly, ": let this process's user write the store's file and its directory"),
    (ErrorCode::CannotOpen, ": let this process's user write the store's file and its directory"),
    (ErrorCode::DatabaseCorrupt, ": it is damaged; stop every keyward on it and restore a backup"),
    (ErrorCode::NotFound, ": stop every keyward on it, put the file back, and start again"),
    (ErrorCode::OutOfMemory, ": there is no memory left"),
];
