//! Turns the configuration's routes and upstreams into what a worker uses.

use std::rc::Rc;
use std::sync::Arc;

use crate::config::{self, Config, Scheme, TlsVersion};
use crate::proxy::{Plan, Route};
use crate::route::table::{Clash, Pattern, Table};
use crate::telemetry::counters::WorkerCounters;
use crate::upstream::Upstream;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::group::{Group, Groups};
use crate::upstream::tls::{self, Tls, TlsFault};

/// The endpoints of every upstream, and how TLS is spoken to them: what all workers share.
#[derive(Clone, Debug)]
pub struct Endpoints(Groups);

/// An upstream whose endpoints cannot be spoken to.
#[derive(Debug, thiserror::Error)]
#[error("upstream {upstream:?}: {fault}")]
pub struct EndpointsFault {
    upstream: String,
    fault: TlsFault,
}

impl Endpoints {
    /// Of every upstream, in the order of the configuration.
    pub fn new(config: &Config, workers: usize) -> Result<Self, EndpointsFault> {
        let group = |upstream: &config::Upstream| {
            let endpoints = upstream.endpoints.iter();
            let endpoints = endpoints.map(|it| Arc::new(Endpoint::new(it.clone(), workers)));
            let endpoints: Vec<_> = endpoints.collect();
            endpoints.iter().for_each(|it| it.cap().set_limit(upstream.max_connections));
            let tls = tls(upstream, config.gateway.min_tls);
            let tls =
                tls.map_err(|fault| EndpointsFault { upstream: upstream.name.clone(), fault })?;
            let settings = Arc::new(upstream.clone());
            Ok(Group { settings, endpoints, tls })
        };
        Ok(Self(config.upstreams.iter().map(group).collect::<Result<_, _>>()?))
    }

    /// The same, for whoever looks after them or counts them.
    pub fn groups(&self) -> Groups {
        Arc::clone(&self.0)
    }
}

/// Loaded only where it is spoken: a system without authorities is no fault of who needs none.
fn tls(upstream: &config::Upstream, min: TlsVersion) -> Result<Option<Tls>, TlsFault> {
    let speaks_it = |it: &config::Endpoint| match it.scheme {
        Scheme::Https | Scheme::H2s => true,
        Scheme::Http | Scheme::H2 => false,
    };
    let is_spoken = upstream.endpoints.iter().any(speaks_it);
    is_spoken.then(|| tls::load(&upstream.tls, min)).transpose()
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
        .map(|(settings, group)| {
            let (settings, tls) = (Rc::new(settings.clone()), group.tls.as_ref());
            let counters = Arc::clone(counters);
            Rc::new(Upstream::new(settings, &group.endpoints, tls, worker, counters))
        })
        .collect();
    counters.keep_routes(config.routes.iter().map(|it| it.name.as_str()));
    let routes = config.routes.iter().filter_map(|route| {
        let (upstream, counters) = (upstreams.get(route.upstream)?, counters.route(&route.name));
        Some(Route::new(route, upstream, &config.gateway.key_headers, counters))
    });
    Ok(Plan {
        table: Table::new(&patterns)?,
        routes: routes.collect(),
        upstreams: upstreams.clone(),
    })
}
