//! Checks how an upstream's endpoints are judged: by being asked, and by how they answer.

use std::num::NonZeroU32;
use std::time::Duration;

use http::uri::PathAndQuery;

use crate::config::check::MOMENT;
use crate::config::raw::Node;
use crate::config::reader::Field;
use crate::config::units;
use crate::config::values::{self, expected};
use crate::config::{Ejection, Health, Percent, Probe};

/// What endpoints are asked; `None` where nothing was written or something is wrong.
pub fn health(field: &Field<'_>) -> Option<Health> {
    if !field.is_table("a table like { path = \"/healthz\" } or { tcp = true }") {
        return None;
    }
    field.is_written().then_some(())?;
    let interval = field.field("interval").read(INTERVAL, values::time(INTERVAL_MIN));
    let count = |key, default| field.field(key).read(default, values::count(IN_A_ROW_MAX));
    let (unhealthy_after, healthy_after) =
        (count("unhealthy_after", UNHEALTHY_AFTER), count("healthy_after", HEALTHY_AFTER));
    let timeout = field.field("timeout").read(TIMEOUT.min(interval), timeout(interval));
    Some(Health { probe: probe(field)?, interval, timeout, unhealthy_after, healthy_after })
}

/// When endpoints are left out; `None`: never.
pub fn ejection(field: &Field<'_>) -> Option<Ejection> {
    let is_off = field.says("off");
    if is_off || !field.is_table("\"off\" or a table like { failures = 5 }") {
        return None;
    }
    Some(Ejection {
        failures: field.field("failures").read(FAILURES, values::count(IN_A_ROW_MAX)),
        period: field.field("period").read(PERIOD, values::time(MOMENT)),
        at_most: field.field("at_most").read(AT_MOST, values::percent(Percent(1))),
    })
}

fn probe(field: &Field<'_>) -> Option<Probe> {
    let (path, tcp) = (field.field("path"), field.field("tcp"));
    match (path.is_written(), tcp.is_written()) {
        (true, false) => path.required(question).map(Probe::Http),
        (false, true) => tcp.required(yes).map(|()| Probe::Tcp),
        (true, true) => {
            tcp.fault("expected path or tcp, found both");
            None
        }
        (false, false) => {
            field.fault("expected a path to ask for like \"/healthz\", or tcp = true");
            None
        }
    }
}

/// A question ends before the next is asked.
fn timeout(interval: Duration) -> impl Fn(&Node) -> Result<Duration, String> {
    move |node| {
        let timeout = values::time(MOMENT)(node)?;
        let bound = || format!("at most the interval, {}", units::time_text(interval));
        if timeout <= interval { Ok(timeout) } else { Err(expected(&bound(), node)) }
    }
}

/// A path, with or without a query.
fn question(node: &Node) -> Result<PathAndQuery, String> {
    let is_plain = |it: &&str| it.bytes().all(|it| it.is_ascii_graphic() && it != b'#');
    let text = node.text().filter(|it| it.starts_with('/')).filter(is_plain);
    let parsed = text.and_then(|it| it.parse().ok());
    parsed.ok_or_else(|| expected("a path like \"/healthz\"", node))
}

/// To say no, the setting is left out.
fn yes(node: &Node) -> Result<(), String> {
    if values::switch(false, true)(node)? {
        return Ok(());
    }
    Err("false asks nothing: leave it out, and write path".to_owned())
}

const INTERVAL: Duration = Duration::from_secs(5);
/// More often, and the questions are the load.
const INTERVAL_MIN: Duration = Duration::from_millis(10);
const TIMEOUT: Duration = Duration::from_secs(2);
const UNHEALTHY_AFTER: NonZeroU32 = NonZeroU32::new(3).unwrap();
const HEALTHY_AFTER: NonZeroU32 = NonZeroU32::new(2).unwrap();
const IN_A_ROW_MAX: u32 = 1_000;
const FAILURES: NonZeroU32 = NonZeroU32::new(5).unwrap();
const PERIOD: Duration = Duration::from_secs(10);
const AT_MOST: Percent = Percent(50);
