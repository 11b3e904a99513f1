//! Carries to every worker which keys have changed, and brings back how many requests that ended.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use crate::clock::Timestamp;
use crate::gate::entry::Entry;
use crate::gate::running::Running;

/// The way to every worker.
#[derive(Debug, Default)]
pub struct Workers(Mutex<Vec<mpsc::Sender<Recheck>>>);

/// Keys that have changed. The entries are changed already.
#[derive(Debug)]
pub struct Recheck {
    entries: Arc<[Arc<Entry>]>,
    now: Timestamp,
    answer: oneshot::Sender<Vec<u64>>,
}

impl Recheck {
    /// Ends what would no longer be let in, and answers.
    pub fn carry_out(self, running: &Running) {
        let ended = running.recheck(&self.entries, self.now);
        self.answer(ended);
    }

    /// Tells how many requests were ended, for each key.
    pub fn answer(self, ended: Vec<u64>) {
        drop(self.answer.send(ended));
    }
}

impl Workers {
    /// A new worker's inbox.
    pub fn join(&self) -> mpsc::Receiver<Recheck> {
        let (sender, inbox) = mpsc::channel(RECHECKS_MAX);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        inbox
    }

    /// Has every worker end what would no longer be let in; the sums over all workers, in the
    /// order of `entries`. A worker that has ended has nothing running.
    pub async fn recheck(&self, entries: Arc<[Arc<Entry>]>, now: Timestamp) -> Vec<u64> {
        let workers = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut answers = Vec::with_capacity(workers.len());
        for worker in workers {
            let (answer, answered) = oneshot::channel();
            let message = Recheck { entries: Arc::clone(&entries), now, answer };
            if worker.send(message).await.is_ok() {
                answers.push(answered);
            }
        }
        let mut sums = vec![0; entries.len()];
        for answered in answers {
            let counts = answered.await.unwrap_or_default();
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        sums
    }
}

/// How many messages a worker may be behind.
const RECHECKS_MAX: usize = 64;
