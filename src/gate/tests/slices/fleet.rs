//! Gateways that lease from one bucket, on a clock that moves when it is told to.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::clock::{Moment, Timestamp};
use crate::gate::around::{Around, Patience, Reach};
use crate::gate::purse::Purse;
use crate::gate::supply::Fill;
use crate::gate::swept::{Asking, Swept};
use crate::gate::taking::{Source, Taking};
use crate::gate::tests::slices::members::{
    By, Gateway, Letter, Limit, Loses, Spell, account, fill, purse,
};
use crate::key::text::KeyId;
use crate::store::Unavailable;
use crate::store::redis::Redis;
use crate::store::slices::{Away, Bucket, Leased, Rest, SliceRequest};

/// Gateways, and what is on its way between them and the store.
pub struct Fleet<'a> {
    runtime: &'a Runtime,
    store: &'a Redis,
    key: KeyId,
    limit: Limit,
    gateways: Vec<Gateway>,
    /// In microseconds since the beginning.
    now: u64,
    /// What the store's clock says then.
    began: Timestamp,
    order: u64,
    /// By when it arrives.
    mail: BTreeMap<(u64, u64), Letter>,
    admitted: Vec<u64>,
    admitted_by: Vec<By>,
    spells: Vec<Spell>,
    swept: u64,
    /// What others spend of a quota, as soon as it is this time.
    elsewhere: Vec<(u64, u64)>,
    /// When the store's clock is set forward, and by how much.
    step: (u64, u64),
    /// When the last window began, and how much was out then.
    turned: (Timestamp, u64),
}

impl<'a> Fleet<'a> {
    pub fn new(runtime: &'a Runtime, store: &'a Redis, limit: Limit) -> Self {
        static KEYS: AtomicU64 = AtomicU64::new(0);
        let key = KEYS.fetch_add(1, Ordering::Relaxed);
        let key: KeyId = format!("{key:012}").parse().unwrap();
        let gateways = [970, 1_000, 1_030].map(|pace| Gateway {
            purse: purse(key, limit),
            reach: Reach::Answering,
            pace,
            ahead: 0,
            cut_until: 0,
            heard: None,
            in_hand: 0,
            is_behind: false,
            waiting: Vec::new(),
            loses: Loses::Nothing,
            delay: 300,
            way: HALF_WAY,
            stalled_until: 0,
        });
        Self {
            runtime,
            store,
            key,
            limit,
            gateways: gateways.into(),
            now: 0,
            began: MORNING,
            order: 0,
            mail: BTreeMap::new(),
            admitted: Vec::new(),
            admitted_by: Vec::new(),
            spells: Vec::new(),
            swept: 0,
            elsewhere: Vec::new(),
            step: (0, 0),
            turned: (MORNING, 0),
        }
    }

    /// Begins at another time; the store's clock is set forward later on, and the gateways' ideas of it
    /// are so many milliseconds ahead.
    pub fn at(mut self, began: Timestamp, step: (u64, u64), ahead: [i64; 3]) -> Self {
        (self.began, self.step) = (began, step);
        for (gateway, millis) in self.gateways.iter_mut().zip(ahead) {
            gateway.ahead = millis * 1_000;
        }
        self
    }

    /// When requests were let in, in microseconds.
    pub fn admitted(&self) -> &[u64] {
        &self.admitted
    }

    /// By whom.
    pub fn admitted_by(&self) -> &[By] {
        &self.admitted_by
    }

    /// When gateways went on without the store.
    pub fn spells(&self) -> &[Spell] {
        &self.spells
    }

    /// How much was in the hands of gateways, or on its way to them, when the last window began.
    pub fn left_over(&self) -> u64 {
        self.turned.1
    }

    /// Has others spend so much of a quota as soon as it is each of these times.
    pub fn spend_elsewhere(&mut self, tokens: u64, times: impl IntoIterator<Item = u64>) {
        self.elsewhere = times.into_iter().map(|it| (it, tokens)).collect();
        self.elsewhere.sort_unstable_by_key(|it| Reverse(it.0));
        self.pass(0);
    }

    fn spent_elsewhere(&mut self, tokens: u64) {
        let Fill::Quota(quota) = fill(self.limit) else { return };
        let bucket = Bucket::Quota(quota, quota.window.at(self.time()), 0);
        let (account, question, rest) = (account(), 1, Rest::Returned(0));
        let away = Away { spent: tokens, ..Away::default() };
        let key = self.key;
        let (spent, wanted, least) = (0, 0, 0);
        let request =
            SliceRequest { key, bucket, account, question, spent, rest, wanted, least, away };
        let leased = self.store.lease_slice_at(&request, Some(self.time()));
        assert!(matches!(self.runtime.block_on(leased), Ok(Leased::Slice(_))));
        self.turned = (self.time(), self.gateways.iter().map(|it| it.in_hand).sum());
        self.gateways.iter_mut().for_each(|it| it.is_behind = true);
    }

    pub fn crash(&mut self, gateway: usize) {
        let (key, limit) = (self.key, self.limit);
        let it = &mut self.gateways[gateway];
        (it.purse, it.heard, it.in_hand) = (purse(key, limit), None, 0);
        it.waiting.clear();
        self.reach(gateway, Reach::Answering);
    }

