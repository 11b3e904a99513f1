//! Leases slices of limits from the store, for all purses of this gateway, and knows whether it
//! answers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::join_all;
use tokio::runtime::Handle;

use crate::clock::Moment;
use crate::config::Scope;
use crate::gate::Pass;
use crate::gate::around::{Around, Reach};
use crate::gate::purse::Purse;
use crate::gate::supply::Fill;
use crate::gate::swept::{Asking, Swept};
use crate::gate::taking::{Source, Spent};
use crate::key::text::KeyId;
use crate::store::slices::{Leased, SliceRequest};
use crate::store::{Store, Unavailable};
use crate::tasks::Tasks;

/// The purses of this gateway, and the way to the store.
#[derive(Debug)]
pub struct Leasing {
    store: Store,
    background: (Tasks, Handle),
    scope: Scope,
    fellows: AtomicU32,
    /// Whether the parts of the store answer.
    silences: [Silence; SHARDS_MAX],
    /// When it was last said that one does not, and whether that was taken back.
    said: AtomicU64,
    is_said: AtomicBool,
    accounts: AtomicU64,
    /// In the order in which they are looked at.
    purses: Mutex<VecDeque<Arc<Purse>>>,
    counts: Counts,
}

/// Whether a part of the store does not answer, since when, and when it was last tried.
#[derive(Debug, Default)]
struct Silence {
    holds: AtomicBool,
    since: AtomicU64,
    tried: AtomicU64,
}

/// What it did so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Questions to the store.
    pub asked: AtomicU64,
    /// Those that were not answered.
    pub unanswered: AtomicU64,
    /// Tokens that were spent of a share, without the store.
    pub of_share: AtomicU64,
}

impl Leasing {
    /// Nothing is leased yet. No two gateways have the same `first_account`.
    pub fn new(
        store: Store,
        background: (Tasks, Handle),
        scope: Scope,
        first_account: u64,
    ) -> Self {
        Self {
            store,
            background,
            scope,
            fellows: AtomicU32::new(1),
            silences: Default::default(),
            said: AtomicU64::new(0),
            is_said: AtomicBool::new(false),
            accounts: AtomicU64::new(first_account),
            purses: Mutex::default(),
            counts: Counts::default(),
        }
    }

