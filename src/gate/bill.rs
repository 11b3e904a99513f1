//! Has one request pay all limits that it is under: every one of them, or none.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::gate::aside::{Aside, Slot};
use crate::gate::bounds::{Bounds, Paced};
use crate::gate::limits::{Hold, InFlight, Limits, Taken, Wait};
use crate::gate::purse::{Purse, Spent, Taking};
use crate::gate::remaining::{Left, Over, Which};
use crate::gate::supply::Fill;
use crate::gate::{Pass, Terms};
use crate::key::text::KeyId;
use crate::rate::bucket::{Pace, TooFew};
use crate::rate::limits::Mode;
use crate::rate::quota::Quota;

/// What one request has paid so far.
#[derive(Debug)]
pub struct Bill<'a> {
    limits: &'a Limits,
    key: KeyId,
    aside: &'a Aside,
    terms: &'a Terms,
    pass: &'a Pass,
    taken: Taken,
    paid: [Option<(Item<'a>, Payment)>; 3],
}

/// A limit that tokens are taken of.
#[derive(Clone, Copy, Debug)]
enum Item<'a> {
    Rate(&'a Paced),
    RouteRate(&'a Paced, &'a Arc<str>),
    Quota(&'a Quota, Mode),
}

/// Where it was taken, to be given back where another limit refuses.
#[derive(Debug)]
enum Payment {
    /// Of the bucket that this gateway has alone.
    Bucket,
    /// Of what this gateway has of the one that it shares.
    Purse(Arc<Purse>, Spent),
}

/// Whether there was enough: how much is left and when there will be more, or how long it takes.
type Enough = Result<(u64, Duration), Duration>;

impl<'a> Bill<'a> {
    /// Of a request with a key, on a route.
    pub fn new(
        limits: &'a Limits,
        (key, aside): (KeyId, &'a Aside),
        (terms, pass): (&'a Terms, &'a Pass),
    ) -> Self {
        Self { limits, key, aside, terms, pass, taken: Taken::NOTHING, paid: [None, None, None] }
    }

    /// Pays all, or nothing.
    pub fn pay(&mut self, bounds: &'a Bounds) -> Result<Taken, Hold> {
        match self.pay_each(bounds) {
            Ok(()) => {
                self.settle();
                Ok(self.taken)
            }
            Err(hold) => {
                self.undo();
                Err(hold)
            }
        }
    }

    fn pay_each(&mut self, bounds: &'a Bounds) -> Result<(), Hold> {
        if let Some((max, mode)) = bounds.in_flight {
            self.enter(max.get(), mode)?;
        }
        if let Some(paced) = &bounds.rate {
            self.rate(Item::Rate(paced), paced, self.aside.rate())?;
        }
        if let Some((route, paced)) = &self.terms.rate {
            let slot = self.aside.route(route, paced);
            self.rate(Item::RouteRate(paced, route), paced, &slot)?;
        }
        // Last: nobody who is refused has used any of it up.
        if let Some((quota, mode)) = &bounds.quota {
            self.quota(quota, *mode)?;
        }
        Ok(())
    }

    fn enter(&mut self, max: u32, mode: Mode) -> Result<(), Hold> {
        let share = self.limits.leasing().share_in_flight(max);
        let entered = self.aside.enter(share);
        match (entered, mode) {
            (Ok(_), Mode::Shadow | Mode::Enforced) => {}
            (Err(_), Mode::Shadow) => drop(self.aside.enter_anyway()),
            (Err(_), Mode::Enforced) => {
                let left = Left::of_in_flight(max, 0);
                let over = Over { which: Which::InFlight, retry_after: WHEN_ANOTHER_ENDS, left };
                return Err(Hold::Over(over));
            }
        }
        self.taken.in_flight = InFlight::Counted;
        let enough = entered.map(|count| (u64::from(share - count), Duration::ZERO));
        let enough = enough.map_err(|_count| WHEN_ANOTHER_ENDS);
        self.judge(enough, (Which::InFlight, mode), |units, _| Left::of_in_flight(max, units))
    }

    fn rate(&mut self, item: Item<'a>, paced: &Paced, slot: &Slot) -> Result<(), Hold> {
        let enough = if self.limits.leasing().leases_rates() {
            let token = paced.rate.period / paced.rate.count.get();
            self.lease(slot.purse(), item)?.map(|left| (left, token))
        } else {
            let enough = self.take(paced.pace, slot);
            if enough.is_ok() {
                self.pays(item, Payment::Bucket);
            }
            enough
        };
        self.judge(enough, (item.which(), paced.mode), |units, more_in| {
            Left::of_rate(&paced.rate, units, more_in)
        })
    }

    fn quota(&mut self, quota: &'a Quota, mode: Mode) -> Result<(), Hold> {
        let span = quota.window.at(self.pass.time);
        let more_in = span.end.since(self.pass.time);
        let enough = self.lease(self.aside.quota(), Item::Quota(quota, mode))?;
        self.judge(enough.map(|left| (left, more_in)), (Which::Quota, mode), |units, more_in| {
            Left::of_quota(quota, &span, units, more_in)
        })
    }

    /// Notes what is told of a limit, or does what it does where there was not enough.
    fn judge(
        &mut self,
        enough: Enough,
        (which, mode): (Which, Mode),
        tell: impl FnOnce(u64, Duration) -> Left,
    ) -> Result<(), Hold> {
        match (enough, mode) {
            (Ok((units, more_in)), Mode::Enforced) => {
                let told = self.taken.remaining.get_or_insert_default();
                *told.place(which) = Some(tell(units, more_in));
            }
            (Err(wait), Mode::Enforced) => {
                return Err(Hold::Over(Over { which, retry_after: wait, left: tell(0, wait) }));
            }
            (Ok(_), Mode::Shadow) => {}
            (Err(_), Mode::Shadow) => self.taken.shadow = self.taken.shadow.or(Some(which)),
        }
        Ok(())
    }

    /// Takes of a bucket that this gateway has alone.
    fn take(&self, pace: Pace, slot: &Slot) -> Enough {
        let (cost, now) = (self.terms.cost.get(), self.pass.now);
        let taken = slot.try_change_full(|full| pace.take(full, cost, now));
        let full = taken.map_err(|TooFew(wait)| wait)?;
        Ok((u64::from(pace.left(full, now)), pace.until_more(full, now)))
    }

    /// Takes of what was leased: how much is left, or how long it takes until there is enough.
    fn lease(
        &mut self,
        slot: &ArcSwapOption<Purse>,
        item: Item<'a>,
    ) -> Result<Result<u64, Duration>, Hold> {
        let leasing = self.limits.leasing();
        let cost = u64::from(self.terms.cost.get());
        let around = leasing.around(self.key, self.pass);
        loop {
            let purse = leasing.purse(slot, self.key, || item.fill());
            let (taking, question) = purse.take(cost, || item.fill(), &around);
            if let Some(question) = question {
                leasing.send(&purse, question);
            }
            match taking {
                Taking::Taken(spent) => {
                    let left = purse.left(&spent);
                    self.pays(item, Payment::Purse(purse, spent));
                    return Ok(Ok(left));
                }
                Taking::Wait(answers) => {
                    return Err(Hold::Wait(Wait { purse, answers, mode: item.mode() }));
                }
                Taking::Refused(wait) => return Ok(Err(wait)),
                Taking::Retired => drop(slot.compare_and_swap(&purse, None)),
            }
        }
    }

    fn pays(&mut self, item: Item<'a>, payment: Payment) {
        if let Some(place) = self.paid.iter_mut().find(|it| it.is_none()) {
            *place = Some((item, payment));
        }
    }

    /// It is let in: what was leased is looked after.
    fn settle(&self) {
        for (item, payment) in self.paid.iter().flatten() {
            if let Payment::Purse(purse, spent) = payment {
                self.tend(purse, spent, *item);
            }
        }
        if let Some(which) = self.taken.shadow {
            self.limits.count_shadow(which);
        }
    }

    fn tend(&self, purse: &Arc<Purse>, spent: &Spent, item: Item<'_>) {
        let leasing = self.limits.leasing();
        leasing.count(spent);
        let around = || leasing.around(self.key, self.pass);
        if let Some(question) = purse.tend(|| item.fill(), around) {
            leasing.send(purse, question);
        }
    }

    /// It is not: nothing was spent.
    fn undo(&self) {
        if self.taken.in_flight == InFlight::Counted {
            self.aside.leave();
        }
        for (item, payment) in self.paid.iter().flatten() {
            match (payment, item) {
                (Payment::Purse(purse, spent), _) => purse.give_back(spent),
                (Payment::Bucket, Item::Rate(paced)) => self.give(paced, self.aside.rate()),
                (Payment::Bucket, Item::RouteRate(paced, route)) => {
                    self.give(paced, &self.aside.route(route, paced));
                }
                (Payment::Bucket, Item::Quota(..)) => {}
            }
        }
    }

    fn give(&self, paced: &Paced, slot: &Slot) {
        slot.change_full(|full| paced.pace.give(full, self.terms.cost.get()));
    }
}

impl Item<'_> {
    fn which(self) -> Which {
        match self {
            Self::Rate(_) => Which::Rate,
            Self::RouteRate(..) => Which::RouteRate,
            Self::Quota(..) => Which::Quota,
        }
    }

    fn mode(self) -> Mode {
        match self {
            Self::Rate(paced) | Self::RouteRate(paced, _) => paced.mode,
            Self::Quota(_, mode) => mode,
        }
    }

    fn fill(self) -> Fill {
        match self {
            Self::Rate(paced) => Fill::Rate(paced.rate, None),
            Self::RouteRate(paced, route) => Fill::Rate(paced.rate, Some(Arc::clone(route))),
            Self::Quota(quota, _) => Fill::Quota(*quota),
        }
    }
}

/// Nobody knows when another request ends; so long is asked for.
const WHEN_ANOTHER_ENDS: Duration = Duration::from_secs(1);
