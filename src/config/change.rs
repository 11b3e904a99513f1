//! Tells what another configuration changes, and what of that can be had while the gateway runs.

use std::mem;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;

use crate::config::{
    Admin, Bearer, Certificate, Config, Gateway, HeadLimits, Keys, Limits, Log, Network, Route,
    Scheme, Store, Upstream,
};
use crate::key::text::Prefix;
use crate::rate::limits;

/// The configuration that is in force; another one may take its place.
pub type Current = Arc<ArcSwap<Config>>;

/// What another configuration changes, by the paths of settings; what has a name goes by that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// It is so now.
    pub applied: Vec<String>,
    /// It will be so after a restart.
    pub waits_for_restart: Vec<String>,
}

/// What is in force once `wanted` was loaded where `now` was: the rest of it waits for a restart.
pub fn change(now: &Config, wanted: Config) -> (Config, Changes) {
    let (mut settled, mut changes) = (now.clone(), Changes::default());
    let Config { gateway, admin, log, store, keys, limits, schemes, upstreams, routes } = wanted;
    changes.gateway(&mut settled.gateway, gateway);
    changes.admin(&mut settled.admin, admin);
    changes.log(&settled.log, &log);
    changes.store(&settled.store, &store);
    changes.keys(&settled.keys, &keys);
    changes.limits(&mut settled.limits, limits);
    changes.schemes(&mut settled, schemes);
    let names = named(&now.upstreams, &upstreams, |it| &it.name, PartialEq::eq);
    changes.applied.extend(names.map(|it| format!("upstreams.{it}")));
    let is_same = |one: &Route, other: &Route| {
        let group = |of: &[Upstream], it: &Route| of.get(it.upstream).map(|it| it.name.clone());
        let renamed = Route { upstream: other.upstream, ..one.clone() };
        renamed == *other && group(&now.upstreams, one) == group(&upstreams, other)
    };
    let names = named(&now.routes, &routes, |it| &it.name, is_same);
    changes.applied.extend(names.map(|it| format!("routes.{it}")));
    (settled.upstreams, settled.routes) = (upstreams, routes);
    (settled, changes)
}

/// The names of what has changed, has come, or has gone.
fn named<'a, T>(
    before: &'a [T],
    after: &'a [T],
    name: impl Fn(&'a T) -> &'a String + Copy,
    is_same: impl Fn(&T, &T) -> bool,
) -> impl Iterator<Item = &'a String> {
    let is_there = move |list: &'a [T], it: &'a T| list.iter().any(|other| name(other) == name(it));
    let stays = move |it: &'a T| {
        let other = before.iter().find(|other| name(other) == name(it));
        other.is_some_and(|other| is_same(other, it))
    };
    let gone = before.iter().filter(move |it| !is_there(after, it)).map(name);
    after.iter().filter(move |it| !stays(it)).map(name).chain(gone)
}

