//! Checks `[limits]` and `[[schemes]]`.

use crate::config::check::upstreams::unique_names;
use crate::config::reader::Field;
use crate::config::values;
use crate::config::{Limits, Scheme, Scope, XRateLimit};
use crate::key::record::DEFAULT_SCHEME;
use crate::key::text::Prefix;
use crate::rate::limits;

/// Reads `[limits]`.
pub fn limits(section: &Field<'_>) -> Limits {
    let default = Limits::default();
    let scope = values::one_of([("fleet", Scope::Fleet), ("gateway", Scope::Gateway)]);
    let headers = values::switch(XRateLimit::Off, XRateLimit::On);
    let failures = section.field("failures_per_address");
    Limits {
        limits: said(section).or(default.limits),
        scope: section.field("scope").read(default.scope, scope),
        failures_per_address: failures.read(default.failures_per_address, values::rate),
        x_ratelimit_headers: section
            .field("x_ratelimit_headers")
            .read(default.x_ratelimit_headers, headers),
    }
}

/// Reads `[[schemes]]`; the scheme `default` has `prefix`.
pub fn schemes(field: &Field<'_>, prefix: &Prefix) -> Vec<Scheme> {
    let sections = field.sections();
    unique_names(&sections);
    unique_prefixes(&sections, prefix);
    sections.iter().filter_map(scheme).collect()
}

fn scheme(section: &Field<'_>) -> Option<Scheme> {
    let (name, prefix) = (section.field("name"), section.field("prefix"));
    let limits = said(section);
    let (name, prefix) = (name.required(values::name), prefix.required(values::prefix));
    let name = name?;
    if name == DEFAULT_SCHEME {
        let message = format!("{name:?} is the scheme of [keys]: its limits are those of [limits]");
        section.field("name").fault(message);
        return None;
    }
    Some(Scheme { name, prefix: prefix?, limits })
}

/// By its prefix people, scanners and the gate tell whose key it is.
fn unique_prefixes(sections: &[Field<'_>], default: &Prefix) {
    let mut seen = vec![(default.clone(), "keys.prefix".to_owned())];
    for section in sections {
        let field = section.field("prefix");
        let Some(prefix) = field.required(values::prefix) else { continue };
        match seen.iter().find(|(other, _path)| *other == prefix) {
            Some((_, path)) => {
                field.fault(format!("{:?} is {path} already", prefix.as_str()));
            }
            None => seen.push((prefix, field.path().to_owned())),
        }
    }
}

/// What is written of each limit.
fn said(section: &Field<'_>) -> limits::Limits {
    limits::Limits {
        rate: section.field("rate").read(None, |it| values::setting(it).map(Some)),
        quota: section.field("quota").read(None, |it| values::setting(it).map(Some)),
        max_in_flight: section
            .field("max_in_flight")
            .read(None, |it| values::setting(it).map(Some)),
    }
}