    pub fn lose_question(&mut self, gateway: usize) {
        self.gateways[gateway].loses = Loses::Question;
    }

    pub fn lose_answer(&mut self, gateway: usize) {
        self.gateways[gateway].loses = Loses::Answer;
    }

    pub fn delay(&mut self, gateway: usize, millis: u64) {
        self.gateways[gateway].delay = millis * 1_000;
    }

    /// Its next question is carried out so late; meanwhile it is given up.
    pub fn delay_question(&mut self, gateway: usize, millis: u64) {
        self.gateways[gateway].way = millis * 1_000;
    }

    pub fn stall(&mut self, gateway: usize, millis: u64) {
        self.gateways[gateway].stalled_until = self.now + millis * 1_000;
    }

    /// It does not reach the store for so long.
    pub fn part(&mut self, gateway: usize, millis: u64) {
        self.gateways[gateway].cut_until = self.now + millis * 1_000;
    }

    /// Nobody reaches the store.
    pub fn cut_off(&mut self) {
        self.gateways.iter_mut().for_each(|it| it.cut_until = u64::MAX);
    }

    pub fn restore(&mut self) {
        self.gateways.iter_mut().for_each(|it| it.cut_until = 0);
    }

    pub fn request(&mut self, gateway: usize, count: u32) {
        (0..count).for_each(|_| self.take(gateway, self.now, Patience::Fresh));
    }

    /// Lets time pass: what is on its way arrives when it does.
    pub fn pass(&mut self, millis: u64) {
        let end = self.now + millis * 1_000;
        loop {
            let mail = self.mail.first_key_value().map_or(u64::MAX, |it| it.0.0);
            let elsewhere = self.elsewhere.last().map_or(u64::MAX, |it| it.0);
            let next = mail.min(self.swept + SWEPT_EVERY).min(elsewhere);
            if next > end {
                break;
            }
            self.now = next;
            if let Some((_, tokens)) = self.elsewhere.pop_if(|it| it.0 == next) {
                self.spent_elsewhere(tokens);
                continue;
            }
            let due = if mail == next { self.mail.pop_first() } else { None };
            if let Some((_, letter)) = due {
                self.deliver(letter);
            } else {
                self.swept = next;
                (0..self.gateways.len()).for_each(|it| self.sweep(it));
            }
        }
        self.now = end;
    }

    fn around(&self, gateway: usize, patience: Patience) -> Around {
        let it = &self.gateways[gateway];
        let spell = self.spells.iter().rfind(|it| it.gateway == gateway).map_or(0, |it| it.from);
        Around {
            silent_since: self.moment(gateway, spell.saturating_sub(PATIENCE)),
            now: self.moment(gateway, self.now),
            time: Timestamp::from_micros(self.time().as_micros() + it.ahead),
            fellows: u32::try_from(self.gateways.len()).unwrap(),
            reach: it.reach,
            patience,
        }
    }

    /// The store's clock.
    fn time(&self) -> Timestamp {
        let (at, by) = self.step;
        self.began.after(Duration::from_micros(self.now + if self.now < at { 0 } else { by }))
    }

    fn is_cut_off(&self, gateway: usize) -> bool {
        self.now < self.gateways[gateway].cut_until
    }

    /// Whether it goes on with its share from now on.
    fn reach(&mut self, gateway: usize, reach: Reach) {
        let it = &mut self.gateways[gateway];
        let before = std::mem::replace(&mut it.reach, reach);
        if before != reach && reach == Reach::Silent {
            let (from, remained, until) = (self.now, it.heard, None);
            self.spells.push(Spell { gateway, from, until, remained });
        }
        let last = self.spells.iter_mut().rfind(|it| it.gateway == gateway);
        if let Some(last) = last.filter(|_| before != reach && reach == Reach::Answering) {
            last.until = Some(self.now);
        }
    }

    fn moment(&self, gateway: usize, now: u64) -> Moment {
        Moment::from_nanos((START + now) * self.gateways[gateway].pace)
    }

    fn take(&mut self, gateway: usize, since: u64, patience: Patience) {
        let around = self.around(gateway, patience);
        let holder = Arc::clone(&self.gateways[gateway].purse);
        let (taking, question) = holder.take(1, || fill(self.limit), &around);
        if let Some(question) = question {
            self.send(gateway, &holder, question);
        }
        match taking {
            Taking::Taken(spent) => {
                let it = &mut self.gateways[gateway];
                let is_slice = matches!(spent.source, Source::Slice(_));
                it.in_hand -= u64::from(is_slice);
                self.admitted.push(self.now);
                self.admitted_by.push(By { gateway, is_behind: is_slice && it.is_behind });
                if let Some(question) = holder.tend(|| fill(self.limit), || around) {
                    self.send(gateway, &holder, question);
                }
            }
            Taking::Wait(answers) => self.gateways[gateway].waiting.push((since, answers)),
            Taking::Refused(_) | Taking::Unknown => {}
            Taking::Retired => {
                let it = &mut self.gateways[gateway];
                (it.purse, it.in_hand) = (purse(self.key, self.limit), 0);
                self.take(gateway, since, patience);
            }
        }
    }

