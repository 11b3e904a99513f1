//! What a key is: its text, its record, and the seals that protect the record. All pure.

pub mod argon2id;
pub mod packed;
pub mod record;
pub mod redact;
pub mod seal;
pub mod text;
