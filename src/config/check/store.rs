//! Reads `[store]`.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::check::{MOMENT, file};
use crate::config::raw::{Content, Node};
use crate::config::reader::Field;
use crate::config::values::{self, expected, wide};
use crate::config::{
    HostPort, Location, Network, RedisPlace, RedisTransport, Replicas, Store, Topology,
    WhenUnreachable,
};

/// Reads `[store]`.
pub fn store(section: &Field<'_>) -> Store {
    let time = |key, default, least| section.field(key).read(default, values::time(least));
    let policies =
        [("serve_known", WhenUnreachable::ServeKnown), ("refuse", WhenUnreachable::Refuse)];
    let policy = values::one_of(policies);
    let database = Location::Sqlite(section.directory().join("keyward.db"));
    let count = section.field("max_keys_in_memory").read(KEYS_MAX, values::count(u32::MAX));
    let location = section.field("url").read(database, location);
    Store {
        network: network(section, &location),
        location,
        response_timeout: time("response_timeout", Duration::from_millis(500), MOMENT),
        pepper_file: file(&section.field("pepper_file"), "keyward.pepper"),
        retired_pepper_files: section.field("retired_pepper_files").list(values::file),
        when_unreachable: section
            .field("when_unreachable")
            .read(WhenUnreachable::ServeKnown, policy),
        serve_known_for: time("serve_known_for", Duration::from_mins(10), MOMENT),
        lease: section.field("lease").read(LEASE, values::time_between(LEASE_MIN, LEASE_MAX)),
        max_keys_in_memory: wide(count),
    }
}

fn network(section: &Field<'_>, location: &Location) -> Network {
    let (user, password) = (section.field("user"), section.field("password_file"));
    let ca = section.field("ca");
    let is_plain = |it: &RedisPlace| it.transport == RedisTransport::Plain;
    match location {
        Location::Sqlite(_) => {
            for field in [&user, &password, &ca].into_iter().filter(|it| it.is_written()) {
                field.fault("an SQLite file needs none");
            }
        }
        Location::Redis(place) if is_plain(place) && ca.is_written() => {
            ca.fault("store.url speaks no TLS: begin it with \"rediss\"");
        }
        Location::Redis(_) => {}
    }
    if user.is_written() && !password.is_written() {
        user.fault("a user has a password: set store.password_file");
    }
    let default = Network::default();
    Network {
        user: user.read(None, |node| word(node, "a user's name").map(Some)),
        password_file: password.read(None, |node| values::file(node).map(Some)),
        ca: ca.read(None, |node| values::file(node).map(Some)),
        namespace: section.field("namespace").read(default.namespace, namespace),
        replicas: section.field("replicas").read(default.replicas, replicas),
        connect_timeout: section
            .field("connect_timeout")
            .read(default.connect_timeout, values::time(MOMENT)),
    }
}

