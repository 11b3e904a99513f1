//! What a fleet is made of: its gateways, and what is on its way between them and the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::Config;
use crate::config::sources::load;
use crate::gate::around::Reach;
use crate::gate::purse::Purse;
use crate::gate::supply::Fill;
use crate::key::text::KeyId;
use crate::store::Unavailable;
use crate::store::redis::Redis;
use crate::store::slices::{Leased, SliceRequest};

/// What a key may spend.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// So many a second, and so many at once.
    Rate(u32, u32),
    /// So many a day.
    Quota(u64),
}

/// Who let a request in.
#[derive(Clone, Copy, Debug)]
pub struct By {
    pub gateway: usize,
    /// With what it had leased before, and not heard since that another window has begun.
    pub is_behind: bool,
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
    /// What it has leased and not spent.
    pub in_hand: u64,
    /// It has not heard yet that another window has begun.
    pub is_behind: bool,
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

/// A store on a server.
pub async fn open(url: &str) -> Redis {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keyward.toml");
    std::fs::write(&path, format!("[store]\nurl = {url:?}\npepper_file = \"p\"\n")).unwrap();
    let config: Config = load(Some(&path), &[], std::iter::empty()).unwrap().config;
    let store = Redis::open(&config.store).unwrap();
    store.meta().await.unwrap();
    store
}

/// An empty purse of an account of its own.
pub fn purse(key: KeyId, limit: Limit) -> Arc<Purse> {
    Arc::new(Purse::new(key, account(), fill(limit)))
}

/// Another one each time.
pub fn account() -> u64 {
    static ACCOUNTS: AtomicU64 = AtomicU64::new(0);
    ACCOUNTS.fetch_add(1, Ordering::Relaxed)
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
