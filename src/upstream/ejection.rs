//! Decides when an endpoint that fails requests is left out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Moment;
use crate::config::{self, Ejection};
use crate::upstream::balance::Choice;
use crate::upstream::connect::ConnectFault;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::standing::{Openness, Trial};
use crate::upstream::upload::Upload;

/// Judges the endpoints of one upstream by how requests end there.
#[derive(Debug)]
pub struct Judge {
    upstream: String,
    endpoints: Box<[Arc<Endpoint>]>,
    rules: Option<Ejection>,
}

/// A request on its way to one endpoint. Dropped without a verdict it says nothing of the endpoint,
/// unless the endpoint's time was up: who goes away is a client, and none of its doing.
#[derive(Debug)]
pub struct Attempt<'a> {
    judge: &'a Judge,
    endpoint: &'a Endpoint,
    upload: &'a Upload,
    /// Which of the endpoint's lives it belongs to.
    ejections: u64,
    trial: Option<Trial>,
}

impl Judge {
    /// By the rules of `settings`.
    pub fn new(settings: &config::Upstream, endpoints: &[Arc<Endpoint>]) -> Self {
        let upstream = settings.name.clone();
        Self { upstream, endpoints: endpoints.into(), rules: settings.ejection }
    }

    /// A request goes where it was decided.
    pub fn begin<'a>(&'a self, choice: Choice, upload: &'a Upload) -> Option<Attempt<'a>> {
        let endpoint = self.endpoints.get(choice.place)?;
        let ejections = endpoint.standing().ejections();
        Some(Attempt { judge: self, endpoint, upload, ejections, trial: choice.trial })
    }

    fn failed(&self, attempt: &Attempt<'_>, now: Moment) {
        let Some(rules) = self.rules else { return };
        let (endpoint, standing) = (attempt.endpoint, attempt.endpoint.standing());
        let failures = standing.failed();
        let is_enough =
            if standing.is_out() { standing.is_due(now) } else { failures >= rules.failures.get() };
        if !is_enough {
            return;
        }
        if let Some(period) = self.eject(attempt, &rules, now) {
            tracing::warn!(
                upstream = self.upstream,
                %endpoint,
                failures,
                period_ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX),
                "an endpoint is left out: it failed requests in a row"
            );
        }
    }

    /// For how long, if nobody was faster, there is room among those that are out, and there is
    /// somebody else to go to.
    fn eject(&self, attempt: &Attempt<'_>, rules: &Ejection, now: Moment) -> Option<Duration> {
        let _one_at_a_time = EJECTING.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoint = attempt.endpoint;
        let others =
            || self.endpoints.iter().filter(|it| !std::ptr::eq(&raw const ***it, endpoint));
        let out = others().filter(|it| it.standing().is_out()).count();
        let has_room = out < out_max(self.endpoints.len(), rules);
        let has_other = others().any(|it| it.standing().at(now) == Openness::Open);
        let may = attempt.counts() && has_room && has_other;
        may.then(|| endpoint.standing().eject(rules.period, now))
    }
}

impl<'a> Attempt<'a> {
    /// How far the request's body has come.
    pub fn upload(&self) -> &'a Upload {
        self.upload
    }

    /// There is an answer, and not one that says that nobody is there.
    pub fn succeeded(self, now: Moment) {
        let standing = self.endpoint.standing();
        if standing.has_failed() && self.counts() && standing.succeeded(now) {
            tracing::info!(
                upstream = self.judge.upstream,
                endpoint = %self.endpoint,
                "an endpoint is back: it answered when it was tried again"
            );
        }
    }

    /// It was not there, broke the connection though it had the whole request, answered with garbage, or
    /// said that it cannot.
    pub fn failed(self, now: Moment) {
        self.note_failure(now);
    }

    /// There was no connection. That we may have no more says nothing of the endpoint.
    pub fn unconnected(self, fault: &ConnectFault, now: Moment) {
        if !fault.is_ours() {
            self.note_failure(now);
        }
    }

    fn note_failure(&self, now: Moment) {
        if self.counts() {
            self.judge.failed(self, now);
        }
    }

    /// What began before the last ejection was judged with it.
    fn counts(&self) -> bool {
        self.ejections == self.endpoint.standing().ejections()
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.upload.is_overdue() {
            self.note_failure(Moment::now());
        }
        if let Some(trial) = self.trial {
            self.endpoint.standing().end_trial(trial);
        }
    }
}

/// How many of `count` endpoints may be out at once: a share rounded down, but one at least, and
/// never all of them.
fn out_max(count: usize, rules: &Ejection) -> usize {
    let share = count.saturating_mul(usize::from(rules.at_most.0)) / 100;
    share.max(1).min(count.saturating_sub(1))
}

