//! Gathers what was counted everywhere into one scrape.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::admin::fleet::census;
use crate::admin::tally::{FAILURES, Tallied, Tally};
use crate::clock::Moment;
use crate::gate::keyring::Keyring;
use crate::gate::lease::Standing;
use crate::gate::remaining::Which;
use crate::server::certificates::Shown;
use crate::server::reload::Counts;
use crate::store::gateway::GatewayId;
use crate::tasks::descriptors::Descriptors;
use crate::telemetry::counters::{DECISIONS, Totals, WorkerCounters};
use crate::telemetry::expose::{Family, Labels, openmetrics};
use crate::telemetry::histogram::Sum;
use crate::telemetry::outlet::Inlets;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::group::{Group, Groups};
use crate::upstream::standing::Openness;

/// Everything that is counted.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// What the gate did.
    pub keyring: Arc<Keyring>,
    /// This gateway in the register.
    pub id: GatewayId,
    /// What operators did.
    pub tally: Arc<Tally>,
    /// What workers did.
    pub workers: Vec<Arc<WorkerCounters>>,
    /// Where lines go.
    pub lines: Inlets,
    /// The endpoints of every upstream.
    pub groups: watch::Receiver<Groups>,
    /// What is shown to whom TLS is spoken with.
    pub shown: Shown,
    /// How often the configuration was read again.
    pub reloads: Arc<Counts>,
    /// The sockets of both sides.
    pub descriptors: Descriptors,
}

impl Scrape {
    /// As `OpenMetrics` text, at this moment.
    pub fn text(&self) -> String {
        let mut totals = Totals::default();
        self.workers.iter().for_each(|it| it.add_to(&mut totals));
        let families = [
            build_info(),
            self.traffic(&totals),
            connections(&totals),
            self.endpoints(),
            self.gate(&totals),
            self.limits(),
            self.argon2(),
            self.store(),
            self.writes(),
            self.certificates(),
            self.reloads(),
        ];
        openmetrics(families.concat())
    }

    fn traffic(&self, totals: &Totals) -> Vec<Family> {
        let routes = &totals.routes;
        let requests = routes.iter().flat_map(|(name, row)| {
            row.requests.iter().map(move |((method, code), count)| {
                let code = code.to_string();
                (labels(&[("route", name), ("method", method), ("code", &code)]), *count)
            })
        });
        let durations: Vec<(Labels, Sum)> = routes
            .iter()
            .map(|(name, row)| (labels(&[("route", name)]), row.duration.clone()))
            .collect();
        vec![
            Family::counter("keyward_requests", "Requests answered", requests.collect()),
            Family::histogram(
                "keyward_request_duration_seconds",
                "From the end of the head to the last byte of the answer",
                durations,
            ),
            Family::histogram(
                "keyward_overhead_seconds",
                "What was ours of a request's time before it was handed to its upstream",
                vec![(vec![], totals.overhead.clone())],
            ),
            one(
                "keyward_requests_cut",
                "Requests ended because their key lost its right or could not be checked any more",
                totals.cut,
            ),
            one("keyward_panics", "Requests that ended in a panic", totals.panics),
            one(
                "keyward_access_log_dropped",
                "Access-log lines that nobody took in time",
                self.lines.access.dropped(),
            ),
            level(
                "keyward_sockets",
                "Connections of clients and to upstreams",
                self.descriptors.taken() as u64,
            ),
            level(
                "keyward_sockets_max",
                "As many as the limit on descriptors allows",
                self.descriptors.max() as u64,
            ),
            one(
                "keyward_log_dropped",
                "Log lines that nobody took in time",
                self.lines.log.dropped(),
            ),
        ]
    }

