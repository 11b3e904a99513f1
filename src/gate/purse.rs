//! Holds what a gateway has leased of one limit, and decides when to ask for more.
//!
//! What is in hand is one number, from which requests take without asking anyone. Everything else
//! is behind a lock that is taken once per question to the store. Whoever sends the questions is
//! [`Leasing`](crate::gate::leasing::Leasing); nothing here waits, and time is an argument.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Moment;
use crate::gate::around::{Around, Patience, Reach};
use crate::gate::books::Books;
use crate::gate::supply::Fill;
use crate::gate::swept::{Asking, Swept};
use crate::gate::taking::{Source, Spent, Taking, Talk};
use crate::key::text::KeyId;
use crate::rate::bucket::TooFew;
use crate::store::Unavailable;
use crate::store::slices::{Bucket, Leased, Rest, SLICE_LIFE, SliceRequest};

/// What is leased of one limit of one key.
#[derive(Debug)]
pub struct Purse {
    key: KeyId,
    account: u64,
    /// Tokens in hand.
    balance: AtomicU64,
    /// Until when they may be spent.
    until: AtomicU64,
    /// Where fewer than these are in hand, more are fetched before they are spent.
    low: AtomicU64,
    /// What the store had left when it was last asked.
    left: AtomicU64,
    /// Whether a question is on its way.
    asking: AtomicBool,
    /// How many questions were answered, or failed.
    answers: AtomicU64,
    /// Whether the last one failed.
    has_missed: AtomicBool,
    answered: Notify,
    books: Mutex<Books>,
}

impl Purse {
    /// An empty one. No two of all gateways have the same `account`.
    pub fn new(key: KeyId, account: u64, fill: Fill) -> Self {
        Self {
            key,
            account,
            balance: AtomicU64::new(0),
            until: AtomicU64::new(0),
            low: AtomicU64::new(0),
            left: AtomicU64::new(0),
            asking: AtomicBool::new(false),
            answers: AtomicU64::new(0),
            has_missed: AtomicBool::new(false),
            answered: Notify::new(),
            books: Mutex::new(Books::new(fill)),
        }
    }

    /// Whose it is.
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// How many tokens there are after `spent`, here and in the store as far as it said; of a share
    /// nobody knows.
    pub fn left(&self, spent: &Spent) -> u64 {
        let (here, there) =
            (self.balance.load(Ordering::Relaxed), self.left.load(Ordering::Relaxed));
        match spent.source {
            Source::Slice(_) => here.saturating_add(there),
            Source::Share(_) => 0,
        }
    }

    /// Takes `cost`, or says what to do; a question may have to be sent for it.
    pub fn take(
        &self,
        cost: u64,
        fill: impl FnOnce() -> Fill,
        around: &Around,
    ) -> (Taking, Option<SliceRequest>) {
        let talk = self.talk();
        if self.spend(cost, around.now) {
            return (Taking::Taken(Spent { tokens: cost, source: Source::Slice(talk) }), None);
        }
        self.take_slowly(cost, fill(), around)
    }

    fn spend(&self, cost: u64, now: Moment) -> bool {
        let may = now.as_nanos() < self.until.load(Ordering::Acquire);
        let take = |balance: u64| balance.checked_sub(cost);
        may && self.balance.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }

    fn take_slowly(
        &self,
        cost: u64,
        fill: Fill,
        around: &Around,
    ) -> (Taking, Option<SliceRequest>) {
        let mut books = self.books();
        if books.is_retired {
            return (Taking::Retired, None);
        }
        // It may have been made by somebody who had not seen the change yet.
        self.go_over(&mut books, fill);
        let tokens = books.fill.clamp(cost);
        let (cost, talk) = (tokens, self.talk());
        let Talk { answers, is_asking } = talk;
        if self.spend(tokens, around.now) {
            return (Taking::Taken(Spent { tokens, source: Source::Slice(talk) }), None);
        }
        if around.reach == Reach::Silent {
            books.nobody_waits();
            let probe = !is_asking && around.now.since(books.asked_at) >= PROBED_AGAIN_AFTER;
            let question = probe.then(|| self.ask(&mut books, cost, around));
            let source = Source::Share(books.question);
            let taking = match books.take_of_share(cost, around) {
                Ok(()) => Taking::Taken(Spent { tokens, source }),
                Err(TooFew(wait)) => Taking::Refused(wait),
            };
            return (taking, question);
        }
        let rests = books.rests(cost, around.now);
        if rests || around.patience == Patience::Over {
            books.leaves(cost);
            let wait = books.wait(cost, around);
            let is_known = rests || !wait.is_zero();
            return (if is_known { Taking::Refused(wait) } else { Taking::Unknown }, None);
        }
        books.waits(cost);
        let question = (!is_asking).then(|| self.ask(&mut books, cost, around));
        (Taking::Wait(answers), question)
    }

