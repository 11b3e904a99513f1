//! Checks `[[upstreams]]`.

use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderValue;

use crate::config::check::MOMENT;
use crate::config::raw::Node;
use crate::config::reader::Field;
use crate::config::schema::not_yet;
use crate::config::values;
use crate::config::{
    Balance, ClientTls, Ejection, Endpoint, Percent, Retries, Scheme, Upstream, UpstreamHost,
};
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
    let balance =
        [("least_requests", Balance::LeastRequests), ("round_robin", Balance::RoundRobin)];
    let balance = values::one_of(balance, &["random", "hash"]);
    let time =
        |key, default| section.field(key).read(Duration::from_secs(default), values::time(MOMENT));
    Upstream {
        name: section.field("name").required(values::name).unwrap_or_default(),
        endpoints: endpoints(&section.field("endpoints")),
        balance: section.field("balance").read(Balance::LeastRequests, balance),
        host: section.field("host").read(UpstreamHost::Client, upstream_host),
        connect_timeout: time("connect_timeout", 2),
        response_timeout: time("response_timeout", 60),
        idle_timeout: time("idle_timeout", 55),
        tls: ClientTls::default(),
        max_connections: None,
        wait_timeout: Duration::from_secs(1),
        retries: Retries { per_request: 1, budget: Percent(20) },
        resolve_every: Duration::from_secs(30),
        slow_start: None,
        health: None,
        ejection: Some(EJECTION),
    }
}

fn endpoints(field: &Field<'_>) -> Vec<Endpoint> {
    let each = field.each(endpoint);
    if each.is_empty() {
        field.fault("expected at least one endpoint like \"http://127.0.0.1:9000\"");
    }
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for (field, endpoint) in each {
        let Some(endpoint) = endpoint else { continue };
        if endpoints.contains(&endpoint) {
            field.fault("the same endpoint is named twice");
        }
        endpoints.push(endpoint);
    }
    endpoints
}

/// `"http://10.0.0.2:9000"`, or a table with that under `url`.
fn endpoint(node: &Node) -> Result<Endpoint, String> {
    let url = match node.table() {
        None => node,
        Some(table) => &table.get("url").ok_or("url is missing")?.node,
    };
    let text = url.text().ok_or_else(|| values::expected(ENDPOINT, url))?;
    let (scheme, rest) = text.split_once("://").ok_or_else(|| values::expected(ENDPOINT, url))?;
    match scheme {
        "http" => host_and_port(rest),
        "https" | "h2" | "h2s" => Err(not_yet(&format!("{scheme}://"))),
        _ => Err(format!("expected {ENDPOINT}, found \"{scheme}://…\"")),
    }
}

/// What was written is not repeated: it may hold a password.
fn host_and_port(text: &str) -> Result<Endpoint, String> {
    let authority = text.strip_suffix('/').unwrap_or(text);
    if authority.contains('@') {
        return Err("an endpoint takes no user and no password".to_owned());
    }
    if authority.contains(['/', '?', '#']) {
        return Err("an endpoint is scheme, host and port only, without a path".to_owned());
    }
    let (host, port) = Host::parse(authority).map_err(|fault| fault.to_string())?;
    let host = host.as_str().trim_start_matches('[').trim_end_matches(']');
    Ok(Endpoint {
        scheme: Scheme::Http,
        host: host.to_owned(),
        port: port.unwrap_or(HTTP_PORT),
        weight: NonZeroU32::MIN,
    })
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

const ENDPOINT: &str = "an endpoint like \"http://127.0.0.1:9000\"";
const HTTP_PORT: u16 = 80;
const EJECTION: Ejection = Ejection {
    failures: NonZeroU32::new(5).unwrap(),
    period: Duration::from_secs(10),
    at_most: Percent(50),
};
