//! Counts the connections to one endpoint over all workers, and says who may open the next.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::clock::Moment;
use crate::tasks::descriptors::{Descriptor, Descriptors};

/// The count, shared by all workers. It is asked where a connection is opened or closed, and where
/// there is a limit also where one becomes idle; never otherwise.
#[derive(Debug)]
pub struct Cap {
    ledger: Mutex<Ledger>,
    waiting: AtomicUsize,
    /// Whether more are open than may be, since the limit has become lower.
    exceeded: AtomicBool,
    seats: Box<[Seat]>,
    descriptors: Descriptors,
}

/// Which connections will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Any.
    Any,
    /// One that nobody has used before. Over HTTP/2 any one will do: those that failed are out.
    Fresh,
}

#[derive(Debug)]
struct Ledger {
    limit: usize,
    open: usize,
    /// First come, first served, whichever worker they are on.
    queue: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    worker: usize,
    wanted: Wanted,
    tell: oneshot::Sender<Permit>,
}

/// What one worker has.
#[derive(Debug, Default)]
struct Seat {
    held: AtomicUsize,
    idle: AtomicUsize,
    waiting: AtomicUsize,
    nudge: Notify,
}

/// The right to one connection, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    cap: Arc<Cap>,
    worker: usize,
    _descriptor: Descriptor,
}

/// What somebody gets who wants to open a connection.
#[derive(Debug)]
pub enum Entry {
    /// At once.
    Open(Permit),
    /// Once another is closed.
    Wait(Turn),
    /// Never: every descriptor is in use.
    Full,
}

/// A place in the queue.
#[derive(Debug)]
pub struct Turn {
    granted: oneshot::Receiver<Permit>,
    cap: Arc<Cap>,
    worker: usize,
}

impl Cap {
    /// Without a limit but that of the whole process.
    pub fn new(workers: usize, descriptors: Descriptors) -> Arc<Self> {
        let ledger = Ledger { limit: usize::MAX, open: 0, queue: VecDeque::new() };
        Arc::new(Self {
            ledger: Mutex::new(ledger),
            waiting: AtomicUsize::new(0),
            exceeded: AtomicBool::new(false),
            seats: (0..workers).map(|_| Seat::default()).collect(),
            descriptors,
        })
    }

    /// Another limit. What is open beyond it stays open until it is closed.
    pub fn set_limit(self: &Arc<Self>, limit: Option<NonZeroU32>) {
        let mut ledger = self.ledger();
        ledger.limit = limit.map_or(usize::MAX, |it| it.get() as usize);
        self.exceeded.store(ledger.open > ledger.limit, Ordering::Relaxed);
        drop(ledger);
        self.grant();
    }

    /// How many more there are than may be.
    pub fn excess(&self) -> usize {
        let ledger = self.ledger();
        ledger.open.saturating_sub(ledger.limit)
    }

    /// Asks for one more connection of `worker`. Where there is none, the others are asked for an
    /// idle one of theirs.
    pub fn enter(self: &Arc<Self>, worker: usize, wanted: Wanted) -> Entry {
        let mut ledger = self.ledger();
        if ledger.open < ledger.limit && ledger.queue.iter().all(|it| it.tell.is_closed()) {
            let Some(descriptor) = self.descriptors.take() else { return Entry::Full };
            ledger.open += 1;
            drop(ledger);
            return Entry::Open(self.permit(worker, descriptor));
        }
        let (tell, granted) = oneshot::channel();
        // Whoever has left is forgotten here, so it is no longer than those who wait.
        ledger.queue.retain(|it| !it.tell.is_closed());
        ledger.queue.push_back(Waiter { worker, wanted, tell });
        drop(ledger);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        if let Some(seat) = self.seats.get(worker) {
            seat.waiting.fetch_add(1, Ordering::SeqCst);
        }
        // Who was idle before this was counted is seen here, who becomes idle later sees the count.
        self.nudge_another(worker);
        Entry::Wait(Turn { granted, cap: Arc::clone(self), worker })
    }

