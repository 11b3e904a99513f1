//! Checks the endpoints of an upstream.

use std::num::NonZeroU32;

use rustls::pki_types::ServerName;

use crate::config::raw::Node;
use crate::config::reader::Field;
use crate::config::values;
use crate::config::{Endpoint, UrlScheme};
use crate::route::host::Host;

/// All that are right in themselves.
pub fn endpoints(field: &Field<'_>) -> Vec<Endpoint> {
    let Some(items) = field.items("a list like [\"http://127.0.0.1:9000\"]") else {
        return Vec::new();
    };
    if items.is_empty() {
        field.fault("expected at least one endpoint like \"http://127.0.0.1:9000\"");
    }
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for item in items {
        let Some(endpoint) = endpoint(&item) else { continue };
        if endpoints.iter().any(|it| is_same(it, &endpoint)) {
            item.fault("the same endpoint is named twice");
        }
        endpoints.push(endpoint);
    }
    endpoints
}

/// Whatever its share.
fn is_same(one: &Endpoint, other: &Endpoint) -> bool {
    (one.scheme, &one.host, one.port) == (other.scheme, &other.host, other.port)
}

/// `"http://10.0.0.2:9000"`, or a table with that under `url`.
fn endpoint(field: &Field<'_>) -> Option<Endpoint> {
    if !field.holds_table() {
        return field.required(url);
    }
    let weight = field.field("weight").read(NonZeroU32::MIN, values::count(WEIGHT_MAX));
    field.field("url").required(url).map(|it| Endpoint { weight, ..it })
}

/// An endpoint with a weight of one.
fn url(node: &Node) -> Result<Endpoint, String> {
    let text = node.text().ok_or_else(|| values::expected(ENDPOINT, node))?;
    let (scheme, rest) = text.split_once("://").ok_or_else(|| values::expected(ENDPOINT, node))?;
    let known = SCHEMES.iter().find(|(name, _scheme)| *name == scheme);
    let Some((_name, scheme)) = known else {
        return Err(format!("expected {ENDPOINT}, or https, h2 or h2s, found \"{scheme}://…\""));
    };
    host_and_port(*scheme, rest)
}

/// What was written is not repeated: it may hold a password.
fn host_and_port(scheme: UrlScheme, text: &str) -> Result<Endpoint, String> {
    let authority = text.strip_suffix('/').unwrap_or(text);
    if authority.contains('@') {
        return Err("an endpoint takes no user and no password".to_owned());
    }
    if authority.contains(['/', '?', '#']) {
        return Err("an endpoint is scheme, host and port only, without a path".to_owned());
    }
    let (host, port) = Host::parse(authority).map_err(|fault| fault.to_string())?;
    let host = host.as_str().trim_start_matches('[').trim_end_matches(']');
    if scheme.is_secure() && ServerName::try_from(host).is_err() {
        return Err("a certificate cannot hold such a host: expected a DNS name or an IP address"
            .to_owned());
    }
    let port = port.unwrap_or_else(|| scheme.default_port());
    Ok(Endpoint { scheme, host: host.to_owned(), port, weight: NonZeroU32::MIN })
}

const ENDPOINT: &str = "an endpoint like \"http://127.0.0.1:9000\"";
const SCHEMES: [(&str, UrlScheme); 4] = [
    ("http", UrlScheme::Http),
    ("https", UrlScheme::Https),
    ("h2", UrlScheme::H2),
    ("h2s", UrlScheme::H2s),
];
const WEIGHT_MAX: u32 = 1_000;
