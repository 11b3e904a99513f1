//! Decides whether a key may spend, and asks the store for what it may.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::future::join_all;
use tokio::runtime::Handle;

use crate::clock::Moment;
use crate::config::{self, Scope};
use crate::gate::aside::Aside;
use crate::gate::bill::Bill;
use crate::gate::books::Fill;
use crate::gate::bounds::Bounds;
use crate::gate::entry::Entry;
use crate::gate::known::Known;
use crate::gate::purse::{Around, Purse, Reach, Swept};
use crate::gate::remaining::{Over, Remaining, Which};
use crate::gate::{Pass, Refusal, Terms};
use crate::key::text::KeyId;
use crate::rate;
use crate::store::slices::SliceRequest;
use crate::store::{Store, Unavailable};
use crate::tasks::Tasks;

/// The limits of all keys.
#[derive(Debug)]
pub struct Limits {
    store: Store,
    background: (Tasks, Handle),
    scope: Scope,
    defaults: ArcSwap<Defaults>,
    /// Counts the configurations, and says whether keys that say nothing are limited.
    mark: AtomicU32,
    fellows: AtomicU32,
    /// Which parts of the store do not answer, and when each was last tried.
    silent: [(AtomicBool, AtomicU64); SHARDS_MAX],
    accounts: AtomicU64,
    purses: Mutex<Vec<Arc<Purse>>>,
    /// The same limits are kept once.
    known: Mutex<HashMap<rate::limits::Limits, Arc<Bounds>, ahash::RandomState>>,
    counts: Counts,
}

/// What they did so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Questions to the store.
    pub asked: AtomicU64,
    /// Those that were not answered.
    pub unanswered: AtomicU64,
    /// Tokens that were spent of a share, without the store.
    pub of_share: AtomicU64,
    /// Requests that a shadow limit would have refused, by kind.
    pub shadow: [AtomicU64; 4],
}

/// What holds where a key says nothing.
#[derive(Debug, Default)]
struct Defaults {
    base: rate::limits::Limits,
    schemes: HashMap<String, rate::limits::Limits>,
}

/// Why a request is not let in, or not yet.
#[derive(Debug)]
pub enum Hold {
    /// It is over a limit.
    Over(Over),
    /// It has no right, whatever its limits are.
    Refused(Refusal),
    /// It waits until a purse has more answers than these.
    Wait(Arc<Purse>, u64),
}

impl Limits {
    /// Nothing is spent yet. No two gateways have the same `first_account`.
    pub fn new(
        store: Store,
        background: (Tasks, Handle),
        settings: &config::Limits,
        first_account: u64,
    ) -> Self {
        Self {
            store,
            background,
            scope: settings.scope,
            defaults: ArcSwap::from_pointee(Defaults::default()),
            mark: AtomicU32::new(MARK_STEP),
            fellows: AtomicU32::new(1),
            silent: Default::default(),
            accounts: AtomicU64::new(first_account),
            purses: Mutex::default(),
            known: Mutex::default(),
            counts: Counts::default(),
        }
    }

    /// What they did so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Goes over to what another configuration says; what was spent stays spent.
    pub fn set_defaults(&self, settings: &config::Limits, schemes: &[config::Scheme]) {
        let base = settings.limits;
        let schemes = schemes.iter().map(|it| (it.name.clone(), it.limits)).collect();
        self.defaults.store(Arc::new(Defaults { base, schemes }));
        let count = (self.mark.load(Ordering::Relaxed) & !LIMITED).wrapping_add(MARK_STEP);
        let limited = if base.is_unlimited() { 0 } else { LIMITED };
        self.mark.store(count.max(MARK_STEP) | limited, Ordering::Release);
        self.known().clear();
    }

    /// Takes what a request costs of all limits that it is under, or says why not; then nothing is
    /// taken.
    pub fn take(
        self: &Arc<Self>,
        entry: &Entry,
        terms: &Terms,
        pass: &Pass,
    ) -> Result<Taken, Hold> {
        let known = entry.known();
        let mark = self.mark.load(Ordering::Acquire);
        if !known.has_limits() && mark & LIMITED == 0 && terms.rate.is_none() {
            return Ok(Taken::NOTHING);
        }
        let aside = entry.aside();
        let stamp = (known.revision() << 32) ^ u64::from(mark);
        let bounds = match aside.bounds(stamp) {
            Some(bounds) => bounds,
            None => self.work_out(aside, &known, stamp),
        };
        drop(known);
        let bounds = bounds.as_deref().unwrap_or(&Bounds::NONE);
        Bill::new(self, (entry.id(), aside), (terms, pass)).pay(bounds)
    }

