//! The same rules as they are said, looking at every pair: slow, and easy to believe. Histories by
//! chance are checked both ways.

use super::check::{Rule, check};
use super::{Answer, Change, History, Kind, Outcome, Request};

/// The places of the requests that violate a rule.
fn violations(history: &History, rule: Rule, slack: u64) -> Vec<usize> {
    let places = 0..history.requests.len();
    places.filter(|it| violates(history, &history.requests[*it], rule, slack)).collect()
}

fn violates(history: &History, request: &Request, rule: Rule, slack: u64) -> bool {
    let is_let_in = request.outcome == Outcome::LetIn;
    let mut withdrawals = withdrawals(history, request.key, slack);
    match rule {
        Rule::R0 => is_let_in && births(history, request.key).all(|it| it.begun > request.ended),
        Rule::R1 => {
            let was_minted = births(history, request.key).any(|it| it.begun <= request.ended);
            is_let_in && was_minted && withdrawals.any(|it| it.holds(request))
        }
        Rule::R2 => {
            let was_minted = births(history, request.key).any(|it| it.begun <= request.ended);
            let is_answered = withdrawals.any(|it| it.is_answered_before(request));
            let was_refused = history.requests.iter().any(|it| {
                let counts = it.gateway == request.gateway
                    || self::withdrawals(history, it.key, slack).any(|it| it.holds(request));
                counts
                    && it.key == request.key
                    && is_refused_as_withdrawn(history, it, slack)
                    && it.ended < request.begun
            });
            is_let_in && was_minted && is_answered && was_refused
        }
        Rule::R3 => {
            request.outcome == Outcome::Refused
                && is_minted_before(history, request)
                && withdrawals.all(|it| it.from > request.ended)
        }
    }
}

fn is_refused_as_withdrawn(history: &History, request: &Request, slack: u64) -> bool {
    request.outcome == Outcome::Refused
        && is_minted_before(history, request)
        && withdrawals(history, request.key, slack).any(|it| it.from <= request.ended)
}

fn is_minted_before(history: &History, request: &Request) -> bool {
    let mut births = births(history, request.key);
    births.any(|it| is_promise(&it.answer) && it.ended < request.begun)
}

fn is_promise(answer: &Answer) -> bool {
    !matches!(answer, Answer::Unknown | Answer::NotHeld)
}

/// All changes by which a key comes to be.
fn births(history: &History, key: u32) -> impl Iterator<Item = &Change> {
    history.changes.iter().filter(move |it| match it.kind {
        Kind::Mint { .. } => it.key == key,
        Kind::Rotate { successor, .. } => successor == Some(key),
        Kind::Revoke => false,
    })
}

/// A change by which a key is withdrawn: from when on it may be, and from when on it is.
struct Withdrawal {
    from: u64,
    by: u64,
    answer: Answer,
}

impl Withdrawal {
    fn is_answered_before(&self, request: &Request) -> bool {
        is_promise(&self.answer) && self.by < request.begun
    }

    fn holds(&self, request: &Request) -> bool {
        let is_named =
            matches!(&self.answer, Answer::Unconfirmed(them) if them.contains(&request.gateway));
        self.is_answered_before(request) && !is_named
    }
}

fn withdrawals(history: &History, key: u32, slack: u64) -> impl Iterator<Item = Withdrawal> {
    let own = history.changes.iter().filter(move |it| it.key == key);
    own.filter_map(move |it| {
        let (from, by, answer) = match it.kind {
            Kind::Mint { expires: None } => return None,
            Kind::Mint { expires: Some(at) } => (at - slack, at + slack, Answer::Complete),
            Kind::Revoke | Kind::Rotate { overlap: 0, .. } => {
                (it.begun, it.ended, it.answer.clone())
            }
            Kind::Rotate { overlap, .. } => {
                (it.begun + overlap - slack, it.ended + overlap + slack, it.answer.clone())
            }
        };
        Some(Withdrawal { from, by, answer })
    })
}

/// Numbers that look as if by chance, the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn span(&mut self) -> (u64, u64) {
        let begun = 10 + self.below(60);
        (begun, begun + 1 + self.below(12))
    }

    fn history(&mut self) -> History {
        let named = |it: usize| format!("{it}");
        let mut history = History {
            gateways: (0..3).map(named).collect(),
            keys: (0..3).map(named).collect(),
            ..History::default()
        };
        for _ in 0..self.below(7) {
            let change = self.change();
            history.changes.push(change);
        }
        for _ in 0..self.below(14) {
            let ((begun, ended), key) = (self.span(), self.key());
            let all = [Outcome::LetIn, Outcome::LetIn, Outcome::Refused, Outcome::Unavailable];
            let outcome = all[usize::try_from(self.below(4)).unwrap()];
            let gateway = u16::try_from(self.below(3)).unwrap();
            history.requests.push(Request { key, gateway, begun, ended, outcome });
        }
        history
    }

    fn change(&mut self) -> Change {
        let (begun, ended) = self.span();
        let kind = match self.below(6) {
            0 | 1 => Kind::Mint { expires: None },
            2 => Kind::Mint { expires: Some(ended + self.below(30)) },
            3 => Kind::Rotate { successor: Some(self.key()), overlap: self.below(3) * 10 },
            _ => Kind::Revoke,
        };
        let answer = match self.below(5) {
            0 | 1 => Answer::Complete,
            2 => Answer::NotHeld,
            3 => Answer::Unconfirmed(vec![u16::try_from(self.below(3)).unwrap()]),
            _ => Answer::Unknown,
        };
        Change { key: self.key(), kind, begun, ended, answer }
    }

    fn key(&mut self) -> u32 {
        u32::try_from(self.below(3)).unwrap()
    }
}

#[test]
fn the_quick_check_finds_what_the_slow_one_finds() {
    let mut chance = Chance(7);
    let mut found = [0; 4];
    for _ in 0..30_000 {
        let history = chance.history();
        let verdict = check(&history, SLACK);
        for (count, rule) in found.iter_mut().zip([Rule::R0, Rule::R1, Rule::R2, Rule::R3]) {
            let quick = verdict.violations.iter().filter(|it| it.rule == rule);
            let mut quick: Vec<usize> = quick.map(|it| it.request).collect();
            quick.sort_unstable();
            let slow = violations(&history, rule, SLACK);
            assert_eq!(quick, slow, "{rule:?} in {history:?}");
            *count += slow.len();
        }
    }
    assert!(found.iter().all(|it| *it > 300), "hardly anything was tried: {found:?}");
}

const SLACK: u64 = 2;