    fn endpoints(&self) -> Vec<Family> {
        let (groups, now) = (Arc::clone(&self.groups.borrow()), Moment::now());
        let each = |value: &dyn Fn(&Endpoint) -> u64| -> Vec<(Labels, u64)> {
            let members = groups.iter().flat_map(Group::members);
            let sample = |(endpoint, group): (&Arc<Endpoint>, &Group)| {
                let (upstream, url) = (group.settings.name.as_str(), endpoint.to_string());
                (labels(&[("upstream", upstream), ("endpoint", &url)]), value(endpoint))
            };
            members.map(sample).collect()
        };
        vec![
            Family::gauge(
                "keyward_upstream_endpoint_healthy",
                "Whether an endpoint gets requests: it is not ejected, and well as far as it is asked",
                each(&|it| u64::from(it.standing().at(now) == Openness::Open)),
            ),
            Family::counter(
                "keyward_upstream_ejections",
                "How often an endpoint was left out because it failed requests",
                each(&|it| it.standing().ejections()),
            ),
        ]
    }

    fn gate(&self, totals: &Totals) -> Vec<Family> {
        let entries = self.keyring.entries();
        let decisions = DECISIONS.iter().zip(totals.decisions);
        let decisions = decisions.map(|(name, count)| (labels(&[("result", name)]), count));
        let counts = self.keyring.counts();
        vec![
            Family::counter("keyward_auth_decisions", "What the gate decided", decisions.collect()),
            level("keyward_key_entries", "Keys in memory", entries.count() as u64),
            level(
                "keyward_key_entries_complete",
                "Whether every key is in memory",
                u64::from(entries.is_complete()),
            ),
            one(
                "keyward_key_entries_evicted",
                "Keys that had to leave memory for others",
                entries.evicted(),
            ),
            one(
                "keyward_history_lost",
                "Requests that are missing where limits are previewed, by what they cost",
                entries.history().lost(),
            ),
            one(
                "keyward_key_fills",
                "Keys that a request had to ask the store for",
                read(&counts.fills),
            ),
            one(
                "keyward_records_unreadable",
                "Records that could not be read",
                read(&counts.unreadable),
            ),
            one(
                "keyward_record_rollbacks",
                "Records that the store had lost, or held in an older state, and that were written back",
                read(&counts.rollbacks),
            ),
            one(
                "keyward_throttled",
                "Requests refused because checking them would have cost too much",
                read(&counts.throttled),
            ),
        ]
    }

    fn argon2(&self) -> Vec<Family> {
        let counts = self.keyring.hashing().counts();
        let runs = vec![
            (labels(&[("purpose", "mint")]), read(&counts.mints)),
            (labels(&[("purpose", "verify")]), read(&counts.verifications)),
        ];
        let busy = Duration::from_micros(read(&counts.busy_us));
        vec![
            Family::counter("keyward_argon2_runs", "Runs of argon2", runs),
            Family::seconds("keyward_argon2_busy_seconds", "Time that argon2 took", busy),
            level("keyward_argon2_queue_depth", "Jobs that wait for argon2", read(&counts.depth)),
            one(
                "keyward_argon2_rejected",
                "Jobs that found argon2's queue full",
                read(&counts.rejected),
            ),
        ]
    }

    fn limits(&self) -> Vec<Family> {
        let limits = self.keyring.limits();
        let (leasing, shadow) = (limits.leasing(), limits.shadow());
        let counts = leasing.counts();
        let shadow = Which::ALL.iter().zip(shadow);
        let shadow = shadow.map(|(it, count)| (labels(&[("limit", it.name())]), read(count)));
        vec![
            Family::counter(
                "keyward_limits_shadow_refusals",
                "Requests that a limit would have refused, had it been enforced",
                shadow.collect(),
            ),
            one(
                "keyward_limits_leases",
                "Questions to the store for slices of limits",
                read(&counts.asked),
            ),
            one(
                "keyward_limits_leases_unanswered",
                "Those of them that were not answered, or not in time",
                read(&counts.unanswered),
            ),
            level(
                "keyward_limits_cut_off",
                "Whether this gateway goes on with its share of limits, without the store",
                u64::from(leasing.is_cut_off()),
            ),
            one(
                "keyward_limits_share_spent",
                "What was spent of such shares: so much may be over the limits of the fleet",
                read(&counts.of_share),
            ),
        ]
    }