    /// Whether connections that nobody uses are to be closed, for want of descriptors.
    pub fn is_short(&self, now: Moment) -> bool {
        self.descriptors.are_scarce(now)
    }

    /// A descriptor for a connection that counts in no limit.
    pub fn descriptor(&self) -> Option<Descriptor> {
        self.descriptors.take()
    }

    /// The system had no descriptor for a connection.
    pub fn note_lack(&self) {
        self.descriptors.note_lack();
    }

    /// Asks another worker than `worker` for an idle connection, if one has any.
    pub fn nudge_another(&self, worker: usize) {
        let others = self.seats.iter().enumerate().filter(|(it, _)| *it != worker);
        let idle = others.map(|(_, it)| it).find(|it| it.idle.load(Ordering::SeqCst) > 0);
        if let Some(seat) = idle {
            seat.nudge.notify_one();
        }
    }

    /// How many of other workers wait.
    pub fn others_waiting(&self, worker: usize) -> usize {
        let ours = self.seats.get(worker).map_or(0, |it| it.waiting.load(Ordering::SeqCst));
        self.waiting.load(Ordering::SeqCst).saturating_sub(ours)
    }

    /// Resolves when somebody wants an idle connection of `worker`.
    pub async fn nudged(&self, worker: usize) {
        match self.seats.get(worker) {
            Some(seat) => seat.nudge.notified().await,
            None => std::future::pending().await,
        }
    }

    /// How many connections of `worker` are idle now.
    pub fn note_idle(&self, worker: usize, count: usize) {
        if let Some(seat) = self.seats.get(worker) {
            seat.idle.store(count, Ordering::SeqCst);
        }
    }

    /// Whether `worker` is to close a connection that it could use again: there are more than may
    /// be; the next who waits has no use for it as it is; or others wait, and it has no use for it
    /// itself or more than its share.
    pub fn must_yield(&self, worker: usize) -> bool {
        if self.exceeded.load(Ordering::Relaxed) {
            return true;
        }
        let waiting = self.waiting.load(Ordering::SeqCst);
        let Some(seat) = self.seats.get(worker).filter(|_| waiting > 0) else { return false };
        let ours = seat.waiting.load(Ordering::SeqCst);
        let is_others = waiting > ours && (ours == 0 || self.has_more_than_its_share(seat));
        is_others || self.next_wants_fresh()
    }

    fn next_wants_fresh(&self) -> bool {
        let ledger = self.ledger();
        let next = ledger.queue.iter().find(|it| !it.tell.is_closed());
        next.is_some_and(|it| it.wanted == Wanted::Fresh)
    }

    fn has_more_than_its_share(&self, seat: &Seat) -> bool {
        let share = self.ledger().limit / self.seats.len().max(1);
        seat.held.load(Ordering::Relaxed) > share
    }

    fn permit(self: &Arc<Self>, worker: usize, descriptor: Descriptor) -> Permit {
        if let Some(seat) = self.seats.get(worker) {
            seat.held.fetch_add(1, Ordering::Relaxed);
        }
        Permit { cap: Arc::clone(self), worker, _descriptor: descriptor }
    }

    /// Gives what is free to those who wait.
    fn grant(self: &Arc<Self>) {
        while let Some(Waiter { worker, tell, .. }) = self.next() {
            // Who has left meanwhile drops the permit, and with it comes the next one's turn.
            drop(tell.send(self.permit(worker, self.descriptors.take_over())));
        }
    }

    fn next(&self) -> Option<Waiter> {
        let mut ledger = self.ledger();
        while ledger.open < ledger.limit {
            let waiter = ledger.queue.pop_front()?;
            if !waiter.tell.is_closed() {
                ledger.open += 1;
                return Some(waiter);
            }
        }
        None
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(seat) = self.cap.seats.get(self.worker) {
            seat.held.fetch_sub(1, Ordering::Relaxed);
        }
        let mut ledger = self.cap.ledger();
        ledger.open -= 1;
        self.cap.exceeded.store(ledger.open > ledger.limit, Ordering::Relaxed);
        drop(ledger);
        self.cap.grant();
    }
}

