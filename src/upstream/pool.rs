//! Holds one worker's connections to one endpoint.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use hyper::client::conn::http1::SendRequest;

use crate::clock::Moment;
use crate::config;
use crate::tasks::Tasks;
use crate::telemetry::counters::WorkerCounters;
use crate::upstream::body::{RequestBody, ResponseBody, Upload, UploadStage};
use crate::upstream::connect::{self, ConnectFault, Driver, Way};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::tls::Tls;
use crate::upstream::tunnel::Unshared;
use crate::upstream::wire::Heard;

/// The pool.
#[derive(Clone, Debug)]
pub struct Pool(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoint: Arc<Endpoint>,
    tls: Option<Tls>,
    host: HeaderValue,
    worker: usize,
    connect_timeout: Duration,
    idle_timeout: Duration,
    /// The one that was used last is used first, so that surplus ones grow old.
    idle: RefCell<VecDeque<Idle>>,
    tasks: Tasks,
}

#[derive(Debug)]
struct Idle {
    line: Line,
    /// Set by the first tick that sees it.
    since: Option<Moment>,
}

/// A connection as the pool knows it.
#[derive(Debug)]
pub struct Line {
    /// Takes a request.
    pub sender: SendRequest<RequestBody>,
    /// Whether anything came over it.
    pub heard: Heard,
}

/// Which connections will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Any.
    Any,
    /// One that nobody has used before.
    Fresh,
}

impl Pool {
    /// An empty pool of `worker`.
    pub fn new(
        endpoint: Arc<Endpoint>,
        settings: &config::Upstream,
        tls: Option<Tls>,
        worker: usize,
    ) -> Self {
        Self(Rc::new(Inner {
            host: host(endpoint.address()),
            endpoint,
            tls,
            worker,
            connect_timeout: settings.connect_timeout,
            idle_timeout: settings.idle_timeout,
            idle: RefCell::default(),
            tasks: Tasks::default(),
        }))
    }

    /// Where its connections lead.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// What its endpoint is called in `Host`.
    pub fn host(&self) -> &HeaderValue {
        &self.0.host
    }

    /// A connection that was used before, if that will do, or a fresh one.
    pub async fn checkout(
        &self,
        wanted: Wanted,
        counters: &WorkerCounters,
    ) -> Result<Connection, ConnectFault> {
        if wanted == Wanted::Any
            && let Some(line) = self.pop()
        {
            counters.upstream_reused();
            return Ok(Connection { line, origin: Origin::Reused, pool: self.clone() });
        }
        let (line, driver) = self.open(counters).await?;
        self.drive(driver);
        Ok(Connection { line, origin: Origin::Fresh, pool: self.clone() })
    }

    /// A fresh connection for a single request, which may take it out of HTTP's hands.
    pub async fn unshared(&self, counters: &WorkerCounters) -> Result<Unshared, ConnectFault> {
        let (line, driver) = self.open(counters).await?;
        Ok(Unshared::new(line, driver, Busy::begin(self.clone())))
    }

    async fn open(&self, counters: &WorkerCounters) -> Result<(Line, Driver), ConnectFault> {
        let way = Way {
            endpoint: &self.0.endpoint,
            tls: self.0.tls.as_ref(),
            limit: self.0.connect_timeout,
        };
        let heard = Heard::default();
        // Boxed, as it is rare and large: every request's future would carry room for it.
        let opened = Box::pin(connect::http1(way, heard.clone())).await?;
        counters.upstream_opened();
        Ok((Line { sender: opened.sender, heard }, opened.driver))
    }

    /// What goes wrong with a connection is told to whoever waits for an answer on it.
    fn drive(&self, driver: Driver) {
        self.0.tasks.spawn_local(async move { drop(driver.await) });
    }

