//! Holds what a purse has to know of the world around it, so that nothing there reads a clock.

use crate::clock::{Moment, Timestamp};

/// The world around a purse at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Around {
    /// By which slices live.
    pub now: Moment,
    /// The store's clock.
    pub time: Timestamp,
    /// How many gateways there were when the store was last heard.
    pub fellows: u32,
    /// Whether the store answers.
    pub reach: Reach,
    /// Since when not: what was asked then was not answered.
    pub silent_since: Moment,
    /// Whether the request may wait.
    pub patience: Patience,
}

/// Whether the store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It did when it was asked last.
    Answering,
    /// It did not: nobody waits for it, and the share decides.
    Silent,
}

/// Whether a request may wait for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It may.
    Fresh,
    /// It has.
    Over,
}
