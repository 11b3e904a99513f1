//! Holds whether one endpoint may get requests, for all workers at once.
//!
//! Two things can keep it out: it does not answer when it is asked whether it is well, or it was
//! ejected because it failed requests. After an ejection it is tried with one request at a time
//! until one succeeds: who let all of them go there would have them all fail once more.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::Duration;

use crate::clock::Moment;

/// The standing of an endpoint. A new one counts as well.
#[derive(Debug, Default)]
pub struct Standing {
    is_unwell: AtomicBool,
    /// The end of its ejection; [`NOT_EJECTED`] once a request has succeeded after it.
    ejected_until: AtomicU64,
    /// Until when nobody else tries it; zero: nobody does.
    tried_until: AtomicU64,
    /// Failures without a success between them.
    failures: AtomicU32,
    /// So far.
    ejections: AtomicU64,
    /// How long the last one lasted, in nanoseconds.
    last_period: AtomicU64,
    /// When it came back; [`NEVER_AWAY`] if it did not have to.
    returned: AtomicU64,
}

/// The right to try an endpoint that was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial(u64);

/// Whether an endpoint may get a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Openness {
    /// As any other.
    Open,
    /// One, to see whether it is well again.
    OnTrial,
    /// No: it failed too often.
    Ejected,
    /// No: it did not answer when asked whether it was well.
    Unwell,
}

impl Standing {
    /// Whether it may get a request at `now`.
    pub fn at(&self, now: Moment) -> Openness {
        let until = self.ejected_until.load(Relaxed);
        if self.is_unwell.load(Relaxed) {
            Openness::Unwell
        } else if until == NOT_EJECTED {
            Openness::Open
        } else if now.as_nanos() < until.max(self.tried_until.load(Relaxed)) {
            Openness::Ejected
        } else {
            Openness::OnTrial
        }
    }

    /// Takes the one place for a trial, to be given back by [`Self::end_trial`]; `None`: somebody
    /// else has it. It is kept for `limit` at most: a client that sends its body slowly keeps an
    /// endpoint out for no longer.
    pub fn begin_trial(&self, limit: Duration, now: Moment) -> Option<Trial> {
        let until = now.after(limit).as_nanos();
        let free = |tried_until: u64| (tried_until <= now.as_nanos()).then_some(until);
        self.tried_until.fetch_update(Relaxed, Relaxed, free).ok().map(|_before| Trial(until))
    }

    /// The trial has ended, whichever way. The place may be another's by now.
    pub fn end_trial(&self, trial: Trial) {
        let ours = |until: u64| (until == trial.0).then_some(0);
        self.tried_until.fetch_update(Relaxed, Relaxed, ours).unwrap_or_default();
    }

    /// Its share of its weight, of [`FULL`]: it grows over `slow_start` once it has come back.
    pub fn share(&self, slow_start: Option<Duration>, now: Moment) -> u32 {
        let Some(whole) = slow_start else { return FULL };
        let returned = self.returned.load(Relaxed);
        if returned == NEVER_AWAY {
            return FULL;
        }
        let passed = now.since(Moment::from_nanos(returned)).as_micros() * u128::from(FULL);
        let share = passed / whole.as_micros().max(1);
        u32::try_from(share).unwrap_or(FULL).clamp(SHARE_MIN, FULL)
    }

