//! Holds the exit codes, which scripts and service managers go by.

/// It was done.
pub const DONE: u8 = 0;
/// It could not be done.
pub const FAILED: u8 = 1;
/// What was typed cannot be meant.
pub const USAGE: u8 = 2;
/// Nobody answered.
pub const UNREACHABLE: u8 = 69;
/// A bug of ours.
pub const BUG: u8 = 70;
/// The configuration, a pepper or the store is not right.
pub const CONFIGURATION: u8 = 78;
