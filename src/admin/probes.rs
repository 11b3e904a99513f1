//! Answers what machines ask again and again: alive, ready, how much of what.

use serde::Serialize;

use crate::admin::answer::{Answer, Done};
use crate::admin::asked::{Asked, Visit};
use crate::admin::health::Readiness;
use crate::admin::rejection::Rejection;
use crate::clock::Moment;
use crate::key::record::Permission;
use crate::telemetry::expose::CONTENT_TYPE;

#[derive(Serialize)]
struct Report<S> {
    status: S,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasons: Option<Vec<&'static str>>,
    /// What no acknowledged write is lost by.
    #[serde(skip_serializing_if = "Option::is_none")]
    survives: Option<&'static [&'static str]>,
}

/// The process answers.
pub fn live(_visit: &Visit) -> Result<Answer, Rejection> {
    Answer::json(Done::Well, &Report { status: "live", reasons: None, survives: None })
}

/// Whether this gateway should get requests; why not, and how firmly what is written stays, for who
/// may read of the fleet.
pub fn ready(visit: &Visit) -> Result<Answer, Rejection> {
    let (health, now) = (&visit.admin.health, Moment::now());
    let status = health.readiness(now);
    let may_read =
        visit.operator.as_ref().is_some_and(|it| it.permissions().contains(Permission::FleetRead));
    let reasons = may_read.then(|| health.reasons(now));
    let survives = may_read.then(|| visit.admin.keyring.store().endurance().survives());
    let done = match status {
        Readiness::Ready => Done::Well,
        Readiness::Starting | Readiness::Draining | Readiness::StoreUnreachable => Done::NotReady,
    };
    Answer::json(done, &Report { status, reasons, survives })
}

/// Everything that is counted.
pub fn metrics(asked: &Asked) -> Answer {
    Answer::text(CONTENT_TYPE, (asked.admin.scrape)())
}
