//! Holds one worker's HTTP/1.1 connections to one endpoint that nobody uses now.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::OptionFuture;
use hyper::client::conn::http1::SendRequest;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::clock::Moment;
use crate::upstream::body::RequestBody;
use crate::upstream::cap::{Permit, Turn, Wanted};
use crate::upstream::connect::ConnectFault;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::share::Share;
use crate::upstream::wire::Heard;

/// The connections, and who waits for one.
#[derive(Debug, Default)]
pub struct Lines {
    /// The one that was used last is used first, so that surplus ones grow old.
    idle: RefCell<VecDeque<Idle>>,
    waiting: RefCell<VecDeque<oneshot::Sender<Line>>>,
}

/// A connection as the pool knows it.
#[derive(Debug)]
pub struct Line {
    /// Takes a request.
    pub sender: SendRequest<RequestBody>,
    /// Whether anything came over it.
    pub heard: Heard,
    /// What it is connected to.
    pub peer: SocketAddr,
    /// Ends what keeps it going; none where that is in the hands of who has the line.
    pub stop: Option<AbortHandle>,
}

#[derive(Debug)]
struct Idle {
    line: Line,
    /// Set by the first tick that sees it.
    since: Option<Moment>,
}

impl Lines {
    /// The last one that can take a request at once. One that was given back a moment ago may
    /// still be busy reading the end of its answer; it stays for the next.
    pub fn pop(&self, share: &Share) -> Option<Line> {
        let mut idle = self.idle.borrow_mut();
        let ready = idle.iter().rposition(|it| it.line.sender.is_ready())?;
        let line = idle.swap_remove_back(ready).map(|it| it.line);
        share.note_idle(idle.len());
        line
    }

    /// Says how many there are, where somebody counts them.
    pub fn note_idle(&self, share: &Share) {
        share.note_idle(self.idle.borrow().len());
    }

    /// Any one, ready or not: the one that was used longest ago.
    pub fn pop_any(&self, share: &Share) -> Option<Line> {
        let mut idle = self.idle.borrow_mut();
        let line = idle.pop_front().map(|it| it.line);
        share.note_idle(idle.len());
        line
    }

    /// A connection on which an answer has ended: for whoever waits, or to be kept.
    pub fn put(&self, line: Line, share: &Share) {
        if share.must_yield() {
            return;
        }
        if !share.is_limited() {
            self.idle.borrow_mut().push_back(Idle { line, since: None });
            return;
        }
        let Some(line) = self.hand_over(line) else { return };
        self.idle.borrow_mut().push_back(Idle { line, since: None });
        share.note_idle(self.idle.borrow().len());
        // Somebody may have begun to wait before they could see it.
        if share.must_yield() {
            drop(self.pop_any(share));
        }
    }

    /// Gives a connection to the first who waits; or back, where nobody does.
    fn hand_over(&self, line: Line) -> Option<Line> {
        let mut line = line;
        loop {
            let Some(waiter) = self.waiting.borrow_mut().pop_front() else { return Some(line) };
            match waiter.send(line) {
                Ok(()) => return None,
                Err(back) => line = back,
            }
        }
    }

    /// Waits for a connection that somebody gives back, or for the right to open one.
    pub async fn wait_for_one(
        &self,
        mut turn: Turn,
        wanted: Wanted,
        share: &Share,
    ) -> Result<Turned, ConnectFault> {
        // One that was given back a moment ago; or one that has to make room.
        if let Some(mut line) = self.pop_any(share)
            && wanted == Wanted::Any
            && line.sender.ready().await.is_ok()
        {
            return Ok(Turned::Line(line));
        }
        loop {
            let handed = match wanted {
                Wanted::Any => Some(self.wait()?),
                Wanted::Fresh => None,
            };
            let handed = OptionFuture::from(handed);
            tokio::select! {
                biased;
                Some(Ok(mut line)) = handed => {
                    if line.sender.ready().await.is_ok() {
                        return Ok(Turned::Line(line));
                    }
                }
                permit = turn.granted() => return Ok(Turned::Permit(permit)),
            }
        }
    }

    /// Has the next connection that is given back come here.
    fn wait(&self) -> Result<oneshot::Receiver<Line>, ConnectFault> {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= WAITING_MAX {
            waiting.retain(|it| !it.is_closed());
        }
        if waiting.len() >= WAITING_MAX {
            return Err(ConnectFault::Crowded);
        }
        let (tell, told) = oneshot::channel();
        waiting.push_back(tell);
        Ok(told)
    }

    /// Closes what is not worth keeping.
    pub fn close_idle(&self, sweep: &Sweep<'_>, share: &Share) {
        let mut idle = self.idle.borrow_mut();
        idle.retain_mut(|it| {
            let since = *it.since.get_or_insert(sweep.now);
            !it.line.sender.is_closed() && sweep.keeps(since, it.line.peer)
        });
        share.note_idle(idle.len());
    }
}

/// What a wait for a connection ends with.
#[derive(Debug)]
pub enum Turned {
    /// A connection that was used before.
    Line(Line),
    /// The right to open one.
    Permit(Permit),
}

/// Which idle connections are to be closed.
#[derive(Clone, Copy, Debug)]
pub struct Sweep<'a> {
    /// The time.
    pub now: Moment,
    /// How long one may be idle.
    pub limit: Duration,
    /// Where they are to lead.
    pub endpoint: &'a Endpoint,
}

impl Sweep<'_> {
    /// Whether one stays that has been idle `since` then.
    pub fn keeps(&self, since: Moment, peer: SocketAddr) -> bool {
        self.now.since(since) < self.limit && self.leads_there(peer)
    }

    /// Whether what is connected to `peer` leads to the endpoint.
    pub fn leads_there(&self, peer: SocketAddr) -> bool {
        self.endpoint.has_address(peer)
    }
}

/// On one worker, for a connection to one endpoint: more get 503 at once.
pub const WAITING_MAX: usize = 1024;