impl Turn {
    /// The permit, once it is this one's turn.
    pub async fn granted(&mut self) -> Permit {
        match (&mut self.granted).await {
            Ok(permit) => permit,
            // The queue drops nobody who still waits.
            Err(_dropped) => std::future::pending().await,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.cap.waiting.fetch_sub(1, Ordering::SeqCst);
        if let Some(seat) = self.cap.seats.get(self.worker) {
            seat.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(limit: u32, workers: usize) -> Arc<Cap> {
        let cap = Cap::new(workers, Descriptors::new(100));
        cap.set_limit(NonZeroU32::new(limit));
        cap
    }

    #[track_caller]
    fn open(cap: &Arc<Cap>, worker: usize) -> Permit {
        match cap.enter(worker, Wanted::Any) {
            Entry::Open(permit) => permit,
            Entry::Wait(_) | Entry::Full => panic!("there is none"),
        }
    }

    #[track_caller]
    fn wait(cap: &Arc<Cap>, worker: usize) -> Turn {
        match cap.enter(worker, Wanted::Any) {
            Entry::Open(_) | Entry::Full => panic!("nobody is to wait"),
            Entry::Wait(turn) => turn,
        }
    }

    #[test]
    fn never_more_are_open_than_allowed_and_who_came_first_is_first() {
        let cap = limited(2, 2);
        let (first, second) = (open(&cap, 0), open(&cap, 1));
        let (mut third, fourth, mut fifth) = (wait(&cap, 0), wait(&cap, 1), wait(&cap, 1));
        assert!(third.granted.try_recv().is_err());
        drop(first);
        let _third = third.granted.try_recv().unwrap();
        drop(fourth);
        assert!(fifth.granted.try_recv().is_err());
        drop(second);
        let _fifth = fifth.granted.try_recv().unwrap();
        drop(wait(&cap, 0));
    }

    #[test]
    fn a_higher_limit_lets_in_who_waits() {
        let cap = limited(1, 1);
        let _first = open(&cap, 0);
        let mut turn = wait(&cap, 0);
        cap.set_limit(None);
        assert!(turn.granted.try_recv().is_ok());
    }

    #[test]
    fn a_permit_that_nobody_took_is_not_lost() {
        let cap = limited(1, 1);
        let first = open(&cap, 0);
        let turn = wait(&cap, 0);
        drop(first);
        drop(turn);
        drop(open(&cap, 0));
    }

    #[test]
    fn while_there_are_more_than_may_be_every_one_goes() {
        let cap = limited(3, 1);
        let (first, second, _third) = (open(&cap, 0), open(&cap, 0), open(&cap, 0));
        assert!(!cap.must_yield(0));
        cap.set_limit(NonZeroU32::new(1));
        assert_eq!((cap.must_yield(0), cap.excess()), (true, 2));
        drop(first);
        assert!(cap.must_yield(0));
        drop(second);
        assert_eq!((cap.must_yield(0), cap.excess()), (false, 0));
    }

    #[test]
    fn for_who_wants_a_fresh_one_one_goes_once_it_is_their_turn() {
        let cap = limited(1, 1);
        let _first = open(&cap, 0);
        let any = wait(&cap, 0);
        let Entry::Wait(_fresh) = cap.enter(0, Wanted::Fresh) else { panic!("there is none") };
        assert!(!cap.must_yield(0));
        drop(any);
        assert!(cap.must_yield(0));
    }

    #[test]
    fn who_has_no_use_for_it_or_too_much_yields() {
        let cap = limited(2, 2);
        let _both = [open(&cap, 0), open(&cap, 0)];
        assert!(!cap.must_yield(0));
        let _ours = wait(&cap, 0);
        assert!(!cap.must_yield(0));
        let theirs = wait(&cap, 1);
        assert!(cap.must_yield(0));
        assert!(!cap.must_yield(1));
        drop(theirs);
        assert!(!cap.must_yield(0));
    }
}
