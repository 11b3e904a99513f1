//! Holds one deadline that costs nothing to move: a worker's ticker reads the clock, not the path.
//!
//! Arming only notes the limit. The first tick that sees it starts the time, so a deadline never
//! fires early, and at the latest two ticks after its value.

use std::cell::Cell;
use std::time::Duration;

use crate::clock::Moment;

/// A deadline on one thread, looked at by a ticker.
#[derive(Debug, Default)]
pub struct Deadline(Cell<State>);

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Off,
    Armed(Duration),
    Running(Moment),
}

impl Deadline {
    /// Starts `limit` anew.
    pub fn arm(&self, limit: Duration) {
        self.0.set(State::Armed(limit));
    }

    /// No deadline any more.
    pub fn disarm(&self) {
        self.0.set(State::Off);
    }

    /// Whether it is over at `now`; called by the ticker alone.
    pub fn is_over(&self, now: Moment) -> bool {
        match self.0.get() {
            State::Off => false,
            State::Armed(limit) => {
                self.0.set(State::Running(now.after(limit)));
                false
            }
            State::Running(end) => now >= end,
        }
    }
}

/// Something that has a deadline.
pub trait Timed: std::fmt::Debug {
    /// The deadline.
    fn deadline(&self) -> &Deadline;
}

/// How often a worker looks at its deadlines.
pub const TICK: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_early_and_at_most_two_ticks_late() {
        let deadline = Deadline::default();
        let tick = u64::try_from(TICK.as_nanos()).unwrap();
        for armed_after in [0, 1, tick / 2, tick - 1] {
            deadline.arm(Duration::from_secs(1));
            let over =
                (1..100).map(|it| it * tick).find(|it| deadline.is_over(Moment::from_nanos(*it)));
            let lasted = over.unwrap() - armed_after;
            assert!((1_000_000_000..=1_000_000_000 + 2 * tick).contains(&lasted), "{lasted}");
        }
    }

    #[test]
    fn a_disarmed_deadline_is_never_over() {
        let deadline = Deadline::default();
        deadline.arm(Duration::ZERO);
        deadline.disarm();
        assert!((0..10).all(|it| !deadline.is_over(Moment::from_nanos(it))));
    }
}