    fn send(&mut self, gateway: usize, purse: &Arc<Purse>, question: SliceRequest) {
        let is_cut_off = self.is_cut_off(gateway);
        let it = &mut self.gateways[gateway];
        it.in_hand = match question.rest {
            Rest::Kept(kept) => kept,
            Rest::Returned(_) => 0,
        };
        let loses = std::mem::replace(&mut it.loses, Loses::Nothing);
        let way = std::mem::replace(&mut it.way, HALF_WAY);
        let late = way >= GIVEN_UP_AFTER && !is_cut_off;
        let is_lost = is_cut_off || late || loses == Loses::Question;
        let at = if is_lost { self.now + GIVEN_UP_AFTER } else { self.now + way };
        let answer = is_lost.then(|| Err(Unavailable("lost".to_owned())));
        if loses == Loses::Answer {
            it.delay = u64::MAX;
        }
        let sent = self.now;
        let purse = Arc::clone(purse);
        if late {
            let (purse, question) = (Arc::clone(&purse), question.clone());
            self.post(sent + way, Letter { gateway, purse, question, sent, late, answer: None });
        }
        self.post(at, Letter { gateway, purse, question, sent, late: false, answer });
    }

    fn post(&mut self, at: u64, letter: Letter) {
        self.order += 1;
        self.mail.insert((at, self.order), letter);
    }

    fn deliver(&mut self, mut letter: Letter) {
        let gateway = letter.gateway;
        match letter.answer.take() {
            None => {
                let leased = self.store.lease_slice_at(&letter.question, Some(self.time()));
                let leased = self.runtime.block_on(leased);
                assert!(leased.is_ok(), "{leased:?}");
                if letter.late {
                    return;
                }
                let delay = std::mem::replace(&mut self.gateways[gateway].delay, 300);
                let is_lost = delay == u64::MAX;
                letter.answer =
                    Some(if is_lost { Err(Unavailable("lost".into())) } else { leased });
                let after = if is_lost { GIVEN_UP_AFTER } else { delay };
                self.post(self.now + after, letter);
            }
            Some(answer) => {
                let (sent, now) =
                    (self.moment(gateway, letter.sent), self.moment(gateway, self.now));
                letter.purse.answer(&letter.question, sent, &answer, now);
                if Arc::ptr_eq(&letter.purse, &self.gateways[gateway].purse) {
                    self.hear(gateway, &answer);
                }
            }
        }
    }

    fn hear(&mut self, gateway: usize, answer: &Result<Leased, Unavailable>) {
        let now = self.now;
        if let Ok(Leased::Slice(slice)) = answer {
            let it = &mut self.gateways[gateway];
            (it.heard, it.in_hand) = (Some((slice.left, now)), it.in_hand + slice.granted);
            it.is_behind = slice.now < self.turned.0;
            self.turned.1 += if it.is_behind { slice.granted } else { 0 };
        }
        // Who only loses a question asks again: else it would spend its share beside what the others do.
        let is_silent = answer.is_err() && self.is_cut_off(gateway);
        self.reach(gateway, if is_silent { Reach::Silent } else { Reach::Answering });
        for (since, _) in std::mem::take(&mut self.gateways[gateway].waiting) {
            let patience = if now - since >= PATIENCE { Patience::Over } else { Patience::Fresh };
            // Who has waited too long was refused meanwhile.
            if patience == Patience::Fresh {
                self.take(gateway, since, patience);
            }
        }
    }

    fn sweep(&mut self, gateway: usize) {
        if self.now < self.gateways[gateway].stalled_until {
            return;
        }
        let around = self.around(gateway, Patience::Over);
        let holder = Arc::clone(&self.gateways[gateway].purse);
        let is_silent = around.reach == Reach::Silent;
        if let Some(question) = is_silent.then(|| holder.probe(&around)).flatten() {
            self.send(gateway, &holder, question);
        }
        let asking = if is_silent { Asking::Later } else { Asking::Now };
        match holder.sweep(&around, asking) {
            Swept::Used => {}
            Swept::Asks(question) => self.send(gateway, &holder, question),
            Swept::Retired => {
                let it = &mut self.gateways[gateway];
                (it.purse, it.in_hand) = (purse(self.key, self.limit), 0);
            }
        }
        let is_over = |it: &(u64, u64)| self.now - it.0 >= PATIENCE;
        if self.gateways[gateway].waiting.iter().any(is_over) && self.is_cut_off(gateway) {
            self.gateways[gateway].waiting.clear();
            self.reach(gateway, Reach::Silent);
        }
    }
}

/// In UTC; so late that nothing of it has expired by the clock of the server.
pub const MORNING: Timestamp = Timestamp::from_micros(4_000_000_000_000_000);
/// Nothing is at the beginning of time.
const START: u64 = 1_000_000_000;
const SWEPT_EVERY: u64 = 50_000;
const HALF_WAY: u64 = 150;
const GIVEN_UP_AFTER: u64 = 500_000;
const PATIENCE: u64 = 50_000;
