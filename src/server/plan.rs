//! Turns the configuration's routes and upstreams into what a worker uses.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::{self, Config, TlsVersion};
use crate::gate::by_address::ByAddress;
use crate::proxy::{Plan, Route};
use crate::route::table::{Clash, Pattern, Table};
use crate::tasks::descriptors::Descriptors;
use crate::telemetry::counters::WorkerCounters;
use crate::upstream::Upstream;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::group::{Group, Groups};
use crate::upstream::tls::{self, Tls, TlsFault};

/// The endpoints of every upstream, how TLS is spoken to them, and who asks how often: what all
/// workers share.
#[derive(Clone, Debug)]
pub struct Endpoints {
    groups: Groups,
    /// What each route counts by address.
    by_address: Arc<HashMap<String, Arc<ByAddress>>>,
    workers: usize,
    descriptors: Descriptors,
}

/// An upstream whose endpoints cannot be spoken to.
#[derive(Debug, thiserror::Error)]
#[error("upstream {upstream:?}: {fault}")]
pub struct EndpointsFault {
    upstream: String,
    fault: TlsFault,
}

impl Endpoints {
    /// Of every upstream, in the order of the configuration, for so many workers. Connections to
    /// all of them need `descriptors`.
    pub fn new(
        config: &Config,
        workers: usize,
        descriptors: Descriptors,
    ) -> Result<Self, EndpointsFault> {
        let (groups, by_address) = (Groups::default(), Arc::default());
        Self { groups, by_address, workers, descriptors }.renew(config)
    }

    /// Of every upstream that there is now. An endpoint that there was already in an upstream of
    /// that name is the same one, with all that is known of it.
    pub fn renew(&self, config: &Config) -> Result<Self, EndpointsFault> {
        let group = |settings: &config::Upstream| {
            let before = self.groups.iter().find(|it| it.settings.name == settings.name);
            let endpoint = |it: &config::Endpoint| {
                let mut there = before.into_iter().flat_map(|before| &before.endpoints);
                let same = there.find(|there| there.is(it));
                same.map_or_else(|| self.endpoint(it), Arc::clone)
            };
            let fault = |fault| EndpointsFault { upstream: settings.name.clone(), fault };
            Ok(Group {
                settings: Arc::new(settings.clone()),
                endpoints: settings.endpoints.iter().map(endpoint).collect(),
                tls: tls(settings, config.gateway.min_tls).map_err(fault)?,
            })
        };
        let groups = config.upstreams.iter().map(group).collect::<Result<_, _>>()?;
        let by_address = |route: &config::Route| {
            let rate = route.rate_per_address?;
            let same = self.by_address.get(&route.name).filter(|it| *it.rate() == rate);
            let limit = same.map_or_else(|| Arc::new(ByAddress::new(rate)), Arc::clone);
            Some((route.name.clone(), limit))
        };
        let by_address = Arc::new(config.routes.iter().filter_map(by_address).collect());
        Ok(Self { groups, by_address, ..self.clone() })
    }

    fn by_address(&self, route: &config::Route) -> Option<Arc<ByAddress>> {
        self.by_address.get(&route.name).cloned()
    }

    fn endpoint(&self, address: &config::Endpoint) -> Arc<Endpoint> {
        Arc::new(Endpoint::new(address.clone(), self.workers, self.descriptors.clone()))
    }

    /// The same, for whoever looks after them or counts them.
    pub fn groups(&self) -> Groups {
        Arc::clone(&self.groups)
    }
}

/// Loaded only where it is spoken: a system without authorities is no fault of who needs none.
fn tls(upstream: &config::Upstream, min: TlsVersion) -> Result<Option<Tls>, TlsFault> {
    let is_spoken = upstream.endpoints.iter().any(|it| it.scheme.is_secure());
    is_spoken.then(|| tls::load(&upstream.tls, min)).transpose()
}

/// Who a plan is for.
#[derive(Debug)]
pub struct Planner {
    /// Its number.
    pub worker: usize,
    /// What it counts.
    pub counters: Arc<WorkerCounters>,
}

impl Planner {
    /// The plan of one worker. What is the same as in the plan `before` goes on as it is.
    pub fn plan(
        &self,
        config: &Config,
        endpoints: &Endpoints,
        before: Option<&Plan>,
    ) -> Result<Plan, Clash> {
        let patterns: Vec<Pattern> = config.routes.iter().map(|it| it.pattern.clone()).collect();
        let upstreams: Vec<Rc<Upstream>> =
            endpoints.groups.iter().map(|it| self.upstream(it, before)).collect();
        self.counters.keep_routes(config.routes.iter().map(|it| it.name.as_str()));
        let routes = config.routes.iter().filter_map(|route| {
            let upstream = upstreams.get(route.upstream)?;
            let counters = self.counters.route(&route.name);
            let shared = (counters, endpoints.by_address(route));
            Some(Route::new(route, upstream, &config.gateway.key_headers, shared))
        });
        let (table, routes) = (Table::new(&patterns)?, routes.collect());
        Ok(Plan { table, routes, upstreams, x_rate_limit: config.limits.x_ratelimit_headers })
    }

    fn upstream(&self, group: &Group, before: Option<&Plan>) -> Rc<Upstream> {
        let there = before.into_iter().flat_map(|it| &it.upstreams);
        let mut there = there.filter(|it| it.settings().name == group.settings.name);
        match there.next() {
            Some(same) if same.is_of(group) => Rc::clone(same),
            Some(other) => Rc::new(other.renew(group, self.worker)),
            None => Rc::new(Upstream::new(group, self.worker, Arc::clone(&self.counters))),
        }
    }
}
