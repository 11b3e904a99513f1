//! What a fleet is made of: its gateways, and what is on its way between them and the store.

use std::sync::Arc;

use crate::gate::around::Reach;
use crate::gate::purse::Purse;
use crate::gate::supply::Fill;
use crate::store::Unavailable;
use crate::store::slices::{Leased, SliceRequest};

/// What a key may spend.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// So many a second, and so many at once.
    Rate(u32, u32),
    /// So many a day.
    Quota(u64),
}

/// A time during which a gateway went on with its share.
#[derive(Clone, Copy, Debug)]
pub struct Spell {
    pub gateway: usize,
    pub from: u64,
    pub until: Option<u64>,
    /// What had remained when the store was last heard, and when that was.
    pub remained: Option<(u64, u64)>,
}

/// A gateway, as far as limits go.
pub struct Gateway {
    pub purse: Arc<Purse>,
    pub reach: Reach,
    /// Its clock runs so many thousandths of the true one.
    pub pace: u64,
    /// Its idea of the store's time is so many microseconds ahead.
    pub ahead: i64,
    /// Until then it does not reach the store.
    pub cut_until: u64,
    /// How much remained when it last heard of the store, and when.
    pub heard: Option<(u64, u64)>,
    /// Who waits, since when, for how many answers.
    pub waiting: Vec<(u64, u64)>,
    pub loses: Loses,
    pub delay: u64,
    /// How long its next question is on its way.
    pub way: u64,
    pub stalled_until: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loses {
    Nothing,
    Question,
    Answer,
}

/// A question that arrives, or an answer.
pub struct Letter {
    pub gateway: usize,
    pub purse: Arc<Purse>,
    pub question: SliceRequest,
    pub sent: u64,
    /// Nobody waits for its answer any more.
    pub late: bool,
    pub answer: Option<Result<Leased, Unavailable>>,
}

/// By what the bucket of such a limit is filled.
pub fn fill(limit: Limit) -> Fill {
    match limit {
        Limit::Rate(per_second, burst) => {
            Fill::Rate(format!("{per_second}/s burst {burst}").parse().unwrap(), None)
        }
        Limit::Quota(count) => Fill::Quota(format!("{count}/day").parse().unwrap()),
    }
}
