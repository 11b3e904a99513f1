//! Holds spawned work together: who starts a task can wait for it, and can tell it to stop.

pub mod deadline;
pub mod descriptors;
pub mod memory;
pub mod permits;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of one thread or of the process, and the word to stop.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Tasks of their own that also stop when `self` does.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { tracker: TaskTracker::new(), stop: self.stop.child_token() }
    }

    /// Starts `work` on this thread's runtime; it can be stopped alone.
    pub fn spawn_local<F>(&self, work: F) -> AbortHandle
    where
        F: Future<Output = ()> + 'static,
    {
        self.tracker.spawn_local(work).abort_handle()
    }

    /// Starts `work` on another thread's runtime.
    pub fn spawn_on<F>(&self, work: F, runtime: &Handle)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn_on(work, runtime);
    }

    /// Starts `work` on the runtime of the caller, whichever thread that is.
    pub fn spawn<F>(&self, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn(work);
    }

    /// Says the word to stop to everyone who listens.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Resolves once the word to stop was said.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the word to stop was said.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Resolves once every task started here has ended.
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Does `work`; a panic in it ends that work and not the thread. Whoever waits for its answer
/// learns that there is none, because the panic drops the way to answer.
pub fn survive(work: impl FnOnce()) {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_default();
}

/// Why somebody outside wants a piece of work on this thread to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What let it in is no longer true, or no longer known.
    Cut,
    /// It took longer than its deadline allows.
    TimedOut,
}

/// One flag with one waker, on one thread: tells a future from outside that it is to end.
#[derive(Debug, Default)]
pub struct Signal {
    verdict: Cell<Option<Verdict>>,
    waker: RefCell<Option<Waker>>,
}

impl Signal {
    /// Gives the verdict, the first one counts, and wakes whoever asked last.
    pub fn give(&self, verdict: Verdict) {
        if self.verdict.get().is_none() {
            self.verdict.set(Some(verdict));
            self.nudge();
        }
    }

    /// Wakes whoever asked last, verdict or not.
    pub fn nudge(&self) {
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The verdict, if it was given.
    pub fn verdict(&self) -> Option<Verdict> {
        self.verdict.get()
    }

    /// Has `waker` woken when the verdict is given.
    pub fn wake_on_verdict(&self, waker: &Waker) {
        let mut held = self.waker.borrow_mut();
        match &mut *held {
            Some(held) if held.will_wake(waker) => {}
            Some(held) => held.clone_from(waker),
            None => *held = Some(waker.clone()),
        }
    }
}

/// A piece of work that can be told to end.
pub trait Ending: std::fmt::Debug {
    /// By which it is told.
    fn signal(&self) -> &Signal;
}
