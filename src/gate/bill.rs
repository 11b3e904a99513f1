//! Has one request pay all limits that it is under: every one of them, or none.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::gate::around::Patience;
use crate::gate::aside::{Aside, Slot};
use crate::gate::bounds::{Bounds, Paced};
use crate::gate::limits::{Hold, InFlight, Limits, Taken, Wait};
use crate::gate::purse::Purse;
use crate::gate::remaining::{Kinds, Left, Over, Which};
use crate::gate::supply::Fill;
use crate::gate::taking::{Spent, Taking};
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
    /// The refusal that lasts the longest.
    over: Option<Over>,
    /// What comes first of what has to be waited for.
    wait: Option<Wait>,
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
    /// Of a bucket that this gateway has alone: a route's, or the key's own.
    Bucket(Pace, Option<Arc<Slot>>),
    /// Of what this gateway has of the one that it shares.
    Purse(Arc<Purse>, Spent),
}

/// Whether there was enough: how much is left and when there will be more, or why not.
type Enough = Result<(u64, Duration), Short>;

/// Why nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Short {
    /// So long it takes until there is enough.
    For(Duration),
    /// Nobody knows whether there is.
    Unknown,
    /// An answer is on its way.
    Coming,
}

impl<'a> Bill<'a> {
    /// Of a request with a key, on a route.
    pub fn new(
        limits: &'a Limits,
        (key, aside): (KeyId, &'a Aside),
        (terms, pass): (&'a Terms, &'a Pass),
    ) -> Self {
        let (taken, paid) = (Taken::NOTHING, [None, None, None]);
        Self { limits, key, aside, terms, pass, taken, over: None, wait: None, paid }
    }

    /// Pays all, or nothing.
    pub fn pay(&mut self, bounds: &'a Bounds) -> Result<Taken, Hold> {
        self.pay_each(bounds);
        let hold = match (self.wait.take(), self.over) {
            (None, None) => {
                self.settle();
                return Ok(self.taken);
            }
            // What is waited for may last longer than what has refused.
            (Some(wait), _) => Hold::Wait(wait),
            (None, Some(over)) => Hold::Over(over),
        };
        self.undo();
        Err(hold)
    }

    /// Asks every limit, also where one has refused: who is told to wait gets in after that, as far as
    /// is known here. Where one has to ask the store, so do the others meanwhile.
    fn pay_each(&mut self, bounds: &'a Bounds) {
        if let Some((max, mode)) = bounds.in_flight {
            self.enter(max.get(), mode);
        }
        if let Some(paced) = &bounds.rate {
            self.rate(Item::Rate(paced), paced, None);
        }
        if let Some((route, paced)) = &self.terms.rate {
            let slot = self.aside.route(route, paced);
            self.rate(Item::RouteRate(paced, route), paced, Some(slot));
        }
        if let Some((quota, mode)) = &bounds.quota {
            self.quota(quota, *mode);
        }
    }

    fn enter(&mut self, max: u32, mode: Mode) {
        let share = self.limits.leasing().share_in_flight(max);
        let entered = match (self.aside.enter(share), mode) {
            (Err(_), Mode::Shadow) => Err(self.aside.enter_anyway()),
            (entered, Mode::Shadow | Mode::Enforced) => entered,
        };
        if entered.is_ok() || mode == Mode::Shadow {
            self.taken.in_flight = InFlight::Counted;
        }
        let enough = entered.map(|count| (u64::from(share - count), Duration::ZERO));
        let enough = enough.map_err(|_count| Short::For(WHEN_ANOTHER_ENDS));
        self.judge(enough, (Which::InFlight, mode), |units, _| Left::of_in_flight(max, units));
    }

    fn rate(&mut self, item: Item<'a>, paced: &Paced, of_route: Option<Arc<Slot>>) {
        let aside = self.aside;
        let slot = of_route.as_deref().unwrap_or_else(|| aside.rate());
        let enough = if self.limits.leasing().leases_rates() {
            let token = paced.rate.period / paced.rate.count.get();
            self.lease(slot.purse(), item).map(|left| (left, token))
        } else {
            let enough = self.take(paced.pace, slot);
            if enough.is_ok() {
                self.pays(item, Payment::Bucket(paced.pace, of_route));
            }
            enough
        };
        self.judge(enough, (item.which(), paced.mode), |units, more_in| {
            Left::of_rate(&paced.rate, units, more_in)
        });
    }

    fn quota(&mut self, quota: &'a Quota, mode: Mode) {
        let span = quota.window.at(self.pass.time);
        let more_in = span.end.since(self.pass.time);
        let enough = self.lease(self.aside.quota(), Item::Quota(quota, mode));
        self.judge(enough.map(|left| (left, more_in)), (Which::Quota, mode), |units, more_in| {
            Left::of_quota(quota, &span, units, more_in)
        });
    }

    /// Notes what is told of a limit, or does what it does where there was not enough.
    fn judge(
        &mut self,
        enough: Enough,
        (which, mode): (Which, Mode),
        tell: impl FnOnce(u64, Duration) -> Left,
    ) {
        match (enough, mode) {
            (Ok((units, more_in)), Mode::Enforced) => {
                let told = self.taken.remaining.get_or_insert_default();
                *told.place(which) = Some(tell(units, more_in));
            }
            (Err(short @ (Short::For(_) | Short::Unknown)), Mode::Enforced) => {
                let retry_after = short.lasts();
                if self.over.is_none_or(|it| it.retry_after < retry_after) {
                    self.over = Some(Over { which, retry_after, left: tell(0, retry_after) });
                }
            }
            (Err(Short::For(_)), Mode::Shadow) => self.taken.shadow.add(which),
            (Err(Short::Coming), _) | (Err(Short::Unknown) | Ok(_), Mode::Shadow) => {}
        }
    }

    /// Takes of a bucket that this gateway has alone.
    fn take(&self, pace: Pace, slot: &Slot) -> Enough {
        let (cost, now) = (self.terms.cost.get(), self.pass.now);
        let taken = slot.try_change_full(|full| pace.take(full, cost, now));
        let full = taken.map_err(|TooFew(wait)| Short::For(wait))?;
        Ok((u64::from(pace.left(full, now)), pace.until_more(full, now)))
    }

    /// Takes of what was leased: how much is left.
    fn lease(&mut self, slot: &ArcSwapOption<Purse>, item: Item<'a>) -> Result<u64, Short> {
        let leasing = self.limits.leasing();
        let cost = u64::from(self.terms.cost.get());
        let mut around = leasing.around(self.key, self.pass);
        if self.over.is_some() {
            // It is refused whatever comes of this: nobody waits, or is asked, for that.
            around.patience = Patience::Over;
        }
        loop {
            let purse = leasing.purse(slot, self.key, || item.fill());
            if item.mode() == Mode::Shadow && leasing.is_late(&purse, around.now) {
                // Who is only counted does not wait for what is late already.
                around.patience = Patience::Over;
            }
            let (taking, question) = purse.take(cost, || item.fill(), &around);
            if let Some(question) = question {
                leasing.send(&purse, question);
            }
            match taking {
                Taking::Taken(spent) => {
                    let left = purse.left(&spent);
                    self.pays(item, Payment::Purse(purse, spent));
                    return Ok(left);
                }
                Taking::Wait(answers) => {
                    let wait = Some(Wait { purse, answers, mode: item.mode() });
                    self.wait = self.wait.take().or(wait);
                    return Err(Short::Coming);
                }
                Taking::Refused(wait) => return Err(Short::For(wait)),
                Taking::Unknown => return Err(Short::Unknown),
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
        if self.taken.shadow != Kinds::NONE {
            self.limits.count_shadow(self.taken.shadow);
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
        for (_, payment) in self.paid.iter().flatten() {
            match payment {
                Payment::Purse(purse, spent) => purse.give_back(spent),
                Payment::Bucket(pace, of_route) => {
                    let slot = of_route.as_deref().unwrap_or_else(|| self.aside.rate());
                    slot.change_full(|full| pace.give(full, self.terms.cost.get()));
                }
            }
        }
    }
}

impl Short {
    /// How long the caller is to wait; of what nobody knows not long.
    fn lasts(self) -> Duration {
        match self {
            Self::For(wait) => wait,
            Self::Unknown | Self::Coming => Duration::ZERO,
        }
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
