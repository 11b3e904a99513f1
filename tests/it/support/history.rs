//! What was asked of a fleet and what it answered, so that it can be held to its promise.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

pub mod check;
pub mod lines;
#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;

/// Everything that happened. Times are nanoseconds of the clock that all processes of a machine
/// share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// By what names receipts know the gateways.
    pub gateways: Vec<String>,
    /// The ids of the keys.
    pub keys: Vec<String>,
    pub requests: Vec<Request>,
    pub changes: Vec<Change>,
}

/// A request with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// A place in [`History::keys`].
    pub key: u32,
    /// A place in [`History::gateways`].
    pub gateway: u16,
    /// Before its first byte was sent.
    pub begun: u64,
    /// After its answer was read, or nobody waited for it any longer.
    pub ended: u64,
    pub outcome: Outcome,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It reached the upstream.
    LetIn,
    /// 401.
    Refused,
    /// 503.
    Unavailable,
    /// Another status, or no answer.
    Other,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// A place in [`History::keys`].
    pub key: u32,
    pub kind: Kind,
    /// Before its first byte was sent.
    pub begun: u64,
    /// After its answer was read, or nobody waited for it any longer.
    pub ended: u64,
    pub answer: Answer,
}

/// What kind of change it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The key is made, and lapses at this moment if one is given.
    Mint { expires: Option<u64> },
    /// Another key takes its place, if it is known, and it lapses so many nanoseconds later.
    Rotate { successor: Option<u32>, overlap: u64 },
    /// It is withdrawn for good.
    Revoke,
}

/// What was said of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It holds everywhere.
    Complete,
    /// It holds, but perhaps not at these gateways.
    Unconfirmed(Vec<u16>),
    /// It holds, but too few replicas have it: it is lost where one of them takes over.
    NotHeld,
    /// Nothing that could be relied on: it may hold at any time from its beginning on, or never.
    Unknown,
}

/// Collects a history from many threads.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<History>>);

/// What one thread has seen. It is handed over when this is dropped.
#[derive(Debug)]
pub struct Notes {
    recorder: Recorder,
    requests: Vec<Request>,
    changes: Vec<Change>,
}

impl Recorder {
    /// One for gateways that are named so in receipts.
    pub fn of(gateways: &[String]) -> Self {
        let history = History { gateways: gateways.to_vec(), ..History::default() };
        Self(Arc::new(Mutex::new(history)))
    }

    /// A gateway that has come instead of another one is named otherwise in receipts.
    pub fn rename(&self, gateway: u16, name: &str) {
        name.clone_into(&mut self.0.lock().unwrap().gateways[usize::from(gateway)]);
    }

    /// Knows a key by its id from now on.
    pub fn key(&self, id: &str) -> u32 {
        let keys = &mut self.0.lock().unwrap().keys;
        keys.push(id.to_owned());
        u32::try_from(keys.len() - 1).unwrap()
    }

    /// The gateways with these names; who is not known is left out, for nobody is asked there.
    pub fn gateways(&self, names: &[&str]) -> Vec<u16> {
        let history = self.0.lock().unwrap();
        let all = history.gateways.iter().enumerate();
        let found = all.filter(|(_, it)| names.contains(&it.as_str()));
        found.map(|(place, _)| u16::try_from(place).unwrap()).collect()
    }

    /// For a thread's own use.
    pub fn notes(&self) -> Notes {
        Notes { recorder: self.clone(), requests: Vec::new(), changes: Vec::new() }
    }

    /// All that was handed over so far.
    pub fn history(&self) -> History {
        self.0.lock().unwrap().clone()
    }
}

impl History {
    /// How many requests had this outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.requests.iter().filter(|it| it.outcome == outcome).count()
    }

    /// The longest time that anybody waited for an answer, in nanoseconds.
    pub fn longest(&self) -> u64 {
        self.requests.iter().map(|it| it.ended - it.begun).max().unwrap_or(0)
    }

    /// How many revocations were complete, unconfirmed, not held, and of unknown outcome.
    pub fn revocations(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for change in self.changes.iter().filter(|it| it.kind == Kind::Revoke) {
            counts[match change.answer {
                Answer::Complete => 0,
                Answer::Unconfirmed(_) => 1,
                Answer::NotHeld => 2,
                Answer::Unknown => 3,
            }] += 1;
        }
        counts
    }
}

impl fmt::Display for History {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [Outcome::LetIn, Outcome::Refused, Outcome::Unavailable, Outcome::Other];
        let [let_in, refused, unavailable, other] = all.map(|it| self.count(it));
        let [complete, unconfirmed, not_held, unknown] = self.revocations();
        let longest = Duration::from_nanos(self.longest());
        write!(formatter, "let in {let_in}, 401 {refused}, 503 {unavailable}, other {other}, ")?;
        write!(formatter, "longest {longest:?}; revocations: complete {complete}, ")?;
        write!(formatter, "unconfirmed {unconfirmed}, not held {not_held}, unknown {unknown}")
    }
}

impl Notes {
    /// Notes a request that ends now.
    pub fn request(&mut self, key: u32, gateway: u16, begun: u64, outcome: Outcome) {
        self.requests.push(Request { key, gateway, begun, ended: now(), outcome });
    }

    /// Notes a change that ends now.
    pub fn change(&mut self, key: u32, kind: Kind, begun: u64, answer: Answer) {
        self.change_until(key, kind, (begun, now()), answer);
    }

    /// Notes a change that has ended already.
    pub fn change_until(&mut self, key: u32, kind: Kind, span: (u64, u64), answer: Answer) {
        let (begun, ended) = span;
        self.changes.push(Change { key, kind, begun, ended, answer });
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        // Another thread may have failed meanwhile.
        if let Ok(mut history) = self.recorder.0.lock() {
            history.requests.append(&mut self.requests);
            history.changes.append(&mut self.changes);
        }
    }
}

impl Outcome {
    /// Of an answer with this status.
    pub fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::LetIn,
            401 => Self::Refused,
            503 => Self::Unavailable,
            _ => Self::Other,
        }
    }
}

/// The moment, as histories know it.
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let time = Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec.try_into().unwrap());
    u64::try_from(time.as_nanos()).unwrap()
}
