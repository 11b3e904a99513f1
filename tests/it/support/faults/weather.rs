//! How the network is just now, and which connections it has.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use super::link::Link;

/// Known to all threads of a network.
#[derive(Debug)]
pub struct Weather {
    now: Mutex<Now>,
    changed: Condvar,
    links: Mutex<Vec<Weak<Link>>>,
}

/// How it is at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub server: SocketAddr,
    pub to_server: Fault,
    pub to_client: Fault,
    pub arrivals: Arrivals,
    /// Grows with every order to cut, from which bytes are counted.
    pub since: u64,
    accepted: usize,
}

/// What happens to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    Delay(Duration),
    Hold,
    Vanish,
    CutAfter(u64),
}

/// What happens to new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    Enter,
    Wait,
    Vanish,
    Refuse,
    /// There will be none.
    Over,
}

impl Weather {
    /// All is well on the way to `server`.
    pub fn fine(server: SocketAddr) -> Self {
        let now = Now {
            server,
            to_server: Fault::None,
            to_client: Fault::None,
            arrivals: Arrivals::Enter,
            since: 0,
            accepted: 0,
        };
        Self { now: Mutex::new(now), changed: Condvar::new(), links: Mutex::default() }
    }

    /// How it is.
    pub fn now(&self) -> Now {
        *self.lock()
    }

    /// Changes it, and wakes who waits for that.
    pub fn change<T>(&self, change: impl FnOnce(&mut Now) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits as long as it is so.
    pub fn wait_while(&self, mut condition: impl FnMut(&Now) -> bool) {
        drop(self.changed.wait_while(self.lock(), |now| condition(now)).unwrap());
    }

    /// The same until a moment.
    pub fn wait_until(&self, due: Instant, mut condition: impl FnMut(&Now) -> bool) {
        let left = due.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(self.lock(), left, |now| condition(now));
        drop(waited.unwrap());
    }

    /// Counts a connection that was let in.
    pub fn count_one(&self) {
        self.lock().accepted += 1;
    }

    /// How many were let in.
    pub fn accepted(&self) -> usize {
        self.now().accepted
    }

    /// Knows a connection until it ends.
    pub fn list(&self, link: &Arc<Link>) {
        self.links.lock().unwrap().push(Arc::downgrade(link));
        // It may have come while all are ended.
        if self.now().arrivals == Arrivals::Over {
            link.reset();
        }
    }

    /// All connections that there are.
    pub fn links(&self) -> Vec<Arc<Link>> {
        let mut links = self.links.lock().unwrap();
        links.retain(|it| it.strong_count() > 0);
        links.iter().filter_map(Weak::upgrade).collect()
    }

    /// Ends all of them by a reset; those that are to end.
    pub fn reset_links(&self) -> Vec<Weak<Link>> {
        let links = self.links();
        for link in &links {
            link.reset();
        }
        self.wake();
        links.iter().map(Arc::downgrade).collect()
    }

    /// Wakes who waits for a change.
    pub fn wake(&self) {
        drop(self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap()
    }
}
