//! The words in which tokens of a limit are leased from the store, a slice at a time.
//!
//! What a gateway has leased is *out*: the bucket refills only to its burst less what is out, and
//! what is out is neither given to others nor comes back before its gateway has said what became of
//! it. So what all gateways together admit is at most burst + rate × time in every window, whoever
//! crashes.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::key::text::KeyId;
use crate::rate::Rate;
use crate::rate::quota::{Quota, Span};

/// What a gateway says of one bucket, and what it wants of it.
#[derive(Clone, Debug)]
pub struct SliceRequest {
    /// Whose bucket.
    pub key: KeyId,
    /// Which of theirs.
    pub bucket: Bucket,
    /// By which the store tells this gateway's slices from others'.
    pub account: u64,
    /// Counts the questions of this account: one that arrives behind a later one does nothing.
    pub question: u64,
    /// How much of all that was ever given to this account is spent.
    pub spent: u64,
    /// What becomes of what is not.
    pub rest: Rest,
    /// How much is wanted.
    pub wanted: u64,
    /// Less than that is of no use.
    pub least: u64,
    /// What was spent without a slice.
    pub away: Away,
}

/// A bucket, and by what it is filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// A key's, on one route or on all.
    Rate(Rate, Option<Arc<str>>),
    /// What a key may use in one window, of which this gateway has seen that so much is spent.
    Quota(Quota, Span, u64),
}

/// What becomes of what is not spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// The gateway goes on with so many, as if they had been leased now.
    Kept(u64),
    /// So many go back.
    Returned(u64),
}

/// What a gateway spent of its share while the store was away. It is said again until an answer
/// comes, and counts once: the store remembers how much of it all an account has said, for a quota until
/// the window turns, and for a rate as long as a slice is out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Away {
    /// What the account has said in its life, and the store has answered to.
    pub told: u64,
    /// Beyond that.
    pub spent: u64,
    /// Of that, what its share has not brought in again yet.
    pub owed: u64,
    /// For how long.
    pub time: Duration,
}

/// How a request for a slice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leased {
    /// This was given, or nothing.
    Slice(Slice),
    /// On the store's clock it is this time, which is in another window.
    OtherWindow(Timestamp),
}

/// What was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// So many tokens.
    pub granted: u64,
    /// So many were left in the store.
    pub left: u64,
    /// How long it takes until the store has as many as were needed at least, if nobody else
    /// spends; zero where it has.
    pub enough_in: Duration,
    /// How much of a quota is certainly spent in this window; zero for a rate.
    pub spent: u64,
    /// The store's clock.
    pub now: Timestamp,
}

/// How long a slice of a rate may be spent, from when it was asked for.
pub const SLICE_LIFE: Duration = Duration::from_secs(1);

/// How long the store counts it as out, from when it was given: long enough for a clock that is
/// slow by a twentieth.
pub const SLICE_LAPSES_AFTER: Duration = Duration::from_millis(1_100);
