//! Holds what a purse knows of its account at the store, and of what was spent without it.

use std::time::Duration;

use crate::clock::{Moment, Timestamp};
use crate::gate::around::Around;
use crate::gate::share::Share;
use crate::gate::supply::Fill;
use crate::rate::bucket::TooFew;
use crate::rate::quota::Span;
use crate::store::slices::{Away, Bucket, SLICE_LAPSES_AFTER, SLICE_LIFE, Slice, SliceRequest};

/// The account of a purse.
#[derive(Debug)]
pub struct Books {
    /// By what it is filled.
    pub fill: Fill,
    /// All that was ever given.
    pub granted: u64,
    /// All that ever went back, or lapsed.
    pub returned: u64,
    /// How much of it the store knows to be spent.
    pub reported: u64,
    /// How much those need who wait for the next answer.
    waiting: u64,
    /// How much those still need who waited for the last one, and when that came.
    crowd: (u64, Moment),
    /// When the store was last asked.
    pub asked_at: Moment,
    /// How many gateways there were then.
    fellows: u32,
    /// Before then it would not have enough, for what costs so much or more.
    rests_until: Moment,
    rests_for: u64,
    /// When it will have, if nobody else spends.
    pub enough_at: Moment,
    /// Counts the questions.
    pub question: u64,
    /// How much the one wants that is on its way.
    pub asked_for: u64,
    /// Whether the last one only says what was spent without the store.
    pub says_first: bool,
    /// The window of a quota that the store is in, and when it said so where nobody here had thought
    /// it.
    pub span: Option<Span>,
    turned_at: Moment,
    /// Nobody takes from it any more.
    pub is_retired: bool,
    /// How much was spent when the store was last asked.
    spent_then: u64,
    /// What was certainly spent of a quota in this window, of all that was ever heard.
    seen: u64,
    /// What was left when the store was last heard of this bucket.
    remained: Option<u64>,
    /// When the store was last heard, on this clock and on its own.
    heard_at: Moment,
    heard_time: Timestamp,
    share: Option<Share>,
    /// What was spent of shares, and the store knows.
    told: u64,
    /// How much had been spent when it was last looked at, and since when no more was.
    idle: (u64, Moment),
}

impl Books {
    /// Nothing was given yet.
    pub fn new(fill: Fill) -> Self {
        Self {
            fill,
            granted: 0,
            returned: 0,
            reported: 0,
            waiting: 0,
            crowd: (0, Moment::default()),
            asked_at: Moment::default(),
            fellows: 1,
            rests_until: Moment::default(),
            rests_for: 0,
            enough_at: Moment::default(),
            question: 0,
            asked_for: 0,
            says_first: false,
            span: None,
            turned_at: Moment::default(),
            is_retired: false,
            spent_then: 0,
            seen: 0,
            remained: None,
            heard_at: Moment::default(),
            heard_time: Timestamp::from_micros(i64::MAX),
            share: None,
            told: 0,
            idle: (0, Moment::default()),
        }
    }

    /// Where fewer are in hand than this, more are fetched; so many are now.
    pub fn low(&self, slice: &Slice, in_hand: u64) -> u64 {
        self.fill.low(slice.granted.max(in_hand / 2), self.fellows)
    }

    /// How much was spent of all that was given, where `balance` is in hand.
    pub fn spent(&self, balance: u64) -> u64 {
        self.granted.saturating_sub(self.returned).saturating_sub(balance)
    }

    /// Goes over to other terms.
    pub fn change(&mut self, fill: Fill) {
        if let (Fill::Quota(before), Fill::Quota(after)) = (&self.fill, &fill)
            && before.window != after.window
        {
            (self.span, self.seen) = (None, 0);
        }
        (self.remained, self.heard_at) = (None, Moment::default());
        self.fill = fill;
        (self.rests_until, self.enough_at) = (Moment::default(), Moment::default());
    }

