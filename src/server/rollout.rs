//! Changes routes and upstreams while the gateway runs: on every worker, each in one step.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::config::Config;
use crate::server::plan::{Endpoints, EndpointsFault};
use crate::upstream::group::Groups;

/// What it takes to change them.
#[derive(Debug)]
pub struct Rollout {
    endpoints: Endpoints,
    /// Whoever looks after endpoints.
    groups: watch::Sender<Groups>,
    workers: Vec<mpsc::Sender<Swap>>,
}

/// Another configuration, for one worker.
#[derive(Debug)]
pub struct Swap {
    /// What it says.
    pub config: Arc<Config>,
    /// Where requests go.
    pub endpoints: Endpoints,
    done: oneshot::Sender<()>,
}

impl Swap {
    /// The next request sees it.
    pub fn done(self) {
        self.done.send(()).unwrap_or_default();
    }
}

impl Rollout {
    /// Over workers that use `endpoints` now.
    pub fn new(
        endpoints: Endpoints,
        groups: watch::Sender<Groups>,
        workers: Vec<mpsc::Sender<Swap>>,
    ) -> Self {
        Self { endpoints, groups, workers }
    }

    /// What `config` makes of the endpoints that there are; nothing has changed yet.
    pub fn prepare(&self, config: &Config) -> Result<Endpoints, EndpointsFault> {
        self.endpoints.renew(config)
    }

    /// Goes over to `config`, with what was prepared for it. Once this returns, every request that
    /// begins sees it; those that had begun end as they would have.
    pub async fn apply(&mut self, config: &Arc<Config>, endpoints: Endpoints) {
        self.groups.send_replace(endpoints.groups());
        let mut answers = Vec::with_capacity(self.workers.len());
        for worker in &self.workers {
            let (done, answer) = oneshot::channel();
            let swap = Swap { config: Arc::clone(config), endpoints: endpoints.clone(), done };
            // A worker that has ended serves nobody.
            if worker.send(swap).await.is_ok() {
                answers.push(answer);
            }
        }
        for answer in answers {
            answer.await.unwrap_or_default();
        }
        self.endpoints = endpoints;
    }
}

/// How many changes a worker may be behind.
pub const SWAPS_MAX: usize = 4;
