//! Holds what only some keys need, beside their entries: who waits for argon2, and what is spent of
//! their limits.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use once_cell::race::OnceBox;

use crate::clock::Moment;
use crate::gate::bounds::{Bounds, Paced};
use crate::gate::purse::Purse;
use crate::gate::supply::Fill;
use crate::gate::turns::Turns;

/// What only some keys need. There may be a million, so each place is counted.
#[derive(Debug, Default)]
pub struct Aside {
    /// For which record and which configuration `bounds` holds; 0: for none.
    stamp: AtomicU64,
    bounds: ArcSwapOption<Bounds>,
    rate: Slot,
    quota: ArcSwapOption<Purse>,
    in_flight: AtomicU32,
    rare: OnceBox<Rare>,
}

#[derive(Debug, Default)]
struct Rare {
    turns: Turns,
    routes: ArcSwap<Vec<RouteSlot>>,
    /// Who changes them.
    changing: Mutex<()>,
}

/// The rate of one route.
#[derive(Clone, Debug)]
struct RouteSlot {
    route: Arc<str>,
    paced: Paced,
    slot: Arc<Slot>,
}

/// Where the tokens of one rate are.
#[derive(Debug, Default)]
pub struct Slot {
    /// When the bucket is full that this gateway has alone.
    full: AtomicU64,
    /// What it has leased of the one that it shares.
    purse: ArcSwapOption<Purse>,
}

impl Aside {
    /// Who may run argon2 for this key.
    pub fn turns(&self) -> &Turns {
        &self.rare().turns
    }

    /// The key's limits, if they were worked out for `stamp`.
    pub fn bounds(&self, stamp: u64) -> Option<Guard<Option<Arc<Bounds>>>> {
        (self.stamp.load(Ordering::Acquire) == stamp).then(|| self.bounds.load())
    }

    /// What they were, whatever for.
    pub fn former_bounds(&self) -> Option<Arc<Bounds>> {
        self.bounds.load_full()
    }

    /// The key's limits from now on.
    pub fn set_bounds(&self, stamp: u64, bounds: Arc<Bounds>) {
        self.bounds.store(Some(bounds));
        self.stamp.store(stamp, Ordering::Release);
    }

    /// What the key's limits are has to be worked out again.
    pub fn forget_bounds(&self) {
        self.stamp.store(0, Ordering::Release);
    }

    /// The tokens of the key's rate.
    pub fn rate(&self) -> &Slot {
        &self.rate
    }

    /// The tokens of the key's rate on a route.
    pub fn route(&self, route: &Arc<str>, paced: &Paced) -> Arc<Slot> {
        let rare = self.rare();
        let routes = rare.routes.load();
        match routes.iter().find(|it| it.route == *route) {
            Some(it) if it.paced == *paced => Arc::clone(&it.slot),
            Some(_) | None => rare.change_route(route, paced),
        }
    }

    /// What is leased of the key's quota.
    pub fn quota(&self) -> &ArcSwapOption<Purse> {
        &self.quota
    }

    /// One more under way, if there are fewer than `max`; how many there are then.
    pub fn enter(&self, max: u32) -> Result<u32, u32> {
        let more = |count: u32| (count < max).then_some(count + 1);
        let entered = self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        entered.map(|before| before + 1)
    }

    /// One more under way, however many there are; how many that is.
    pub fn enter_anyway(&self) -> u32 {
        self.in_flight.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// One less under way.
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    /// A purse that nobody uses any more.
    pub fn forget(&self, purse: &Arc<Purse>) {
        drop(self.quota.compare_and_swap(purse, None));
        self.rate.forget(purse);
        if let Some(rare) = self.rare.get() {
            rare.routes.load().iter().for_each(|it| it.slot.forget(purse));
        }
    }

    /// Whether nothing would be forgotten with it: no bucket of this gateway's own is in use.
    pub fn is_at_rest(&self, now: Moment) -> bool {
        let rests = |slot: &Slot| slot.full.load(Ordering::Relaxed) <= now.as_nanos();
        let in_use = self.in_flight.load(Ordering::Relaxed) > 0;
        let routes_rest = |it: &Rare| it.routes.load().iter().all(|it| rests(&it.slot));
        !in_use && rests(&self.rate) && self.rare.get().is_none_or(routes_rest)
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }
}

impl Rare {
    /// A route is new, or has another rate now: what was spent stays spent.
    #[cold]
    fn change_route(&self, route: &Arc<str>, paced: &Paced) -> Arc<Slot> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut routes = Vec::clone(&self.routes.load());
        let slot = if let Some(it) = routes.iter_mut().find(|it| it.route == *route) {
            it.slot.change(&it.paced, paced, Some(route));
            it.paced = *paced;
            Arc::clone(&it.slot)
        } else {
            let (route, slot) = (Arc::clone(route), Arc::<Slot>::default());
            routes.push(RouteSlot { route, paced: *paced, slot: Arc::clone(&slot) });
            slot
        };
        self.routes.store(Arc::new(routes));
        slot
    }
}

impl Slot {
    /// What this gateway has leased of the one that it shares.
    pub fn purse(&self) -> &ArcSwapOption<Purse> {
        &self.purse
    }

    /// Changes when the bucket is full that this gateway has alone, unless that fails; when it is
    /// full then.
    pub fn try_change_full<E>(
        &self,
        change: impl Fn(Moment) -> Result<Moment, E>,
    ) -> Result<Moment, E> {
        let mut before = self.full.load(Ordering::Acquire);
        loop {
            let after = change(Moment::from_nanos(before))?;
            let (full, order) = (after.as_nanos(), (Ordering::AcqRel, Ordering::Acquire));
            match self.full.compare_exchange_weak(before, full, order.0, order.1) {
                Ok(_before) => return Ok(after),
                Err(other) => before = other,
            }
        }
    }

    /// Changes when the bucket is full that this gateway has alone.
    pub fn change_full(&self, change: impl Fn(Moment) -> Moment) {
        let Ok(_full) = self.try_change_full(|full| Ok::<_, Infallible>(change(full)));
    }

    /// Goes over to another rate: what was spent stays spent.
    pub fn change(&self, before: &Paced, after: &Paced, route: Option<&Arc<str>>) {
        if before.rate == after.rate {
            return;
        }
        let now = Moment::now();
        self.change_full(|full| after.pace.take_over(before.pace, full, now));
        if let Some(purse) = &*self.purse.load() {
            purse.change(Fill::Rate(after.rate, route.cloned()));
        }
    }

    /// Begins to count by a rate where there was none.
    pub fn begin(&self, rate: &Paced) {
        self.full.store(0, Ordering::Release);
        if let Some(purse) = &*self.purse.load() {
            purse.change(Fill::Rate(rate.rate, None));
        }
    }

    /// It has another purse the next time.
    fn forget(&self, purse: &Arc<Purse>) {
        drop(self.purse.compare_and_swap(purse, None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million keys with limits have one each.
    #[test]
    fn it_fills_its_place() {
        assert_eq!(size_of::<Aside>(), 56);
    }
}