    /// As the store has to be told of it, in the window that it is in.
    pub fn bucket(&mut self, around: &Around) -> Bucket {
        match &self.fill {
            Fill::Rate(rate, route) => Bucket::Rate(*rate, route.clone()),
            Fill::Quota(quota) => {
                let now = quota.window.at(around.time);
                // The store knows better which one it is in, and says so when that is over.
                let is_told = around.now.since(self.turned_at) < TOLD_FOR;
                if !is_told && self.span.is_some_and(|it| it.name < now.name) {
                    (self.span, self.seen, self.remained) = (None, 0, None);
                }
                Bucket::Quota(*quota, *self.span.get_or_insert(now), self.seen)
            }
        }
    }

    /// The store's clock is in another window, at `now`.
    pub fn turn_to(&mut self, time: Timestamp, now: Moment) {
        if let Fill::Quota(quota) = &self.fill {
            (self.span, self.seen, self.remained) = (Some(quota.window.at(time)), 0, None);
            self.turned_at = now;
        }
    }

    /// How much to fetch ahead of those who will want it, where `kept` is in hand: what is spent in a
    /// tenth of a second, or where nobody notices it so much that time ends a slice, and not need.
    pub fn ahead(&self, spent: u64, kept: u64, around: &Around) -> u64 {
        let most = self.fill.slice_max(around.fellows);
        let time = around.now.since(self.asked_at).max(SHORTEST).as_micros();
        let fresh = u128::from(spent.saturating_sub(self.spent_then));
        let spent_in = |ahead: Duration| {
            u64::try_from((fresh * ahead.as_micros()).div_ceil(time)).unwrap_or(u64::MAX)
        };
        let soon = spent_in(AHEAD).clamp(1, most.max(1)).min(most);
        let lasts = match &self.fill {
            Fill::Rate(..) => LASTING,
            Fill::Quota(_) => LASTING_OF_QUOTA,
        };
        let lasting = spent_in(lasts).min(self.unnoticed(around));
        soon.max(lasting.saturating_sub(kept))
    }

    fn unnoticed(&self, around: &Around) -> u64 {
        self.fill.unnoticed(self.remained.unwrap_or_default(), around.fellows)
    }

    /// Whether the store need not hear now what was spent of a slice, or left over, so much being out.
    pub fn may_lapse(&self, out: u64, around: &Around) -> bool {
        self.fill.may_lapse(out, self.remained.unwrap_or_default(), around.fellows)
    }

    /// Whether a slice that ends soon will be missed: where no more than one token of it was spent, the
    /// next request asks when it comes.
    pub fn is_in_use(&self, spent: u64, around: &Around) -> bool {
        let is_leased_ahead = match &self.fill {
            Fill::Rate(..) => !self.fill.is_one_by_one(around.fellows),
            Fill::Quota(_) => false,
        };
        is_leased_ahead && spent.saturating_sub(self.spent_then) > 1
    }

    /// Somebody waits for the next answer, who needs so much, and may have waited for the last one.
    pub fn waits(&mut self, cost: u64) {
        self.crowd.0 = self.crowd.0.saturating_sub(cost);
        self.waiting = self.waiting.saturating_add(cost);
    }

    /// Somebody does not wait any more, for the last answer or for the next.
    pub fn leaves(&mut self, cost: u64) {
        let of_next = cost.saturating_sub(self.crowd.0);
        self.crowd.0 = self.crowd.0.saturating_sub(cost);
        self.waiting = self.waiting.saturating_sub(of_next);
    }

    /// The share decides for all of them.
    pub fn nobody_waits(&mut self) {
        (self.waiting, self.crowd.0) = (0, 0);
    }

    /// A question goes out, for all who wait: how much they need.
    pub fn asks(&mut self, spent: u64, around: &Around) -> u64 {
        (self.spent_then, self.asked_at, self.fellows) = (spent, around.now, around.fellows);
        let (crowd, answered_at) = std::mem::take(&mut self.crowd);
        let is_there = around.now.since(answered_at) < CROWD_LASTS;
        self.waiting.saturating_add(if is_there { crowd } else { 0 })
    }

    /// It was answered, and so much was given: of those who waited, some have to wait again, and the
    /// first of them asks for all.
    pub fn answered(&mut self, granted: u64, now: Moment) {
        self.crowd = (std::mem::take(&mut self.waiting).saturating_sub(granted), now);
    }

