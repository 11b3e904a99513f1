//! Decides whether what this gateway knows may still be trusted.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Moment, Timestamp};
use crate::config::WhenUnreachable;
use crate::store::Entered;

/// How long a gateway may trust what it knows, and what it does afterwards.
#[derive(Debug)]
pub struct Lease {
    end: AtomicU64,
    /// The store's clock minus ours, in microseconds.
    offset: AtomicI64,
    /// The last time that was given to date something.
    dated: AtomicI64,
    length: Duration,
    policy: WhenUnreachable,
    serve_known_for: Duration,
    /// Whether whoever waits for receipts knows of this gateway, whatever fails: only then may it go
    /// on past its lease.
    is_waited_for: AtomicBool,
}

/// Where a gateway stands at a given moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All it knows is true.
    Held,
    /// Past the lease, and known keys go on for a while.
    ServingKnown,
    /// It may let nobody in.
    Lost,
}

impl Lease {
    /// A lease that was never given.
    pub fn new(length: Duration, policy: WhenUnreachable, serve_known_for: Duration) -> Self {
        let (end, offset, dated) = (AtomicU64::new(0), AtomicI64::new(0), AtomicI64::new(0));
        let is_waited_for = AtomicBool::new(false);
        Self { end, offset, dated, length, policy, serve_known_for, is_waited_for }
    }

    /// How long each lease lasts.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// Renews it, counted from the moment that the sync was sent.
    pub fn renew(&self, sent: Moment) {
        #[cfg(feature = "seeded-bugs")]
        if crate::store::seeded::has(crate::store::seeded::Bug::EndlessLease) {
            self.end.store(u64::MAX / 2, Ordering::Release);
        }
        self.end.fetch_max(sent.after(self.length).as_nanos(), Ordering::Release);
    }

    /// Notes who has this gateway's entry in the register.
    pub fn set_entered(&self, entered: Entered) {
        self.is_waited_for.store(entered == Entered::Everywhere, Ordering::Release);
    }

    /// Gives it up for good: whoever leaves the register lets nobody in any more. Nothing may renew
    /// it afterwards.
    pub fn surrender(&self) {
        self.end.store(NEVER.as_nanos(), Ordering::Release);
    }

    /// Takes over the store's clock, as it was read after `sent`.
    pub fn set_clock(&self, sent: Moment, time: Timestamp) {
        self.offset.store(time.as_micros().wrapping_sub(micros(sent)), Ordering::Relaxed);
    }

    /// The store's clock at `now`.
    pub fn store_time(&self, now: Moment) -> Timestamp {
        Timestamp::from_micros(micros(now).wrapping_add(self.offset.load(Ordering::Relaxed)))
    }

    /// The time `at`, or the one just after the last that was given here: what is minted later is
    /// dated later, though the store's clock may seem to go back by as long as it took to ask for it.
    pub fn date(&self, at: Timestamp) -> Timestamp {
        let later = |last: i64| at.as_micros().max(last.saturating_add(1));
        let last =
            self.dated.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| Some(later(it)));
        Timestamp::from_micros(last.map_or(at.as_micros(), later))
    }

    /// Whether even known keys could not go on any more: then what runs with a key is ended.
    pub fn is_long_lost(&self, now: Moment) -> bool {
        let end = Moment::from_nanos(self.end.load(Ordering::Acquire));
        now >= end.after(self.serve_known_for)
    }

    /// How much of it is left at `now`.
    pub fn left(&self, now: Moment) -> Duration {
        Moment::from_nanos(self.end.load(Ordering::Acquire)).since(now)
    }

    /// Where the gateway stands at `now`.
    pub fn standing(&self, now: Moment) -> Standing {
        let end = Moment::from_nanos(self.end.load(Ordering::Acquire));
        if now < end {
            return Standing::Held;
        }
        match self.policy {
            WhenUnreachable::ServeKnown
                if end != NEVER
                    && now < end.after(self.serve_known_for)
                    && self.is_waited_for.load(Ordering::Acquire) =>
            {
                Standing::ServingKnown
            }
            WhenUnreachable::ServeKnown | WhenUnreachable::Refuse => Standing::Lost,
        }
    }
}

fn micros(moment: Moment) -> i64 {
    i64::try_from(moment.as_nanos() / 1_000).unwrap_or(i64::MAX)
}

const NEVER: Moment = Moment::from_nanos(0);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(seconds * 1_000_000_000)
    }

    fn lease(policy: WhenUnreachable) -> Lease {
        Lease::new(Duration::from_secs(2), policy, Duration::from_secs(10))
    }

    #[test]
    fn a_lease_counts_from_when_the_sync_was_sent() {
        let lease = lease(WhenUnreachable::Refuse);
        lease.renew(at(100));
        assert_eq!(lease.standing(at(101)), Standing::Held);
        assert_eq!(lease.left(at(101)), Duration::from_secs(1));
        assert_eq!(lease.standing(at(102)), Standing::Lost);
        assert_eq!(lease.left(at(103)), Duration::ZERO);
    }

    #[test]
    fn known_keys_go_on_past_the_lease_for_a_while_where_the_policy_says_so() {
        let lease = lease(WhenUnreachable::ServeKnown);
        lease.set_entered(Entered::Everywhere);
        lease.renew(at(100));
        assert_eq!(lease.standing(at(102)), Standing::ServingKnown);
        assert_eq!(lease.standing(at(112)), Standing::Lost);
    }

    #[test]
    fn whom_nobody_may_wait_for_ends_with_the_lease() {
        let lease = lease(WhenUnreachable::ServeKnown);
        lease.set_entered(Entered::Here);
        lease.renew(at(100));
        assert_eq!(lease.standing(at(101)), Standing::Held);
        assert_eq!(lease.standing(at(102)), Standing::Lost);
    }

    #[test]
    fn a_gateway_that_never_reached_its_store_lets_nobody_in() {
        assert_eq!(lease(WhenUnreachable::ServeKnown).standing(at(1)), Standing::Lost);
    }

    #[test]
    fn a_lease_that_was_given_up_lets_nobody_in() {
        let lease = lease(WhenUnreachable::ServeKnown);
        lease.renew(at(100));
        lease.surrender();
        assert_eq!(lease.standing(at(100)), Standing::Lost);
    }

    #[test]
    fn an_older_sync_never_shortens_a_lease() {
        let lease = lease(WhenUnreachable::Refuse);
        lease.renew(at(100));
        lease.renew(at(90));
        assert_eq!(lease.standing(at(101)), Standing::Held);
    }

    #[test]
    fn what_is_dated_later_has_a_later_date() {
        let lease = lease(WhenUnreachable::Refuse);
        let dates = [7, 7, 3, 8, 20].map(|it| lease.date(Timestamp::from_micros(it)).as_micros());
        assert_eq!(dates, [7, 8, 9, 10, 20]);
    }

    #[test]
    fn expiry_is_judged_on_the_stores_clock() {
        let lease = lease(WhenUnreachable::Refuse);
        lease.set_clock(at(100), Timestamp::from_micros(5_000_000));
        assert_eq!(lease.store_time(at(103)), Timestamp::from_micros(8_000_000));
    }
}
