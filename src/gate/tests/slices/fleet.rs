//! Gateways that lease from one bucket, on a clock that moves when it is told to.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::clock::{Moment, Timestamp};
use crate::config::Config;
use crate::config::sources::load;
use crate::gate::around::{Around, Patience, Reach};
use crate::gate::purse::{Purse, Settling, Swept};
use crate::gate::supply::Fill;
use crate::gate::taking::Taking;
use crate::key::text::KeyId;
use crate::store::Unavailable;
use crate::store::redis::Redis;
use crate::store::slices::{Leased, SliceRequest};

/// What a key may spend.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// So many a second, and so many at once.
    Rate(u32, u32),
    /// So many a day.
    Quota(u64),
}

/// Gateways, and what is on its way between them and the store.
pub struct Fleet<'a> {
    runtime: &'a Runtime,
    store: &'a Redis,
    key: KeyId,
    limit: Limit,
    gateways: Vec<Gateway>,
    /// In microseconds since the beginning.
    now: u64,
    order: u64,
    mail: BinaryHeap<Reverse<(u64, u64, Letter)>>,
    admitted: Vec<u64>,
    swept: u64,
    away: bool,
}

struct Gateway {
    purse: Arc<Purse>,
    reach: Reach,
    /// Its clock runs so many thousandths of the true one.
    pace: u64,
    /// Who waits, since when, for how many answers.
    waiting: Vec<(u64, u64)>,
    loses: Loses,
    delay: u64,
    /// How long its next question is on its way.
    way: u64,
    stalled_until: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loses {
    Nothing,
    Question,
    Answer,
}

/// A question that arrives, or an answer.
struct Letter {
    gateway: usize,
    purse: Arc<Purse>,
    question: SliceRequest,
    sent: u64,
    /// Nobody waits for its answer any more.
    late: bool,
    answer: Option<Result<Leased, Unavailable>>,
}

impl PartialEq for Letter {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Letter {}

impl PartialOrd for Letter {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Letter {
    fn cmp(&self, _other: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// A store on a server.
pub async fn open(url: &str) -> Redis {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keyward.toml");
    std::fs::write(&path, format!("[store]\nurl = {url:?}\npepper_file = \"p\"\n")).unwrap();
    let config: Config = load(Some(&path), &[], std::iter::empty()).unwrap().config;
    let store = Redis::open(&config.store).unwrap();
    store.meta().await.unwrap();
    store
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
            order: 0,
            mail: BinaryHeap::new(),
            admitted: Vec::new(),
            swept: 0,
            away: false,
        }
    }

    /// When requests were let in, in microseconds.
    pub fn admitted(&self) -> &[u64] {
        &self.admitted
    }

