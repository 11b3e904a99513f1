//! Holds one worker's HTTP/2 connections to one endpoint, each of which carries many requests.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use hyper::client::conn::http2::SendRequest;
use tokio::sync::oneshot;

use crate::clock::Moment;
use crate::upstream::connect::{ConnectFault, Driver2, Http2, STREAMS_MAX};
use crate::upstream::kept::{KeptBody, Reader};
use crate::upstream::lines::{Sweep, WAITING_MAX};
use crate::upstream::share::Share;

/// The connections, and who waits for a place on one.
#[derive(Debug)]
pub struct Streams {
    shared: RefCell<Vec<Rc<Shared>>>,
    waiting: RefCell<VecDeque<Waiter>>,
    /// How many connections are being opened, and how many of them need not wait for a permit.
    openings: Cell<usize>,
    connecting: Cell<usize>,
    share: Rc<Share>,
}

type Waiter = oneshot::Sender<Result<Slot, ConnectFault>>;

/// One connection.
#[derive(Debug)]
struct Shared {
    sender: RefCell<SendRequest<KeptBody>>,
    /// None once it has ended.
    driver: Rc<RefCell<Option<Driver2>>>,
    reader: Reader,
    peer: SocketAddr,
    streams: Cell<usize>,
    used: Cell<bool>,
    /// Whether it takes no more requests; it is closed with its last one.
    retired: Cell<bool>,
    /// Set by the first tick that sees it without a request.
    since: Cell<Option<Moment>>,
}

/// A place for one request on a connection.
#[derive(Debug)]
pub struct Slot {
    home: Rc<Streams>,
    shared: Rc<Shared>,
}

impl Streams {
    /// None yet.
    pub fn new(share: Rc<Share>) -> Self {
        Self {
            shared: RefCell::default(),
            waiting: RefCell::default(),
            openings: Cell::new(0),
            connecting: Cell::new(0),
            share,
        }
    }

    /// A place on the oldest connection that has one, so that surplus ones grow old.
    pub fn slot(self: &Rc<Self>) -> Option<Slot> {
        let all = self.shared.borrow();
        let shared = Rc::clone(all.iter().find(|it| it.has_room())?);
        shared.streams.set(shared.streams.get() + 1);
        shared.since.set(None);
        drop(all);
        self.note_idle();
        Some(Slot { home: Rc::clone(self), shared })
    }

    /// Has the next place that becomes free come here.
    pub fn wait(&self) -> Result<oneshot::Receiver<Result<Slot, ConnectFault>>, ConnectFault> {
        let mut waiting = self.waiting.borrow_mut();
        waiting.retain(|it| !it.is_closed());
        if waiting.len() >= WAITING_MAX {
            return Err(ConnectFault::Crowded);
        }
        let (tell, told) = oneshot::channel();
        waiting.push_back(tell);
        Ok(told)
    }

    /// Whether those who wait are more than the connections will carry that are being opened.
    pub fn needs_another(&self) -> bool {
        let waiting = self.waiting.borrow().iter().filter(|it| !it.is_closed()).count();
        waiting > self.openings.get() * STREAMS_MAX as usize
    }

    /// A connection is being opened, until the answer is dropped.
    pub fn begin_opening(self: &Rc<Self>) -> Opening {
        self.openings.set(self.openings.get() + 1);
        Opening { home: Rc::clone(self), stage: Stage::Waiting }
    }

    /// Whether one is being opened that needs no permit any more.
    pub fn is_connecting(&self) -> bool {
        self.connecting.get() > 0
    }

    /// Whether somebody waits for a place.
    pub fn is_wanted(&self) -> bool {
        self.waiting.borrow().iter().any(|it| !it.is_closed())
    }

    /// A connection is there: whoever waits gets a place. What keeps it going, to be polled.
    pub fn add(self: &Rc<Self>, opened: Http2) -> impl Future<Output = ()> + use<> {
        let driver = Rc::new(RefCell::new(Some(opened.driver)));
        let shared = Shared {
            sender: RefCell::new(opened.sender),
            driver: Rc::clone(&driver),
            reader: opened.reader,
            peer: opened.peer,
            streams: Cell::new(0),
            used: Cell::new(false),
            retired: Cell::new(false),
            since: Cell::new(None),
        };
        self.shared.borrow_mut().push(Rc::new(shared));
        self.serve();
        keep_going(driver)
    }