/// Where the store is. What was written is not repeated: it may hold a password.
fn location(node: &Node) -> Result<Location, String> {
    let text = node.text().ok_or_else(|| expected(LOCATION, node))?;
    let (scheme, rest) = text.split_once(':').ok_or_else(|| expected(LOCATION, node))?;
    match scheme {
        "sqlite" => {
            let is_path = !rest.is_empty() && !rest.starts_with("//") && !rest.starts_with(':');
            if !is_path || rest.ends_with('/') || rest.contains('\0') {
                return Err(expected(LOCATION, node));
            }
            Ok(Location::Sqlite(node.place.directory().join(rest)))
        }
        "redis" => redis(rest, Shape::Standalone, RedisTransport::Plain),
        "rediss" => redis(rest, Shape::Standalone, RedisTransport::Tls),
        "redis+sentinel" => redis(rest, Shape::Sentinel, RedisTransport::Plain),
        "rediss+sentinel" => redis(rest, Shape::Sentinel, RedisTransport::Tls),
        "redis+cluster" => redis(rest, Shape::Cluster, RedisTransport::Plain),
        "rediss+cluster" => redis(rest, Shape::Cluster, RedisTransport::Tls),
        _ => Err(format!("expected {LOCATION}, found \"{scheme}:…\"")),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Standalone,
    Sentinel,
    Cluster,
}

fn redis(rest: &str, shape: Shape, transport: RedisTransport) -> Result<Location, String> {
    let rest = rest.strip_prefix("//").ok_or("expected \"//\" behind the scheme")?;
    if rest.contains('@') {
        return Err("a password does not belong into an address: set store.user and \
                    store.password_file"
            .to_owned());
    }
    if rest.contains(['?', '#']) {
        return Err("an address has no parameters: each has a setting of its own".to_owned());
    }
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port = if shape == Shape::Sentinel { 26_379 } else { 6_379 };
    let hosts: Vec<HostPort> =
        hosts.split(',').map(|it| host(it, port)).collect::<Result<_, _>>()?;
    let (topology, database) = match shape {
        Shape::Standalone if hosts.len() > 1 => {
            return Err("one host, or \"redis+sentinel\" or \"redis+cluster\"".to_owned());
        }
        Shape::Standalone if path.is_empty() => (Topology::Standalone, 0),
        Shape::Standalone => {
            let number = path.parse().map_err(|_malformed| {
                "expected the number of a database behind the host".to_owned()
            })?;
            (Topology::Standalone, number)
        }
        Shape::Sentinel if path.is_empty() || path.contains('/') => {
            return Err("expected the primary's name behind the Sentinels, as in \
                        \"redis+sentinel://h1:26379,h2:26379/mymaster\""
                .to_owned());
        }
        Shape::Sentinel => (Topology::Sentinel(path.to_owned()), 0),
        Shape::Cluster if path.is_empty() => (Topology::Cluster, 0),
        Shape::Cluster => {
            return Err("a cluster has no databases: nothing goes behind its hosts".to_owned());
        }
    };
    Ok(Location::Redis(RedisPlace { topology, hosts, transport, database }))
}

fn host(text: &str, default_port: u16) -> Result<HostPort, String> {
    let fault = || "expected hosts like \"h:6379\", separated by commas".to_owned();
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(fault)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_malformed| fault())?;
            (host, port)
        }
        None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
    };
    let is_name = |it: &str| it.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
    if host.is_empty() || !is_name(host) {
        return Err(fault());
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default_port,
        None => return Err(fault()),
        Some(port) => port.parse().ok().filter(|it| *it != 0).ok_or_else(fault)?,
    };
    Ok(HostPort { host: host.to_owned(), port })
}

/// What keys in Redis begin with: it stands between braces, so that all are in one slot.
fn namespace(node: &Node) -> Result<String, String> {
    let what = "1 to 32 letters, digits, \"-\", \"_\", \".\" or \":\"";
    let text = word(node, what)?;
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || b"-_.:".contains(&it);
    if text.len() > 32 || !text.bytes().all(is_plain) {
        return Err(expected(what, node));
    }
    Ok(text)
}

fn replicas(node: &Node) -> Result<Replicas, String> {
    match &node.content {
        Content::Text(text) if text == "auto" => Ok(Replicas::Auto),
        Content::Integer(_) | Content::Text(_) => {
            let count = values::count_or_none(REPLICAS_MAX)(node);
            count.map(Replicas::Number).map_err(|_wrong| {
                expected(&format!("\"auto\" or a number from 0 to {REPLICAS_MAX}"), node)
            })
        }
        Content::Boolean(_) | Content::List(_) | Content::Table(_) | Content::Other(_) => {
            Err(expected(&format!("\"auto\" or a number from 0 to {REPLICAS_MAX}"), node))
        }
    }
}

fn word(node: &Node, what: &str) -> Result<String, String> {
    let text = node.text().filter(|it| !it.is_empty() && it.chars().all(|it| !it.is_control()));
    text.map(str::to_owned).ok_or_else(|| expected(what, node))
}

const LOCATION: &str = "\"sqlite:PATH\", \"redis://HOST\", \"redis+sentinel://HOSTS/NAME\" or \"redis+cluster://HOSTS\"";
const KEYS_MAX: NonZeroU32 = NonZeroU32::new(1_000_000).unwrap();
const REPLICAS_MAX: u32 = 16;
const LEASE: Duration = Duration::from_secs(2);
/// A gateway renews it four times as often, and the store has to answer in between.
const LEASE_MIN: Duration = Duration::from_millis(200);
/// A write waits little more than a lease for a gateway that is gone, and whoever sent it waits a
/// minute and no longer.
const LEASE_MAX: Duration = Duration::from_secs(30);
