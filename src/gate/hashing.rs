//! Runs argon2 on threads of its own, with reused memory, behind a bounded queue.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use tokio::sync::oneshot;

use crate::clock::Moment;
use crate::key::argon2id::{self, Argon2Fault, Cost, Scratch};
use crate::key::text::Digest;
use crate::tasks::survive;

/// Argon2's threads.
pub struct Hashing {
    queue: Arc<Queue>,
    cost: Cost,
}

impl Hashing {
    /// Starts the threads; they end when this is dropped.
    pub fn start(
        cost: Cost,
        threads: NonZeroUsize,
        queue_max: NonZeroUsize,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(Queue {
            jobs: Mutex::new(Jobs::default()),
            arrived: Condvar::new(),
            max: queue_max.get(),
            counts: Counts::default(),
        });
        for number in 0..threads.get() {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(format!("argon2-{number}")).spawn(move || queue.work())?;
        }
        Ok(Self { queue, cost })
    }

    /// Has the slow verifier of a new key made.
    pub fn mint(&self, digest: Digest) -> Result<Pending<Result<String, Argon2Fault>>, QueueFull> {
        let (answer, pending) = oneshot::channel();
        let work = Work::Mint { digest, cost: self.cost, answer };
        self.queue.submit(work, Lane::Operators)?;
        Ok(pending)
    }

    /// Has a shown key compared with a slow verifier; its digest comes back with the answer.
    pub fn verify(&self, digest: Digest, phc: Box<str>) -> Result<Pending<Verified>, QueueFull> {
        let (answer, pending) = oneshot::channel();
        self.queue.submit(Work::Verify { digest, phc, answer }, Lane::Callers)?;
        Ok(pending)
    }

    /// What the threads did so far.
    pub fn counts(&self) -> &Counts {
        &self.queue.counts
    }
}

impl Drop for Hashing {
    fn drop(&mut self) {
        self.queue.lock().ended = true;
        self.queue.arrived.notify_all();
    }
}

impl fmt::Debug for Hashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashing").field("cost", &self.cost).finish_non_exhaustive()
    }
}

/// An answer to come; an error means that the threads have ended.
pub type Pending<T> = oneshot::Receiver<T>;

/// What a comparison found.
#[derive(Debug)]
pub struct Verified {
    /// What was shown.
    pub digest: Digest,
    /// Whether it is the key.
    pub verdict: Result<bool, Argon2Fault>,
}

/// As many wait for argon2 as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

/// What argon2's threads did so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Runs for minting.
    pub mints: AtomicU64,
    /// Runs for shown keys.
    pub verifications: AtomicU64,
    /// Jobs that found the queue full.
    pub rejected: AtomicU64,
    /// Jobs that wait.
    pub depth: AtomicU64,
    /// Time spent, in microseconds.
    pub busy_us: AtomicU64,
}

struct Queue {
    jobs: Mutex<Jobs>,
    arrived: Condvar,
    max: usize,
    counts: Counts,
}

#[derive(Default)]
struct Jobs {
    /// Operators mint first: a flood of callers' keys must not keep them out.
    operators: VecDeque<Work>,
    callers: VecDeque<Work>,
    ended: bool,
}

#[derive(Clone, Copy)]
enum Lane {
    Operators,
    Callers,
}

enum Work {
    Mint { digest: Digest, cost: Cost, answer: oneshot::Sender<Result<String, Argon2Fault>> },
    Verify { digest: Digest, phc: Box<str>, answer: oneshot::Sender<Verified> },
}

impl Queue {
    fn submit(&self, work: Work, lane: Lane) -> Result<(), QueueFull> {
        let mut jobs = self.lock();
        let waiting = match lane {
            Lane::Operators => &mut jobs.operators,
            Lane::Callers => &mut jobs.callers,
        };
        if waiting.len() >= self.max {
            self.counts.rejected.fetch_add(1, Ordering::Relaxed);
            return Err(QueueFull);
        }
        waiting.push_back(work);
        self.counts.depth.fetch_add(1, Ordering::Relaxed);
        drop(jobs);
        self.arrived.notify_one();
        Ok(())
    }

    fn work(&self) {
        let mut scratch = Scratch::default();
        while let Some(work) = self.next() {
            let start = Moment::now();
            survive(|| self.run(work, &mut scratch));
            let micros = Moment::now().since(start).as_micros();
            self.counts.busy_us.fetch_add(u64::try_from(micros).unwrap_or(0), Ordering::Relaxed);
        }
    }

    fn next(&self) -> Option<Work> {
        let mut jobs = self.lock();
        loop {
            if jobs.ended {
                return None;
            }
            if let Some(work) = jobs.operators.pop_front().or_else(|| jobs.callers.pop_front()) {
                self.counts.depth.fetch_sub(1, Ordering::Relaxed);
                return Some(work);
            }
            jobs = self.arrived.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nobody who has given up costs a run.
    fn run(&self, work: Work, scratch: &mut Scratch) {
        match work {
            Work::Mint { digest, cost, answer } if !answer.is_closed() => {
                self.counts.mints.fetch_add(1, Ordering::Relaxed);
                let phc = argon2id::hash(&digest, cost, &mut UnwrapErr(SysRng), scratch);
                drop(answer.send(phc));
            }
            Work::Verify { digest, phc, answer } if !answer.is_closed() => {
                self.counts.verifications.fetch_add(1, Ordering::Relaxed);
                let verdict = argon2id::matches(&digest, &phc, scratch);
                drop(answer.send(Verified { digest, verdict }));
            }
            Work::Mint { .. } | Work::Verify { .. } => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