    fn talk(&self) -> Talk {
        let answers = self.answers();
        Talk { answers, is_asking: self.asking.load(Ordering::Acquire) }
    }

    /// Gives back what was just taken, where nothing was said of it to the store since.
    pub fn give_back(&self, spent: &Spent) {
        let mut books = self.books();
        match spent.source {
            Source::Slice(talk) if talk == self.talk() => {
                self.balance.fetch_add(spent.tokens, Ordering::AcqRel);
            }
            Source::Share(question) if question == books.question => {
                books.give_back_to_share(spent.tokens);
            }
            Source::Slice(_) | Source::Share(_) => {}
        }
    }

    /// How many questions were answered so far.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Acquire)
    }

    /// Whether the last question was not answered.
    pub fn has_missed(&self) -> bool {
        self.has_missed.load(Ordering::Acquire)
    }

    /// After a request has taken from it: where little is left more is fetched, and what came one by one
    /// is said to be spent at once, since what is out holds up the refilling.
    pub fn tend(
        &self,
        fill: impl FnOnce() -> Fill,
        around: impl FnOnce() -> Around,
    ) -> Option<SliceRequest> {
        let low = self.low.load(Ordering::Relaxed);
        if self.balance.load(Ordering::Relaxed) >= low.max(1) || self.asking.load(Ordering::Acquire)
        {
            return None;
        }
        let (mut books, around) = (self.books(), around());
        if self.asking.load(Ordering::Acquire) || around.reach == Reach::Silent {
            return None;
        }
        self.go_over(&mut books, fill());
        let is_said_at_once = books.fill.is_one_by_one(around.fellows);
        (low > 0 || is_said_at_once).then(|| self.ask(&mut books, 0, &around))
    }

    /// Waits until there are more answers than `answers`.
    pub async fn answered(&self, answers: u64) {
        loop {
            let answered = self.answered.notified();
            if self.answers() != answers {
                return;
            }
            answered.await;
        }
    }

    /// Waits until no question is on its way.
    pub async fn unasked(&self) {
        let answers = self.answers();
        if self.asking.load(Ordering::Acquire) {
            self.answered(answers).await;
        }
    }

    /// For how long a question has been on its way.
    pub fn is_unanswered_for(&self, now: Moment) -> Duration {
        if !self.asking.load(Ordering::Acquire) {
            return Duration::ZERO;
        }
        now.since(self.books().asked_at)
    }

    /// Goes over to other terms: what was leased under the old ones lapses, and what is spent stays
    /// spent.
    pub fn change(&self, fill: Fill) {
        self.go_over(&mut self.books(), fill);
    }

    fn go_over(&self, books: &mut Books, fill: Fill) {
        if books.fill != fill {
            self.until.store(0, Ordering::Release);
            self.low.store(0, Ordering::Relaxed);
            books.change(fill);
        }
    }

    /// A look at it now and then: what nobody spends goes back, unless it is little and lapses, what was
    /// spent without the store is said, and a slice in use is renewed, so that nobody waits for that.
    pub fn sweep(&self, around: &Around, asking: Asking) -> Swept {
        let mut books = self.books();
        if self.asking.load(Ordering::Acquire) {
            return Swept::Used;
        }
        let balance = self.balance.load(Ordering::Acquire);
        let idle_for = books.idle_for(balance, around.now);
        let spent = books.spent(balance);
        let out = balance + spent.saturating_sub(books.reported);
        let has_news = !books.may_lapse(out, around) || books.owes();
        if asking == Asking::Now && has_news && idle_for >= books.fill.settles_after() {
            return Swept::Asks(self.settle(&mut books, around));
        }
        if asking == Asking::Now && self.ends_soon(around.now) && books.is_in_use(spent, around) {
            return Swept::Asks(self.ask(&mut books, 0, around));
        }
        let is_needed = match (&books.fill, around.reach) {
            (Fill::Rate(..), Reach::Answering) => books.owes(),
            (Fill::Rate(..), Reach::Silent) => books.has_share(),
            (Fill::Quota(_), Reach::Answering) => has_news,
            (Fill::Quota(_), Reach::Silent) => true,
        };
        if is_needed || idle_for < books.fill.retired_after() {
            return Swept::Used;
        }
        books.is_retired = true;
        Swept::Retired
    }

    fn ends_soon(&self, now: Moment) -> bool {
        let until = Moment::from_nanos(self.until.load(Ordering::Acquire));
        now < until && until.since(now) <= RENEWED_BEFORE
    }

    /// Tries whether a store answers again that does not: somebody has to.
    pub fn probe(&self, around: &Around) -> Option<SliceRequest> {
        let mut books = self.books();
        let may = !books.is_retired && !self.asking.load(Ordering::Acquire);
        may.then(|| self.ask(&mut books, 0, around))
    }

    /// Ends it: what is unspent goes back, if anything is to be said of it.
    pub fn close(&self, around: &Around) -> Option<SliceRequest> {
        let mut books = self.books();
        books.is_retired = true;
        let balance = self.balance.load(Ordering::Acquire);
        let is_out = balance > 0 || books.spent(balance) > books.reported || books.owes();
        is_out.then(|| self.settle(&mut books, around))
    }

    fn settle(&self, books: &mut Books, around: &Around) -> SliceRequest {
        self.until.store(0, Ordering::Release);
        self.ask(books, 0, around)
    }

    /// Makes a question: for all who wait, where less than `least` is of no use, and for as much as is
    /// being spent.
    fn ask(&self, books: &mut Books, least: u64, around: &Around) -> SliceRequest {
        let span_before = books.span;
        let bucket = books.bucket(around);
        let is_another = span_before.is_some() && span_before != books.span;
        let is_over = is_another || around.now.as_nanos() >= self.until.load(Ordering::Acquire);
        let rest = if is_over || least > 0 {
            let rest = self.balance.swap(0, Ordering::AcqRel);
            books.returned += rest;
            // What was leased of a window that is over goes nowhere.
            Rest::Returned(if is_another { 0 } else { rest })
        } else {
            Rest::Kept(self.balance.load(Ordering::Acquire))
        };
        // Who sees it has taken what they took behind that count.
        self.asking.store(true, Ordering::Release);
        let kept = match rest {
            Rest::Kept(kept) => kept,
            Rest::Returned(_) => 0,
        };
        let spent = books.spent(kept);
        let ahead = books.ahead(spent, kept, around);
        let needed = books.asks(spent, around).max(least).max(ahead);
        // Who has nothing left and is not waited for wants nothing.
        let wanted = if is_over && least == 0 { 0 } else { needed };
        let away = books.away(around);
        // Who owes much says so first, and asks when all others have had the time to.
        books.says_first = books.owes_much(&away, around);
        let (wanted, least) = if books.says_first { (0, 0) } else { (wanted, least) };
        books.question += 1;
        books.asked_for = wanted;
        SliceRequest {
            key: self.key,
            bucket,
            account: self.account,
            question: books.question,
            spent,
            rest,
            wanted,
            least,
            away,
        }
    }

    /// What came of a question that was sent at `sent`.
    pub fn answer(
        &self,
        request: &SliceRequest,
        sent: Moment,
        answer: &Result<Leased, Unavailable>,
        now: Moment,
    ) {
        let mut books = self.books();
        match answer {
            Ok(Leased::Slice(slice)) => {
                // What was kept may have lapsed in the store before it heard that.
                if matches!(request.rest, Rest::Kept(_)) && books.may_have_lapsed(slice) {
                    books.returned += self.balance.swap(0, Ordering::AcqRel);
                }
                books.granted += slice.granted;
                books.answered(slice.granted, now);
                books.reported = request.spent;
                books.squared(request, slice, now);
                let end = match &request.bucket {
                    Bucket::Rate(..) => sent.after(SLICE_LIFE),
                    Bucket::Quota(_, span, _) => sent.after(span.end.since(slice.now)),
                };
                // Under other terms what was given lapses, and goes back with the next question; so does what
                // was given before the store knew what the share has spent since.
                let is_current = books.fill.is(&request.bucket) && !books.owes();
                let is_full = slice.granted >= request.wanted;
                let in_hand = slice.granted + self.balance.load(Ordering::Acquire);
                let low = if is_current && is_full { books.low(slice, in_hand) } else { 0 };
                self.low.store(low, Ordering::Relaxed);
                self.left.store(slice.left, Ordering::Relaxed);
                let end = if is_current { end.as_nanos() } else { 0 };
                self.until.store(end, Ordering::Release);
                self.balance.fetch_add(slice.granted, Ordering::AcqRel);
                if is_current && !is_full {
                    books.rest(request, slice, now);
                }
                if books.says_first {
                    books.rest_for_others(slice, now);
                }
            }
            Ok(Leased::OtherWindow(time)) => {
                // What was leased of a window that is over goes nowhere.
                books.returned += self.balance.swap(0, Ordering::AcqRel);
                books.turn_to(*time, now);
                books.answered(0, now);
            }
            Err(_away) => books.answered(0, now),
        }
        books.asked_for = 0;
        self.has_missed.store(answer.is_err(), Ordering::Release);
        self.asking.store(false, Ordering::Release);
        self.answers.fetch_add(1, Ordering::AcqRel);
        self.answered.notify_waiters();
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two looks, where there are not too many purses for that: else a request asks when it comes.
const RENEWED_BEFORE: Duration = Duration::from_millis(120);

/// While the store is away.
const PROBED_AGAIN_AFTER: Duration = Duration::from_millis(200);
