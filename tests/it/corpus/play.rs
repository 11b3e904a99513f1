//! Plays one case against the real program, and judges the bytes on both sides of it.

use std::collections::HashSet;
use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::time::Duration;

use crate::corpus::case::{Body, Case, Expected, Step, Then};
use crate::corpus::origin::{Line, Origin};
use crate::corpus::strict::{Found, Request, Side, read_all};
use crate::support::ask::Ask;
use crate::support::client::Client;
use crate::support::gateway::{Gateway, Key};
use crate::support::http::{Framing, Head, Response, read_body};
use crate::support::setup::Setup;

/// A gateway with one worker, and an upstream.
#[derive(Debug)]
pub struct Stage {
    origin: Origin,
    gateway: Gateway,
    key: Key,
}

/// What one connection to the upstream got from a case.
#[derive(Debug)]
struct Got {
    whole: Vec<Request>,
    rest: Found,
    is_closed: bool,
}

impl Stage {
    /// Nobody is kept from looking keys up.
    pub fn new() -> Self {
        let origin = Origin::start();
        let setup = Setup::empty().upstream("api", &[origin.address()]);
        let setup = setup.route("all", "path = \"/\"\nupgrades = []");
        let setup = setup.route("socket", "path = \"/socket/\"\nupgrades = [\"websocket\"]");
        let setup = setup.limits("failures_per_address = \"100000/s\"");
        let gateway = Gateway::start(&setup.gateway("workers = 1"));
        let key = gateway.mint(KEY_NAME);
        Self { origin, gateway, key }
    }

    /// Plays a case in each of the ways that fit it.
    pub fn play(&self, case: &Case) -> Result<(), String> {
        let wrong = [self.as_it_stands(case), self.followed(case), self.with_unknown_key(case)];
        let wrong: Vec<String> = wrong.into_iter().filter_map(Result::err).collect();
        if wrong.is_empty() { Ok(()) } else { Err(format!("{}: {}", case.name, wrong.join("\n"))) }
    }

    /// With a key that is let in.
    fn as_it_stands(&self, case: &Case) -> Result<(), String> {
        let before = self.origin.lines();
        let mut client = self.client();
        let mut statuses = Vec::new();
        for step in &case.steps {
            match step {
                // Who is refused early may find the connection closed while it still sends.
                Step::Send(bytes) => drop(client.try_send(with_key(bytes, &self.key))),
                Step::Wait => statuses.push(status(&mut client, case.body(statuses.len()))),
                Step::End => client.stream().shutdown(Shutdown::Write).unwrap(),
            }
        }
        let answered = self.judge_answers(case, &mut client, statuses);
        drop(client);
        let upstream = self.judge_upstream(case, &before);
        answered.and(upstream)
    }

    fn client(&self) -> Client {
        let client = self.gateway.client();
        client.stream().set_read_timeout(Some(LONG)).unwrap();
        client
    }

    /// With a good request right behind what ends a connection: it is never taken.
    fn followed(&self, case: &Case) -> Result<(), String> {
        let ends = case.steps.iter().any(|it| matches!(it, Step::End | Step::Wait));
        if case.then == Then::Open || ends {
            return Ok(());
        }
        let before = self.origin.lines();
        let mut client = self.client();
        let follower = Ask::get("/follower").key(&self.key).bytes();
        for step in &case.steps {
            if let Step::Send(bytes) = step {
                drop(client.try_send([with_key(bytes, &self.key), follower.clone()].concat()));
            }
        }
        let answered = self.judge_answers(case, &mut client, Vec::new());
        drop(client);
        let upstream = self.judge_upstream(case, &before);
        answered.and(upstream).map_err(|it| format!("followed by a good request: {it}"))
    }

