//! Where a request goes, and over which connection.

use std::rc::Rc;

use http::{HeaderValue, Request, Response, header};

use crate::clock::Moment;
use crate::config::{self, UpstreamHost};
use crate::telemetry::counters::WorkerCounters;
use crate::upstream::balance::Balancer;
use crate::upstream::body::{RequestBody, ResponseBody, Upload};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::pool::{Lost, Origin, Pool, Wanted};
use crate::upstream::replay::Replay;
use crate::upstream::tls::Tls;
use crate::upstream::tunnel::{UpgradeFault, Upgraded};

pub mod answer;
pub mod balance;
pub mod body;
pub mod connect;
pub mod endpoint;
pub mod pool;
pub mod replay;
pub mod tls;
pub mod trailers;
pub mod tunnel;
pub mod wire;

/// One worker's way to an upstream.
#[derive(Debug)]
pub struct Upstream {
    settings: Rc<config::Upstream>,
    balancer: Balancer,
    pools: Vec<Pool>,
    counters: std::sync::Arc<WorkerCounters>,
}

impl Upstream {
    /// For worker number `worker`; the endpoints are shared by all.
    pub fn new(
        settings: Rc<config::Upstream>,
        endpoints: &[std::sync::Arc<Endpoint>],
        tls: Option<&Tls>,
        worker: usize,
        counters: std::sync::Arc<WorkerCounters>,
    ) -> Self {
        let pools = endpoints
            .iter()
            .map(|it| Pool::new(std::sync::Arc::clone(it), &settings, tls.cloned(), worker));
        let balancer = Balancer::new(settings.balance, worker);
        Self { pools: pools.collect(), balancer, settings, counters }
    }

    /// What is set for it.
    pub fn settings(&self) -> &config::Upstream {
        &self.settings
    }

    /// Sends a request: picks an endpoint and a connection, and repeats what is safe to repeat.
    ///
    /// Safe is what was never put on the wire, whatever it is; and, once, a request without a body,
    /// by an idempotent method, that was lost without a byte of an answer on a connection that had
    /// been used before: that the upstream closed it meanwhile is the ordinary case. Whatever is
    /// repeated goes over a fresh connection, where that cannot be.
    pub async fn send(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, SendError> {
        let mut request = request;
        let (mut failed, mut wanted) = (None, Wanted::Any);
        for _ in 0..ATTEMPTS_MAX {
            let place = self.balancer.choose(&self.pools, failed);
            let pool = self.pools.get(place).ok_or(SendError::NoEndpoint)?;
            if self.settings.host == UpstreamHost::Endpoint {
                request.headers_mut().insert(header::HOST, pool.host().clone());
            }
            let connection = match pool.checkout(wanted, &self.counters).await {
                Ok(connection) => connection,
                Err(fault) if self.pools.len() > 1 && failed.is_none() => {
                    tracing::debug!(endpoint = %pool.endpoint(), %fault, "trying another endpoint");
                    failed = Some(place);
                    continue;
                }
                Err(fault) => return Err(self.unreachable(fault)),
            };
            let replay = match connection.origin() {
                Origin::Reused => Replay::of(&request),
                Origin::Fresh => None,
            };
            let upload = request.body().upload();
            let lost = match connection.send(request).await {
                Ok(mut response) => {
                    answer::check(&mut response).map_err(|flaw| self.flawed(flaw))?;
                    return Ok(response);
                }
                Err(lost) => lost,
            };
            request = match again(lost, replay, &upload) {
                Ok(request) => request,
                Err(fault) => return Err(self.failed(fault, &upload)),
            };
            wanted = Wanted::Fresh;
            self.counters.retried();
        }
        Err(self.unreachable(connect::ConnectFault::Busy))
    }

    /// Sends a request without a body that asks for `protocol`, once: there is no second attempt.
    pub async fn upgrade(
        &self,
        request: Request<RequestBody>,
        protocol: &HeaderValue,
    ) -> Result<Upgraded, SendError> {
        let mut request = request;
        let place = self.balancer.choose(&self.pools, None);
        let pool = self.pools.get(place).ok_or(SendError::NoEndpoint)?;
        if self.settings.host == UpstreamHost::Endpoint {
            request.headers_mut().insert(header::HOST, pool.host().clone());
        }
        let upload = request.body().upload();
        let fresh = pool.unshared(&self.counters).await.map_err(|it| self.unreachable(it))?;
        match fresh.upgrade(request, protocol).await {
            Ok(Upgraded::Tunnel(tunnel)) => Ok(Upgraded::Tunnel(tunnel)),
            Ok(Upgraded::Answer(mut response)) => {
                answer::check(&mut response).map_err(|flaw| self.flawed(flaw))?;
                Ok(Upgraded::Answer(response))
            }
            Err(UpgradeFault::Lost(lost)) => Err(self.failed(lost.fault, &upload)),
            Err(UpgradeFault::Flawed(flaw)) => Err(self.flawed(flaw)),
        }
    }

    /// Closes connections that nobody used for long; called by the worker's ticker.
    pub fn tick(&self, now: Moment) {
        self.pools.iter().for_each(|it| it.close_idle(now));
    }

    fn flawed(&self, flaw: answer::Flaw) -> SendError {
        self.counters.upstream_error();
        SendError::Flawed(flaw)
    }

    fn failed(&self, fault: hyper::Error, upload: &Upload) -> SendError {
        if let Some(fault) = upload.fault() {
            return SendError::Upload(fault);
        }
        self.counters.upstream_error();
        SendError::Failed(fault)
    }

    fn unreachable(&self, fault: connect::ConnectFault) -> SendError {
        self.counters.upstream_error();
        SendError::Unreachable(fault)
    }
}

/// The request once more, if sending it again is safe.
fn again(
    lost: Lost,
    replay: Option<Replay>,
    upload: &Upload,
) -> Result<Request<RequestBody>, hyper::Error> {
    let Lost { fault, unsent, answered } = lost;
    let replay = replay.filter(|_| !answered);
    unsent.or_else(|| replay.map(|it| it.request(upload.clone()))).ok_or(fault)
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The upstream has no endpoint.
    #[error("the upstream has no endpoint")]
    NoEndpoint,
    /// No connection could be had.
    #[error(transparent)]
    Unreachable(connect::ConnectFault),
    /// The connection broke before there was an answer.
    #[error("the upstream closed the connection or answered with what is not HTTP: {0}")]
    Failed(hyper::Error),
    /// There was an answer, and it cannot be passed on.
    #[error("the upstream's answer cannot be passed on: {0}")]
    Flawed(answer::Flaw),
    /// The client's own body broke off or was malformed.
    #[error("the request's body could not be read")]
    Upload(body::UploadFault),
}

/// A connection that was used before may turn out to be closed; one endpoint may not be there; and
/// an upstream may close fresh connections at once.
const ATTEMPTS_MAX: usize = 4;
