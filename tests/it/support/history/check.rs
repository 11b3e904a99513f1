//! Holds a history to the promise: a complete answer is a barrier, and a key goes one way, from
//! absent through active to withdrawn. Every key is checked by itself, in time that grows with the
//! number of its requests and with nothing else.

use std::fmt;

use super::{Answer, Change, History, Kind, Outcome, Request};

/// What may not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// Let in with a key that nobody had minted.
    R0,
    /// Let in, though the request began after an answer by which the key was withdrawn there: a
    /// complete one, or one that does not name this gateway.
    R1,
    /// Let in after an answer by which the key was withdrawn, and after it was refused: anywhere,
    /// or here where the answer names this gateway.
    R2,
    /// Refused, though the key was minted, and nobody had begun to withdraw it.
    R3,
}

/// One time that it did happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    pub rule: Rule,
    /// A place in [`History::requests`].
    pub request: usize,
    /// How many nanoseconds after the answer the request began; for R1 and R2.
    pub late: u64,
    /// Whether the answer was complete, or named others.
    pub was_complete: bool,
}

/// What was found, in the order of the requests of each key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub violations: Vec<Violation>,
    /// How many requests were looked at.
    pub requests: usize,
}

/// Checks a history. Lapses of time are judged with `slack` nanoseconds to either side, for the
/// clocks by which they are judged are not ours.
pub fn check(history: &History, slack: u64) -> Verdict {
    let mut lives: Vec<Life<'_>> = history.keys.iter().map(|_| Life::default()).collect();
    for change in &history.changes {
        lives[change.key as usize].note(change, slack);
        if let Kind::Rotate { successor: Some(successor), .. } = change.kind {
            lives[successor as usize].note_birth(change);
        }
    }
    let mut by_key: Vec<Vec<usize>> = vec![Vec::new(); history.keys.len()];
    for (place, request) in history.requests.iter().enumerate() {
        by_key[request.key as usize].push(place);
    }
    let mut verdict = Verdict { requests: history.requests.len(), ..Verdict::default() };
    for (life, places) in lives.iter().zip(&by_key) {
        let refusals = life.refusals(places.iter().map(|it| &history.requests[*it]), history);
        for place in places {
            life.judge(*place, &history.requests[*place], &refusals, &mut verdict.violations);
        }
    }
    verdict
}

/// What is known of one key.
#[derive(Debug)]
struct Life<'a> {
    /// Before this it did not exist.
    minting: u64,
    /// From this on it does.
    minted: u64,
    /// From this on it may be withdrawn.
    withdrawing: u64,
    /// By these it is withdrawn.
    barriers: Vec<Barrier<'a>>,
}

/// From a moment on a key is withdrawn, but for some gateways.
#[derive(Debug)]
struct Barrier<'a> {
    at: u64,
    unconfirmed: &'a [u16],
}

/// When a key was first refused, in a way that can mean that it is withdrawn.
#[derive(Debug)]
struct Refusals {
    anywhere: u64,
    by_gateway: Vec<u64>,
}

impl Default for Life<'_> {
    fn default() -> Self {
        Self { minting: NEVER, minted: NEVER, withdrawing: NEVER, barriers: Vec::new() }
    }
}

impl<'a> Life<'a> {
    fn note(&mut self, change: &'a Change, slack: u64) {
        match change.kind {
            Kind::Mint { expires } => {
                self.note_birth(change);
                if let Some(expires) = expires {
                    self.withdraw(expires.saturating_sub(slack));
                    self.barriers.push(Barrier { at: expires + slack, unconfirmed: &[] });
                }
            }
            Kind::Rotate { overlap: 0, .. } | Kind::Revoke => {
                self.withdraw(change.begun);
                self.bar(change, change.ended);
            }
            Kind::Rotate { overlap, .. } => {
                self.withdraw((change.begun + overlap).saturating_sub(slack));
                self.bar(change, change.ended + overlap + slack);
            }
        }
    }

    fn note_birth(&mut self, change: &Change) {
        self.minting = self.minting.min(change.begun);
        if change.answer.is_lasting() {
            self.minted = self.minted.min(change.ended);
        }
    }

    fn withdraw(&mut self, at: u64) {
        self.withdrawing = self.withdrawing.min(at);
    }

    fn bar(&mut self, change: &'a Change, at: u64) {
        let unconfirmed: &[u16] = match &change.answer {
            Answer::Complete => &[],
            Answer::Unconfirmed(gateways) => gateways,
            Answer::NotHeld | Answer::Unknown => return,
        };
        self.barriers.push(Barrier { at, unconfirmed });
    }

