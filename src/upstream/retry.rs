//! Decides whether a request that has failed is sent once more.

use std::cell::Cell;
use std::time::Duration;

use http::{Request, Response};

use crate::clock::Moment;
use crate::config::{Percent, Retries};
use crate::upstream::balance::Asker;
use crate::upstream::body::{RequestBody, ResponseBody};
use crate::upstream::pool::Wanted;

/// What one request has behind it and before it.
#[derive(Debug)]
pub struct Errand {
    /// The request, while nobody else has it.
    pub request: Option<Request<RequestBody>>,
    /// For whom an endpoint is wanted.
    pub asker: Asker,
    /// Which connections will do.
    pub wanted: Wanted,
    /// Whether it has met a connection that the upstream was just closing: that happens once.
    pub met_stale: bool,
    /// How often it may still be sent after a failure.
    pub retries_left: u32,
    /// An answer that says that nobody is there, for want of a better one.
    pub kept: Option<Box<Response<ResponseBody>>>,
}

impl Errand {
    /// A request that is to be sent for the first time.
    pub fn new(asker: Asker, retries: Retries) -> Self {
        Self {
            request: None,
            asker,
            wanted: Wanted::Any,
            met_stale: false,
            retries_left: retries.per_request,
            kept: None,
        }
    }
}

/// How a request has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There was no connection.
    Unreachable,
    /// The connection was closed before a byte of it was sent.
    Unsent,
    /// It was sent and not a byte of an answer came.
    Lost,
    /// The answer was 502, 503 or 504.
    Refused,
}

impl Failure {
    /// Whether the endpoint may have seen the request. What it has not seen costs it nothing to
    /// see elsewhere.
    pub fn is_on_budget(self) -> bool {
        match self {
            Self::Unreachable | Self::Unsent => false,
            Self::Lost | Self::Refused => true,
        }
    }

    /// Whether the same endpoint may be asked where there is no other. One that nobody can connect
    /// to would only let the client wait for as long again, and one that says that it cannot was
    /// heard.
    pub fn is_worth_the_same(self) -> bool {
        match self {
            Self::Unreachable | Self::Refused => false,
            Self::Unsent | Self::Lost => true,
        }
    }
}

/// One worker's share of what an upstream may be asked twice: of the requests of the last ten
/// seconds. Counting costs a request one addition.
#[derive(Debug)]
pub struct Budget {
    share: Percent,
    seconds: [Second; SECONDS],
    current: Cell<usize>,
    begun: Cell<Moment>,
}

#[derive(Debug, Default)]
struct Second {
    requests: Cell<u64>,
    retries: Cell<u64>,
}

impl Budget {
    /// Nothing was asked so far.
    pub fn new(retries: Retries, now: Moment) -> Self {
        Self {
            share: retries.budget,
            seconds: std::array::from_fn(|_| Second::default()),
            current: Cell::new(0),
            begun: Cell::new(now),
        }
    }

    /// A request comes.
    pub fn count(&self) {
        if let Some(second) = self.seconds.get(self.current.get()) {
            second.requests.set(second.requests.get() + 1);
        }
    }

    /// Whether one may be repeated; it is counted.
    pub fn take(&self) -> bool {
        let sum = |of: fn(&Second) -> &Cell<u64>| self.seconds.iter().map(|it| of(it).get()).sum();
        let (requests, retries): (u64, u64) = (sum(|it| &it.requests), sum(|it| &it.retries));
        let share = u64::from(self.share.0);
        let least = if share == 0 { 0 } else { RETRIES_MIN };
        let may = retries < (requests.saturating_mul(share) / 100).max(least);
        if let Some(second) = self.seconds.get(self.current.get()).filter(|_| may) {
            second.retries.set(second.retries.get() + 1);
        }
        may
    }

    /// Forgets what is older than ten seconds.
    pub fn tick(&self, now: Moment) {
        for _ in 0..SECONDS {
            if now.since(self.begun.get()) < SECOND {
                return;
            }
            self.begun.set(self.begun.get().after(SECOND));
            self.current.set((self.current.get() + 1) % SECONDS);
            if let Some(second) = self.seconds.get(self.current.get()) {
                second.requests.set(0);
                second.retries.set(0);
            }
        }
        // Nobody ticked for longer than that.
        self.begun.set(now);
    }
}

const SECONDS: usize = 10;
const SECOND: Duration = Duration::from_secs(1);
/// Who asks only now and then is helped too. Part of the share, not beside it.
const RETRIES_MIN: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(1).after(Duration::from_millis(millis))
    }

    fn budget(share: u8) -> Budget {
        Budget::new(Retries { per_request: 1, budget: Percent(share) }, at(0))
    }

    #[test]
    fn of_a_thousand_failed_requests_a_fifth_is_repeated_and_no_more() {
        let budget = budget(20);
        let mut repeated = 0;
        for _ in 0..1_000 {
            budget.count();
            repeated += u64::from(budget.take());
        }
        assert_eq!(repeated, 200);
    }

    #[test]
    fn a_lone_request_may_be_repeated_unless_nothing_may() {
        let lone = budget(1);
        lone.count();
        assert_eq!([lone.take(), lone.take(), lone.take(), lone.take()], [true, true, true, false]);
        let nothing = budget(0);
        nothing.count();
        assert!(!nothing.take());
    }

    #[test]
    fn what_is_older_than_ten_seconds_counts_no_more() {
        let budget = budget(10);
        (0..100).for_each(|_| budget.count());
        let all = |budget: &Budget| (0..100).filter(|_| budget.take()).count();
        assert_eq!(all(&budget), 10);
        budget.tick(at(9_900));
        assert_eq!(all(&budget), 0);
        budget.tick(at(10_000));
        assert_eq!(all(&budget), 3);
        (0..1_000).for_each(|_| budget.count());
        budget.tick(at(1_000_000));
        assert_eq!(all(&budget), 3);
        budget.tick(at(1_000_100));
        (0..100).for_each(|_| budget.count());
        assert_eq!(all(&budget), 7);
    }
}
