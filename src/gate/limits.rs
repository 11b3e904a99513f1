//! Decides whether a key may spend: what its limits are, and whether each has enough left.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::config;
use crate::gate::aside::Aside;
use crate::gate::bill::Bill;
use crate::gate::bounds::Bounds;
use crate::gate::entry::Entry;
use crate::gate::known::Known;
use crate::gate::leasing::Leasing;
use crate::gate::purse::Purse;
use crate::gate::remaining::{Kinds, Over, Remaining, Which};
use crate::gate::supply::Fill;
use crate::gate::{Pass, Refusal, Terms};
use crate::rate;
use crate::rate::limits::Mode;

/// The limits of all keys.
#[derive(Debug)]
pub struct Limits {
    leasing: Arc<Leasing>,
    defaults: ArcSwap<Defaults>,
    /// Counts the configurations, and says whether keys that say nothing are limited.
    mark: AtomicU32,
    /// The same limits are kept once.
    known: Mutex<HashMap<rate::limits::Limits, Arc<Bounds>, ahash::RandomState>>,
    /// Requests that a shadow limit would have refused, by kind.
    shadow: [AtomicU64; 4],
}

/// What holds where a key says nothing.
#[derive(Debug, Default)]
struct Defaults {
    base: rate::limits::Limits,
    schemes: HashMap<String, rate::limits::Limits>,
}

impl Defaults {
    /// The limits of a key of `scheme` that says so much itself.
    fn complete(&self, scheme: &str, own: rate::limits::Limits) -> rate::limits::Limits {
        own.or(self.schemes.get(scheme).copied().unwrap_or_default()).or(self.base)
    }
}

/// Why a request is not let in, or not yet.
#[derive(Debug)]
pub enum Hold {
    /// It is over a limit.
    Over(Over),
    /// It has no right, whatever its limits are.
    Refused(Refusal),
    /// It waits for a slice.
    Wait(Wait),
}

/// What a request waits for.
#[derive(Debug)]
pub struct Wait {
    /// Where the slice comes.
    pub purse: Arc<Purse>,
    /// Until there are more answers than these.
    pub answers: u64,
    /// What the limit does.
    pub mode: Mode,
}

impl Limits {
    /// None until they are set.
    pub fn new(leasing: Leasing) -> Self {
        Self {
            leasing: Arc::new(leasing),
            defaults: ArcSwap::from_pointee(Defaults::default()),
            mark: AtomicU32::new(MARK_STEP),
            known: Mutex::default(),
            shadow: Default::default(),
        }
    }

    /// What is leased of them.
    pub fn leasing(&self) -> &Arc<Leasing> {
        &self.leasing
    }

    /// How many requests a shadow limit would have refused, by kind.
    pub fn shadow(&self) -> &[AtomicU64; 4] {
        &self.shadow
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
    pub fn take(&self, entry: &Entry, terms: &Terms, pass: &Pass) -> Result<Taken, Hold> {
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
        let (scheme, own) = known.limits().unwrap_or(("", rate::limits::Limits::SILENT));
        let limits = self.defaults.load().complete(scheme, own);
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

    /// Counts a request that shadow limits would have refused.
    #[cold]
    pub fn count_shadow(&self, refusing: Kinds) {
        for (_, count) in Which::ALL.iter().zip(&self.shadow).filter(|it| refusing.has(*it.0)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
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
    /// What the caller is told; `None`: nothing.
    pub remaining: Option<Remaining>,
    /// Whether it is one of those that may be under way.
    pub in_flight: InFlight,
    /// Which limits would have refused it, if they did more than to count.
    pub shadow: Kinds,
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
        Self { remaining: None, in_flight: InFlight::Uncounted, shadow: Kinds::NONE };
}

/// What was spent under one set of limits is spent under the next.
fn carry_over(aside: &Aside, before: &Bounds, after: &Bounds) {
    match (before.rate, after.rate) {
        (Some(before), Some(after)) => aside.rate().change(&before, &after, None),
        // Meanwhile everything was allowed.
        (None, Some(after)) => aside.rate().begin(&after),
        (_, None) => {}
    }
    if let (Some((quota, _)), Some(purse)) = (after.quota, &*aside.quota().load()) {
        purse.change(Fill::Quota(quota));
    }
}

/// The lowest bit of the mark: whether keys that say nothing are limited.
const LIMITED: u32 = 1;
const MARK_STEP: u32 = 2;

/// How many different sets of limits are shared.
const SHARED_MAX: usize = 4_096;
