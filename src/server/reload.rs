//! Reads the configuration again, and goes over to it, or leaves everything as it was.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::admin::rejection::Fault;
use crate::admin::reload::Wish;
use crate::clock::Timestamp;
use crate::config::change::{Changes, Current, change};
use crate::config::fault::Faults;
use crate::config::sources::Loaded;
use crate::gate::keyring::Keyring;
use crate::server::certificates::Shown;
use crate::server::notify::{State, notify};
use crate::server::rollout::Rollout;

/// Reads the configuration from where it was read at the start.
#[derive(Clone)]
pub struct Reread(Arc<dyn Fn() -> Result<Loaded, Faults> + Send + Sync>);

impl Reread {
    /// By `read`.
    pub fn new(read: impl Fn() -> Result<Loaded, Faults> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }
}

impl fmt::Debug for Reread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reread")
    }
}

/// What it takes to go over to another configuration.
#[derive(Debug)]
pub struct Reloading {
    /// `None`: it came from nowhere.
    pub reread: Option<Reread>,
    /// The one that is in force.
    pub current: Current,
    /// What is shown to whom TLS is spoken with.
    pub shown: Shown,
    /// What is limited by address.
    pub keyring: Arc<Keyring>,
    /// Routes and upstreams.
    pub rollout: Rollout,
    /// How that went so far.
    pub counts: Arc<Counts>,
    /// Whoever wishes it.
    pub wishes: mpsc::Receiver<Wish>,
}

/// How often the configuration was read again, and how that went.
#[derive(Debug)]
pub struct Counts {
    /// It is in force.
    pub done: AtomicU64,
    /// Something was wrong with it.
    pub refused: AtomicU64,
    /// When the one that is in force was read, in microseconds since the epoch.
    pub last_done_us: AtomicU64,
}

impl Counts {
    /// At the start, which counts as the first time.
    pub fn new(now: Timestamp) -> Self {
        let this = Self {
            done: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            last_done_us: AtomicU64::new(0),
        };
        this.note(now);
        this
    }

    fn note(&self, now: Timestamp) {
        let now = u64::try_from(now.as_micros()).unwrap_or_default();
        self.last_done_us.store(now, Ordering::Relaxed);
    }
}

impl Reloading {
    /// Who still wishes it is told that it is too late.
    pub fn close(&mut self) {
        self.wishes.close();
        while self.wishes.try_recv().is_ok() {}
    }

    /// Goes over to what is written now. On any fault nothing is changed, and the log says every
    /// one.
    pub async fn reload(&mut self) -> Result<Changes, Vec<Fault>> {
        notify(State::Reloading);
        let done = self.go_over().await;
        notify(State::Ready);
        match &done {
            Ok(changes) => {
                self.counts.done.fetch_add(1, Ordering::Relaxed);
                self.counts.note(Timestamp::now());
                let applied = changes.applied.join(" ");
                let waits_for_restart = changes.waits_for_restart.join(" ");
                tracing::info!(applied, waits_for_restart, "the configuration was read again");
            }
            Err(faults) => {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                for fault in faults {
                    tracing::error!(path = fault.path, "{}", fault.detail);
                }
                tracing::error!("nothing was changed: the configuration that was read has faults");
            }
        }
        done
    }

    async fn go_over(&mut self) -> Result<Changes, Vec<Fault>> {
        let Loaded { config, warnings } = self.read().await?;
        let (config, changes) = change(&self.current.load(), config);
        let endpoints = self.rollout.prepare(&config);
        let endpoints = endpoints.map_err(|fault| vec![as_fault("upstreams", &fault)])?;
        // The last step that can fail.
        self.shown.replace(&config).map_err(|(path, faults)| {
            faults.iter().map(|it| as_fault(path, &it)).collect::<Vec<_>>()
        })?;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let config = Arc::new(config);
        self.rollout.apply(&config, endpoints).await;
        self.keyring.limit(&self.current.load().limits, &config);
        self.current.store(config);
        Ok(changes)
    }

    /// Files may be far away; nothing else is heard meanwhile, so not for ever.
    async fn read(&self) -> Result<Loaded, Vec<Fault>> {
        let nowhere = || vec![as_fault("", &"this gateway was not started from a configuration")];
        let Some(Reread(read)) = self.reread.clone() else { return Err(nowhere()) };
        let reading = tokio::task::spawn_blocking(move || read());
        let unreadable = || vec![as_fault("", &"the configuration could not be read")];
        let read = timeout(READING, reading).await.map_err(|_elapsed| unreadable())?;
        match read {
            Ok(Ok(loaded)) => Ok(loaded),
            Ok(Err(faults)) => Err(faults
                .iter()
                .map(|it| Fault {
                    path: it.path.clone(),
                    detail: format!("{}: {}", it.place, it.message),
                })
                .collect()),
            Err(_panicked) => Err(unreadable()),
        }
    }
}

fn as_fault(path: &str, detail: &impl fmt::Display) -> Fault {
    Fault { path: path.to_owned(), detail: detail.to_string() }
}

/// For the file and what it names.
const READING: Duration = Duration::from_secs(10);