    pub fn crash(&mut self, gateway: usize) {
        let (key, limit) = (self.key, self.limit);
        let it = &mut self.gateways[gateway];
        (it.purse, it.reach) = (purse(key, limit), Reach::Answering);
        it.waiting.clear();
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

    /// Nobody reaches the store.
    pub fn cut_off(&mut self) {
        self.away = true;
    }

    pub fn restore(&mut self) {
        self.away = false;
    }

    pub fn request(&mut self, gateway: usize, count: u32) {
        (0..count).for_each(|_| self.take(gateway, self.now, Patience::Fresh));
    }

    /// Lets time pass: what is on its way arrives when it does.
    pub fn pass(&mut self, millis: u64) {
        let end = self.now + millis * 1_000;
        loop {
            let mail = self.mail.peek().map_or(u64::MAX, |it| it.0.0);
            let next = mail.min(self.swept + SWEPT_EVERY);
            if next > end {
                break;
            }
            self.now = next;
            let due = if mail == next { self.mail.pop() } else { None };
            if let Some(Reverse((_, _, letter))) = due {
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
        Around {
            now: self.moment(gateway, self.now),
            time: time(self.now),
            fellows: u32::try_from(self.gateways.len()).unwrap(),
            reach: it.reach,
            patience,
        }
    }

    fn moment(&self, gateway: usize, now: u64) -> Moment {
        Moment::from_nanos((START + now) * self.gateways[gateway].pace)
    }

    fn take(&mut self, gateway: usize, since: u64, patience: Patience) {
        let around = self.around(gateway, patience);
        let purse = Arc::clone(&self.gateways[gateway].purse);
        let (taking, question) = purse.take(1, || fill(self.limit), &around);
        if let Some(question) = question {
            self.send(gateway, &purse, question);
        }
        match taking {
            Taking::Taken(_) => {
                self.admitted.push(self.now);
                if let Some(question) = purse.tend(|| fill(self.limit), || around) {
                    self.send(gateway, &purse, question);
                }
            }
            Taking::Wait(answers) => self.gateways[gateway].waiting.push((since, answers)),
            Taking::Refused(_) => {}
            Taking::Retired => {
                self.gateways[gateway].purse = self::purse(self.key, self.limit);
                self.take(gateway, since, patience);
            }
        }
    }

    fn send(&mut self, gateway: usize, purse: &Arc<Purse>, question: SliceRequest) {
        let it = &mut self.gateways[gateway];
        let loses = std::mem::replace(&mut it.loses, Loses::Nothing);
        let way = std::mem::replace(&mut it.way, HALF_WAY);
        let late = way >= GIVEN_UP_AFTER && !self.away;
        let is_lost = self.away || late || loses == Loses::Question;
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
        self.mail.push(Reverse((at, self.order, letter)));
    }

    fn deliver(&mut self, mut letter: Letter) {
        let gateway = letter.gateway;
        match letter.answer.take() {
            None => {
                let leased = self.store.lease_slice_at(&letter.question, Some(time(self.now)));
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
        let it = &mut self.gateways[gateway];
        // One that is cut off by itself spends its share beside what the others do.
        let is_silent = answer.is_err() && self.away;
        it.reach = if is_silent { Reach::Silent } else { Reach::Answering };
        for (since, _) in std::mem::take(&mut it.waiting) {
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
        let purse = Arc::clone(&self.gateways[gateway].purse);
        if around.reach == Reach::Silent
            && let Some(question) = purse.probe(&around)
        {
            self.send(gateway, &purse, question);
        }
        let settling = match around.reach {
            Reach::Answering => Settling::Now,
            Reach::Silent => Settling::Later,
        };
        match purse.sweep(&around, settling) {
            Swept::Used => {}
            Swept::Settles(question) => self.send(gateway, &purse, question),
            Swept::Retired => {
                self.gateways[gateway].purse = self::purse(self.key, self.limit);
            }
        }
        let now = self.now;
        let it = &mut self.gateways[gateway];
        if self.away && it.waiting.iter().any(|(since, _)| now - since >= PATIENCE) {
            it.reach = Reach::Silent;
            it.waiting.clear();
        }
    }
}

fn purse(key: KeyId, limit: Limit) -> Arc<Purse> {
    static ACCOUNTS: AtomicU64 = AtomicU64::new(0);
    Arc::new(Purse::new(key, ACCOUNTS.fetch_add(1, Ordering::Relaxed), fill(limit)))
}

fn fill(limit: Limit) -> Fill {
    match limit {
        Limit::Rate(per_second, burst) => {
            Fill::Rate(format!("{per_second}/s burst {burst}").parse().unwrap(), None)
        }
        Limit::Quota(count) => Fill::Quota(format!("{count}/day").parse().unwrap()),
    }
}

/// A morning in UTC.
fn time(now: u64) -> Timestamp {
    let start = Timestamp::from_micros(1_800_000_000_000_000);
    start.after(Duration::from_micros(now))
}

/// Nothing is at the beginning of time.
const START: u64 = 1_000_000_000;
const SWEPT_EVERY: u64 = 50_000;
const HALF_WAY: u64 = 150;
const GIVEN_UP_AFTER: u64 = 500_000;
const PATIENCE: u64 = 50_000;