    /// Closes what nobody used for `idle_timeout`.
    pub fn close_idle(&self, now: Moment) {
        let mut idle = self.0.idle.borrow_mut();
        for it in idle.iter_mut() {
            it.since.get_or_insert(now);
        }
        let limit = self.0.idle_timeout;
        idle.retain(|it| {
            !it.line.sender.is_closed() && it.since.is_none_or(|since| now.since(since) < limit)
        });
    }

    /// The last one that can take a request at once. One that was given back a moment ago may
    /// still be busy reading the end of its answer; it stays for the next.
    fn pop(&self) -> Option<Line> {
        let mut idle = self.0.idle.borrow_mut();
        let ready = idle.iter().rposition(|it| it.line.sender.is_ready())?;
        idle.swap_remove_back(ready).map(|it| it.line)
    }
}

/// A connection on which nothing is under way.
#[derive(Debug)]
pub struct Connection {
    line: Line,
    origin: Origin,
    pool: Pool,
}

/// Whether a connection has carried a request before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Never.
    Fresh,
    /// Yes, so the upstream may just be closing it.
    Reused,
}

/// A request that got no answer.
#[derive(Debug)]
pub struct Lost {
    /// What went wrong.
    pub fault: hyper::Error,
    /// The request, if not a byte of it was sent.
    pub unsent: Option<Request<RequestBody>>,
    /// Whether the upstream had begun to answer.
    pub answered: bool,
}

impl Connection {
    /// Whether it has carried a request before.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Sends one request and waits for the head of the answer.
    pub async fn send(
        mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, Lost> {
        let upload = request.body().upload();
        self.line.heard.reset();
        let sending = self.line.sender.try_send_request(request);
        let loan = Loan::begin(self.pool, self.line, upload);
        match sending.await {
            Ok(response) => Ok(response.map(|it| ResponseBody::new(it, loan))),
            Err(mut fault) => {
                let unsent = fault.take_message();
                Err(Lost { fault: fault.into_error(), unsent, answered: loan.has_heard() })
            }
        }
    }
}

/// A request under way, as the endpoint counts it.
#[derive(Debug)]
pub struct Busy(Pool);

impl Busy {
    fn begin(pool: Pool) -> Self {
        pool.0.endpoint.begin(pool.0.worker);
        Self(pool)
    }

    /// Has somebody keep a connection going that nobody else polls any more.
    pub fn drive(&self, driver: Driver) {
        self.0.drive(driver);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Inner { endpoint, worker, .. } = &*self.0.0;
        endpoint.end(*worker);
    }
}

/// A connection with a request under way. Dropped, it is closed; given back, it is used again.
#[derive(Debug)]
pub struct Loan {
    busy: Busy,
    line: Line,
    upload: Upload,
    then: Then,
}

/// What becomes of a connection after an answer that was read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Kept,
    Closed,
}

impl Loan {
    fn begin(pool: Pool, line: Line, upload: Upload) -> Self {
        Self { busy: Busy::begin(pool), line, upload, then: Then::Kept }
    }

    /// Of a connection that is not used again.
    pub fn once(busy: Busy, line: Line, upload: Upload) -> Self {
        Self { busy, line, upload, then: Then::Closed }
    }

    fn has_heard(&self) -> bool {
        self.line.heard.anything()
    }

    /// The answer has ended. An upstream that answered without having read the request to its
    /// end leaves a connection on which nobody knows where the next one begins.
    pub fn give_back(self) {
        let Self { busy, line, upload, then } = self;
        let is_whole = then == Then::Kept && upload.stage() == UploadStage::Sent;
        if is_whole && !line.sender.is_closed() {
            busy.0.0.idle.borrow_mut().push_back(Idle { line, since: None });
        }
    }
}

/// What an endpoint is called in `Host`.
pub fn host(address: &config::Endpoint) -> HeaderValue {
    let bare = &address.host;
    let host = if bare.contains(':') { format!("[{bare}]") } else { bare.clone() };
    let text = if address.port == 80 { host } else { format!("{host}:{}", address.port) };
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("localhost"))
}
