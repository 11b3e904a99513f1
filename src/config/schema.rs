//! Holds which settings there are.

use crate::config::fault::{Fault, Report};
use crate::config::nearest::nearest;
use crate::config::raw::{Content, Entry, Node, Table};

/// The settings of one table.
#[derive(Debug)]
pub struct Section {
    /// Its path, with `[]` for each of many.
    pub path: &'static str,
    /// Their names; any other is a fault, since who sets it relies on it.
    pub known: &'static [&'static str],
}

/// Every table there is.
pub const SECTIONS: [Section; 16] = [
    Section {
        path: "",
        known: &[
            "gateway",
            "admin",
            "log",
            "store",
            "keys",
            "limits",
            "schemes",
            "upstreams",
            "routes",
        ],
    },
    Section {
        path: "gateway",
        known: &[
            "listen",
            "listen_tls",
            "certificates",
            "min_tls",
            "proxy_protocol_from",
            "trusted_proxies",
            "workers",
            "key_headers",
            "accept_bearer",
            "max_connections",
            "max_connections_per_address",
            "max_in_flight",
            "max_header_bytes",
            "max_headers",
            "max_uri_bytes",
            "max_streams",
            "header_timeout",
            "body_timeout",
            "write_timeout",
            "idle_timeout",
            "drain_delay",
            "drain_timeout",
        ],
    },
    Section { path: "gateway.certificates[]", known: &CERTIFICATE },
    Section {
        path: "admin",
        known: &["listen", "certificates", "allow_plaintext", "hosts", "operator_token_file"],
    },
    Section { path: "admin.certificates[]", known: &CERTIFICATE },
    Section { path: "log", known: &["level", "format", "access"] },
    Section {
        path: "store",
        known: &[
            "url",
            "user",
            "password_file",
            "ca",
            "namespace",
            "replicas",
            "connect_timeout",
            "response_timeout",
            "pepper_file",
            "retired_pepper_files",
            "when_unreachable",
            "serve_known_for",
            "lease",
            "max_keys_in_memory",
        ],
    },
    Section { path: "keys", known: &["prefix", "argon2"] },
    Section { path: "keys.argon2", known: &["memory", "iterations", "threads", "queue"] },
    Section {
        path: "limits",
        known: &[
            "rate",
            "quota",
            "max_in_flight",
            "scope",
            "failures_per_address",
            "x_ratelimit_headers",
        ],
    },
    Section { path: "schemes[]", known: &["name", "prefix", "rate", "quota", "max_in_flight"] },
    Section {
        path: "upstreams[]",
        known: &[
            "name",
            "endpoints",
            "balance",
            "host",
            "ca",
            "certificate",
            "private_key",
            "connect_timeout",
            "response_timeout",
            "idle_timeout",
            "max_connections",
            "wait_timeout",
            "retries",
            "retry_budget",
            "resolve_every",
            "slow_start",
            "health",
            "ejection",
        ],
    },
    Section { path: "upstreams[].endpoints[]", known: &["url", "weight"] },
    Section {
        path: "upstreams[].health",
        known: &["path", "tcp", "interval", "timeout", "unhealthy_after", "healthy_after"],
    },
    Section { path: "upstreams[].ejection", known: &["failures", "period", "at_most"] },
    Section {
        path: "routes[]",
        known: &[
            "name",
            "path",
            "exact",
            "hosts",
            "methods",
            "headers",
            "upstream",
            "access",
            "preflight",
            "upgrades",
            "strip_prefix",
            "set_request_headers",
            "remove_request_headers",
            "set_response_headers",
            "remove_response_headers",
            "max_body",
            "response_timeout",
            "cost",
            "rate",
            "rate_per_address",
        ],
    },
];

/// Whether there is a setting at `path`, which goes through no list.
pub fn is_known(path: &[String]) -> bool {
    let mut around = String::new();
    path.iter().all(|key| {
        let is_known = section(&around).is_some_and(|it| it.knows(key));
        around = join(&around, key);
        is_known
    })
}

/// Whether a setting outside lists is a list of texts, which a flag may write `a,b`.
pub fn is_list(path: &str) -> bool {
    LISTS.contains(&path)
}

/// Whether a setting is a table of others.
pub fn is_table(path: &str) -> bool {
    section(path).is_some()
}

/// The paths of all settings that a flag or a variable can set.
pub fn settable() -> impl Iterator<Item = String> {
    let sections = SECTIONS.iter().filter(|it| !it.path.is_empty() && !it.path.contains('['));
    sections.flat_map(|section| section.known.iter().map(|it| join(section.path, it)))
}

/// Notes every setting that this version does not know.
pub fn inspect(root: &Node, report: &Report) {
    Inspection { report }.node("", "", root);
}

/// `; did you mean "listen"?`, or nothing.
pub fn suggestion(nearest: Option<String>) -> String {
    nearest.map(|it| format!("; did you mean {it:?}?")).unwrap_or_default()
}

/// The path of `key` in the table at `around`.
pub fn join(around: &str, key: &str) -> String {
    let is_bare = key.bytes().all(|it| it.is_ascii_graphic() && it != b'"');
    let key = if is_bare { key.to_owned() } else { format!("{key:?}") };
    if around.is_empty() { key } else { format!("{around}.{key}") }
}

impl Section {
    fn knows(&self, key: &str) -> bool {
        self.known.contains(&key)
    }

    /// The nearest of its own settings, or one of that very name elsewhere.
    fn suggest(&self, key: &str) -> Option<String> {
        let own = nearest(key, self.known.iter().map(ToString::to_string));
        let elsewhere =
            || SECTIONS.iter().find(|it| !it.path.is_empty() && it.known.contains(&key));
        own.or_else(|| elsewhere().map(|it| join(it.path, key)))
    }
}

struct Inspection<'a> {
    report: &'a Report,
}

impl Inspection<'_> {
    /// `path` is where it is, `kind` the same with `[]` for every place in a list.
    fn node(&self, path: &str, kind: &str, node: &Node) {
        match &node.content {
            Content::Table(table) => self.table(path, kind, table),
            Content::List(nodes) => {
                for (at, node) in nodes.iter().enumerate() {
                    self.node(&format!("{path}[{at}]"), &format!("{kind}[]"), node);
                }
            }
            Content::Text(_) | Content::Integer(_) | Content::Boolean(_) | Content::Other(_) => {}
        }
    }

    fn table(&self, path: &str, kind: &str, table: &Table) {
        let Some(section) = section(kind) else { return };
        for (key, entry) in table {
            let path = join(path, key);
            if section.knows(key) {
                self.node(&path, &join(kind, key), &entry.node);
            } else {
                let message = format!("unknown setting{}", suggestion(section.suggest(key)));
                self.fault(path, entry, message);
            }
        }
    }

    fn fault(&self, path: String, entry: &Entry, message: String) {
        self.report.fault(Fault { place: entry.place.clone(), path, message });
    }
}

/// The table at `path`, which has `[]` for every list.
pub fn section(path: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|it| it.path == path)
}

const CERTIFICATE: [&str; 2] = ["certificate", "private_key"];
const LISTS: [&str; 8] = [
    "gateway.listen",
    "gateway.listen_tls",
    "gateway.proxy_protocol_from",
    "gateway.trusted_proxies",
    "gateway.key_headers",
    "admin.listen",
    "admin.hosts",
    "store.retired_pepper_files",
];
