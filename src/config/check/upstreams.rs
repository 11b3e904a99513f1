//! Checks `[[upstreams]]`.

use std::time::Duration;

use http::HeaderValue;

use crate::config::check::MOMENT;
use crate::config::check::certificates::client_tls;
use crate::config::check::endpoints::endpoints;
use crate::config::check::health::{ejection, health};
use crate::config::raw::Node;
use crate::config::reader::Field;
use crate::config::values;
use crate::config::{Balance, ClientTls, Percent, Retries, Upstream, UpstreamHost};
use crate::route::host::Host;

/// All upstreams.
pub fn upstreams(field: &Field<'_>) -> Vec<Upstream> {
    let sections = field.sections();
    unique_names(&sections);
    sections.iter().map(upstream).collect()
}

/// Each name only once.
pub fn unique_names(sections: &[Field<'_>]) {
    let mut seen: Vec<(String, &Field<'_>)> = Vec::new();
    for section in sections {
        let name = section.field("name");
        let Some(text) = name.required(values::name) else { continue };
        match seen.iter().find(|(other, _section)| *other == text) {
            Some((_, other)) => {
                name.fault(format!("{text:?} is the name of {} already", other.path()));
            }
            None => seen.push((text, section)),
        }
    }
}

fn upstream(section: &Field<'_>) -> Upstream {
    let time = |key, default, least| section.field(key).read(default, values::time(least));
    let most = values::word_or_count(("unlimited", None), CONNECTIONS_MAX, Some);
    let slow_start = values::time_or_off(MOMENT);
    let upstream = Upstream {
        name: section.field("name").required(values::name).unwrap_or_default(),
        endpoints: endpoints(&section.field("endpoints")),
        balance: section.field("balance").read(Balance::LeastRequests, balance),
        host: section.field("host").read(UpstreamHost::Client, upstream_host),
        tls: client_tls(section),
        connect_timeout: time("connect_timeout", seconds(2), MOMENT),
        response_timeout: time("response_timeout", seconds(60), MOMENT),
        idle_timeout: time("idle_timeout", seconds(55), MOMENT),
        max_connections: section.field("max_connections").read(None, most),
        wait_timeout: time("wait_timeout", seconds(1), Duration::ZERO),
        retries: retries(section),
        resolve_every: time("resolve_every", seconds(30), RESOLVE_EVERY_MIN),
        slow_start: section.field("slow_start").read(None, slow_start),
        health: health(&section.field("health")),
        ejection: ejection(&section.field("ejection")),
    };
    check_tls(section, &upstream);
    upstream
}

/// Files that nothing is done with are hardly meant.
fn check_tls(section: &Field<'_>, upstream: &Upstream) {
    let is_secure = upstream.endpoints.iter().any(|it| it.scheme.is_secure());
    if !is_secure && upstream.tls != ClientTls::default() {
        section.warn("ca, certificate and private_key are for endpoints with https:// or h2s://");
    }
}

fn balance(node: &Node) -> Result<Balance, String> {
    let words = [
        ("least_requests", Balance::LeastRequests),
        ("round_robin", Balance::RoundRobin),
        ("random", Balance::Random),
        ("hash", Balance::Hash),
    ];
    values::one_of(words)(node)
}

fn retries(section: &Field<'_>) -> Retries {
    Retries {
        per_request: section.field("retries").read(1, values::count_or_none(RETRIES_MAX)),
        budget: section.field("retry_budget").read(Percent(20), values::percent(Percent(0))),
    }
}

fn upstream_host(node: &Node) -> Result<UpstreamHost, String> {
    let wrong =
        || values::expected("\"client\", \"endpoint\" or a host like \"api.example.com\"", node);
    let text = node.text().ok_or_else(wrong)?;
    match text {
        "client" => Ok(UpstreamHost::Client),
        "endpoint" => Ok(UpstreamHost::Endpoint),
        _ if Host::parse(text).is_err() => Err(wrong()),
        _ => HeaderValue::from_str(text).map(UpstreamHost::Named).map_err(|_value| wrong()),
    }
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const CONNECTIONS_MAX: u32 = 10_000_000;
const RETRIES_MAX: u32 = 10;
/// Nobody's name server is asked more often.
const RESOLVE_EVERY_MIN: Duration = Duration::from_millis(100);