    /// The store has less than was wanted: nobody asks again before that can have changed.
    pub fn rest(&mut self, request: &SliceRequest, slice: &Slice, now: Moment) {
        self.enough_at = now.after(slice.enough_in);
        let pause = self.fill.pause().max(slice.enough_in).min(REST_MAX);
        (self.rests_until, self.rests_for) = (now.after(pause), request.least.max(1));
    }

    /// What was spent without the store has been said: others have to say it as well, before anybody
    /// is given what they may have spent.
    pub fn rest_for_others(&mut self, slice: &Slice, now: Moment) {
        let pause = RESUMED_AFTER.max(slice.enough_in).min(REST_MAX);
        (self.rests_until, self.rests_for) = (now.after(pause), 1);
        self.enough_at = now.after(slice.enough_in.max(pause));
    }

    /// How long what costs so much has to wait, if nobody else spends.
    pub fn wait(&self, cost: u64, around: &Around) -> Duration {
        let told = self.enough_at.since(around.now);
        let left =
            if told.is_zero() { self.remained.unwrap_or(cost) } else { self.rests_for.max(1) };
        let missing = u32::try_from(cost.saturating_sub(left)).unwrap_or(u32::MAX);
        match &self.fill {
            Fill::Rate(rate, _) => {
                let fills_in = (rate.period / rate.count.get()).saturating_mul(missing);
                let filled_for = around.now.since(self.heard_at);
                let untold = fills_in.saturating_sub(filled_for);
                if told.is_zero() { untold } else { told.saturating_add(fills_in) }
            }
            Fill::Quota(quota) if told.is_zero() && missing > 0 => {
                quota.window.at(around.time).end.since(around.time)
            }
            Fill::Quota(_) => told,
        }
    }

    /// Whether the store may have counted as spent what was out when it was asked last.
    pub fn may_have_lapsed(&self, slice: &Slice) -> bool {
        let is_rate = matches!(self.fill, Fill::Rate(..));
        is_rate && slice.now.since(self.heard_time) >= SLICE_LAPSES_AFTER
    }

    /// Whether what costs so much need not ask.
    pub fn rests(&self, cost: u64, now: Moment) -> bool {
        now < self.rests_until && cost >= self.rests_for
    }

    /// Whether what was spent without the store is a noticeable part of what fits into the bucket.
    pub fn owes_much(&self, away: &Away, around: &Around) -> bool {
        match &self.fill {
            Fill::Rate(rate, _) => {
                away.owed * u64::from(around.fellows) * NOTICEABLE > u64::from(rate.burst.get())
            }
            Fill::Quota(_) => false,
        }
    }

    /// Takes from this gateway's share, which is empty when the store falls silent.
    pub fn take_of_share(&mut self, cost: u64, around: &Around) -> Result<(), TooFew> {
        let now = around.now;
        let left = self.share_of_quota(around);
        // What was answered since was asked before.
        let since = around.silent_since.min(now).max(self.heard_at);
        let share = self.share.get_or_insert_with(|| Share::new(since, around.fellows));
        match &self.fill {
            Fill::Rate(rate, _) => share.take(rate, cost, now)?,
            Fill::Quota(_) if share.spent + cost > left => return Err(TooFew(WHEN_IT_IS_BACK)),
            Fill::Quota(_) => share.spent += cost,
        }
        Ok(())
    }

    /// What may be spent of a quota without the store: an equal part of what remained, less what others
    /// may have leased since, and what a question may still bring that was not answered. Who has not heard of it lately knows little of what remained, and goes
    /// no faster than the quota as a whole.
    fn share_of_quota(&self, around: &Around) -> u64 {
        let Fill::Quota(quota) = &self.fill else { return 0 };
        let fellows = u64::from(around.fellows.max(1));
        let slices = MEANWHILE * fellows * self.fill.slice_max(around.fellows).max(1);
        // Of a window of which nothing was heard, all may be left.
        let remained = self.remained.unwrap_or_else(|| quota.count.get());
        let remained = (remained.saturating_sub(slices) / fellows).saturating_sub(self.asked_for);
        let since = self.share.as_ref().map_or(around.now, |it| it.since);
        if since.since(self.heard_at) <= LATELY {
            return remained;
        }
        let span = quota.window.at(around.time);
        let all = span.end.since(span.start).as_micros().max(1);
        let part = u128::from(quota.count.get()) * around.now.since(since).as_micros() / all;
        let part = u64::try_from(part).unwrap_or(u64::MAX) / fellows;
        remained.min(part + 1)
    }