    /// With a key that nobody minted: nothing reaches the upstream, and nobody is told 2xx.
    fn with_unknown_key(&self, case: &Case) -> Result<(), String> {
        let before = self.origin.lines();
        let mut client = self.client();
        let unknown = Key::unknown();
        for step in &case.steps {
            if let Step::Send(bytes) = step {
                drop(client.try_send(with_key(bytes, &unknown)));
            }
        }
        client.stream().set_read_timeout(Some(SILENCE)).unwrap();
        let mut answered = Vec::new();
        drop(client.reader().read_to_end(&mut answered));
        drop(client);
        let answered = String::from_utf8_lossy(&answered);
        let got = self.settle(&before);
        if !got.is_empty() || answered.contains("HTTP/1.1 2") {
            return Err(format!("with an unknown key: {answered}\n{got:?}"));
        }
        Ok(())
    }

    fn judge_answers(
        &self,
        case: &Case,
        client: &mut Client,
        mut statuses: Vec<u16>,
    ) -> Result<(), String> {
        while statuses.len() < case.answers.len() && statuses.last() != Some(&GONE) {
            statuses.push(status(client, case.body(statuses.len())));
        }
        let expected: Vec<u16> = case.answers.iter().map(|it| it.status).collect();
        if statuses != expected {
            return Err(format!("answered {statuses:?} instead of {expected:?}"));
        }
        match case.then {
            Then::Close => {
                let mut rest = Vec::new();
                let ended = client.reader().read_to_end(&mut rest);
                match ended.map_err(|it| it.kind()) {
                    Ok(0) | Err(ErrorKind::ConnectionReset) if rest.is_empty() => Ok(()),
                    Ok(_) => Err(format!("more came: {}", rest.escape_ascii())),
                    Err(fault) => Err(format!("it stays open: {fault}")),
                }
            }
            Then::Open => {
                let probed = client.try_ask(&Ask::get("/probe").key(&self.key));
                let is_served = |it: &Response| it.status == 200 && it.body == b"ok";
                let is_served = probed.as_ref().is_ok_and(is_served);
                is_served.then_some(()).ok_or_else(|| format!("it does not go on: {probed:?}"))
            }
        }
    }

    fn judge_upstream(&self, case: &Case, before: &[Line]) -> Result<(), String> {
        let got = self.settle(before);
        let mut whole = Vec::new();
        let mut begun = Vec::new();
        let mut ids = HashSet::new();
        for Got { whole: requests, rest, is_closed } in got {
            for request in requests {
                whole.push(self.judge_request(request, &mut ids)?);
            }
            match rest {
                Found::Nothing => {}
                Found::Begun(Some(request)) if is_closed => {
                    begun.push(self.judge_request(request, &mut ids)?);
                }
                rest @ (Found::Whole(..) | Found::Begun(_) | Found::Fault(_)) => {
                    return Err(format!("the upstream got {rest:?} (closed: {is_closed})"));
                }
            }
        }
        let (mut expected, last) = expected(case)?;
        sort(&mut whole);
        sort(&mut expected);
        if whole != expected {
            return Err(format!("the upstream got {whole:?}\ninstead of {expected:?}"));
        }
        let may_begin = |it: &Request| {
            last.as_ref().is_some_and(|last| {
                let head = (&it.line, &it.lines) == (&last.line, &last.lines);
                head && last.body.starts_with(&it.body)
            })
        };
        if begun.len() > 1 || !begun.iter().all(may_begin) {
            return Err(format!("the upstream got the beginning of {begun:?}"));
        }
        Ok(())
    }

    /// Holds a request to all that is said of every one that reaches the upstream; what is left
    /// of it without what we add.
    fn judge_request(
        &self,
        mut request: Request,
        ids: &mut HashSet<Vec<u8>>,
    ) -> Result<Request, String> {
        let host = request.one("host").unwrap_or_default().to_vec();
        for (name, value) in [
            ("x-keyward-key-id", self.key.id.as_bytes()),
            ("x-keyward-key-name", KEY_NAME.as_bytes()),
            ("x-forwarded-for", b"127.0.0.1".as_slice()),
            ("x-forwarded-proto", b"http"),
            ("x-forwarded-host", &host),
        ] {
            if request.one(name) != Some(value) {
                return Err(format!("{name} is not said, or wrong, in {request:?}"));
            }
        }
        let id = request.one("x-request-id").unwrap_or_default().to_vec();
        if id.len() != 32 || !ids.insert(id) {
            return Err(format!("the request's id is none of ours in {request:?}"));
        }
        request.lines.retain(|it| !OURS.iter().any(|ours| it.starts_with(ours.as_bytes())));
        request.lines.sort();
        Ok(request)
    }

