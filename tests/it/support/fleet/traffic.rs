//! Requests without end, at a steady rate.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::asker::Asker;
use super::operator::Held;

/// Those with which requests come: the latest ones, whether they are still valid or not.
#[derive(Clone, Debug, Default)]
pub struct Keys(Arc<Mutex<VecDeque<Arc<Held>>>>);

/// A thread for each gateway. They end when this is dropped.
#[derive(Debug)]
pub struct Traffic {
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Keys {
    /// Uses a key from now on, and the oldest one no more where there are many.
    pub fn add(&self, key: &Held) {
        let mut keys = self.0.lock().unwrap();
        if keys.len() == KEYS {
            keys.pop_front();
        }
        keys.push_back(Arc::new(key.clone()));
    }

    /// Uses a key no more.
    pub fn remove(&self, key: &Held) {
        self.0.lock().unwrap().retain(|it| it.number != key.number);
    }

    /// Any of them, as a number says.
    fn any(&self, number: u64) -> Option<Arc<Held>> {
        let keys = self.0.lock().unwrap();
        let place = usize::try_from(number).unwrap().checked_rem(keys.len())?;
        keys.get(place).cloned()
    }
}

impl Traffic {
    /// Each asks `rate` times a second.
    pub fn begin(askers: impl Iterator<Item = Asker>, rate: u32, keys: &Keys) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let begin = |asker| {
            let (stopped, keys) = (Arc::clone(&stopped), keys.clone());
            thread::spawn(move || go_on(asker, Duration::from_secs(1) / rate, &keys, &stopped))
        };
        let threads = askers.map(begin).collect();
        Self { stopped, threads }
    }

    /// Ends, once each has its last answer; how many requests there were.
    #[track_caller]
    pub fn end(mut self) -> u64 {
        self.stopped.store(true, Ordering::SeqCst);
        self.threads.drain(..).map(|it| it.join().unwrap()).sum()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Where a test fails, what they have noted is wanted all the more.
        for it in self.threads.drain(..) {
            drop(it.join());
        }
    }
}

fn go_on(mut asker: Asker, pause: Duration, keys: &Keys, stopped: &AtomicBool) -> u64 {
    let (mut count, mut next, mut chance) = (0, Instant::now(), 88_172_645_463_325_252_u64);
    while !stopped.load(Ordering::SeqCst) {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        let outcome = keys.any(chance >> 16).and_then(|it| asker.ask(&it));
        count += u64::from(outcome.is_some());
        // What could not be asked in time is not made up for.
        next = Instant::now().max(next + pause);
        thread::sleep(next.saturating_duration_since(Instant::now()));
        if outcome.is_none() {
            thread::sleep(NOBODY);
        }
    }
    count
}

/// Few enough that each is asked with soon after it was revoked.
const KEYS: usize = 32;

/// How long nobody is asked where nobody takes connections.
const NOBODY: Duration = Duration::from_millis(10);
