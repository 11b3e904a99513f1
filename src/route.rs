//! Which route a head belongs to: hosts, paths in normal form, and the table. All pure.

pub mod host;
pub mod path;
pub mod table;
