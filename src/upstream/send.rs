//! Sends a request: where to, over which connection, and once more if that is safe.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::Body;
use http_body_util::BodyExt;

use crate::clock::Moment;
use crate::config::UpstreamHost;
use crate::key::text::KeyId;
use crate::upstream::answer::{self, Says};
use crate::upstream::balance::Asker;
use crate::upstream::body::{RequestBody, ResponseBody};
use crate::upstream::connect::ConnectFault;
use crate::upstream::copied::Copied;
use crate::upstream::ejection::Attempt;
use crate::upstream::loan::Busy;
use crate::upstream::pool::{Lost, Origin, Pool, Wanted};
use crate::upstream::retry::{Errand, Failure};
use crate::upstream::tunnel::{Unshared, UpgradeFault, Upgraded};
use crate::upstream::upload::{Upload, UploadStage};
use crate::upstream::{SendError, Upstream};

/// What became of a request at one endpoint.
#[expect(clippy::large_enum_variant, reason = "nearly every one is an answer")]
enum Turn {
    Answered(Response<ResponseBody>),
    /// The errand has it again.
    Again,
}

impl Upstream {
    /// Sends a request: picks an endpoint and a connection, and repeats what is safe to repeat.
    ///
    /// Safe is what was never put on the wire, whatever it is; and a request without a body, by an
    /// idempotent method, that got no byte of an answer, or one that says that nobody is there. It
    /// is repeated as often as `retries` says, at another endpoint where there is one, and within
    /// the budget if the endpoint may have seen it.
    ///
    /// Beside that, once, what was lost on a connection that had been used before: that the
    /// upstream closed it meanwhile is the ordinary case. It goes over a fresh connection, where
    /// that cannot be. Over HTTP/2 only what the upstream says that it has not looked at.
    #[expect(clippy::excessive_nesting, reason = "a block, for an `async fn` is twice as large")]
    pub fn send(
        &self,
        request: Request<RequestBody>,
        key: Option<KeyId>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, SendError>> {
        self.budget.count();
        let upload = request.body().upload();
        let asker = Asker { key, failed: None, now: self.now.get() };
        let mut errand = Errand::new(asker, self.group.settings.retries);
        errand.request = Some(request);
        async move {
            // Every turn but the last takes away what allowed for it.
            loop {
                let turn = self.try_once(&mut errand, &upload).await;
                if let Some(done) = self.finish(turn, &mut errand) {
                    return done;
                }
                upload.pause();
                self.counters.retried();
            }
        }
    }

    /// What the client gets, unless the request is to be sent once more.
    fn finish(
        &self,
        turn: Result<Turn, SendError>,
        errand: &mut Errand,
    ) -> Option<Result<Response<ResponseBody>, SendError>> {
        match turn {
            Ok(Turn::Answered(response)) => {
                self.discard(errand.kept.take());
                Some(Ok(response))
            }
            Ok(Turn::Again) => None,
            Err(fault) => Some(errand.kept.take().map(|it| *it).ok_or(fault)),
        }
    }

    async fn try_once(&self, errand: &mut Errand, upload: &Upload) -> Result<Turn, SendError> {
        let choice = self.balancer.choose(&errand.asker).ok_or(SendError::NoEndpoint)?;
        let place = choice.place;
        let pool = self.pools.get(place).ok_or(SendError::NoEndpoint)?;
        let attempt = self.judge.begin(choice, upload).ok_or(SendError::NoEndpoint)?;
        let busy = pool.busy();
        let connection = match pool.checkout(errand.wanted, &self.counters).await {
            Ok(connection) => connection,
            Err(fault) => {
                tracing::debug!(endpoint = %pool.endpoint(), %fault, "no connection");
                attempt.unconnected(&fault, Moment::now());
                let again = self.may_repeat(Failure::Unreachable, place, errand);
                return if again { Ok(Turn::Again) } else { Err(self.unreachable(fault)) };
            }
        };
        let origin = connection.origin();
        let may_be_stale = origin != Origin::Fresh && !errand.met_stale;
        let may_repeat = may_be_stale || errand.retries_left > 0;
        let (replay, sending) = {
            let mut request = errand.request.take().ok_or(SendError::NoEndpoint)?;
            if self.group.settings.host == UpstreamHost::Endpoint {
                request.headers_mut().insert(header::HOST, pool.host().clone());
            }
            let replay = if may_repeat { repeatable(&request) } else { None };
            upload.begin();
            (replay, connection.send(request, busy))
        };
        let lost = match sending.await {
            Ok(response) => return self.answered(response, attempt, replay, (place, errand)),
            Err(lost) => lost,
        };
        if let Some(fault) = upload.fault() {
            return Err(SendError::Upload(fault));
        }
        let failure = if lost.unsent.is_some() { Failure::Unsent } else { Failure::Lost };
        let was_stale = may_be_stale && (origin == Origin::Reused || failure == Failure::Unsent);
        let (fault, again) = again(lost, replay, upload);
        errand.request = again;
        if was_stale && errand.request.is_some() {
            (errand.met_stale, errand.wanted) = (true, Wanted::Fresh);
            return Ok(Turn::Again);
        }
        // Who breaks off in the middle of a body may have waited long enough for the client, or not want
        // so much: that is no failure of theirs.
        if failure == Failure::Unsent || upload.stage() == UploadStage::Sent {
            attempt.failed(Moment::now());
        }
        if errand.request.is_some() && self.may_repeat(failure, place, errand) {
            return Ok(Turn::Again);
        }
        Err(match failure {
            Failure::Unsent => self.unreachable(ConnectFault::Busy),
            Failure::Lost | Failure::Refused | Failure::Unreachable => self.failed(fault),
        })
    }

    /// There is an answer; it may be one that another endpoint would not give.
    fn answered(
        &self,
        response: Response<ResponseBody>,
        attempt: Attempt<'_>,
        replay: Option<Copied>,
        (place, errand): (usize, &mut Errand),
    ) -> Result<Turn, SendError> {
        let upload = attempt.upload();
        let (response, says) = self.judged(response, attempt)?;
        match replay {
            Some(replay)
                if says == Says::NobodyIsThere
                    && self.may_repeat(Failure::Refused, place, errand) =>
            {
                errand.kept = Some(Box::new(response));
                errand.request = Some(replay.with(RequestBody::empty(upload.clone())));
                Ok(Turn::Again)
            }
            Some(_) | None => Ok(Turn::Answered(response)),
        }
    }

    /// What an answer says of the endpoint, if it can be passed on at all.
    fn judged(
        &self,
        mut response: Response<ResponseBody>,
        attempt: Attempt<'_>,
    ) -> Result<(Response<ResponseBody>, Says), SendError> {
        if let Err(flaw) = answer::check(&mut response) {
            attempt.failed(Moment::now());
            return Err(self.flawed(flaw));
        }
        let says = Says::of(&response);
        match says {
            Says::SomebodyIsThere => attempt.succeeded(self.now.get()),
            Says::NobodyIsThere => attempt.failed(Moment::now()),
        }
        Ok((response, says))
    }

    /// Whether a request may go to another endpoint, or to the same once more; if so, it is no
    /// longer what it was.
    fn may_repeat(&self, failure: Failure, place: usize, errand: &mut Errand) -> bool {
        let asker = Asker { failed: Some(place), ..errand.asker };
        let has_other = self.balancer.has_other(&asker);
        let may = errand.retries_left > 0
            && (has_other || failure.is_worth_the_same())
            && (!failure.is_on_budget() || self.budget.take());
        if may {
            errand.retries_left -= 1;
            errand.asker = asker;
            errand.wanted = if has_other { Wanted::Any } else { Wanted::Fresh };
        }
        may
    }

    /// Sends a request without a body that asks for `protocol`, once: it goes elsewhere only where
    /// nobody could be connected to.
    pub async fn upgrade(
        &self,
        mut request: Request<RequestBody>,
        key: Option<KeyId>,
        protocol: &HeaderValue,
    ) -> Result<Upgraded, SendError> {
        let upload = request.body().upload();
        let (attempt, pool, (fresh, busy)) = self.unshared(key, &upload).await?;
        if self.group.settings.host == UpstreamHost::Endpoint {
            request.headers_mut().insert(header::HOST, pool.host().clone());
        }
        upload.begin();
        match fresh.upgrade(request, protocol, busy).await {
            Ok(Upgraded::Tunnel(tunnel)) => {
                attempt.succeeded(self.now.get());
                Ok(Upgraded::Tunnel(tunnel))
            }
            Ok(Upgraded::Answer(response)) => {
                self.judged(response, attempt).map(|(response, _)| Upgraded::Answer(response))
            }
            Err(UpgradeFault::Lost(lost)) => {
                attempt.failed(Moment::now());
                Err(self.failed(lost.fault))
            }
            Err(UpgradeFault::Flawed(flaw)) => {
                attempt.failed(Moment::now());
                Err(self.flawed(flaw))
            }
        }
    }

    /// A connection for one request alone, to whoever can be connected to.
    async fn unshared<'a>(
        &'a self,
        key: Option<KeyId>,
        upload: &'a Upload,
    ) -> Result<(Attempt<'a>, &'a Pool, (Unshared, Busy)), SendError> {
        self.budget.count();
        let asker = Asker { key, failed: None, now: self.now.get() };
        let mut errand = Errand::new(asker, self.group.settings.retries);
        loop {
            let choice = self.balancer.choose(&errand.asker).ok_or(SendError::NoEndpoint)?;
            let pool = self.pools.get(choice.place).ok_or(SendError::NoEndpoint)?;
            let attempt = self.judge.begin(choice, upload).ok_or(SendError::NoEndpoint)?;
            let busy = pool.busy();
            let fault = match pool.unshared(&self.counters).await {
                Ok(fresh) => return Ok((attempt, pool, (fresh, busy))),
                Err(fault) => fault,
            };
            attempt.unconnected(&fault, Moment::now());
            if !self.may_repeat(Failure::Unreachable, choice.place, &mut errand) {
                return Err(self.unreachable(fault));
            }
            self.counters.retried();
        }
    }

