//! Checks the two planes that listen, `[gateway]` and `[admin]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderName;

use crate::config::check::certificates::certificates;
use crate::config::check::{MOMENT, file};
use crate::config::raw::Node;
use crate::config::reader::Field;
use crate::config::values::{self, wide};
use crate::config::{
    Admin, Bearer, Connections, Gateway, HeadLimits, Plaintext, TlsVersion, Workers,
};

/// Both planes, and what their addresses must be to each other.
pub fn planes(root: &Field<'_>) -> (Gateway, Admin) {
    let (of_gateway, of_admin) = (&root.section("gateway"), &root.section("admin"));
    let mut all = addresses(of_gateway.field("listen"), 8080);
    let secure = of_gateway.field("listen_tls").each(values::socket_address);
    let of_admin_alone = addresses(of_admin.field("listen"), 8081);
    let gateway =
        Gateway { listen: right(&all), listen_tls: right(&secure), ..gateway(of_gateway) };
    let admin = Admin { listen: right(&of_admin_alone), ..admin(of_admin) };
    check_certificates(of_gateway, secure.len());
    if !of_admin.field("certificates").is_filled() && admin.plaintext == Plaintext::LoopbackOnly {
        of_admin_alone.iter().for_each(check_loopback);
    }
    all.extend(secure);
    all.extend(of_admin_alone);
    if all.is_empty() {
        of_gateway.field("listen").fault("nothing to listen on: admin.listen is empty too");
    }
    check_distinct(&all);
    (gateway, admin)
}

/// All but the addresses.
fn gateway(section: &Field<'_>) -> Gateway {
    let time = |key, default, least| section.field(key).read(seconds(default), values::time(least));
    let off = Duration::ZERO;
    let per_address = values::word_or_count(("unlimited", None), CONNECTIONS_MAX, Some);
    let workers =
        values::word_or_count(("auto", Workers::Auto), WORKERS_MAX, |it| Workers::Count(wide(it)));
    let connections =
        values::word_or_count(("auto", Connections::Auto), CONNECTIONS_MAX, Connections::AtMost);
    let bearer = values::switch(Bearer::PassedOn, Bearer::Accepted);
    let versions = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
    let count = |key, default, most| section.field(key).read(default, values::count(most));
    Gateway {
        listen: Vec::new(),
        listen_tls: Vec::new(),
        certificates: certificates(&section.field("certificates")),
        min_tls: section.field("min_tls").read(TlsVersion::Tls12, values::one_of(versions)),
        proxy_protocol_from: section.field("proxy_protocol_from").list(values::network),
        max_in_flight: count("max_in_flight", IN_FLIGHT, IN_FLIGHT_MAX),
        max_streams: count("max_streams", STREAMS, STREAMS_MAX),
        trusted_proxies: section.field("trusted_proxies").list(values::network),
        workers: section.field("workers").read(Workers::Auto, workers),
        key_headers: key_headers(&section.field("key_headers")),
        bearer: section.field("accept_bearer").read(Bearer::PassedOn, bearer),
        max_connections: section.field("max_connections").read(Connections::Auto, connections),
        max_connections_per_address: section
            .field("max_connections_per_address")
            .read(None, per_address),
        head: head(section),
        header_timeout: time("header_timeout", 10, MOMENT),
        body_timeout: time("body_timeout", 30, MOMENT),
        write_timeout: time("write_timeout", 30, MOMENT),
        idle_timeout: time("idle_timeout", 75, MOMENT),
        drain_delay: time("drain_delay", 0, off),
        drain_timeout: time("drain_timeout", 30, off),
    }
}

/// All but the addresses.
fn admin(section: &Field<'_>) -> Admin {
    let plaintext = values::switch(Plaintext::LoopbackOnly, Plaintext::Allowed);
    let field = section.field("allow_plaintext");
    let plaintext = field.read(Plaintext::LoopbackOnly, plaintext);
    let certificates = certificates(&section.field("certificates"));
    match (plaintext, certificates.is_empty()) {
        (Plaintext::LoopbackOnly, _) => {}
        (Plaintext::Allowed, true) => field
            .warn("operators' tokens may cross the network in plaintext: only in a private one"),
        (Plaintext::Allowed, false) => {
            field.warn("changes nothing: with admin.certificates nothing is sent in plaintext");
        }
    }
    Admin {
        listen: Vec::new(),
        certificates,
        plaintext,
        hosts: section.field("hosts").list(values::bare_host),
        operator_token_file: file(&section.field("operator_token_file"), "operator.token"),
    }
}