    /// What a key's limits are, since its record or the configuration has changed.
    #[cold]
    fn work_out(
        &self,
        aside: &Aside,
        known: &Known,
        stamp: u64,
    ) -> arc_swap::Guard<Option<Arc<Bounds>>> {
        // One at a time, so that what was spent is carried over once.
        let mut shared = self.known();
        if let Some(bounds) = aside.bounds(stamp) {
            return bounds;
        }
        let defaults = self.defaults.load();
        let (scheme, own) = known.limits().unwrap_or(("", rate::limits::Limits::SILENT));
        let scheme = defaults.schemes.get(scheme).copied().unwrap_or_default();
        let limits = own.or(scheme).or(defaults.base);
        if shared.len() >= SHARED_MAX {
            shared.clear();
        }
        let bounds = shared.entry(limits).or_insert_with(|| Arc::new(Bounds::new(limits)));
        if let Some(before) = aside.former_bounds() {
            carry_over(aside, &before, bounds);
        }
        aside.set_bounds(stamp, Arc::clone(bounds));
        arc_swap::Guard::from_inner(Some(Arc::clone(bounds)))
    }

    /// The purse in `place`, or a new one.
    pub fn purse(
        &self,
        place: &ArcSwapOption<Purse>,
        key: KeyId,
        fill: impl FnOnce() -> Fill,
    ) -> Arc<Purse> {
        if let Some(purse) = &*place.load() {
            return Arc::clone(purse);
        }
        let account = self.accounts.fetch_add(1, Ordering::Relaxed);
        let purse = Arc::new(Purse::new(key, account, fill()));
        let before = place.compare_and_swap(&None::<Arc<Purse>>, Some(Arc::clone(&purse)));
        if let Some(before) = &*before {
            return Arc::clone(before);
        }
        self.purses().push(Arc::clone(&purse));
        purse
    }

    /// Whether rates are leased from the store, or counted here alone.
    pub fn leases_rates(&self) -> bool {
        match (&self.store, self.scope) {
            (Store::Redis(_), Scope::Fleet) => true,
            (Store::Embedded(_), _) | (_, Scope::Gateway) => false,
        }
    }

    /// The world as a purse of `key` sees it.
    pub fn around(&self, key: KeyId, pass: &Pass) -> Around {
        let fellows = self.fellows.load(Ordering::Relaxed);
        let is_silent = self.silence(key).0.load(Ordering::Acquire);
        let reach = if is_silent { Reach::Silent } else { Reach::Answering };
        Around { now: pass.now, time: pass.time, fellows, reach, patience: pass.patience }
    }

    /// How many requests of a key may be under way here, of `max` over all gateways: an equal share,
    /// and at least one.
    pub fn share_in_flight(&self, max: u32) -> u32 {
        if self.leases_rates() { (max / self.fellows.load(Ordering::Relaxed)).max(1) } else { max }
    }

