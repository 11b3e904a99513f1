//! Holds a thread that does jobs one after another, behind a queue with a limit.

use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{Builder, JoinHandle};

use crate::store::Unavailable;

/// The way to the thread. Dropping it has the thread finish its queue, and waits for that.
pub struct Desk<J> {
    inbox: Option<SyncSender<J>>,
    thread: Option<JoinHandle<()>>,
}

impl<J: Send + 'static> Desk<J> {
    /// Starts a thread that does `serve` until the queue is closed.
    pub fn start(
        name: &str,
        serve: impl FnOnce(Receiver<J>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (inbox, jobs) = sync_channel(JOBS_MAX);
        let thread = Builder::new().name(name.to_owned()).spawn(move || serve(jobs))?;
        Ok(Self { inbox: Some(inbox), thread: Some(thread) })
    }

    /// Queues a job; never waits.
    pub fn hand_in(&self, job: J) -> Result<(), Unavailable> {
        match self.inbox.as_ref().map(|it| it.try_send(job)) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_job))) => Err(Unavailable(format!(
                "it is overloaded: {JOBS_MAX} operations are waiting already"
            ))),
            Some(Err(TrySendError::Disconnected(_))) | None => {
                Err(Unavailable("its thread has ended: restart this process".to_owned()))
            }
        }
    }
}

impl<J> fmt::Debug for Desk<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Desk({:?})", self.thread.as_ref().and_then(|it| it.thread().name()))
    }
}

impl<J> Drop for Desk<J> {
    fn drop(&mut self) {
        drop(self.inbox.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to wait for.
            thread.join().unwrap_or_default();
        }
    }
}

const JOBS_MAX: usize = 4_096;