impl Changes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.waits_for_restart.is_empty()
    }

    fn apply<T: PartialEq>(&mut self, path: &str, now: &mut T, wanted: T) {
        if *now != wanted {
            *now = wanted;
            self.applied.push(path.to_owned());
        }
    }

    fn wait<T: PartialEq>(&mut self, path: &str, now: &T, wanted: &T) {
        if now != wanted {
            self.waits_for_restart.push(path.to_owned());
        }
    }

    /// Others can be shown at once, but who speaks TLS at all is decided at the start.
    fn certificates(&mut self, path: &str, now: &mut Vec<Certificate>, wanted: Vec<Certificate>) {
        if now.is_empty() || wanted.is_empty() {
            self.wait(path, now, &wanted);
        } else {
            self.apply(path, now, wanted);
        }
    }

    fn gateway(&mut self, now: &mut Gateway, wanted: Gateway) {
        let Gateway {
            listen,
            listen_tls,
            certificates,
            min_tls,
            proxy_protocol_from,
            trusted_proxies,
            workers,
            key_headers,
            bearer,
            max_connections,
            max_connections_per_address,
            max_in_flight,
            max_streams,
            head,
            header_timeout,
            body_timeout,
            write_timeout,
            idle_timeout,
            drain_delay,
            drain_timeout,
        } = wanted;
        self.wait("gateway.listen", &now.listen, &listen);
        self.wait("gateway.listen_tls", &now.listen_tls, &listen_tls);
        self.certificates("gateway.certificates", &mut now.certificates, certificates);
        self.wait("gateway.min_tls", &now.min_tls, &min_tls);
        let networks = (&now.proxy_protocol_from, &proxy_protocol_from);
        self.wait("gateway.proxy_protocol_from", networks.0, networks.1);
        self.wait("gateway.trusted_proxies", &now.trusted_proxies, &trusted_proxies);
        self.wait("gateway.workers", &now.workers, &workers);
        self.wait("gateway.key_headers", &now.key_headers, &key_headers);
        self.wait("gateway.accept_bearer", &now.bearer, &bearer);
        self.wait("gateway.max_connections", &now.max_connections, &max_connections);
        let per_address = (&now.max_connections_per_address, &max_connections_per_address);
        self.wait("gateway.max_connections_per_address", per_address.0, per_address.1);
        self.wait("gateway.max_in_flight", &now.max_in_flight, &max_in_flight);
        self.wait("gateway.max_streams", &now.max_streams, &max_streams);
        self.head(now.head, head);
        self.wait("gateway.header_timeout", &now.header_timeout, &header_timeout);
        self.wait("gateway.body_timeout", &now.body_timeout, &body_timeout);
        self.wait("gateway.write_timeout", &now.write_timeout, &write_timeout);
        self.wait("gateway.idle_timeout", &now.idle_timeout, &idle_timeout);
        self.wait("gateway.drain_delay", &now.drain_delay, &drain_delay);
        self.wait("gateway.drain_timeout", &now.drain_timeout, &drain_timeout);
    }

    fn head(&mut self, now: HeadLimits, wanted: HeadLimits) {
        let HeadLimits { bytes_max, count_max, uri_bytes_max } = wanted;
        self.wait("gateway.max_header_bytes", &now.bytes_max, &bytes_max);
        self.wait("gateway.max_headers", &now.count_max, &count_max);
        self.wait("gateway.max_uri_bytes", &now.uri_bytes_max, &uri_bytes_max);
    }

    fn admin(&mut self, now: &mut Admin, wanted: Admin) {
        let Admin { listen, certificates, plaintext, hosts, operator_token_file } = wanted;
        self.wait("admin.listen", &now.listen, &listen);
        self.certificates("admin.certificates", &mut now.certificates, certificates);
        self.wait("admin.allow_plaintext", &now.plaintext, &plaintext);
        self.apply("admin.hosts", &mut now.hosts, hosts);
        self.wait("admin.operator_token_file", &now.operator_token_file, &operator_token_file);
    }

    fn log(&mut self, now: &Log, Log { level, format, access }: &Log) {
        self.wait("log.level", &now.level, level);
        self.wait("log.format", &now.format, format);
        self.wait("log.access", &now.access, access);
    }

    fn store(&mut self, now: &Store, wanted: &Store) {
        let Store {
            location,
            network,
            response_timeout,
            pepper_file,
            retired_pepper_files,
            when_unreachable,
            serve_known_for,
            lease,
            max_keys_in_memory,
        } = wanted;
        self.wait("store.url", &now.location, location);
        self.network(&now.network, network);
        self.wait("store.response_timeout", &now.response_timeout, response_timeout);
        self.wait("store.pepper_file", &now.pepper_file, pepper_file);
        let retired = "store.retired_pepper_files";
        self.wait(retired, &now.retired_pepper_files, retired_pepper_files);
        self.wait("store.when_unreachable", &now.when_unreachable, when_unreachable);
        self.wait("store.serve_known_for", &now.serve_known_for, serve_known_for);
        self.wait("store.lease", &now.lease, lease);
        self.wait("store.max_keys_in_memory", &now.max_keys_in_memory, max_keys_in_memory);
    }

    fn network(&mut self, now: &Network, wanted: &Network) {
        let Network { user, password_file, ca, namespace, replicas, connect_timeout } = wanted;
        self.wait("store.user", &now.user, user);
        self.wait("store.password_file", &now.password_file, password_file);
        self.wait("store.ca", &now.ca, ca);
        self.wait("store.namespace", &now.namespace, namespace);
        self.wait("store.replicas", &now.replicas, replicas);
        self.wait("store.connect_timeout", &now.connect_timeout, connect_timeout);
    }

    fn limits(&mut self, now: &mut Limits, wanted: Limits) {
        let Limits { limits, scope, failures_per_address, x_ratelimit_headers } = wanted;
        let limits::Limits { rate, quota, max_in_flight } = limits;
        self.apply("limits.rate", &mut now.limits.rate, rate);
        self.apply("limits.quota", &mut now.limits.quota, quota);
        self.apply("limits.max_in_flight", &mut now.limits.max_in_flight, max_in_flight);
        self.wait("limits.scope", &now.scope, &scope);
        let failures = &mut now.failures_per_address;
        self.apply("limits.failures_per_address", failures, failures_per_address);
        let headers = &mut now.x_ratelimit_headers;
        self.apply("limits.x_ratelimit_headers", headers, x_ratelimit_headers);
    }

    /// Limits apply. Which prefixes a bearer token may have is known from the start; where there
    /// are no bearer tokens nobody asks, and a new prefix applies too.
    fn schemes(&mut self, settled: &mut Config, wanted: Vec<Scheme>) {
        let Config { gateway, keys, schemes, .. } = settled;
        let before = mem::take(schemes);
        let may_come = |it: &Prefix| gateway.bearer == Bearer::PassedOn && *it != keys.prefix;
        let gone = before.iter().filter(|it| !wanted.iter().any(|other| other.name == it.name));
        self.applied.extend(gone.map(|it| format!("schemes.{}", it.name)));
        for scheme in wanted {
            let path = format!("schemes.{}", scheme.name);
            let is_free = may_come(&scheme.prefix);
            match before.iter().find(|it| it.name == scheme.name) {
                Some(same) if scheme.prefix == same.prefix || is_free => {
                    let mut same = same.clone();
                    self.apply(&path, &mut same, scheme);
                    schemes.push(same);
                }
                Some(other) => {
                    let mut limited = other.clone();
                    self.apply(&path, &mut limited.limits, scheme.limits);
                    self.wait(&format!("{path}.prefix"), &other.prefix, &scheme.prefix);
                    schemes.push(limited);
                }
                None if is_free => {
                    self.applied.push(path);
                    schemes.push(scheme);
                }
                None => self.waits_for_restart.push(path),
            }
        }
    }

    fn keys(&mut self, now: &Keys, Keys { prefix, argon2, argon2_threads, argon2_queue }: &Keys) {
        self.wait("keys.prefix", &now.prefix, prefix);
        let costs = |it: &Keys| (it.argon2, it.argon2_threads, it.argon2_queue);
        self.wait("keys.argon2", &costs(now), &(*argon2, *argon2_threads, *argon2_queue));
    }
}