type Addresses<'a> = Vec<(Field<'a>, Option<SocketAddr>)>;

fn addresses(field: Field<'_>, port: u16) -> Addresses<'_> {
    if field.is_written() {
        return field.each(values::socket_address);
    }
    vec![(field, Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))]
}

fn right(addresses: &Addresses<'_>) -> Vec<SocketAddr> {
    addresses.iter().filter_map(|(_field, address)| *address).collect()
}

/// TLS needs a certificate, and a certificate something that shows it.
fn check_certificates(section: &Field<'_>, listeners: usize) {
    let (listen, certificates) = (section.field("listen_tls"), section.field("certificates"));
    match (listeners > 0, certificates.is_filled()) {
        (true, false) => listen.fault("TLS needs a certificate: set gateway.certificates"),
        (false, true) => certificates.warn("nobody is shown them: gateway.listen_tls is empty"),
        (true, true) | (false, false) => {}
    }
}

fn check_loopback((field, address): &(Field<'_>, Option<SocketAddr>)) {
    if let Some(address) = address.filter(|it| !it.ip().to_canonical().is_loopback()) {
        field.fault(format!(
            "{address} is not on loopback, and would speak plaintext there: set \
             admin.certificates, listen on 127.0.0.1, or, in a private network, set \
             admin.allow_plaintext = true"
        ));
    }
}

/// Port 0 is a new port each time.
fn check_distinct(addresses: &Addresses<'_>) {
    for (at, (field, address)) in addresses.iter().enumerate() {
        let Some(address) = address.filter(|it| it.port() != 0) else { continue };
        let earlier = addresses.iter().take(at).find(|(_field, other)| *other == Some(address));
        if let Some((other, _address)) = earlier {
            field.fault(format!("{address} is in {} already", other.path()));
        }
    }
}

fn head(section: &Field<'_>) -> HeadLimits {
    let bytes = section.field("max_header_bytes").read(32 << 10, values::size(4 << 10, 1 << 20));
    let count = section.field("max_headers").read(HEADERS, values::count(HEADERS_MAX));
    let uri = section.field("max_uri_bytes").read(8 << 10, values::size(256, URI_BYTES_MAX));
    HeadLimits { bytes_max: whole(bytes), count_max: wide(count).get(), uri_bytes_max: whole(uri) }
}

fn key_headers(field: &Field<'_>) -> Vec<HeaderName> {
    if !field.is_written() {
        return vec![HeaderName::from_static("api-key")];
    }
    let mut names: Vec<HeaderName> = Vec::new();
    let each = field.each(key_header);
    if each.is_empty() {
        field.fault("expected at least one header: without one nobody can show a key");
    }
    for (field, name) in each {
        let Some(name) = name else { continue };
        if names.contains(&name) {
            field.fault(format!("\"{name}\" is named twice"));
        }
        names.push(name);
    }
    names
}

/// A header that nothing else means something by: where a key is accepted, it is removed.
fn key_header(node: &Node) -> Result<HeaderName, String> {
    let name = node.text().and_then(|it| HeaderName::from_bytes(it.as_bytes()).ok());
    let name =
        name.ok_or_else(|| values::expected("the name of a header like \"api-key\"", node))?;
    let plain = name.as_str().replace('_', "-");
    if plain == "authorization" {
        return Err(
            "\"authorization\" carries other credentials too: set gateway.accept_bearer = true"
                .to_owned(),
        );
    }
    let is_reserved = RESERVED.contains(&plain.as_str())
        || RESERVED_FAMILIES.iter().any(|it| plain.starts_with(it));
    if is_reserved {
        Err(format!("\"{name}\" has a meaning of its own and cannot carry a key"))
    } else {
        Ok(name)
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn whole(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

const CONNECTIONS_MAX: u32 = 10_000_000;
const WORKERS_MAX: u32 = 1024;
const IN_FLIGHT: NonZeroU32 = NonZeroU32::new(10_000).unwrap();
const IN_FLIGHT_MAX: u32 = 10_000_000;
const STREAMS: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// A stream takes memory before anyone has shown a key.
const STREAMS_MAX: u32 = 10_000;
const HEADERS: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// Well below what a `HeaderMap` holds.
const HEADERS_MAX: u32 = 10_000;
/// What `http::Uri` holds at most.
const URI_BYTES_MAX: u64 = (64 << 10) - 2;
const RESERVED: [&str; 27] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "origin",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-real-ip",
    "x-request-id",
];
const RESERVED_FAMILIES: [&str; 3] = ["x-keyward-", "x-forwarded-", "sec-"];
