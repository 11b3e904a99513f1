//! One request and its answer, as they are counted and logged: once, when the last byte is done.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body::Body;

use crate::clock::{Moment, Timestamp};
use crate::gate::entry::Entry;
use crate::gate::limits::Taken;
use crate::gate::remaining::{Kinds, Remaining};
use crate::gate::running::Grant;
use crate::key::text::KeyId;
use crate::listener::progress::Progress;
use crate::listener::vitals::Remainder;
use crate::proxy::rejection::Rejection;
use crate::proxy::{Downstream, Plan, Proxy};
use crate::telemetry::access;
use crate::upstream::upload::{Upload, UploadStage};

/// One request and its answer. Dropping it counts it.
#[derive(Debug)]
pub struct Exchange {
    proxy: Rc<Proxy>,
    plan: Rc<Plan>,
    progress: Progress,
    request_id: HeaderValue,
    method: Method,
    notes: Notes,
    /// Whether it is one of those that may be under way.
    is_counted: bool,
    begun: Moment,
    /// None before the answer begins.
    status: Option<StatusCode>,
    bytes_out: u64,
    line: Option<Box<Line>>,
    left: Left,
}

/// What is left of the request's body, and who has it.
#[derive(Debug)]
enum Left {
    Nothing,
    Ours,
    Upstreams(Upload),
}

/// What `forward` learns on its way, for the books alone: nothing reads it to decide.
#[derive(Clone, Copy, Debug, Default)]
pub struct Notes {
    /// The route's place.
    pub route: Option<usize>,
    /// The code of the refusal.
    pub reason: Option<&'static str>,
    /// Whose key it was.
    pub key: Option<KeyId>,
    /// What is left of the key's limits.
    pub remaining: Option<Remaining>,
    /// The limits that would have refused it, if they did more than to count.
    pub shadow: Kinds,
    /// When the gate let a key with limits in; only the access log wants to know.
    pub admitted: Option<Moment>,
    /// When the request was handed to the upstream.
    pub sent: Option<Moment>,
    /// When the upstream's head came.
    pub answered: Option<Moment>,
}

/// What only the access log wants to know.
#[derive(Debug)]
struct Line {
    client: IpAddr,
    host: HeaderValue,
    path: String,
}

impl Exchange {
    /// A request whose head is complete.
    pub fn begin<B: Body>(
        proxy: &Rc<Proxy>,
        downstream: &Downstream,
        request: &Request<B>,
        begun: Moment,
    ) -> Self {
        downstream.progress.begin();
        let line = proxy.access.as_ref().map(|_| {
            let host = host(request);
            let client = proxy.trust.caller(downstream.peer, request.headers());
            Box::new(Line { client, host, path: request.uri().path().to_owned() })
        });
        Self {
            proxy: Rc::clone(proxy),
            plan: proxy.plan(),
            progress: downstream.progress.clone(),
            request_id: request_id(proxy, downstream, request),
            method: request.method().clone(),
            notes: Notes::default(),
            is_counted: proxy.in_flight.take(),
            begun,
            status: None,
            bytes_out: 0,
            line,
            left: if request.body().is_end_stream() { Left::Nothing } else { Left::Ours },
        }
    }

    /// Refuses what is more than may be under way at once.
    pub fn check_load(&self) -> Result<(), Rejection> {
        if self.is_counted { Ok(()) } else { Err(Rejection::Overloaded) }
    }

    /// Where requests went when it came; the next one may see others.
    pub fn plan(&self) -> &Rc<Plan> {
        &self.plan
    }

    /// Who knows how far it has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// By which it is found again.
    pub fn request_id(&self) -> &HeaderValue {
        &self.request_id
    }

    /// When its head was complete.
    pub fn begun(&self) -> Moment {
        self.begun
    }

    /// What was learnt on the way.
    pub fn notes(&mut self) -> &mut Notes {
        &mut self.notes
    }

    /// The upstream's head came; when, only the access log wants to know.
    pub fn has_answer(&mut self) {
        if self.line.is_some() {
            self.notes.answered = Some(Moment::now());
        }
    }

    /// Says what is left of the key's limits, if it has any.
    pub fn tell_limits(&self, headers: &mut HeaderMap) {
        if let Some(remaining) = &self.notes.remaining {
            self.proxy.allowance.tell(headers, remaining, self.plan.x_rate_limit);
        }
    }

