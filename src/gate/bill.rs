//! Has one request pay all limits that it is under: every one of them, or none.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::clock::Moment;
use crate::gate::aside::{Aside, Slot};
use crate::gate::books::Fill;
use crate::gate::bounds::{Bounds, Paced};
use crate::gate::limits::{Hold, InFlight, Limits, Taken};
use crate::gate::purse::{Purse, Taking};
use crate::gate::remaining::{Left, Over, Remaining, Which};
use crate::gate::{Pass, Terms};
use crate::key::text::KeyId;
use crate::rate::bucket::{Pace, TooFew};
use crate::rate::limits::Mode;
use crate::rate::quota::Quota;

/// What one request has paid so far.
#[derive(Debug)]
pub struct Bill<'a> {
    limits: &'a Arc<Limits>,
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
    /// Of the key's bucket.
    Bucket(Pace),
    /// Of the route's.
    RouteBucket(Arc<Slot>, Pace),
    /// Of what was leased, when there were so many answers.
    Leased(Arc<Purse>, u64),
}

impl<'a> Bill<'a> {
    /// Of a request with a key, on a route.
    pub fn new(
        limits: &'a Arc<Limits>,
        (key, aside): (KeyId, &'a Aside),
        (terms, pass): (&'a Terms, &'a Pass),
    ) -> Self {
        let (taken, remaining) = (Taken::NOTHING, Remaining::default());
        Self { limits, key, aside, terms, pass, taken, remaining, paid: [None, None, None] }
    }

    /// Pays all, or nothing.
    pub fn pay(mut self, bounds: &Bounds) -> Result<Taken, Hold> {
        match self.pay_each(bounds) {
            Ok(()) => Ok(self.settle()),
            Err(hold) => {
                self.undo();
                Err(hold)
            }
        }
    }

    /// The cheapest first: who is over one limit takes nothing from the others.
    fn pay_each(&mut self, bounds: &Bounds) -> Result<(), Hold> {
        if let Some((max, mode)) = bounds.in_flight {
            self.enter(max.get(), mode)?;
        }
        if let Some(paced) = &bounds.rate {
            let left = self.rate(paced, self.aside.rate(), None)?;
            self.remaining.rate = left;
        }
        if let Some((route, paced)) = &self.terms.rate {
            let slot = self.aside.route(route, paced);
            let left = self.rate(paced, &slot, Some(route))?;
            if let (Some(it @ None), false) = (self.paid.get_mut(1), self.limits.leases_rates()) {
                *it = left.map(|_| Payment::RouteBucket(slot, paced.pace));
            }
            self.remaining.route = left;
        }
        if let Some((quota, mode)) = &bounds.quota {
            self.remaining.quota = self.quota(quota, *mode)?;
        }
        Ok(())
    }

    fn enter(&mut self, max: u32, mode: Mode) -> Result<(), Hold> {
        let share = self.limits.share_in_flight(max);
        self.taken.in_flight = InFlight::Counted;
        match (self.aside.enter(share), mode) {
            (Ok(count), Mode::Enforced) => self.remaining.in_flight = Some((max, share - count)),
            (Ok(_), Mode::Shadow) => {}
            (Err(_), Mode::Shadow) => {
                self.aside.enter_anyway();
                self.note_shadow(Which::InFlight);
            }
            (Err(_), Mode::Enforced) => {
                self.taken.in_flight = InFlight::Uncounted;
                let remaining = Remaining { in_flight: Some((max, 0)), ..Remaining::default() };
                return Err(over(Which::InFlight, WHEN_ANOTHER_ENDS, remaining));
            }
        }
        Ok(())
    }

    /// Of one rate; what is left of it, where somebody is told.
    fn rate(
        &mut self,
        paced: &Paced,
        slot: &Slot,
        route: Option<&Arc<str>>,
    ) -> Result<Option<Left>, Hold> {
        let (token, place) = (paced.rate.period / paced.rate.count.get(), usize::from(route.is_some()));
        let tell = |units, more_in| match paced.mode {
            Mode::Enforced => Some(Left::of_rate(&paced.rate, units, more_in)),
            Mode::Shadow => None,
        };
        let refused = if self.limits.leases_rates() {
            let fill = || Fill::Rate(paced.rate, route.cloned());
            match self.lease(slot.purse(), place, fill)? {
                Ok(units) => return Ok(tell(units, token)),
                Err(wait) => wait,
            }
        } else {
            match self.bucket(paced.pace, slot) {
                Ok(full) => {
                    if let (None, Some(paid)) = (route, self.paid.get_mut(place)) {
                        *paid = Some(Payment::Bucket(paced.pace));
                    }
                    let more_in = paced.pace.until_more(full, self.pass.now);
                    return Ok(tell(u64::from(paced.pace.left(full, self.pass.now)), more_in));
                }
                Err(TooFew(wait)) => wait,
            }
        };
        if paced.mode == Mode::Shadow {
            self.note_shadow(Which::Rate);
            return Ok(None);
        }
        let left = tell(0, refused);
        let remaining = match route {
            None => Remaining { rate: left, ..Remaining::default() },
            Some(_) => Remaining { route: left, ..Remaining::default() },
        };
        Err(over(Which::Rate, refused, remaining))
    }

    /// Of a bucket that this gateway has alone: when it is full then.
    fn bucket(&self, pace: Pace, slot: &Slot) -> Result<Moment, TooFew> {
        let take = |full| pace.take(Moment::from_nanos(full), self.terms.cost.get(), self.pass.now);
        let next = |full| take(full).ok().map(Moment::as_nanos);
        let taken = slot.full().fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        match taken {
            Ok(before) | Err(before) => take(before),
        }
    }

    /// Of what was leased: how much is left, or how long it takes until there is enough.
    fn lease(
        &mut self,
        slot: &ArcSwapOption<Purse>,
        place: usize,
        fill: impl Fn() -> Fill,
    ) -> Result<Result<u64, Duration>, Hold> {
        let cost = u64::from(self.terms.cost.get());
        let around = self.limits.around(self.key, self.pass);
        loop {
            let purse = self.limits.purse(slot, self.key, &fill);
            let answers = purse.answers();
            let (taking, question) = purse.take(cost, &around);
            if let Some(question) = question {
                self.limits.send(&purse, question);
            }
            match taking {
                Taking::Taken => {
                    let left = purse.left();
                    if let Some(paid) = self.paid.get_mut(place) {
                        *paid = Some(Payment::Leased(purse, answers));
                    }
                    return Ok(Ok(left));
                }
                Taking::OfShare => {
                    self.limits.count_share(cost);
                    return Ok(Ok(0));
                }
                Taking::Wait(answers) => return Err(Hold::Wait(purse, answers)),
                Taking::Refused(wait) => return Ok(Err(wait)),
                Taking::Retired => drop(slot.compare_and_swap(&purse, None)),
            }
        }
    }

    fn quota(&mut self, quota: &Quota, mode: Mode) -> Result<Option<Left>, Hold> {
        let span = quota.window.at(self.pass.time);
        let fill = || Fill::Quota(*quota);
        let refused = match (self.lease(self.aside.quota(), QUOTA, fill)?, mode) {
            (Ok(_), Mode::Shadow) => return Ok(None),
            (Ok(units), Mode::Enforced) => {
                let more_in = span.end.since(self.pass.time);
                return Ok(Some(Left::of_quota(quota, &span, units, more_in)));
            }
            (Err(_), Mode::Shadow) => {
                self.note_shadow(Which::Quota);
                return Ok(None);
            }
            (Err(wait), Mode::Enforced) => wait,
        };
        let quota = Some(Left::of_quota(quota, &span, 0, refused));
        Err(over(Which::Quota, refused, Remaining { quota, ..Remaining::default() }))
    }

    fn note_shadow(&mut self, which: Which) {
        self.limits.count_shadow(which);
        self.taken.shadow = self.taken.shadow.or(Some(which));
    }

    fn settle(mut self) -> Taken {
        for payment in self.paid.iter_mut().filter_map(Option::take) {
            if let Payment::Leased(purse, _) = payment {
                let around = self.limits.around(self.key, self.pass);
                if let Some(question) = purse.tend(&around) {
                    self.limits.send(&purse, question);
                }
            }
        }
        let is_told = self.remaining != Remaining::default();
        Taken { remaining: is_told.then_some(self.remaining), ..self.taken }
    }

    fn undo(&mut self) {
        if self.taken.in_flight == InFlight::Counted {
            self.aside.leave();
        }
        let cost = self.terms.cost.get();
        for payment in self.paid.iter_mut().filter_map(Option::take) {
            match payment {
                Payment::Bucket(pace) => give(self.aside.rate(), pace, cost),
                Payment::RouteBucket(slot, pace) => give(&slot, pace, cost),
                Payment::Leased(purse, answers) => purse.give_back(u64::from(cost), answers),
            }
        }
    }
}

fn give(slot: &Slot, pace: Pace, cost: u32) {
    let less = |full| Some(pace.give(Moment::from_nanos(full), cost).as_nanos());
    drop(slot.full().fetch_update(Ordering::AcqRel, Ordering::Acquire, less));
}

fn over(which: Which, retry_after: Duration, remaining: Remaining) -> Hold {
    Hold::Over(Over { which, retry_after, remaining })
}

/// Nobody knows when another request ends; so long is asked for.
const WHEN_ANOTHER_ENDS: Duration = Duration::from_secs(1);

/// Behind the two rates.
const QUOTA: usize = 2;
