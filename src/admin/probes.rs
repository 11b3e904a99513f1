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
}

/// The process answers.
pub async fn live(_visit: Visit) -> Result<Answer, Rejection> {
    Answer::json(Done::Well, &Report { status: "live", reasons: None })
}

/// Whether this gateway should get requests; why not, for who may read of the fleet.
pub async fn ready(visit: Visit) -> Result<Answer, Rejection> {
    let (health, now) = (&visit.admin.health, Moment::now());
    let status = health.readiness(now);
    let may_read =
        visit.operator.is_some_and(|it| it.permissions().contains(Permission::FleetRead));
    let reasons = may_read.then(|| health.reasons(now));
    let done = match status {
        Readiness::Ready => Done::Well,
        Readiness::Starting | Readiness::Draining | Readiness::StoreUnreachable => Done::NotReady,
    };
    Answer::json(done, &Report { status, reasons })
}

/// Everything that is counted.
pub async fn metrics(asked: Asked) -> Result<Answer, Rejection> {
    Ok(Answer::text(CONTENT_TYPE, (asked.admin.scrape)()))
}
