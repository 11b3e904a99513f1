//! Where a request goes, and over which connection.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::clock::Moment;
use crate::config;
use crate::tasks::Tasks;
use crate::telemetry::counters::WorkerCounters;
use crate::upstream::balance::Balancer;
use crate::upstream::connect::ConnectFault;
use crate::upstream::ejection::Judge;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::group::Group;
use crate::upstream::pool::Pool;
use crate::upstream::retry::Budget;

pub mod answer;
pub mod balance;
pub mod body;
pub mod cap;
pub mod connect;
pub mod copied;
pub mod ejection;
pub mod endpoint;
pub mod group;
pub mod head;
pub mod health;
pub mod kept;
pub mod lines;
pub mod loan;
pub mod once;
pub mod pool;
pub mod resolve;
pub mod retry;
pub mod send;
pub mod share;
pub mod standing;
pub mod streams;
pub mod tls;
pub mod trailers;
pub mod tunnel;
pub mod upload;
pub mod wire;

/// One worker's way to an upstream.
#[derive(Debug)]
pub struct Upstream {
    group: Group,
    balancer: Balancer,
    judge: Judge,
    budget: Budget,
    pools: Vec<Pool>,
    counters: Arc<WorkerCounters>,
    /// As of the last tick: when an endpoint comes back needs no clock on the path.
    now: Cell<Moment>,
    tasks: Tasks,
}

impl Upstream {
    /// For worker number `worker`.
    pub fn new(group: &Group, worker: usize, counters: Arc<WorkerCounters>) -> Self {
        let pool = |it: &Arc<Endpoint>| {
            Pool::new(Arc::clone(it), &group.settings, group.tls.clone(), worker)
        };
        let pools = group.endpoints.iter().map(pool).collect();
        Self::over(pools, group, worker, counters)
    }

    /// The same under other terms: endpoints that stay keep their connections, unless these were
    /// opened to who is believed no more, or as who we are no more.
    #[must_use]
    pub fn renew(&self, group: &Group, worker: usize) -> Self {
        let keeps = self.group.has_tls_of(group);
        let pool = |endpoint: &Arc<Endpoint>| {
            let (settings, tls) = (&group.settings, group.tls.clone());
            let is_same = |it: &&Pool| std::ptr::eq(it.endpoint(), Arc::as_ptr(endpoint));
            match self.pools.iter().find(is_same).filter(|_| keeps) {
                Some(pool) => pool.renew(settings, tls),
                None => Pool::new(Arc::clone(endpoint), settings, tls, worker),
            }
        };
        let pools = group.endpoints.iter().map(pool).collect();
        Self::over(pools, group, worker, Arc::clone(&self.counters))
    }

    fn over(pools: Vec<Pool>, group: &Group, worker: usize, counters: Arc<WorkerCounters>) -> Self {
        let (settings, endpoints) = (&group.settings, &group.endpoints);
        let now = Moment::now();
        Self {
            pools,
            balancer: Balancer::new(settings, endpoints, worker),
            judge: Judge::new(settings, endpoints),
            budget: Budget::new(settings.retries, now),
            group: group.clone(),
            counters,
            now: Cell::new(now),
            tasks: Tasks::default(),
        }
    }

    /// Whether it is what it would be made anew from `group`.
    pub fn is_of(&self, group: &Group) -> bool {
        let same = |(ours, theirs): (&Arc<Endpoint>, &Arc<Endpoint>)| Arc::ptr_eq(ours, theirs);
        self.group.is_as(group) && self.group.endpoints.iter().zip(&group.endpoints).all(same)
    }

    /// What is set for it.
    pub fn settings(&self) -> &config::Upstream {
        &self.group.settings
    }

    /// Gives up the connections that none of those has who `stay`, as soon as nobody uses them.
    pub fn leave(&self, stay: &[Rc<Self>]) {
        let stays =
            |ours: &Pool| stay.iter().any(|it| it.pools.iter().any(|it| it.shares_with(ours)));
        self.pools.iter().filter(|it| !stays(it)).for_each(Pool::leave);
    }

    /// Closes connections that nobody used for long; called by the worker's ticker.
    pub fn tick(&self, now: Moment) {
        self.now.set(now);
        self.budget.tick(now);
        self.pools.iter().for_each(|it| it.close_idle(now));
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The upstream has no endpoint.
    #[error("the upstream has no endpoint")]
    NoEndpoint,
    /// No connection could be had.
    #[error(transparent)]
    Unreachable(ConnectFault),
    /// Every connection that there may be is in use, and none became free in time.
    #[error(transparent)]
    Crowded(ConnectFault),
    /// The connection broke before there was an answer.
    #[error("the upstream closed the connection or answered with what is not HTTP: {0}")]
    Failed(hyper::Error),
    /// There was an answer, and it cannot be passed on.
    #[error("the upstream's answer cannot be passed on: {0}")]
    Flawed(answer::Flaw),
    /// The client's own body broke off or was malformed.
    #[error("the request's body could not be read")]
    Upload(upload::UploadFault),
}
