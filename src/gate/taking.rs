//! Says what becomes of a request that takes tokens from a purse.

use std::time::Duration;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// It has its tokens.
    Taken(Spent),
    /// It waits until there are more answers than these.
    Wait(u64),
    /// There are too few; so long it takes until there are enough, if nobody else spends.
    Refused(Duration),
    /// It may not wait, and nobody knows whether there are enough.
    Unknown,
    /// The purse was given up: there is another one.
    Retired,
}

/// What one request took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// So many.
    pub tokens: u64,
    /// Of what.
    pub source: Source,
}

/// How far a purse has come with its questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Talk {
    /// How many were answered, or failed.
    pub answers: u64,
    /// Whether one is on its way.
    pub is_asking: bool,
}

/// Of what tokens are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Of what the store gave; how far the purse had come with its questions.
    Slice(Talk),
    /// Of this gateway's share, without the store; the number of the last question.
    Share(u64),
}
