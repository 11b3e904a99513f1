//! Holds one worker's connections to one endpoint.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::clock::Moment;
use crate::config::{self, UrlScheme};
use crate::tasks::Tasks;
use crate::telemetry::counters::WorkerCounters;
use crate::upstream::cap::{Entry, Permit, Turn};
use crate::upstream::connect::{self, ConnectFault, Driver, Http1, Way};
use crate::upstream::endpoint::{self, Endpoint};
use crate::upstream::lines::{Line, Lines, Sweep, Turned};
use crate::upstream::loan::{Busy, Connection};
use crate::upstream::share::Share;
use crate::upstream::streams::{Opening, Slot, Streams};
use crate::upstream::tls::Tls;
use crate::upstream::tunnel::{Alone, Unshared};
use crate::upstream::wire::Heard;

pub use crate::upstream::cap::Wanted;
pub use crate::upstream::loan::{Lost, Origin};

/// The pool. A plan's pools may have the connections of another plan's.
#[derive(Debug)]
pub struct Pool {
    held: Rc<Held>,
    terms: Terms,
}

/// Under what terms connections are opened and kept.
#[derive(Clone, Debug)]
struct Terms {
    tls: Option<Tls>,
    connect_timeout: Duration,
    idle_timeout: Duration,
    wait_timeout: Duration,
}

/// What outlives a change of terms.
#[derive(Debug)]
pub struct Held {
    endpoint: Arc<Endpoint>,
    host: HeaderValue,
    worker: usize,
    share: Rc<Share>,
    kept: Kept,
    /// Whether somebody listens to what other workers need.
    attended: Cell<bool>,
    tasks: Tasks,
}

/// The connections that are open, by what is spoken over them.
#[derive(Debug)]
enum Kept {
    Http1(Lines),
    Http2(Rc<Streams>),
}

impl Pool {
    /// An empty pool of `worker`.
    pub fn new(
        endpoint: Arc<Endpoint>,
        settings: &config::Upstream,
        tls: Option<Tls>,
        worker: usize,
    ) -> Self {
        let share = Rc::new(Share::new(Arc::clone(endpoint.cap()), worker));
        let kept = match endpoint.address().scheme {
            UrlScheme::Http | UrlScheme::Https => Kept::Http1(Lines::default()),
            UrlScheme::H2 | UrlScheme::H2s => Kept::Http2(Rc::new(Streams::new(Rc::clone(&share)))),
        };
        let held = Rc::new(Held {
            host: endpoint::host(endpoint.address()),
            endpoint,
            worker,
            share,
            kept,
            attended: Cell::new(false),
            tasks: Tasks::default(),
        });
        Self::under(held, settings, tls)
    }

    /// The same connections under other terms.
    #[must_use]
    pub fn renew(&self, settings: &config::Upstream, tls: Option<Tls>) -> Self {
        Self::under(Rc::clone(&self.held), settings, tls)
    }

    fn under(held: Rc<Held>, settings: &config::Upstream, tls: Option<Tls>) -> Self {
        held.endpoint.cap().set_limit(settings.max_connections);
        held.share.set_limit(settings.max_connections);
        if held.share.is_limited() && !held.attended.replace(true) {
            let share = Rc::clone(&held.share);
            let attending = give_up_idle(Rc::downgrade(&held), share, held.tasks.clone());
            held.tasks.spawn_local(attending);
        }
        held.shrink();
        let config::Upstream { connect_timeout, idle_timeout, wait_timeout, .. } = *settings;
        let wait_timeout = wait_timeout.max(WAIT_MIN);
        Self { held, terms: Terms { tls, connect_timeout, idle_timeout, wait_timeout } }
    }

    /// Where its connections lead.
    pub fn endpoint(&self) -> &Endpoint {
        &self.held.endpoint
    }

    /// What its endpoint is called in `Host`.
    pub fn host(&self) -> &HeaderValue {
        &self.held.host
    }

    /// A request that was sent here, from now on.
    pub fn busy(&self) -> Busy {
        Busy::begin(Rc::clone(&self.held))
    }

