//! Turns what was written into a configuration; what is wrong goes into the report.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::reader::Field;
use crate::config::values::{self, wide};
use crate::config::{AccessLog, Config, Keys, Location, Log, LogFormat, Network};
use crate::key::argon2id::Cost;
use crate::key::text::Prefix;

mod certificates;
mod edits;
mod endpoints;
mod health;
mod limits;
mod listeners;
mod routes;
mod store;
mod upstreams;

/// Reads everything. Once the report holds a fault, the result is not to be used.
pub fn check(root: &Field<'_>) -> Config {
    let upstreams = upstreams::upstreams(&root.field("upstreams"));
    let (gateway, admin) = listeners::planes(root);
    let routes = routes::routes(&root.field("routes"), &upstreams, &gateway.key_headers);
    let keys = keys(&root.section("keys"));
    let schemes = limits::schemes(&root.field("schemes"), &keys.prefix);
    let config = Config {
        gateway,
        admin,
        log: log(&root.section("log")),
        store: store::store(&root.section("store")),
        keys,
        limits: limits::limits(&root.section("limits")),
        schemes,
        routes,
        upstreams,
    };
    check_files(root, &config);
    config
}

fn log(section: &Field<'_>) -> Log {
    let formats = [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
    let access = values::switch(AccessLog::Off, AccessLog::On);
    Log {
        level: section.field("level").read("info".to_owned(), values::log_filter),
        format: section.field("format").read(LogFormat::Auto, values::one_of(formats)),
        access: section.field("access").read(AccessLog::Off, access),
    }
}

fn keys(section: &Field<'_>) -> Keys {
    let argon2 = section.section("argon2");
    let count = |key, default, most| argon2.field(key).read(default, values::count(most));
    let memory = argon2.field("memory").read(OWASP.memory_kib, values::memory_kib);
    let cost = Cost { memory_kib: memory, iterations: count("iterations", ITERATIONS, 10).get() };
    if cost.memory_kib < OWASP.memory_kib || cost.iterations < OWASP.iterations {
        argon2.warn("weaker than OWASP's minimum of 19MiB and 2 iterations: good for tests only");
    }
    Keys {
        prefix: section.field("prefix").read(Prefix::default(), values::prefix),
        argon2: cost,
        argon2_threads: wide(count("threads", NonZeroU32::MIN, 64)),
        argon2_queue: wide(count("queue", QUEUE, 65_536)),
    }
}

/// The value of a setting that names a file, whether written or not.
fn file(field: &Field<'_>, default: &str) -> PathBuf {
    field.read(field.directory().join(default), values::file)
}

/// No file serves two ends.
fn check_files(root: &Field<'_>, config: &Config) {
    let (store, admin) = (root.field("store"), root.field("admin"));
    let mut files = match &config.store.location {
        Location::Sqlite(database) => vec![(store.field("url"), database.clone())],
        Location::Redis(_) => Vec::new(),
    };
    files.extend([
        (store.field("pepper_file"), config.store.pepper_file.clone()),
        (admin.field("operator_token_file"), config.admin.operator_token_file.clone()),
    ]);
    let Network { password_file, ca, .. } = &config.store.network;
    let of_network = [("password_file", password_file), ("ca", ca)];
    files.extend(
        of_network.into_iter().filter_map(|(name, file)| Some((store.field(name), file.clone()?))),
    );
    let retired = store.field("retired_pepper_files").each(values::file);
    files.extend(retired.into_iter().filter_map(|(field, file)| Some((field, file?))));
    for (at, (field, file)) in files.iter().enumerate() {
        let earlier = files.iter().take(at).find(|(_field, other)| other == file);
        if let Some((other, _file)) = earlier {
            field.fault(format!("the same file as {}", other.path()));
        }
    }
}

/// OWASP's minimum for argon2id with one lane.
const OWASP: Cost = Cost { memory_kib: 19 * 1024, iterations: ITERATIONS.get() };
const ITERATIONS: NonZeroU32 = NonZeroU32::new(2).unwrap();
const QUEUE: NonZeroU32 = NonZeroU32::new(64).unwrap();
/// The shortest time that is one.
const MOMENT: Duration = Duration::from_millis(1);
