//! Checks `[[routes]]`: each alone, then against one another.

use std::num::NonZeroU32;

use http::{HeaderName, Method};

use crate::config::check::MOMENT;
use crate::config::check::edits::{asked, edits};
use crate::config::check::upstreams::unique_names;
use crate::config::nearest::nearest;
use crate::config::raw::Node;
use crate::config::reader::Field;
use crate::config::schema::suggestion;
use crate::config::values::{self, expected};
use crate::config::{Access, PathPrefix, Preflight, Route, Upstream};
use crate::rate::limits::limit;
use crate::route::host::HostPattern;
use crate::route::path::normal_form;
use crate::route::table::{Clash, ClashKind, PathPattern, Pattern, Table};

/// All routes that are right in themselves. Keys stand in `keys`.
pub fn routes(field: &Field<'_>, upstreams: &[Upstream], keys: &[HeaderName]) -> Vec<Route> {
    let sections = field.sections();
    unique_names(&sections);
    let read = sections.iter().filter_map(|it| Some((it, route(it, upstreams, keys)?)));
    let (mut sections, routes): (Vec<_>, Vec<_>) = read.unzip();
    clashes(&mut sections, routes.iter().map(|it| it.pattern.clone()).collect());
    routes
}

fn route(section: &Field<'_>, upstreams: &[Upstream], keys: &[HeaderName]) -> Option<Route> {
    let access = values::one_of([("key", Access::Key), ("public", Access::Public)]);
    let preflight = values::one_of([("key", Preflight::Key), ("forward", Preflight::Forward)]);
    let max_body = values::unless("unlimited", values::size(0, BODY_MAX));
    let timeout = values::unless("inherit", values::time(MOMENT));
    let changes =
        |set: &str, remove: &str| edits(&section.field(set), &section.field(remove), keys);
    let name = section.field("name").required(values::name);
    let upstream = section.field("upstream").required(|it| place_of(it, upstreams));
    let access = section.field("access").read(Access::Key, access);
    let pattern = pattern(section, keys);
    let request_headers = changes("set_request_headers", "remove_request_headers");
    let response_headers = changes("set_response_headers", "remove_response_headers");
    let prefix = prefix(section, pattern.as_ref());
    let upgrades = upgrades(&section.field("upgrades"));
    let preflight = section.field("preflight").read(Preflight::Key, preflight);
    let max_body = section.field("max_body").read(None, max_body);
    let response_timeout = section.field("response_timeout").read(None, timeout);
    let cost = section.field("cost").read(NonZeroU32::MIN, values::count(COST_MAX));
    let rate = limit(section.field("rate").read(None, |it| values::setting(it).map(Some)));
    if rate.is_some() && access == Access::Public {
        let words = "counts by key, and nobody shows one here: rate_per_address counts by address";
        section.field("rate").warn(words);
    }
    let rate_per_address = section.field("rate_per_address").read(None, values::rate);
    Some(Route {
        name: name?,
        pattern: pattern?,
        upstream: upstream?,
        access,
        preflight,
        upgrades: upgrades?,
        prefix,
        request_headers: request_headers?,
        response_headers: response_headers?,
        max_body,
        response_timeout,
        cost,
        rate,
        rate_per_address,
    })
}

fn pattern(section: &Field<'_>, keys: &[HeaderName]) -> Option<Pattern> {
    let hosts = section.field("hosts").whole_list(host_pattern);
    let methods = section.field("methods").whole_list(method);
    let headers = asked(&section.field("headers"), keys);
    let path = path_pattern(section);
    Some(Pattern { hosts: hosts?, path: path?, methods: methods?, headers: headers? })
}

fn prefix(section: &Field<'_>, pattern: Option<&Pattern>) -> PathPrefix {
    let field = section.field("strip_prefix");
    let prefix = values::switch(PathPrefix::Kept, PathPrefix::Stripped);
    let prefix = field.read(PathPrefix::Kept, prefix);
    let is_exact = pattern.is_some_and(|it| matches!(it.path, PathPattern::Exact(_)));
    if prefix == PathPrefix::Stripped && is_exact {
        field.fault("an exact path has no prefix: nothing would be left of it");
    }
    prefix
}

