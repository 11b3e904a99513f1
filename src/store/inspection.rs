//! Holds what can be seen of a store from outside.

use crate::key::seal::{Identity, PepperName};

/// What can be seen of a store from outside, beside whoever lives on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Where it is: a path, or an address.
    pub location: String,
    /// Its random name.
    pub identity: Identity,
    /// The format of its records.
    pub format: u32,
    /// What only stores of its kind have.
    pub specifics: Specifics,
    /// By which it knows its pepper.
    pub check: Option<[u8; 16]>,
    /// Callers' keys.
    pub keys: Count,
    /// Operators' tokens.
    pub operators: Count,
    /// How many records need which pepper, by its name: for their seal, or for their tag.
    pub census: Vec<(Option<PepperName>, u64)>,
}

/// What only stores of one kind have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Specifics {
    /// An `SQLite` file.
    File {
        /// The version of its tables.
        schema: u32,
        /// How SQLite keeps its journal: `wal`.
        journal_mode: String,
    },
    /// Redis.
    Redis {
        /// The primary's address.
        primary: String,
        /// The life of the primary, as the protocol names it.
        epoch: String,
        /// The number of the last change.
        changes: u64,
        /// How many gateways are in the register.
        gateways: usize,
        /// What an acknowledged write survives.
        survives: &'static [&'static str],
    },
}

/// How many records of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Not revoked.
    pub kept: u64,
    /// Revoked.
    pub revoked: u64,
}
