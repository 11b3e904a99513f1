//! Lists the requests that one worker is serving, so that they can be ended.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use slab::Slab;

use crate::clock::{Moment, Timestamp};
use crate::gate::entry::Entry;
use crate::gate::limits::{InFlight, Taken};
use crate::gate::{Caller, Refusal, Terms};
use crate::tasks::deadline::{Deadline, Timed};
use crate::tasks::{Ending, Signal, Verdict};

/// The running requests of one worker.
#[derive(Debug, Default)]
pub struct Running {
    runs: RefCell<Slab<Rc<Run>>>,
    cut: Cell<u64>,
}

impl Running {
    /// Lists a request that was let in. There is no `await` between that and this.
    pub fn enter(
        self: &Rc<Self>,
        entry: Option<Arc<Entry>>,
        caller: &Caller<'_>,
        taken: Taken,
    ) -> Grant {
        let run = Rc::new(Run {
            entry,
            taken,
            terms: Rc::clone(caller.route),
            address: caller.address,
            signal: Signal::default(),
            refusal: Cell::new(None),
            deadline: Deadline::default(),
        });
        let place = self.runs.borrow_mut().insert(Rc::clone(&run));
        Grant { run, place, running: Rc::clone(self) }
    }

    /// Ends the requests of `entries` that would not be let in at `now`; how many of each.
    pub fn recheck(&self, entries: &[Arc<Entry>], now: Timestamp) -> Vec<u64> {
        let mut closed = vec![0; entries.len()];
        let places: HashMap<*const Entry, usize> =
            entries.iter().map(Arc::as_ptr).zip(0..).collect();
        for run in self.listed() {
            let place = run.entry.as_ref().and_then(|it| places.get(&Arc::as_ptr(it)));
            let Some(count) = place.and_then(|it| closed.get_mut(*it)) else { continue };
            if run.end_unless_allowed(now) {
                *count += 1;
                self.count_cut();
            }
        }
        closed
    }

    /// Ends what is past its deadline or expired. What else is refused by now has been changed, and
    /// is left for [`Self::recheck`], which counts it.
    pub fn tick(&self, now: Moment, time: Timestamp) {
        for run in self.listed() {
            if run.deadline.is_over(now) {
                run.signal.give(Verdict::TimedOut);
            }
            if run.end_if_expired(time) {
                self.count_cut();
            }
        }
    }

    /// Ends every request of a key: what this gateway knows can no longer be trusted.
    pub fn cut_keyed(&self) {
        let listed = self.listed();
        for run in listed.iter().filter(|it| it.entry.is_some()) {
            if run.cut(Refusal::StoreUnreachable) {
                self.count_cut();
            }
        }
    }

    /// How many were cut so far.
    pub fn cut(&self) -> u64 {
        self.cut.get()
    }

    fn count_cut(&self) {
        self.cut.set(self.cut.get() + 1);
    }

    /// A copy, because waking a request may end it and so change the list.
    fn listed(&self) -> Vec<Rc<Run>> {
        self.runs.borrow().iter().map(|(_, run)| Rc::clone(run)).collect()
    }
}

/// Proof that the gate let a request in; given back, by being dropped, when its last byte is done.
#[derive(Debug)]
pub struct Grant {
    run: Rc<Run>,
    place: usize,
    running: Rc<Running>,
}

impl Grant {
    /// What the upstream is told of the caller; `None`: nobody showed a key.
    pub fn entry(&self) -> Option<&Entry> {
        self.run.entry.as_deref()
    }

    /// What it has taken of the key's limits.
    pub fn taken(&self) -> &Taken {
        &self.run.taken
    }

    /// By which the request is told to end.
    pub fn signal(&self) -> &Signal {
        &self.run.signal
    }

    /// Why it was cut, if it was: what it would be refused with now.
    pub fn refusal(&self) -> Option<Refusal> {
        self.run.refusal.get()
    }

    /// The same, for somebody who outlives the borrow.
    pub fn run(&self) -> &Rc<Run> {
        &self.run
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let (InFlight::Counted, Some(entry)) = (self.run.taken.in_flight, &self.run.entry) {
            entry.aside().leave();
        }
        drop(self.running.runs.borrow_mut().try_remove(self.place));
    }
}

/// One running request.
#[derive(Debug)]
pub struct Run {
    entry: Option<Arc<Entry>>,
    taken: Taken,
    terms: Rc<Terms>,
    address: IpAddr,
    signal: Signal,
    refusal: Cell<Option<Refusal>>,
    deadline: Deadline,
}

impl Ending for Run {
    fn signal(&self) -> &Signal {
        &self.signal
    }
}

impl Timed for Run {
    fn deadline(&self) -> &Deadline {
        &self.deadline
    }
}

impl Run {
    /// Whether this call ended it.
    fn end_unless_allowed(&self, now: Timestamp) -> bool {
        let Some(entry) = &self.entry else { return false };
        let judged = entry.known().judge(&self.terms, self.address, now);
        judged.is_err_and(|it| self.cut(it))
    }

    /// Whether this call ended it.
    fn end_if_expired(&self, now: Timestamp) -> bool {
        let Some(entry) = &self.entry else { return false };
        let judged = entry.known().judge_state(now);
        judged == Err(Refusal::ExpiredKey) && self.cut(Refusal::ExpiredKey)
    }

    /// Whether this call ended it.
    fn cut(&self, refusal: Refusal) -> bool {
        let runs = self.signal.verdict().is_none();
        if runs {
            self.refusal.set(Some(refusal));
            self.signal.give(Verdict::Cut);
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Access;
    use crate::gate::entries::Entries;
    use crate::gate::known::Stored;
    use crate::key::text::KeyId;

    #[test]
    fn what_a_change_ends_is_left_for_who_counts_it() {
        let (entries, running) = (Entries::new(10), Rc::<Running>::default());
        let id: KeyId = "000000000001".parse().unwrap();
        // Nobody is let in with what cannot be read.
        entries.merge(id, Stored::Unreadable);
        let entry = entries.get(id).unwrap();
        let route = Rc::new(Terms::new("all", Access::Key));
        let caller = Caller { address: [127, 0, 0, 1].into(), route: &route };
        let grant = running.enter(Some(Arc::clone(&entry)), &caller, Taken::NOTHING);
        let (now, time) = (Moment::now(), Timestamp::now());
        running.tick(now, time);
        assert_eq!(grant.signal().verdict(), None);
        assert_eq!(running.recheck(&[entry], time), [1]);
        assert_eq!(grant.signal().verdict(), Some(Verdict::Cut));
        // Nobody knows that the key is bad.
        assert_eq!(grant.refusal(), Some(Refusal::StoreUnreachable));
    }
}
