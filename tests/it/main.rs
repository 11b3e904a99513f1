//! Claims about the real program: it is started as people start it, and spoken to over sockets.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test that finds anything else than it expects ends there and says what it found"
)]

mod access;
mod admin;
mod allowances;
mod away;
mod balancing;
mod bodies;
mod closing;
mod commands;
mod configuration;
mod connections;
mod continuing;
mod corpus;
mod crashes;
mod credentials;
mod deadlines;
mod demo;
mod disks;
mod downgrades;
mod drain;
mod edits;
mod ejection;
mod fault_support;
mod fleet_faults;
mod fleet_support;
mod fleets;
mod floods;
mod heads;
mod health;
mod http2;
mod identity;
mod idle;
mod lengths;
mod limit_fields;
mod limits;
mod limits_away;
mod limits_fleet;
mod logs;
mod metrics;
mod moving;
mod nemesis;
mod overload;
mod panics;
mod paths;
mod peers;
mod permissions;
mod preflight;
mod preview;
mod quotas;
mod redis_support;
mod reload;
mod resets;
mod resolving;
mod restarts;
mod retries;
mod revocation;
mod routes;
mod secrets;
mod several_limits;
mod signals;
mod sni;
mod stuck;
mod succession;
mod support;
mod tls_admin;
mod tls_ends;
mod tunnels;
mod upstream_h2;
mod upstream_tls;
mod upstreams;
