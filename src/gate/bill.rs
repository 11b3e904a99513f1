//! Has one request pay all limits that it is under: every one of them, or none.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::clock::Moment;
use crate::gate::aside::{Aside, Slot};
use crate::gate::bounds::{Bounds, Paced};
use crate::gate::limits::{Hold, InFlight, Limits, Taken, Wait};
use crate::gate::purse::{Purse, Taking};
use crate::gate::remaining::{Left, Over, Remaining, Which};
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
    remaining: Remaining,
    paid: [Option<Payment>; 3],
}

/// What was taken, to be given back where another limit refuses.
#[derive(Debug)]
enum Payment {
    /// Of a bucket that this gateway has alone; `None`: the key's own.
    Bucket(Option<Arc<Slot>>, Pace),
    /// Of what was leased, when there were so many answers.
    Leased(Arc<Purse>, u64),
}

/// Where the tokens of a rate are.
#[derive(Debug)]
enum Place<'a> {
    Key(&'a Slot),
    Route(&'a Arc<str>, Arc<Slot>),
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
        let (taken, remaining) = (Taken::NOTHING, Remaining::default());
        Self { limits, key, aside, terms, pass, taken, remaining, paid: [None, None, None] }
    }

    /// Pays all, or nothing.
    pub fn pay(mut self, bounds: &Bounds) -> Result<Taken, Hold> {
        match self.pay_each(bounds) {
            Ok(()) => Ok(self.settle(bounds)),
            Err(hold) => {
                self.undo();
                Err(hold)
            }
        }
    }

    fn pay_each(&mut self, bounds: &Bounds) -> Result<(), Hold> {
        if let Some((max, mode)) = bounds.in_flight {
            self.remaining.in_flight = self.enter(max.get(), mode)?;
        }
        if let Some(paced) = &bounds.rate {
            self.remaining.rate = self.rate(paced, &Place::Key(self.aside.rate()))?;
        }
        if let Some((route, paced)) = &self.terms.rate {
            let place = Place::Route(route, self.aside.route(route, paced));
            self.remaining.route = self.rate(paced, &place)?;
        }
        // Last: nobody who is refused has used any of it up.
        if let Some((quota, mode)) = &bounds.quota {
            self.remaining.quota = self.quota(quota, *mode)?;
        }
        Ok(())
    }

    fn enter(&mut self, max: u32, mode: Mode) -> Result<Option<Left>, Hold> {
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

    fn rate(&mut self, paced: &Paced, place: &Place<'_>) -> Result<Option<Left>, Hold> {
        let (which, at, slot) = match place {
            Place::Key(slot) => (Which::Rate, KEY, *slot),
            Place::Route(_, slot) => (Which::RouteRate, ROUTE, &**slot),
        };
        let enough = if self.limits.leasing().leases_rates() {
            let fill = || Fill::Rate(paced.rate, place.route());
            let token = paced.rate.period / paced.rate.count.get();
            self.lease(slot.purse(), (at, paced.mode), fill)?.map(|left| (left, token))
        } else {
            let enough = self.bucket(paced.pace, slot);
            if enough.is_ok() {
                self.pays(at, Payment::Bucket(place.slot(), paced.pace));
            }
            enough
        };
        self.judge(enough, (which, paced.mode), |units, more_in| {
            Left::of_rate(&paced.rate, units, more_in)
        })
    }

    fn quota(&mut self, quota: &Quota, mode: Mode) -> Result<Option<Left>, Hold> {
        let span = quota.window.at(self.pass.time);
        let more_in = span.end.since(self.pass.time);
        let enough = self.lease(self.aside.quota(), (QUOTA, mode), || Fill::Quota(*quota))?;
        self.judge(enough.map(|left| (left, more_in)), (Which::Quota, mode), |units, more_in| {
            Left::of_quota(quota, &span, units, more_in)
        })
    }

    /// What is told of a limit, or what it does where there was not enough.
    fn judge(
        &mut self,
        enough: Enough,
        (which, mode): (Which, Mode),
        tell: impl FnOnce(u64, Duration) -> Left,
    ) -> Result<Option<Left>, Hold> {
        match (enough, mode) {
            (Ok((units, more_in)), Mode::Enforced) => Ok(Some(tell(units, more_in))),
            (Ok(_), Mode::Shadow) => Ok(None),
            (Err(wait), Mode::Enforced) => {
                Err(Hold::Over(Over { which, retry_after: wait, left: tell(0, wait) }))
            }
            (Err(_), Mode::Shadow) => {
                self.taken.shadow = self.taken.shadow.or(Some(which));
                Ok(None)
            }
        }
    }

    /// Of a bucket that this gateway has alone.
    fn bucket(&self, pace: Pace, slot: &Slot) -> Enough {
        let (cost, now) = (self.terms.cost.get(), self.pass.now);
        let take = |full| pace.take(Moment::from_nanos(full), cost, now);
        let next = |full| take(full).ok().map(Moment::as_nanos);
        let taken = slot.full().fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        let (Ok(before) | Err(before)) = taken;
        match take(before) {
            Ok(full) => Ok((u64::from(pace.left(full, now)), pace.until_more(full, now))),
            Err(TooFew(wait)) => Err(wait),
        }
    }

    /// Of what was leased: how much is left, or how long it takes until there is enough.
    fn lease(
        &mut self,
        slot: &ArcSwapOption<Purse>,
        (at, mode): (usize, Mode),
        fill: impl Fn() -> Fill,
    ) -> Result<Result<u64, Duration>, Hold> {
        let cost = u64::from(self.terms.cost.get());
        let around = self.limits.leasing().around(self.key, self.pass);
        loop {
            let purse = self.limits.leasing().purse(slot, self.key, &fill);
            let answers = purse.answers();
            let (taking, question) = purse.take(cost, &fill, &around);
            if let Some(question) = question {
                self.limits.leasing().send(&purse, question);
            }
            match taking {
                Taking::Taken => {
                    let left = purse.left();
                    self.pays(at, Payment::Leased(purse, answers));
                    return Ok(Ok(left));
                }
                Taking::OfShare => {
                    self.limits.leasing().count_share(cost);
                    return Ok(Ok(0));
                }
                Taking::Wait(answers) => {
                    return Err(Hold::Wait(Wait { purse, answers, mode }));
                }
                Taking::Refused(wait) => return Ok(Err(wait)),
                Taking::Retired => drop(slot.compare_and_swap(&purse, None)),
            }
        }
    }

    fn pays(&mut self, at: usize, payment: Payment) {
        if let Some(paid) = self.paid.get_mut(at) {
            *paid = Some(payment);
        }
    }

    fn settle(mut self, bounds: &Bounds) -> Taken {
        for (at, payment) in std::mem::take(&mut self.paid).into_iter().enumerate() {
            if let Some(Payment::Leased(purse, _)) = payment {
                self.tend(&purse, || self.fill(at, bounds));
            }
        }
        if let Some(which) = self.taken.shadow {
            self.limits.count_shadow(which);
        }
        let is_told = self.remaining != Remaining::default();
        Taken { remaining: is_told.then_some(self.remaining), ..self.taken }
    }

    fn tend(&self, purse: &Arc<Purse>, fill: impl FnOnce() -> Option<Fill>) {
        let leasing = self.limits.leasing();
        if let Some(question) = purse.tend(fill, &leasing.around(self.key, self.pass)) {
            leasing.send(purse, question);
        }
    }

    /// By what the bucket is filled that a payment was for.
    fn fill(&self, at: usize, bounds: &Bounds) -> Option<Fill> {
        match at {
            KEY => bounds.rate.map(|it| Fill::Rate(it.rate, None)),
            ROUTE => {
                let (route, paced) = self.terms.rate.as_ref()?;
                Some(Fill::Rate(paced.rate, Some(Arc::clone(route))))
            }
            _quota => bounds.quota.map(|(quota, _)| Fill::Quota(quota)),
        }
    }

    fn undo(&mut self) {
        if self.taken.in_flight == InFlight::Counted {
            self.aside.leave();
        }
        let cost = self.terms.cost.get();
        for payment in std::mem::take(&mut self.paid).into_iter().flatten() {
            match payment {
                Payment::Bucket(None, pace) => give(self.aside.rate(), pace, cost),
                Payment::Bucket(Some(slot), pace) => give(&slot, pace, cost),
                Payment::Leased(purse, answers) => purse.give_back(u64::from(cost), answers),
            }
        }
    }
}

impl Place<'_> {
    fn route(&self) -> Option<Arc<str>> {
        match self {
            Self::Key(_) => None,
            Self::Route(name, _) => Some(Arc::clone(name)),
        }
    }

    fn slot(&self) -> Option<Arc<Slot>> {
        match self {
            Self::Key(_) => None,
            Self::Route(_, slot) => Some(Arc::clone(slot)),
        }
    }
}

fn give(slot: &Slot, pace: Pace, cost: u32) {
    slot.change_full(|full| pace.give(full, cost));
}

/// Nobody knows when another request ends; so long is asked for.
const WHEN_ANOTHER_ENDS: Duration = Duration::from_secs(1);

/// Where payments stand.
const KEY: usize = 0;
const ROUTE: usize = 1;
const QUOTA: usize = 2;