    /// There is a better answer.
    fn discard(&self, kept: Option<Box<Response<ResponseBody>>>) {
        if let Some(kept) = kept {
            self.tasks.spawn_local(read_away(kept.into_body()));
        }
    }

    fn flawed(&self, flaw: answer::Flaw) -> SendError {
        self.counters.upstream_error();
        SendError::Flawed(flaw)
    }

    fn failed(&self, fault: hyper::Error) -> SendError {
        self.counters.upstream_error();
        SendError::Failed(fault)
    }

    fn unreachable(&self, fault: ConnectFault) -> SendError {
        if fault.is_ours() {
            return SendError::Crowded(fault);
        }
        self.counters.upstream_error();
        SendError::Unreachable(fault)
    }
}

/// What it takes to send a request again that is idempotent and has no body.
fn repeatable(request: &Request<RequestBody>) -> Option<Copied> {
    let may = request.method().is_idempotent() && request.body().is_end_stream();
    may.then(|| Copied::of(request))
}

/// The request once more, if sending it again is safe.
fn again(
    lost: Lost,
    replay: Option<Copied>,
    upload: &Upload,
) -> (hyper::Error, Option<Request<RequestBody>>) {
    let Lost { fault, unsent, answered } = lost;
    let replay = replay.filter(|_| !answered);
    (fault, unsent.or_else(|| replay.map(|it| it.with(RequestBody::empty(upload.clone())))))
}

/// Reads an answer that nobody wants, so that its connection can be used again.
async fn read_away(mut body: ResponseBody) {
    let reading = async {
        let mut left = UNREAD_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(less) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else {
                return;
            };
            left = less;
        }
    };
    drop(tokio::time::timeout(UNREAD_TIME_MAX, reading).await);
}

const UNREAD_BYTES_MAX: usize = 64 * 1024;
const UNREAD_TIME_MAX: Duration = Duration::from_secs(1);
