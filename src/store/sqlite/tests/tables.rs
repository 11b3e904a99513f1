//! The tables alone, in memory: for what happens within one commit.

use std::sync::Arc;

use rusqlite::Connection;

use crate::clock::Timestamp;
use crate::key::seal::Identity;
use crate::store::gateway::Register;
use crate::store::sqlite::room::Room;
use crate::store::sqlite::schema;
use crate::store::sqlite::writer::Batch;

/// Empty ones.
pub fn tables() -> Connection {
    let mut conn = Connection::open_in_memory().unwrap();
    schema::migrate(&mut conn).unwrap();
    conn
}

/// Does something as a commit at `now` does it, on a disk with so much room, where nobody is
/// registered.
pub fn within<T>(
    conn: &Connection,
    now: Timestamp,
    room: Room,
    act: impl FnOnce(&Batch<'_>) -> T,
) -> T {
    let register = &Arc::new(Register { moves: 0, entries: Vec::new() });
    let identity = &Identity("here".to_owned());
    act(&Batch { conn, now, identity, register, room })
}