    /// Gives back what was just taken of the share.
    pub fn give_back_to_share(&mut self, tokens: u64) {
        if let Some(share) = &mut self.share {
            share.give_back(tokens);
        }
    }

    /// Whether something was spent without the store.
    pub fn owes(&self) -> bool {
        self.share.as_ref().is_some_and(|it| it.spent > 0)
    }

    /// Whether something may be spent without the store.
    pub fn has_share(&self) -> bool {
        self.share.is_some()
    }

    /// What was spent without the store.
    pub fn away(&self, around: &Around) -> Away {
        let told = self.told;
        let Some(share) = &self.share else { return Away { told, ..Away::default() } };
        let owed = share.owed(around.now);
        Away { told, spent: share.spent, owed, time: around.now.since(share.since) }
    }

    /// The store has heard what was spent without it.
    pub fn squared(&mut self, request: &SliceRequest, slice: &Slice, now: Moment) {
        self.told += request.away.spent;
        if let Some(share) = &mut self.share {
            share.spent = share.spent.saturating_sub(request.away.spent);
        }
        if !self.owes() {
            self.share = None;
        }
        // What is heard of another window than the present one says nothing of it.
        if self.is_of_now(&request.bucket) {
            (self.heard_at, self.heard_time) = (now, slice.now);
            (self.seen, self.remained) = (self.seen.max(slice.spent), Some(slice.left));
        }
    }

    fn is_of_now(&self, bucket: &Bucket) -> bool {
        match (&self.fill, bucket) {
            (Fill::Rate(..), Bucket::Rate(..)) => true,
            (Fill::Quota(quota), Bucket::Quota(asked, span, _)) => {
                quota.window == asked.window && self.span == Some(*span)
            }
            (Fill::Rate(..), Bucket::Quota(..)) | (Fill::Quota(_), Bucket::Rate(..)) => false,
        }
    }

    /// For how long nothing was spent, where `balance` is in hand now.
    pub fn idle_for(&mut self, balance: u64, now: Moment) -> Duration {
        let spent = self.spent(balance);
        if self.idle.0 != spent || self.idle.1 == Moment::default() {
            self.idle = (spent, now);
        }
        now.since(self.idle.1)
    }
}

/// For so long the store's word on which window it is in holds against our clock.
const TOLD_FOR: Duration = Duration::from_secs(1);

/// For how long a slice lasts that is fetched ahead, and is large.
const AHEAD: Duration = Duration::from_millis(100);

/// For how long one lasts that nobody notices.
const LASTING: Duration = SLICE_LIFE.saturating_mul(2);
/// The same of a quota, whose slices do not end with time.
const LASTING_OF_QUOTA: Duration = Duration::from_secs(10);

/// Who still waits asks again at once.
const CROWD_LASTS: Duration = Duration::from_millis(50);

/// Less time than that says nothing of how fast tokens are spent.
const SHORTEST: Duration = Duration::from_millis(1);

/// So lately a gateway must have heard what remains of a quota; meanwhile each other one may have
/// leased so many slices of it.
const LATELY: Duration = Duration::from_millis(200);
const MEANWHILE: u64 = 10;

/// Nobody knows when the store answers again; so long is asked for.
const WHEN_IT_IS_BACK: Duration = Duration::from_secs(1);

/// After a return of the store, all who were cut off have said what they spent.
const RESUMED_AFTER: Duration = Duration::from_millis(300);

/// So large a part of a bucket is noticed: a twentieth.
const NOTICEABLE: u64 = 20;

/// After that somebody else may have given something back.
const REST_MAX: Duration = Duration::from_secs(1);