    /// What it did so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
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
        self.purses().push_back(Arc::clone(&purse));
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
        let silence = self.silence(key);
        let is_silent = silence.holds.load(Ordering::Acquire);
        let reach = if is_silent { Reach::Silent } else { Reach::Answering };
        let silent_since = Moment::from_nanos(silence.since.load(Ordering::Relaxed));
        let Pass { now, time, patience } = *pass;
        Around { now, time, fellows, reach, silent_since, patience }
    }

    /// How many requests of a key may be under way here, of `max` over all gateways: an equal share,
    /// and at least one.
    pub fn share_in_flight(&self, max: u32) -> u32 {
        if self.leases_rates() { (max / self.fellows.load(Ordering::Relaxed)).max(1) } else { max }
    }

    /// Counts what was spent without the store.
    pub fn count(&self, spent: &Spent) {
        if let Source::Share(_) = spent.source {
            self.counts.of_share.fetch_add(spent.tokens, Ordering::Relaxed);
        }
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
        let mut question = Question { purse, request, sent: Moment::now(), is_answered: false };
        self.counts.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.store.lease_slice(question.request.clone()).await;
        match &answer {
            Ok(_) => self.hear(purse),
            Err(fault) => {
                self.counts.unanswered.fetch_add(1, Ordering::Relaxed);
                self.miss(purse, fault, question.sent);
            }
        }
        question.answer(&answer);
    }

    /// Of all who would ask a part of the store that does not answer, one does now and then.
    fn may_send(&self, purse: &Purse, now: Moment) -> bool {
        let Silence { holds, tried, .. } = self.silence(purse.key());
        if !holds.load(Ordering::Acquire) {
            return true;
        }
        let last = tried.load(Ordering::Relaxed);
        let is_due = now.since(Moment::from_nanos(last)) >= TRIED_AGAIN_AFTER;
        let (order, other) = (Ordering::AcqRel, Ordering::Relaxed);
        is_due && tried.compare_exchange(last, now.as_nanos(), order, other).is_ok()
    }

    fn hear(&self, purse: &Purse) {
        if self.silence(purse.key()).holds.swap(false, Ordering::AcqRel)
            && !self.is_cut_off()
            && self.is_said.swap(false, Ordering::AcqRel)
        {
            tracing::info!("the store answers for limits again: they are exact again");
        }
    }

    /// A question was not answered, or not in time: nobody waits again before one is. A file is slow
    /// at most, and who has it has no share of it.
    fn miss(&self, purse: &Purse, fault: &Unavailable, asked_at: Moment) {
        let silence = self.silence(purse.key());
        if !silence.holds.load(Ordering::Acquire) {
            silence.since.store(asked_at.as_nanos(), Ordering::Relaxed);
        }
        let is_news = !silence.holds.swap(self.has_shares(), Ordering::AcqRel);
        let (now, said) = (Moment::now(), Moment::from_nanos(self.said.load(Ordering::Relaxed)));
        if is_news && now.since(said) >= SAID_AGAIN_AFTER {
            self.said.store(now.as_nanos(), Ordering::Relaxed);
            self.is_said.store(true, Ordering::Release);
            let gateways = self.fellows.load(Ordering::Relaxed);
            if self.has_shares() {
                tracing::warn!(
                    %fault,
                    gateways,
                    "the store does not answer for limits: this gateway goes on with its share of each"
                );
            } else {
                tracing::warn!(%fault, "a quota cannot be counted: who has to be gets 503 meanwhile");
            }
        }
    }

    fn has_shares(&self) -> bool {
        match &self.store {
            Store::Redis(_) => true,
            Store::Embedded(_) => false,
        }
    }

    /// How long a request waits for a slice.
    pub fn patience(&self) -> Duration {
        if self.has_shares() { SLICE_WAIT_MAX } else { FILE_WAIT_MAX }
    }

    /// Whether the answer that somebody waited for was one. Without one the share decides; where there
    /// are no shares, nobody does.
    pub fn check_answer(&self, purse: &Purse) -> Result<(), Unavailable> {
        if self.has_shares() || !purse.has_missed() {
            return Ok(());
        }
        Err(Unavailable("the last question was not answered".to_owned()))
    }

    /// Whether the store owes this purse an answer for longer than anybody may wait, or the last one was
    /// none.
    pub fn is_late(&self, purse: &Purse, now: Moment) -> bool {
        purse.has_missed() || purse.is_unanswered_for(now) >= self.patience()
    }

    /// The same for who has waited as long as they may.
    pub fn give_up(&self, purse: &Purse, now: Moment) -> Result<(), Unavailable> {
        // Others may have had what came meanwhile.
        if self.has_shares() && purse.is_unanswered_for(now) < self.patience() {
            return Ok(());
        }
        let silence = Unavailable(format!("no answer for {} ms", self.patience().as_millis()));
        self.miss(purse, &silence, now.before(self.patience()));
        if self.has_shares() { Ok(()) } else { Err(silence) }
    }

    /// Whether this gateway goes on with its share of some limits.
    pub fn is_cut_off(&self) -> bool {
        self.silences.iter().any(|it| it.holds.load(Ordering::Relaxed))
    }

    fn silence(&self, key: KeyId) -> &Silence {
        let [first, ..] = &self.silences;
        self.silences.get(self.store.limits_shard(key)).unwrap_or(first)
    }

    /// A look at the next purses: what nobody spends goes back, and what is spent is renewed. Those that
    /// were given up are handed out.
    pub fn sweep(self: &Arc<Self>, pass: &Pass) -> Vec<Arc<Purse>> {
        let seen = self.store.sight().watch();
        let gateways = u32::try_from(seen.borrow().entries.len()).unwrap_or(u32::MAX);
        // Of a new life of the store nothing was seen yet.
        if gateways > 0 {
            self.fellows.store(gateways, Ordering::Relaxed);
        }
        let next: Vec<Arc<Purse>> = {
            let mut purses = self.purses();
            let few = purses.len().div_ceil(LOOKS_IN_A_ROUND).min(LOOKED_AT_ONCE);
            purses.drain(..few).collect()
        };
        let mut look = Look::default();
        let (mut retired, mut done, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for purse in next {
            let shard = self.store.limits_shard(purse.key());
            match look.at(&purse, shard, &self.around(purse.key(), pass)) {
                Swept::Used if look.is_over() => left.push(purse),
                Swept::Used => done.push(purse),
                Swept::Asks(question) => {
                    self.send(&purse, question);
                    done.push(purse);
                }
                Swept::Retired => retired.push(purse),
            }
        }
        // Those that could not ask come before the others the next time round.
        self.purses().extend(left.into_iter().chain(done));
        retired
    }

    /// Whether nothing is leased.
    pub fn is_empty(&self) -> bool {
        self.purses().is_empty()
    }

    /// Gives back everything that is unspent, and waits until the store knows.
    pub async fn return_all(&self, pass: &Pass) {
        let purses = std::mem::take(&mut *self.purses());
        for some in Vec::from(purses).chunks(RETURNED_AT_ONCE) {
            join_all(some.iter().map(|purse| self.return_one(purse, pass))).await;
        }
    }

    async fn return_one(&self, purse: &Purse, pass: &Pass) {
        // What is on its way may bring more that is to go back; who hears nothing does not wait.
        drop(tokio::time::timeout(self.patience(), purse.unasked()).await);
        if let Some(question) = purse.close(&self.around(purse.key(), pass)) {
            self.ask(purse, question).await;
        }
    }

    fn purses(&self) -> MutexGuard<'_, VecDeque<Arc<Purse>>> {
        self.purses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One look at some purses.
#[derive(Default)]
struct Look {
    probed: [bool; SHARDS_MAX],
    asked: usize,
}

impl Look {
    /// Of a part of the store that does not answer one asks; else so many with one look as is good, and
    /// the others with another.
    fn at(&mut self, purse: &Purse, shard: usize, around: &Around) -> Swept {
        if around.reach == Reach::Silent {
            let probed = self.probed.get_mut(shard).is_none_or(|it| std::mem::replace(it, true));
            let question = if probed { None } else { purse.probe(around) };
            return question.map_or_else(|| purse.sweep(around, Asking::Later), Swept::Asks);
        }
        let swept = purse.sweep(around, if self.is_over() { Asking::Later } else { Asking::Now });
        self.asked += usize::from(matches!(swept, Swept::Asks(_)));
        swept
    }

    /// Whether so many have asked that the others have to wait for the next one.
    fn is_over(&self) -> bool {
        self.asked >= ASKED_AT_ONCE
    }
}

/// A question on its way. Whatever becomes of it, somebody waits for an answer.
struct Question<'a> {
    purse: &'a Purse,
    request: SliceRequest,
    sent: Moment,
    is_answered: bool,
}

impl Question<'_> {
    fn answer(&mut self, answer: &Result<Leased, Unavailable>) {
        self.is_answered = true;
        self.purse.answer(&self.request, self.sent, answer, Moment::now());
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.answer(&Err(Unavailable("the question was dropped".to_owned())));
        }
    }
}

/// So many parts of a store may answer each by itself.
const SHARDS_MAX: usize = 16;

/// For a slice that a server gives, and for one that is written to a disk first.
const SLICE_WAIT_MAX: Duration = Duration::from_millis(50);
const FILE_WAIT_MAX: Duration = Duration::from_millis(500);

const SAID_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// How often a part of the store is tried that does not answer.
const TRIED_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// With so many looks all purses are looked at: many questions at once would hold up those of requests.
const LOOKS_IN_A_ROUND: usize = 10;

/// How many purses one look is at: with more than these, a round takes more of them.
const LOOKED_AT_ONCE: usize = 1_638;

/// How many purses ask with one look: a request whose question is behind theirs has the time.
const ASKED_AT_ONCE: usize = 64;

/// How many questions are on their way at once at the end.
const RETURNED_AT_ONCE: usize = 256;
