//! Asks endpoints whether they are well.

use std::time::Duration;

use http::{HeaderValue, Request, header};
use rand::TryRng;
use rand::rngs::SysRng;
use tokio::time::{sleep, timeout};

use crate::clock::Moment;
use crate::config::{Health, Probe};
use crate::upstream::body::RequestBody;
use crate::upstream::connect::{self, ConnectFault, Way};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::once;
use crate::upstream::tls::Tls;

/// An endpoint, and what it takes to ask it.
#[derive(Clone, Copy, Debug)]
pub struct Patient<'a> {
    /// Whose it is.
    pub upstream: &'a str,
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// What it is called in `Host`.
    pub host: &'a HeaderValue,
    /// How TLS is spoken to it, if it is.
    pub tls: Option<&'a Tls>,
}

/// Why an endpoint is not well.
#[derive(Debug, thiserror::Error)]
pub enum Ailment {
    /// Nothing came in time.
    #[error("it did not answer in time")]
    Silent,
    /// Nobody can connect to it.
    #[error(transparent)]
    Unreachable(#[from] ConnectFault),
    /// What came is no answer.
    #[error("it closed the connection or answered with what is not HTTP: {0}")]
    Failed(#[from] hyper::Error),
    /// It said no.
    #[error("it answered {0}")]
    Status(u16),
    /// Nobody can be asked this.
    #[error("it cannot be asked: {0}")]
    Unaskable(#[from] http::Error),
}

/// Asks an endpoint again and again, and has it get requests as long as it is well. It counts as
/// well until it has failed often enough. Never ends.
pub async fn watch(patient: Patient<'_>, health: &Health) {
    let Patient { upstream, endpoint, .. } = patient;
    let mut row = Row::default();
    loop {
        let answer = timeout(health.timeout, ask(patient, health)).await;
        let answer = answer.unwrap_or(Err(Ailment::Silent));
        if let Err(Ailment::Unreachable(ConnectFault::NoDescriptor)) = answer {
            // It was not asked.
            sleep(jittered(health.interval)).await;
            continue;
        }
        match row.note(&answer, health) {
            Some(State::Well) if endpoint.standing().set_well(Moment::now()) => {
                tracing::info!(upstream, %endpoint, "an endpoint is well again");
            }
            Some(State::Unwell) if endpoint.standing().set_unwell() => {
                let fault = answer.err().map(tracing::field::display);
                tracing::warn!(upstream, %endpoint, fault, "an endpoint is not well");
            }
            Some(State::Well | State::Unwell) | None => {}
        }
        sleep(jittered(health.interval)).await;
    }
}

/// What came of the last questions.
#[derive(Debug, Default)]
struct Row {
    well: u32,
    unwell: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Well,
    Unwell,
}

impl Row {
    /// What an endpoint is after one more answer; `None`: what it was before.
    fn note(&mut self, answer: &Result<(), Ailment>, health: &Health) -> Option<State> {
        if answer.is_ok() {
            *self = Self { well: self.well.saturating_add(1), unwell: 0 };
            (self.well >= health.healthy_after.get()).then_some(State::Well)
        } else {
            *self = Self { well: 0, unwell: self.unwell.saturating_add(1) };
            (self.unwell >= health.unhealthy_after.get()).then_some(State::Unwell)
        }
    }
}

/// Over a connection of its own: whether new ones can be opened is part of the question.
async fn ask(patient: Patient<'_>, health: &Health) -> Result<(), Ailment> {
    let Patient { endpoint, tls, host, .. } = patient;
    let Probe::Http(path) = &health.probe else {
        let _descriptor = once::descriptor(endpoint)?;
        drop(connect::tcp(endpoint, health.timeout).await?);
        return Ok(());
    };
    let request = Request::get(path.as_str())
        .header(header::HOST, host)
        .header(header::USER_AGENT, USER_AGENT)
        .body(RequestBody::none())?;
    let way = Way { endpoint, tls, limit: health.timeout };
    match once::ask(way, request).await?? {
        200..=399 => Ok(()),
        status => Err(Ailment::Status(status)),
    }
}

const USER_AGENT: &str = "keyward-health";

/// Not all endpoints at the same moment, and not all gateways of a fleet either: a tenth more or
/// less.
fn jittered(interval: Duration) -> Duration {
    let random = SysRng.try_next_u32().unwrap_or(u32::MAX / 2);
    let part = f64::from(random) / f64::from(u32::MAX);
    interval.mul_f64(0.9 + part / 5.0)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn health() -> Health {
        let second = Duration::from_secs(1);
        let after = |count| NonZeroU32::new(count).unwrap();
        let (unhealthy_after, healthy_after) = (after(3), after(2));
        Health {
            probe: Probe::Tcp,
            interval: second,
            timeout: second,
            unhealthy_after,
            healthy_after,
        }
    }

    #[test]
    fn an_endpoint_changes_its_state_after_as_many_answers_in_a_row_as_are_set() {
        let mut row = Row::default();
        let mut states = |answers: &str| -> Vec<Option<State>> {
            let answer = |it| if it == '+' { Ok(()) } else { Err(Ailment::Silent) };
            answers.chars().map(|it| row.note(&answer(it), &health())).collect()
        };
        let (well, unwell) = (Some(State::Well), Some(State::Unwell));
        assert_eq!(states("--+--"), [None; 5]);
        assert_eq!(states("--"), [unwell, unwell]);
        assert_eq!(states("+-+-"), [None; 4]);
        assert_eq!(states("++-"), [None, well, None]);
    }

    #[test]
    fn nobody_asks_much_more_or_less_often_than_is_set() {
        let times: Vec<_> = (0..1_000).map(|_| jittered(Duration::from_secs(10))).collect();
        assert!(times.iter().all(|it| (9.0..=11.0).contains(&it.as_secs_f64())));
        assert!(times.iter().any(|it| *it != times[0]));
    }
}