/// Two workers that each eject one endpoint could exceed the limit together. It is held for a few
/// instructions, and only when an endpoint fails.
static EJECTING: Mutex<()> = Mutex::new(());

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::config::{Percent, UrlScheme};
    use crate::tasks::descriptors::Descriptors;
    use crate::upstream::body::RequestBody;

    const PERIOD: Duration = Duration::from_secs(10);

    fn judge(count: u16, at_most: u8) -> Judge {
        let endpoint = |number| {
            let host = "127.0.0.1".to_owned();
            let weight = NonZeroU32::MIN;
            let scheme = UrlScheme::Http;
            Endpoint::new(
                config::Endpoint { scheme, host, port: 9_000 + number, weight },
                1,
                Descriptors::new(1),
            )
        };
        let failures = NonZeroU32::new(3).unwrap();
        Judge {
            upstream: "api".to_owned(),
            endpoints: (0..count).map(|it| Arc::new(endpoint(it))).collect(),
            rules: Some(Ejection { failures, period: PERIOD, at_most: Percent(at_most) }),
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(1).after(Duration::from_secs(seconds))
    }

    fn asks<'a>(judge: &'a Judge, place: usize, upload: &'a Upload) -> Attempt<'a> {
        judge.begin(Choice { place, trial: None }, upload).unwrap()
    }

    fn fails(judge: &Judge, place: usize, times: usize, now: Moment) {
        let body = RequestBody::none();
        (0..times).for_each(|_| asks(judge, place, &body.upload()).failed(now));
    }

    fn out(judge: &Judge) -> Vec<usize> {
        let standings = judge.endpoints.iter().map(|it| it.standing().is_out());
        standings.enumerate().filter_map(|(place, is_out)| is_out.then_some(place)).collect()
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_between_them_does_not() {
        let (judge, body) = (judge(3, 50), RequestBody::none());
        for _ in 0..5 {
            fails(&judge, 1, 2, at(0));
            asks(&judge, 1, &body.upload()).succeeded(at(0));
        }
        assert!(out(&judge).is_empty());
        fails(&judge, 1, 3, at(0));
        assert_eq!(out(&judge), [1]);
        assert_eq!(judge.endpoints[1].standing().at(at(9)), Openness::Ejected);
    }

    #[test]
    fn no_more_are_out_than_may_be_and_never_all() {
        for (count, at_most, most) in
            [(1, 100, 0), (2, 100, 1), (2, 10, 1), (3, 50, 1), (4, 50, 2), (10, 35, 3), (3, 100, 2)]
        {
            let judge = judge(count, at_most);
            (0..usize::from(count)).for_each(|it| fails(&judge, it, 10, at(0)));
            assert_eq!(out(&judge).len(), most, "{count} {at_most}");
        }
    }

    #[test]
    fn the_last_one_that_is_well_stays() {
        let judge = judge(3, 50);
        judge.endpoints[0].standing().set_unwell();
        judge.endpoints[1].standing().set_unwell();
        fails(&judge, 2, 10, at(0));
        assert!(out(&judge).is_empty());
    }

    #[test]
    fn one_failure_is_enough_when_it_is_tried_again() {
        let judge = judge(2, 50);
        fails(&judge, 0, 3, at(0));
        let standing = judge.endpoints[0].standing();
        assert_eq!(standing.at(at(10)), Openness::OnTrial);
        fails(&judge, 0, 1, at(10));
        assert_eq!(
            [standing.at(at(29)), standing.at(at(30))],
            [Openness::Ejected, Openness::OnTrial]
        );
        assert_eq!(standing.ejections(), 2);
    }

    #[test]
    fn what_began_before_an_ejection_says_nothing_after_it() {
        let (judge, body) = (judge(2, 50), RequestBody::none());
        let upload = body.upload();
        let late: Vec<_> = (0..10).map(|_| asks(&judge, 0, &upload)).collect();
        fails(&judge, 0, 3, at(0));
        for (number, attempt) in (0..).zip(late) {
            if number % 2 == 0 { attempt.failed(at(10)) } else { attempt.succeeded(at(10)) }
        }
        let standing = judge.endpoints[0].standing();
        assert_eq!((standing.at(at(10)), standing.ejections()), (Openness::OnTrial, 1));
    }

    #[test]
    fn who_is_given_up_has_failed_and_who_is_left_has_not() {
        let (judge, body) = (judge(2, 50), RequestBody::none());
        let upload = body.upload();
        (0..10).for_each(|_| drop(asks(&judge, 0, &upload)));
        assert!(out(&judge).is_empty());
        upload.set_overdue();
        (0..3).for_each(|_| drop(asks(&judge, 0, &upload)));
        assert_eq!(out(&judge), [0]);
    }

    #[test]
    fn a_trial_ends_with_its_request_however_it_ends() {
        let (judge, body) = (judge(2, 50), RequestBody::none());
        fails(&judge, 0, 3, at(0));
        let standing = judge.endpoints[0].standing();
        let trial = standing.begin_trial(PERIOD, at(10));
        let upload = body.upload();
        let trial = judge.begin(Choice { place: 0, trial }, &upload);
        assert_eq!(standing.at(at(10)), Openness::Ejected);
        drop(trial);
        assert_eq!(standing.at(at(10)), Openness::OnTrial);
    }
}