    /// Counts a request that a shadow limit would have refused.
    pub fn count_shadow(&self, which: Which) {
        let [rate, route, quota, in_flight] = &self.counts.shadow;
        let count = match which {
            Which::Rate => rate,
            Which::RouteRate => route,
            Which::Quota => quota,
            Which::InFlight => in_flight,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what was spent without the store.
    pub fn count_share(&self, cost: u64) {
        self.counts.of_share.fetch_add(cost, Ordering::Relaxed);
    }

    /// Sends a question, without anybody waiting.
    pub fn send(self: &Arc<Self>, purse: &Arc<Purse>, request: SliceRequest) {
        let now = Moment::now();
        if !self.may_send(purse, now) {
            let unsent = Unavailable("it was asked just now, and did not answer".to_owned());
            return purse.answer(&request, now, &Err(unsent), now);
        }
        let (tasks, runtime) = &self.background;
        let (limits, purse) = (Arc::clone(self), Arc::clone(purse));
        tasks.spawn_on(async move { limits.ask(&purse, request).await }, runtime);
    }

    async fn ask(&self, purse: &Purse, request: SliceRequest) {
        let sent = Moment::now();
        self.counts.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.store.lease_slice(request.clone()).await;
        match &answer {
            Ok(_) => self.hear(purse),
            Err(fault) => self.miss(purse, fault),
        }
        purse.answer(&request, sent, &answer, Moment::now());
    }

    /// Of all who would ask a part of the store that does not answer, one does now and then.
    fn may_send(&self, purse: &Purse, now: Moment) -> bool {
        let (is_silent, tried) = self.silence(purse.key());
        if !is_silent.load(Ordering::Acquire) {
            return true;
        }
        let last = tried.load(Ordering::Relaxed);
        let is_due = now.since(Moment::from_nanos(last)) >= TRIED_AGAIN_AFTER;
        let (order, other) = (Ordering::AcqRel, Ordering::Relaxed);
        is_due && tried.compare_exchange(last, now.as_nanos(), order, other).is_ok()
    }

    fn hear(&self, purse: &Purse) {
        if self.silence(purse.key()).0.swap(false, Ordering::AcqRel) {
            tracing::info!("the store answers for limits again: they are exact again");
        }
    }

    /// A question was not answered, or not in time: nobody waits again before one is.
    pub fn miss(&self, purse: &Purse, fault: &Unavailable) {
        self.counts.unanswered.fetch_add(1, Ordering::Relaxed);
        if !self.silence(purse.key()).0.swap(true, Ordering::AcqRel) {
            let gateways = self.fellows.load(Ordering::Relaxed);
            tracing::warn!(
                %fault,
                gateways,
                "the store does not answer for limits: this gateway goes on with its share of each"
            );
        }
    }

    /// Whether this gateway goes on with its share of some limits.
    pub fn is_cut_off(&self) -> bool {
        self.silent.iter().any(|(it, _)| it.load(Ordering::Relaxed))
    }

    fn silence(&self, key: KeyId) -> &(AtomicBool, AtomicU64) {
        let [first, ..] = &self.silent;
        self.silent.get(self.store.limits_shard(key)).unwrap_or(first)
    }

    /// A look at all purses: what nobody spends goes back. Those that were given up are handed out.
    pub fn sweep(self: &Arc<Self>, pass: &Pass) -> Vec<Arc<Purse>> {
        let seen = self.store.sight().watch();
        let gateways = u32::try_from(seen.borrow().entries.len()).unwrap_or(u32::MAX);
        self.fellows.store(gateways.max(1), Ordering::Relaxed);
        let mut purses = std::mem::take(&mut *self.purses());
        let mut retired = Vec::new();
        purses.retain(|purse| match purse.sweep(&self.around(purse.key(), pass)) {
            Swept::Used => true,
            Swept::Settles(request) => {
                self.send(purse, request);
                true
            }
            Swept::Retired => {
                retired.push(Arc::clone(purse));
                false
            }
        });
        self.purses().append(&mut purses);
        retired
    }

    /// Gives back everything that is unspent, and waits until the store knows.
    pub async fn return_all(&self, pass: &Pass) {
        let purses = std::mem::take(&mut *self.purses());
        for some in purses.chunks(RETURNED_AT_ONCE) {
            let returned = some.iter().filter_map(|purse| {
                let question = purse.close(&self.around(purse.key(), pass))?;
                Some(self.ask(purse, question))
            });
            join_all(returned).await;
        }
    }

    fn purses(&self) -> MutexGuard<'_, Vec<Arc<Purse>>> {
        self.purses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(
        &self,
    ) -> MutexGuard<'_, HashMap<rate::limits::Limits, Arc<Bounds>, ahash::RandomState>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What the caller is told; `None`: it has no limits.
    pub remaining: Option<Remaining>,
    /// Whether it is one of those that may be under way.
    pub in_flight: InFlight,
    /// Which limit would have refused it, if that did more than to count.
    pub shadow: Option<Which>,
}

/// Whether a request is one of those that may be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFlight {
    /// It is, and has to leave.
    Counted,
    /// Nobody counts.
    Uncounted,
}

impl Taken {
    /// Of no limit.
    pub const NOTHING: Self =
        Self { remaining: None, in_flight: InFlight::Uncounted, shadow: None };
}

/// What was spent under one set of limits is spent under the next.
fn carry_over(aside: &Aside, before: &Bounds, after: &Bounds) {
    if let (Some(before), Some(after)) = (before.rate, after.rate) {
        aside.rate().change(&before, &after, None);
    }
    if let (Some((quota, _)), Some(purse)) = (after.quota, &*aside.quota().load()) {
        purse.change(Fill::Quota(quota));
    }
}

/// So many parts of a store may answer each by itself.
const SHARDS_MAX: usize = 16;

/// How often a part of the store is tried that does not answer.
const TRIED_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The lowest bit of the mark: whether keys that say nothing are limited.
const LIMITED: u32 = 1;
const MARK_STEP: u32 = 2;

/// How many questions are on their way at once at the end.
const RETURNED_AT_ONCE: usize = 256;

/// How many different sets of limits are shared.
const SHARED_MAX: usize = 4_096;
