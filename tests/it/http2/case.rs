//! Plays one case at a time: what a client sends, what must become of it, what may go up.

use std::sync::{Arc, Mutex};

use crate::support::gateway::Gateway;
use crate::support::h2::frames::{NO_ERROR, PREFACE, PROTOCOL_ERROR, Request, settings};
use crate::support::h2::peer::{End, Outcome, Peer};
use crate::support::setup::Setup;
use crate::support::upstream::{Upstream, ok};

/// What a client sends on a new connection, and what must become of it.
#[derive(Debug)]
pub struct Case {
    /// Where RFC 9113 says so, or the document that is named.
    section: &'static str,
    what: &'static str,
    opening: Opening,
    sends: Vec<u8>,
    expects: Expect,
}

/// What must become of a case. Afterwards other streams go on, unless the connection ends.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// The connection ends with one of these codes.
    Connection(&'static [u32]),
    /// The connection ends with the first code, where the document names the second: h2 has but
    /// one for all that it does not understand.
    ConnectionAs(u32, u32),
    /// The connection ends, and nobody has to say why.
    Closed,
    /// Stream 1 is reset with one of these codes.
    Stream(&'static [u32]),
    /// Stream 1 is a malformed request: it is reset, or answered with 400.
    Malformed,
    /// Stream 1 is answered so.
    Status(u16),
    /// Nothing.
    GoesOn,
}

/// What comes before a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// Preface and SETTINGS.
    Whole,
    /// Nothing.
    Nothing,
}

/// What must become of these bytes on a connection that was opened well.
pub fn case(
    section: &'static str,
    what: &'static str,
    expects: Expect,
    sends: impl AsRef<[u8]>,
) -> Case {
    Case { section, what, opening: Opening::Whole, sends: sends.as_ref().to_vec(), expects }
}

/// The same on one that was not.
pub fn opening(
    section: &'static str,
    what: &'static str,
    expects: Expect,
    sends: impl AsRef<[u8]>,
) -> Case {
    Case { opening: Opening::Nothing, ..case(section, what, expects, sends) }
}

/// A gateway, and an upstream that notes which requests came whole.
#[derive(Debug)]
pub struct Stage {
    upstream: Upstream,
    gateway: Gateway,
    whole: Arc<Mutex<Vec<String>>>,
}

impl Stage {
    /// Everything is public.
    pub fn new() -> Self {
        let whole = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&whole);
        let upstream = Upstream::answering(move |request| {
            noted.lock().unwrap().push(request.target().to_owned());
            ok(if request.method() == "HEAD" { "" } else { "a body of some length" })
        });
        let setup = Setup::empty()
            .upstream("api", &[upstream.address()])
            .route("all", "path = \"/\"\naccess = \"public\"")
            .gateway("workers = 1");
        Self { gateway: Gateway::start(&setup), upstream, whole }
    }

    /// The gateway.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The upstream.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Plays every case; those that do not end as they must are told together.
    #[track_caller]
    pub fn play(&self, cases: &[Case]) {
        let faults: Vec<String> = cases.iter().filter_map(|it| self.fault(it)).collect();
        assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), cases.len(), faults.join("\n"));
    }

    fn fault(&self, case: &Case) -> Option<String> {
        let mut peer = match case.opening {
            Opening::Whole => Peer::connect(self.gateway.address()),
            Opening::Nothing => Peer::silent(self.gateway.address()),
        };
        let before = self.leaks();
        drop(peer.try_send(&case.sends));
        let found = judge(&mut peer, case.expects).err().or_else(|| {
            let leaked = format!("went up and must not: {:?}", self.leaks());
            (self.leaks() != before).then_some(leaked)
        });
        let Case { section, what, .. } = case;
        found.map(|it| format!("{section}: {what}: {it}; expected {:?}", case.expects))
    }

    /// How often something went up that must not: bad requests, and the ends of partial ones.
    fn leaks(&self) -> [usize; 2] {
        let count = |it: &Vec<u8>| it.windows(BAD.len()).filter(|it| *it == BAD.as_bytes()).count();
        let whole = self.whole.lock().unwrap();
        let whole = whole.iter().filter(|it| *it == PART).count();
        [self.upstream.bytes().iter().map(count).sum(), whole]
    }
}

fn judge(peer: &mut Peer, expects: Expect) -> Result<(), String> {
    match expects {
        Expect::Connection(codes) => return ends(peer, codes),
        Expect::ConnectionAs(code, _named) => return ends(peer, &[code]),
        Expect::Closed => {
            let is_polite = peer.until_end() == End::GoAway(NO_ERROR);
            return if is_polite { Err("a polite end".to_owned()) } else { Ok(()) };
        }
        Expect::Stream(codes) => {
            becomes(peer, |it| matches!(it, Outcome::Reset(code) if codes.contains(code)))?;
        }
        Expect::Malformed => becomes(peer, |it| match it {
            Outcome::Reset(code) => *code == PROTOCOL_ERROR,
            Outcome::Answered(answer) => answer.status == 400,
            Outcome::Ended(_) => false,
        })?,
        Expect::Status(status) => {
            becomes(peer, |it| matches!(it, Outcome::Answered(answer) if answer.status == status))?;
        }
        Expect::GoesOn => {}
    }
    goes_on(peer)
}

/// The connection ends with one of these codes.
fn ends(peer: &mut Peer, codes: &[u32]) -> Result<(), String> {
    let end = peer.until_end();
    let is_told = matches!(end, End::GoAway(code) if codes.contains(&code));
    if is_told { Ok(()) } else { Err(format!("{end:?}")) }
}

/// Stream 1 ends so.
fn becomes(peer: &mut Peer, is_right: impl Fn(&Outcome) -> bool) -> Result<(), String> {
    let outcome = peer.outcome(1);
    if is_right(&outcome) { Ok(()) } else { Err(told(&outcome)) }
}

/// Another stream is served, on the same connection.
fn goes_on(peer: &mut Peer) -> Result<(), String> {
    drop(peer.try_send(Request::get(GOOD).whole(LATER)));
    let outcome = peer.outcome(LATER);
    let is_served = matches!(&outcome, Outcome::Answered(answer) if answer.status == 200);
    if is_served { Ok(()) } else { Err(format!("the next request: {}", told(&outcome))) }
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered(answer) => {
            format!("answered {} {}", answer.status, String::from_utf8_lossy(&answer.body))
        }
        Outcome::Reset(code) => format!("reset {code}"),
        Outcome::Ended(end) => format!("{end:?}"),
    }
}

/// Preface and first SETTINGS of a client.
pub fn begin(rest: impl AsRef<[u8]>) -> Vec<u8> {
    [PREFACE, &settings(&[]), rest.as_ref()].concat()
}

/// A good request on a stream.
pub fn good(stream: u32) -> Vec<u8> {
    Request::get(GOOD).whole(stream)
}

/// A request for what must not go up.
pub fn bad() -> Request {
    Request::get(BAD)
}

/// A request whose body is wrong: its beginning may go up.
pub fn part() -> Request {
    Request::post(PART)
}

/// Where good requests go.
pub const GOOD: &str = "/good";
/// Where bad ones go: no byte of it may reach the upstream.
pub const BAD: &str = "/bad";
/// Where those go that do not end well: the upstream may never see one whole.
pub const PART: &str = "/part";

/// A stream that no case uses.
const LATER: u32 = 1001;