    /// A connection that was used before, if that will do, or a fresh one.
    pub async fn checkout(
        &self,
        wanted: Wanted,
        counters: &WorkerCounters,
    ) -> Result<Connection, ConnectFault> {
        match &self.held.kept {
            Kept::Http1(lines) => {
                if wanted == Wanted::Any
                    && let Some(line) = lines.pop(&self.held.share)
                {
                    return Ok(reused(line, counters));
                }
                // Boxed, as it is rare and large: every request's future would carry room for it.
                Box::pin(self.line(lines, wanted, counters)).await
            }
            Kept::Http2(streams) => {
                let slot = match streams.slot() {
                    Some(slot) => slot,
                    None => Box::pin(self.slot(streams)).await?,
                };
                Ok(Connection::sharing(slot, counters))
            }
        }
    }

    /// A fresh connection for a single request, which may take it out of HTTP's hands; over HTTP/2
    /// a place, which may not.
    pub async fn unshared(&self, counters: &WorkerCounters) -> Result<Unshared, ConnectFault> {
        if let Kept::Http2(_) = self.held.kept {
            let place = self.checkout(Wanted::Any, counters).await?;
            return Ok(Unshared::Shared(Box::new(place)));
        }
        let permit = match self.held.share.enter(Wanted::Fresh) {
            Entry::Open(permit) => permit,
            Entry::Full => return Err(ConnectFault::NoDescriptor),
            Entry::Wait(mut turn) => {
                self.held.close_one();
                let granted = timeout(self.terms.wait_timeout, turn.granted()).await;
                granted.map_err(|_elapsed| ConnectFault::Crowded)?
            }
        };
        let (line, driver) = self.open(permit, counters).await?;
        Ok(Unshared::Alone(Box::new(Alone { line, driver })))
    }

    /// Closes what nobody used for `idle_timeout`, or leads where the endpoint is no longer; for
    /// want of descriptors, what nobody uses now.
    pub fn close_idle(&self, now: Moment) {
        let Held { endpoint, kept, share, .. } = &*self.held;
        let is_short = endpoint.cap().is_short(now);
        let limit = if is_short { Duration::ZERO } else { self.terms.idle_timeout };
        let sweep = Sweep { now, limit, endpoint };
        match kept {
            Kept::Http1(lines) => lines.close_idle(&sweep, share),
            Kept::Http2(streams) => streams.close_idle(&sweep),
        }
    }

    /// Whether its connections are those of `other` too.
    pub fn shares_with(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.held, &other.held)
    }

    /// Nothing begins here any more: closes what nobody uses, and the rest once it is free.
    pub fn leave(&self) {
        self.held.share.close();
        // Nobody attends to what others need any more: another pool may do that for this worker.
        self.held.tasks.stop();
        while self.held.close_one().is_some() {}
    }

    /// A fresh connection, or one that somebody gives back while none may be opened.
    async fn line(
        &self,
        lines: &Lines,
        wanted: Wanted,
        counters: &WorkerCounters,
    ) -> Result<Connection, ConnectFault> {
        let permit = match self.held.share.enter(wanted) {
            Entry::Open(permit) => permit,
            Entry::Full => return Err(ConnectFault::NoDescriptor),
            Entry::Wait(turn) => {
                let turned = lines.wait_for_one(turn, wanted, &self.held.share);
                let turned = timeout(self.terms.wait_timeout, turned).await;
                match turned.map_err(|_elapsed| ConnectFault::Crowded)?? {
                    Turned::Line(line) => return Ok(reused(line, counters)),
                    Turned::Permit(permit) => permit,
                }
            }
        };
        let (mut line, driver) = self.open(permit, counters).await?;
        line.stop = Some(self.held.drive(driver));
        Ok(Connection::over(line, Origin::Fresh))
    }

    async fn open(
        &self,
        permit: Permit,
        counters: &WorkerCounters,
    ) -> Result<(Line, Driver), ConnectFault> {
        let heard = Heard::default();
        let opened =
            connect::http1(self.terms.way(&self.held), heard.clone(), Some(permit)).await?;
        counters.upstream_opened();
        let Http1 { sender, driver, peer } = opened;
        Ok((Line { sender, heard, peer, stop: None }, driver))
    }

    /// A place on a connection that is being opened for all who wait, or that becomes free.
    async fn slot(&self, streams: &Rc<Streams>) -> Result<Slot, ConnectFault> {
        let mut told = streams.wait()?;
        open_as_needed(&self.held, streams, &self.terms);
        loop {
            match timeout(self.terms.wait_timeout, &mut told).await {
                Ok(told) => return told.unwrap_or(Err(ConnectFault::Busy)),
                // What is limited is the wait for a permit; connecting has its own time.
                Err(_elapsed) if streams.is_connecting() => {}
                Err(_elapsed) => return Err(ConnectFault::Crowded),
            }
        }
    }
}