    /// How often it has been ejected: an outcome of an older request says nothing any more.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Relaxed)
    }

    /// A request has failed; how many have in a row.
    pub fn failed(&self) -> u32 {
        self.failures.fetch_add(1, Relaxed).saturating_add(1)
    }

    /// Whether a success would change anything.
    pub fn has_failed(&self) -> bool {
        self.failures.load(Relaxed) != 0 || self.ejected_until.load(Relaxed) != NOT_EJECTED
    }

    /// A request has succeeded; whether that ended its ejection.
    pub fn succeeded(&self, now: Moment) -> bool {
        self.failures.store(0, Relaxed);
        let was_ejected = self.ejected_until.swap(NOT_EJECTED, Relaxed) != NOT_EJECTED;
        if was_ejected {
            self.returned.store(now.as_nanos(), Relaxed);
        }
        was_ejected
    }

    /// Whether it was ejected and no request has succeeded since.
    pub fn is_out(&self) -> bool {
        self.ejected_until.load(Relaxed) != NOT_EJECTED
    }

    /// Whether its ejection is over but for a request that succeeds.
    pub fn is_due(&self, now: Moment) -> bool {
        self.is_out() && now.as_nanos() >= self.ejected_until.load(Relaxed)
    }

    /// Ejects it for `period`, or for twice as long as the last time if it has not stayed for as
    /// long as it was away since; for how long.
    pub fn eject(&self, period: Duration, now: Moment) -> Duration {
        let last = Duration::from_nanos(self.last_period.load(Relaxed));
        let stayed = now.since(Moment::from_nanos(self.returned.load(Relaxed)));
        let has_behaved = !self.is_out() && stayed >= last;
        let longer = last.saturating_mul(2).min(PERIOD_MAX).max(period);
        let period = if last.is_zero() || has_behaved { period } else { longer };
        let nanos = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        self.last_period.store(nanos, Relaxed);
        self.failures.store(0, Relaxed);
        self.ejections.fetch_add(1, Relaxed);
        self.ejected_until.store(now.after(period).as_nanos().max(1), Relaxed);
        period
    }

    /// Nobody ejects any more, and who was comes back.
    pub fn pardon(&self, now: Moment) {
        if self.is_out() {
            self.succeeded(now);
        }
    }

    /// It was asked, and it is well; whether that is news.
    pub fn set_well(&self, now: Moment) -> bool {
        let is_news = self.is_unwell.load(Relaxed);
        if is_news {
            self.returned.store(now.as_nanos(), Relaxed);
            self.is_unwell.store(false, Relaxed);
        }
        is_news
    }

    /// It was asked, and it is not well; whether that is news.
    pub fn set_unwell(&self) -> bool {
        !self.is_unwell.swap(true, Relaxed)
    }
}

/// The share of an endpoint that was never away, or came back long ago.
pub const FULL: u32 = 1_024;

/// It has to get something, or it would never get anything.
const SHARE_MIN: u32 = 8;
/// However often it was ejected: nobody is to be forgotten.
const PERIOD_MAX: Duration = Duration::from_mins(5);
const NOT_EJECTED: u64 = 0;
const NEVER_AWAY: u64 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(1).after(SECOND * u32::try_from(seconds).unwrap())
    }

    #[test]
    fn after_an_ejection_one_request_at_a_time_finds_out() {
        let standing = Standing::default();
        standing.eject(SECOND * 10, at(0));
        assert_eq!(standing.at(at(9)), Openness::Ejected);
        assert_eq!(standing.at(at(10)), Openness::OnTrial);
        let slow = standing.begin_trial(SECOND, at(10)).unwrap();
        assert_eq!(standing.at(at(10)), Openness::Ejected);
        assert_eq!(standing.begin_trial(SECOND, at(10)), None, "two tried at once");
        assert_eq!(standing.at(at(11)), Openness::OnTrial);
        let next = standing.begin_trial(SECOND * 9, at(11)).unwrap();
        standing.end_trial(slow);
        assert_eq!(standing.at(at(12)), Openness::Ejected, "the next one's place was given away");
        standing.end_trial(next);
        assert_eq!(standing.at(at(10)), Openness::OnTrial);
        assert!(standing.succeeded(at(11)));
        assert_eq!(standing.at(at(11)), Openness::Open);
    }

    #[test]
    fn each_ejection_is_twice_as_long_until_it_has_behaved_for_as_long_as_it_was_away() {
        let standing = Standing::default();
        let mut now = 0;
        for period in [10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(standing.eject(SECOND * 10, at(now)).as_secs(), period);
            now += period;
        }
        standing.succeeded(at(now));
        assert_eq!(standing.eject(SECOND * 10, at(now + 299)).as_secs(), 300);
        now += 599;
        standing.succeeded(at(now));
        assert_eq!(standing.eject(SECOND * 10, at(now + 300)).as_secs(), 10);
    }

    #[test]
    fn who_comes_back_gets_a_share_that_grows_evenly() {
        let standing = Standing::default();
        assert_eq!(standing.share(Some(SECOND * 10), at(100)), FULL);
        standing.set_unwell();
        standing.set_well(at(100));
        let shares = [100, 105, 110, 120].map(|it| standing.share(Some(SECOND * 10), at(it)));
        assert_eq!(shares, [SHARE_MIN, FULL / 2, FULL, FULL]);
        assert_eq!(standing.share(None, at(100)), FULL);
    }
}