    /// Its body was read to the end.
    pub fn has_read_body(&mut self) {
        self.left = Left::Nothing;
    }

    /// Its body is on its way up.
    pub fn uploads(&mut self, upload: &Upload) {
        self.left = Left::Upstreams(upload.clone());
    }

    fn remainder(&self) -> Remainder {
        match &self.left {
            Left::Nothing => Remainder::Nothing,
            Left::Upstreams(upload) if upload.stage() == UploadStage::Sent => Remainder::Nothing,
            Left::Ours | Left::Upstreams(_) => Remainder::Unread,
        }
    }

    /// The gate knows whose request it is.
    pub fn recognised(&mut self, entry: Option<&Entry>) {
        self.notes.key = entry.map(Entry::id);
        self.proxy.counters.decided(if entry.is_some() { "allowed" } else { "public" });
    }

    /// The gate let it in.
    pub fn admitted(&mut self, grant: &Grant) {
        self.recognised(grant.entry());
        let taken = grant.taken();
        (self.notes.remaining, self.notes.shadow) = (taken.remaining, taken.shadow);
        if self.line.is_some() && *taken != Taken::NOTHING {
            self.notes.admitted = Some(Moment::now());
        }
        self.progress.attend(Rc::clone(grant.run()) as _);
    }

    /// The answer begins.
    pub fn begin_answer(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.progress.answer();
    }

    /// Bytes of the answer were handed over.
    pub fn passed(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
        self.progress.has_passed();
    }

    /// As it is counted and logged.
    fn status(&self) -> u16 {
        self.status.map_or(CLIENT_GONE, |it| it.as_u16())
    }

    fn upstream(&self) -> Option<Duration> {
        Some(self.notes.answered?.since(self.notes.sent?))
    }

    fn log(&self, line: &Line, took: Duration) {
        let Some(log) = &self.proxy.access else { return };
        let route = self.notes.route.and_then(|it| self.plan.routes.get(it));
        log.record(&access::Record {
            time: Timestamp::now(),
            request_id: self.request_id.to_str().unwrap_or_default(),
            client_ip: line.client,
            method: self.method.as_str(),
            host: line.host.to_str().unwrap_or_default(),
            path: &line.path,
            status: self.status(),
            reason: self.notes.reason,
            key_id: self.notes.key.as_ref().map(KeyId::as_str),
            route: route.map(|it| &*it.terms.name),
            shadow: self.notes.shadow.names().as_deref(),
            admitted: self.notes.admitted.map(|it| it.since(self.begun)),
            duration: took,
            upstream: self.upstream(),
            bytes_out: self.bytes_out,
        });
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let took = Moment::now().since(self.begun);
        let counters = &self.proxy.counters;
        let route = self.notes.route.and_then(|it| self.plan.routes.get(it));
        let of_route = route.map_or_else(|| counters.unrouted(), |it| &*it.counters);
        of_route.answered(&self.method, self.status(), took);
        if let Some(sent) = self.notes.sent {
            counters.overhead(sent.since(self.begun));
        }
        if let Some(line) = &self.line {
            self.log(line, took);
        }
        if self.is_counted {
            self.proxy.in_flight.give();
        }
        self.progress.finish(self.remainder());
    }
}

fn host<B>(request: &Request<B>) -> HeaderValue {
    let authority = || HeaderValue::from_str(request.uri().authority()?.as_str()).ok();
    let host = request.headers().get(header::HOST).cloned().or_else(authority);
    host.unwrap_or(HeaderValue::from_static(""))
}

/// A trusted proxy's id is kept, if it is visible and not too long; otherwise one is made.
fn request_id<B>(proxy: &Proxy, downstream: &Downstream, request: &Request<B>) -> HeaderValue {
    let shown = request.headers().get(super::outbound::X_REQUEST_ID);
    let kept = shown.filter(|it| {
        proxy.trust.includes(downstream.peer)
            && (1..=REQUEST_ID_BYTES_MAX).contains(&it.len())
            && it.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    kept.cloned().unwrap_or_else(|| proxy.ids.next())
}

/// Nobody is answered with it: the client went away before there was an answer. nginx's number.
const CLIENT_GONE: u16 = 499;

const REQUEST_ID_BYTES_MAX: usize = 128;