    /// The first refusals that do not mean that the key was not there yet, nor stand for R3.
    fn refusals<'r>(
        &self,
        requests: impl Iterator<Item = &'r Request>,
        history: &History,
    ) -> Refusals {
        let mut found =
            Refusals { anywhere: NEVER, by_gateway: vec![NEVER; history.gateways.len()] };
        for it in requests.filter(|it| it.outcome == Outcome::Refused) {
            if it.begun > self.minted && it.ended >= self.withdrawing {
                let here = &mut found.by_gateway[usize::from(it.gateway)];
                *here = it.ended.min(*here);
                found.anywhere = it.ended.min(found.anywhere);
            }
        }
        found
    }

    fn judge(
        &self,
        place: usize,
        request: &Request,
        refusals: &Refusals,
        violations: &mut Vec<Violation>,
    ) {
        let mut found = |rule, late, was_complete| {
            violations.push(Violation { rule, request: place, late, was_complete });
        };
        match request.outcome {
            Outcome::Refused if self.is_valid_during(request) => found(Rule::R3, 0, false),
            Outcome::Refused | Outcome::Unavailable | Outcome::Other => {}
            Outcome::LetIn if request.ended < self.minting => found(Rule::R0, 0, false),
            Outcome::LetIn => {
                let barrier = self.first_barrier(|it| !it.names(request.gateway));
                let refused = if let Some(barrier) = barrier.filter(|it| it.at < request.begun) {
                    let is_complete = barrier.unconfirmed.is_empty();
                    found(Rule::R1, request.begun - barrier.at, is_complete);
                    refusals.anywhere
                } else {
                    refusals.by_gateway[usize::from(request.gateway)]
                };
                // From whichever answer on, also one that names this gateway.
                let answer = self.first_barrier(|_| true);
                if let Some(answer) = answer.filter(|it| it.at < request.begun)
                    && refused < request.begun
                {
                    found(Rule::R2, request.begun - answer.at, answer.unconfirmed.is_empty());
                }
            }
        }
    }

    fn is_valid_during(&self, request: &Request) -> bool {
        request.begun > self.minted && request.ended < self.withdrawing
    }

    fn first_barrier(&self, which: impl Fn(&Barrier<'_>) -> bool) -> Option<&Barrier<'a>> {
        self.barriers.iter().filter(|it| which(it)).min_by_key(|it| it.at)
    }
}

impl Answer {
    /// Whether it is for good.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Complete | Self::Unconfirmed(_) => true,
            Self::NotHeld | Self::Unknown => false,
        }
    }
}

impl Barrier<'_> {
    fn names(&self, gateway: u16) -> bool {
        self.unconfirmed.contains(&gateway)
    }
}

impl Verdict {
    /// How often a rule was violated.
    pub fn count(&self, rule: Rule) -> usize {
        self.violations.iter().filter(|it| it.rule == rule).count()
    }

    /// How often each was: R0, R1, R2, R3.
    pub fn counts(&self) -> [usize; 4] {
        [Rule::R0, Rule::R1, Rule::R2, Rule::R3].map(|it| self.count(it))
    }

    /// The longest time after an answer at which a request began that was let in.
    pub fn latest(&self) -> u64 {
        self.violations.iter().map(|it| it.late).max().unwrap_or(0)
    }

    /// Fails where anything was found, and leaves the history in a file.
    #[track_caller]
    pub fn assert_clean(&self, history: &History) {
        if !self.violations.is_empty() {
            let path = history.leave();
            let shown: Vec<String> =
                self.violations.iter().take(SHOWN).map(|it| it.tell(history)).collect();
            let shown = shown.join("\n");
            panic!("{self}\n{history}\n{shown}\nthe history is in {}", path.display());
        }
    }
}

impl Violation {
    /// With all that is known of its request.
    fn tell(&self, history: &History) -> String {
        let request = &history.requests[self.request];
        let key = &history.keys[request.key as usize];
        let gateway = &history.gateways[usize::from(request.gateway)];
        let changes: Vec<&Change> =
            history.changes.iter().filter(|it| it.key == request.key).collect();
        format!("{self:?} with {key} at {gateway}: {request:?} beside {changes:?}")
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [r0, r1, r2, r3] = self.counts();
        let (requests, late) = (self.requests, self.latest());
        write!(formatter, "R0={r0} R1={r1} R2={r2} R3={r3} of {requests} requests, {late} ns late")
    }
}

const NEVER: u64 = u64::MAX;
const SHOWN: usize = 10;