fn upgrades(field: &Field<'_>) -> Option<Vec<String>> {
    if !field.is_written() {
        return Some(vec!["websocket".to_owned()]);
    }
    field.whole_list(upgrade)
}

/// A protocol as `Upgrade` names it: RFC 9110, 7.8.
fn upgrade(node: &Node) -> Result<String, String> {
    let what = "a protocol like \"websocket\"";
    let text = node.text().ok_or_else(|| expected(what, node))?.to_ascii_lowercase();
    let (name, version) = text.split_once('/').unwrap_or((&text, "1"));
    // What a header's name may be made of is what tokens are made of.
    if [name, version].iter().any(|it| HeaderName::from_bytes(it.as_bytes()).is_err()) {
        return Err(expected(what, node));
    }
    match name {
        "h2c" | "h2" | "http" | "tls" => Err(format!(
            "{text:?} would carry requests past the gate: HTTP is spoken with the gateway, and TLS \
             ends there"
        )),
        _ => Ok(text),
    }
}

fn path_pattern(section: &Field<'_>) -> Option<PathPattern> {
    let (prefix, exact) = (section.field("path"), section.field("exact"));
    match (prefix.is_written(), exact.is_written()) {
        (true, false) => prefix.required(path).map(PathPattern::Prefix),
        (false, true) => exact.required(path).map(PathPattern::Exact),
        (true, true) => {
            exact.fault("expected path or exact, found both");
            None
        }
        (false, false) => {
            section
                .fault("expected a path, which is a prefix like \"/v3/\", or exact = \"/v3/ping\"");
            None
        }
    }
}

/// Told rather than corrected: who reads the file should see what is matched.
fn path(node: &Node) -> Result<String, String> {
    let text = node.text().ok_or_else(|| expected("a path like \"/v3/\"", node))?;
    let normal = normal_form(text).map_err(|fault| format!("{fault}, {}", node.found()))?;
    if normal == text {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is not in normal form: write {normal:?}"))
}

fn host_pattern(node: &Node) -> Result<HostPattern, String> {
    let text = node.text().ok_or_else(|| expected("a host like \"api.example.com\"", node))?;
    text.parse().map_err(|fault| format!("{fault}, {}", node.found()))
}

fn method(node: &Node) -> Result<Method, String> {
    let text = node.text().unwrap_or_default();
    if matches!(text, "TRACE" | "CONNECT") {
        return Err(format!("{text} is never let through"));
    }
    let method = text.parse().ok().filter(|_| !text.bytes().any(|it| it.is_ascii_lowercase()));
    method.ok_or_else(|| expected("a method like \"GET\", in capitals", node))
}

fn place_of(node: &Node, upstreams: &[Upstream]) -> Result<usize, String> {
    let name = node.text().ok_or_else(|| expected("the name of an upstream", node))?;
    let place = upstreams.iter().position(|it| it.name == name);
    place.ok_or_else(|| {
        let near = nearest(name, upstreams.iter().map(|it| it.name.clone()));
        format!("there is no upstream {name:?}{}", suggestion(near))
    })
}

/// Takes out the later of two that clash, until none do.
fn clashes(sections: &mut Vec<&Field<'_>>, mut patterns: Vec<Pattern>) {
    while let Err(clash) = Table::new(&patterns) {
        let second = sections.remove(clash.second);
        patterns.remove(clash.second);
        if let Some(first) = sections.get(clash.first) {
            second.fault(clash_words(clash, first));
        }
    }
}

fn clash_words(clash: Clash, first: &Field<'_>) -> String {
    let first = format!("{} at {}", first.path(), first.place());
    match clash.kind {
        ClashKind::Same => format!(
            "asks for the same host, path and method as {first}: no request could be told apart"
        ),
        ClashKind::Headers => format!(
            "asks for other headers than {first}, but not for more, so that a request with both \
             could belong to either: a third route that asks for both would say to which"
        ),
    }
}

/// More than any request is worth, and little enough to be added up.
const COST_MAX: u32 = 1_000_000;
/// More than any body: what is added to it can be counted without a care.
const BODY_MAX: u64 = 1 << 60;