    /// What the upstream got since `before`, once nothing is under way any more.
    #[track_caller]
    fn settle(&self, before: &[Line]) -> Vec<Got> {
        // Whoever stands in the worker's queue before this one has been served.
        assert_eq!(Ask::get("/barrier").key(&self.key).to(&self.gateway).status, 200);
        self.origin.catch_up();
        let lines = self.origin.lines();
        let got = lines.into_iter().enumerate().map(|(place, line)| {
            let known = before.get(place).map_or(0, |it| it.bytes.len());
            let (mut whole, rest) = read_all(&line.bytes[known..], Side::Upstream);
            whole.retain(|it| !matches!(it.target(), b"/probe" | b"/barrier"));
            Got { whole, rest, is_closed: line.is_closed }
        });
        got.filter(|it| !it.whole.is_empty() || !matches!(it.rest, Found::Nothing)).collect()
    }
}

/// What a case says of the upstream: whole requests, and one that may have begun.
fn expected(case: &Case) -> Result<(Vec<Request>, Option<Request>), String> {
    let (text, begins) = match &case.upstream {
        Expected::Nothing => return Ok((Vec::new(), None)),
        Expected::Whole(text) => (text, false),
        Expected::Begins(text) => (text, true),
    };
    let pieces = split(text, b"{ours}\r\n");
    let (mut whole, rest) = read_all(&pieces.concat(), Side::Upstream);
    if !matches!(rest, Found::Nothing) || pieces.len() != whole.len() + 1 {
        return Err(format!("this cannot be expected upstream: {whole:?} {rest:?}"));
    }
    for request in &mut whole {
        request.lines.sort();
    }
    let last = if begins { whole.pop() } else { None };
    Ok((whole, last))
}

fn split<'a>(text: &'a [u8], by: &[u8]) -> Vec<&'a [u8]> {
    let (mut pieces, mut from) = (Vec::new(), 0);
    for at in 0..text.len() {
        if at >= from && text[at..].starts_with(by) {
            pieces.push(&text[from..at]);
            from = at + by.len();
        }
    }
    pieces.push(&text[from..]);
    pieces
}

fn sort(requests: &mut [Request]) {
    requests.sort_by(|a, b| (&a.line, &a.lines, &a.body).cmp(&(&b.line, &b.lines, &b.body)));
}

fn with_key(bytes: &[u8], key: &Key) -> Vec<u8> {
    split(bytes, b"{key}").join(key.plaintext.as_bytes())
}

/// The next answer's status, or [`GONE`].
fn status(client: &mut Client, body: Body) -> u16 {
    answer(client, body).unwrap_or(GONE)
}

fn answer(client: &mut Client, body: Body) -> io::Result<u16> {
    let head = Head::read(client.reader())?.ok_or(ErrorKind::UnexpectedEof)?;
    let status = head.word(1).parse().map_err(|_word| io::Error::other(head.first.clone()))?;
    if status >= 200 && body == Body::AsFramed {
        read_body(client.reader(), head.framing(Framing::UntilClose), |_| {})?;
    }
    Ok(status)
}

impl Case {
    fn body(&self, answer: usize) -> Body {
        self.answers.get(answer).map_or(Body::AsFramed, |it| it.body)
    }
}

/// Instead of a status, where the connection ended.
const GONE: u16 = 0;

/// After so long nothing comes that comes at all.
const LONG: Duration = Duration::from_secs(10);

/// After so long it is not going to be answered: what a refusal reads of a body is at hand.
const SILENCE: Duration = Duration::from_millis(100);

const KEY_NAME: &str = "corpus";

/// What we add to every request.
const OURS: [&str; 6] = [
    "x-keyward-key-id:",
    "x-keyward-key-name:",
    "x-request-id:",
    "x-forwarded-for:",
    "x-forwarded-proto:",
    "x-forwarded-host:",
];