    fn store(&self) -> Vec<Family> {
        let (lease, now) = (self.keyring.lease(), Moment::now());
        let seen = self.keyring.store().sight().watch().borrow().clone();
        let applied = seen.entry(&self.id).map_or(0, |it| it.entry.confirmed.number);
        let gateways = census(&seen).map(|(state, count)| (labels(&[("state", state)]), count));
        let is_held = lease.standing(now) == Standing::Held;
        vec![
            level("keyward_store_up", "Whether the lease holds", u64::from(is_held)),
            Family::left("keyward_lease_left_seconds", "What is left of it", lease.left(now)),
            level(
                "keyward_changes_applied",
                "The last change of a key that this gateway has confirmed",
                applied,
            ),
            Family::gauge("keyward_gateways", "Who follows the store", gateways.to_vec()),
        ]
    }

    fn reloads(&self) -> Vec<Family> {
        let counts = &self.reloads;
        let results = [("success", &counts.done), ("failure", &counts.refused)];
        let results = results.map(|(name, count)| (labels(&[("result", name)]), read(count)));
        vec![
            Family::counter(
                "keyward_config_reloads",
                "How often the configuration was read again",
                results.to_vec(),
            ),
            level(
                "keyward_config_last_reload_success_timestamp_seconds",
                "When the configuration that is in force was read",
                read(&counts.last_done_us) / 1_000_000,
            ),
        ]
    }

    fn certificates(&self) -> Vec<Family> {
        let ends = self.shown.not_after().into_iter();
        let ends = ends
            .map(|(name, end)| (labels(&[("san", &name)]), u64::try_from(end).unwrap_or_default()));
        vec![Family::gauge(
            "keyward_tls_cert_not_after_timestamp_seconds",
            "Until when the certificate that is shown for a name is valid",
            ends.collect(),
        )]
    }

    fn writes(&self) -> Vec<Family> {
        let Tallied { writes, receipts, incomplete, failures } = self.tally.read();
        let failures = FAILURES.iter().zip(failures);
        let failures = failures.map(|(code, count)| (labels(&[("code", code)]), count));
        vec![
            Family::histogram(
                "keyward_store_write_duration_seconds",
                "From an operator's change to the store's word on it",
                vec![(vec![], writes)],
            ),
            Family::histogram(
                "keyward_receipts_duration_seconds",
                "From there until every gateway has confirmed, or is not waited for any more",
                vec![(vec![], receipts)],
            ),
            one(
                "keyward_receipts_incomplete",
                "Changes that somebody could not confirm",
                incomplete,
            ),
            Family::counter(
                "keyward_admin_failures",
                "Calls of operators that failed",
                failures.collect(),
            ),
        ]
    }
}

fn connections(totals: &Totals) -> Vec<Family> {
    vec![
        level("keyward_connections_open", "Connections of clients", totals.open),
        one("keyward_connections_accepted", "Connections that clients opened", totals.accepted),
        one(
            "keyward_upstream_connections_opened",
            "Connections opened to upstreams",
            totals.upstream_opened,
        ),
        one(
            "keyward_upstream_connections_reused",
            "Requests sent over a connection that was used before",
            totals.upstream_reused,
        ),
        one(
            "keyward_upstream_errors",
            "Requests that an upstream failed or could not be reached for",
            totals.upstream_errors,
        ),
        one(
            "keyward_upstream_retries",
            "Requests sent again over another connection",
            totals.retries,
        ),
    ]
}

fn build_info() -> Vec<Family> {
    let version = labels(&[("version", env!("CARGO_PKG_VERSION"))]);
    vec![Family::gauge("keyward_build_info", "This version", vec![(version, 1)])]
}

fn one(name: &'static str, help: &'static str, value: u64) -> Family {
    Family::counter(name, help, vec![(vec![], value)])
}

fn level(name: &'static str, help: &'static str, value: u64) -> Family {
    Family::gauge(name, help, vec![(vec![], value)])
}

fn labels(pairs: &[(&'static str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