    /// None could be opened: whoever waits is told, unless others are open and become free, or are
    /// being opened.
    pub fn fail(&self, fault: &ConnectFault) {
        if self.is_connecting() || self.shared.borrow().iter().any(|it| it.is_open()) {
            return;
        }
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        for waiter in waiting {
            // Who has left needs no word.
            drop(waiter.send(Err(fault.again())));
        }
    }

    /// Gives free places to those who wait.
    fn serve(self: &Rc<Self>) {
        while let Some(waiter) = self.next_waiter() {
            let Some(slot) = self.slot() else {
                self.waiting.borrow_mut().push_front(waiter);
                return;
            };
            // Who has left meanwhile gives the place back.
            drop(waiter.send(Ok(slot)));
        }
        self.note_idle();
    }

    fn next_waiter(&self) -> Option<Waiter> {
        let mut waiting = self.waiting.borrow_mut();
        loop {
            let waiter = waiting.pop_front()?;
            if !waiter.is_closed() {
                return Some(waiter);
            }
        }
    }

    /// Closes what is not worth keeping; what still carries requests gets no more.
    pub fn close_idle(&self, sweep: &Sweep<'_>) {
        self.shared.borrow_mut().retain(|it| {
            let keeps = if it.streams.get() > 0 {
                sweep.leads_there(it.peer)
            } else {
                let since = it.since.get().unwrap_or(sweep.now);
                it.since.set(Some(since));
                sweep.keeps(since, it.peer)
            };
            it.retired.set(!keeps);
            it.is_open()
        });
        self.note_idle();
    }

    /// Closes one that carries nothing, if there is one.
    pub fn close_one(&self) -> Option<()> {
        let mut all = self.shared.borrow_mut();
        let idle = all.iter().position(|it| it.streams.get() == 0)?;
        all.remove(idle);
        drop(all);
        self.note_idle();
        Some(())
    }

    /// Says how many carry nothing, where somebody counts them.
    pub fn note_idle(&self) {
        if self.share.is_limited() {
            let idle = self.shared.borrow().iter().filter(|it| it.streams.get() == 0).count();
            self.share.note_idle(idle);
        }
    }

    /// A request has ended on a connection.
    fn release(self: &Rc<Self>, shared: &Rc<Shared>) {
        shared.streams.set(shared.streams.get() - 1);
        self.serve();
        if self.share.must_yield() {
            self.retire(shared);
        }
    }

    /// No more requests over this one.
    fn retire(&self, shared: &Rc<Shared>) {
        if !shared.retired.replace(true) {
            self.shared.borrow_mut().retain(|it| !Rc::ptr_eq(it, shared));
            self.note_idle();
        }
    }
}

impl Shared {
    fn is_open(&self) -> bool {
        !self.sender.borrow().is_closed() && !self.retired.get()
    }

    fn has_room(&self) -> bool {
        let allowed = self.driver.borrow().as_ref().map_or(0, Driver2::current_max_send_streams);
        self.is_open() && self.streams.get() < allowed.min(STREAMS_MAX as usize)
    }
}

impl Slot {
    /// Whether its connection has carried a request before; from now on it has.
    pub fn was_used(&self) -> bool {
        self.shared.used.replace(true)
    }

    /// By which it is known whose body is read on its connection.
    pub fn reader(&self) -> &Reader {
        &self.shared.reader
    }

    /// Takes the request.
    pub fn sender(&self) -> &RefCell<SendRequest<KeptBody>> {
        &self.shared.sender
    }

    /// Its connection is to take no more requests.
    pub fn retire(&self) {
        self.home.retire(&self.shared);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.home.release(&self.shared);
    }
}

/// A connection that is being opened.
#[derive(Debug)]
pub struct Opening {
    home: Rc<Streams>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Connecting,
}

impl Opening {
    /// It need not wait for a permit any more.
    pub fn connect(&mut self) {
        if self.stage == Stage::Waiting {
            self.stage = Stage::Connecting;
            self.home.connecting.set(self.home.connecting.get() + 1);
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.home.openings.set(self.home.openings.get() - 1);
        if self.stage == Stage::Connecting {
            self.home.connecting.set(self.home.connecting.get() - 1);
        }
    }
}

/// Polls a connection to its end. It is dropped there, since whatever still waits in it learns of
/// the end only from that.
async fn keep_going(driver: Rc<RefCell<Option<Driver2>>>) {
    poll_fn(|context| match &mut *driver.borrow_mut() {
        Some(it) => Pin::new(it).poll(context).map(drop),
        None => Poll::Ready(()),
    })
    .await;
    let ended = driver.borrow_mut().take();
    drop(ended);
}
