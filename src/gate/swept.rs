//! Says what becomes of a purse that is looked at now and then.

use crate::store::slices::SliceRequest;

/// Whether a look may ask the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// It may.
    Now,
    /// A later one may: the store does not answer, or has enough to do.
    Later,
}

/// What a look has found.
#[derive(Debug)]
pub enum Swept {
    /// It is used.
    Used,
    /// The store has to hear what was spent, or what goes back, or what will be wanted.
    Asks(SliceRequest),
    /// It was idle for long, and is given up.
    Retired,
}