impl Terms {
    fn way<'a>(&'a self, held: &'a Held) -> Way<'a> {
        let limit = self.connect_timeout;
        Way { endpoint: &held.endpoint, tls: self.tls.as_ref(), limit }
    }
}

impl Held {
    /// Where the connections lead.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// On which worker they are.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// What goes wrong with a connection is told to whoever waits for an answer on it.
    pub fn drive(&self, driver: Driver) -> AbortHandle {
        self.tasks.spawn_local(async move { drop(driver.await) })
    }

    /// An answer has ended on a connection that can be used again.
    pub fn put(&self, line: Line) {
        if let Kept::Http1(lines) = &self.kept
            && self.endpoint.has_address(line.peer)
        {
            lines.put(line, &self.share);
        }
    }

    /// Closes what nobody uses while there is more than may be: the limit may have become lower.
    fn shrink(&self) {
        match &self.kept {
            Kept::Http1(lines) => lines.note_idle(&self.share),
            Kept::Http2(streams) => streams.note_idle(),
        }
        let excess = self.endpoint.cap().excess();
        (0..excess).map_while(|_| self.close_one()).for_each(drop);
    }

    /// Closes a connection that nobody uses, if there is one.
    fn close_one(&self) -> Option<()> {
        match &self.kept {
            Kept::Http1(lines) => lines.pop_any(&self.share).map(drop),
            Kept::Http2(streams) => streams.close_one(),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

fn reused(line: Line, counters: &WorkerCounters) -> Connection {
    counters.upstream_reused();
    Connection::over(line, Origin::Reused)
}

/// Opens connections for those who wait for a place on one, as many as they need.
fn open_as_needed(held: &Rc<Held>, streams: &Rc<Streams>, terms: &Terms) {
    if !streams.needs_another() {
        return;
    }
    let mut opening = streams.begin_opening();
    let right = match held.share.enter(Wanted::Any) {
        Entry::Open(permit) => {
            opening.connect();
            Right::Now(permit)
        }
        Entry::Wait(turn) => Right::Later(turn),
        Entry::Full => return streams.fail(&ConnectFault::NoDescriptor),
    };
    let opened = open_shared(Rc::clone(held), Rc::clone(streams), terms.clone(), (opening, right));
    held.tasks.spawn_local(opened);
}

/// The right to open a connection.
enum Right {
    Now(Permit),
    Later(Turn),
}

/// Opens one connection, for whoever waits when it is there.
async fn open_shared(
    held: Rc<Held>,
    streams: Rc<Streams>,
    terms: Terms,
    (mut opening, right): (Opening, Right),
) {
    let permit = match right {
        Right::Now(permit) => Some(permit),
        Right::Later(turn) => wait_for_permit(turn, &streams, terms.wait_timeout).await,
    };
    let Some(permit) = permit else { return };
    opening.connect();
    let opened = connect::http2(terms.way(&held), Some(permit)).await;
    drop(opening);
    match opened {
        Ok(opened) => {
            held.tasks.spawn_local(streams.add(opened));
            open_as_needed(&held, &streams, &terms);
        }
        Err(fault) => streams.fail(&fault),
    }
}

/// A permit, unless everybody leaves who waits for it.
async fn wait_for_permit(mut turn: Turn, streams: &Streams, every: Duration) -> Option<Permit> {
    while streams.is_wanted() {
        if let Ok(permit) = timeout(every, turn.granted()).await {
            return streams.is_wanted().then_some(permit);
        }
    }
    None
}

/// Closes connections that nobody uses when other workers wait for theirs, as long as there is a
/// pool.
async fn give_up_idle(held: Weak<Held>, share: Rc<Share>, tasks: Tasks) {
    loop {
        let wanted = tokio::select! {
            () = tasks.stopped() => return,
            wanted = share.nudged() => wanted,
        };
        let Some(held) = held.upgrade() else { return };
        if (0..wanted).any(|_| held.close_one().is_none()) {
            share.pass_nudge_on();
        }
    }
}

/// A connection that was given back a moment ago is ready within this time, and nobody who may not
/// wait at all is to be refused for that.
const WAIT_MIN: Duration = Duration::from_millis(5);
