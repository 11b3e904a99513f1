//! Turns the configuration's routes and upstreams into what a worker uses.

use std::rc::Rc;
use std::sync::Arc;

use crate::config::Config;
use crate::proxy::{Plan, Route};
use crate::route::table::{Clash, Pattern, Table};
use crate::telemetry::counters::WorkerCounters;
use crate::upstream::Upstream;
use crate::upstream::endpoint::Endpoint;

/// The endpoints of every upstream: what all workers share.
#[derive(Clone, Debug)]
pub struct Endpoints(Arc<[Vec<Arc<Endpoint>>]>);

impl Endpoints {
    /// Of every upstream, in the order of the configuration.
    pub fn new(config: &Config, workers: usize) -> Self {
        let of = |endpoints: &[crate::config::Endpoint]| {
            endpoints.iter().map(|it| Arc::new(Endpoint::new(it.clone(), workers))).collect()
        };
        Self(config.upstreams.iter().map(|it| of(&it.endpoints)).collect())
    }
}

/// The plan of one worker.
pub fn plan(
    config: &Config,
    endpoints: &Endpoints,
    worker: usize,
    counters: &Arc<WorkerCounters>,
) -> Result<Plan, Clash> {
    let patterns: Vec<Pattern> = config.routes.iter().map(|it| it.pattern.clone()).collect();
    let upstreams: Vec<Rc<Upstream>> = config
        .upstreams
        .iter()
        .zip(endpoints.0.iter())
        .map(|(settings, endpoints)| {
            let settings = Rc::new(settings.clone());
            Rc::new(Upstream::new(settings, endpoints, worker, Arc::clone(counters)))
        })
        .collect();
    let routes = config.routes.iter().filter_map(|route| {
        Some(Route::new(route, upstreams.get(route.upstream)?, &config.gateway.key_headers))
    });
    Ok(Plan {
        table: Table::new(&patterns)?,
        routes: routes.collect(),
        upstreams: upstreams.clone(),
    })
}
