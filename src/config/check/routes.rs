//! Checks `[[routes]]`: each alone, then against one another.

use http::Method;

use crate::config::check::upstreams::unique_names;
use crate::config::nearest::nearest;
use crate::config::raw::Node;
use crate::config::reader::Field;
use crate::config::schema::suggestion;
use crate::config::values::{self, expected};
use crate::config::{Access, HeaderEdits, PathPrefix, Preflight, Route, Upstream};
use crate::route::host::HostPattern;
use crate::route::path::normal_form;
use crate::route::table::{PathPattern, Pattern, Table};

/// All routes that are right in themselves.
pub fn routes(field: &Field<'_>, upstreams: &[Upstream]) -> Vec<Route> {
    let sections = field.sections();
    unique_names(&sections);
    let read = sections.iter().filter_map(|it| Some((it, route(it, upstreams)?)));
    let (mut sections, routes): (Vec<_>, Vec<_>) = read.unzip();
    clashes(&mut sections, routes.iter().map(|it| it.pattern.clone()).collect());
    routes
}

fn route(section: &Field<'_>, upstreams: &[Upstream]) -> Option<Route> {
    let access = values::one_of([("key", Access::Key), ("public", Access::Public)], &[]);
    let name = section.field("name").required(values::name);
    let upstream = section.field("upstream").required(|it| place_of(it, upstreams));
    let access = section.field("access").read(Access::Key, access);
    let pattern = pattern(section);
    Some(Route {
        name: name?,
        pattern: pattern?,
        upstream: upstream?,
        access,
        preflight: Preflight::Key,
        upgrades: vec!["websocket".to_owned()],
        prefix: PathPrefix::Kept,
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        max_body: None,
        response_timeout: None,
    })
}

fn pattern(section: &Field<'_>) -> Option<Pattern> {
    let hosts = section.field("hosts").whole_list(host_pattern);
    let methods = section.field("methods").whole_list(method);
    let path = path_pattern(section);
    Some(Pattern { hosts: hosts?, path: path?, methods: methods?, headers: Vec::new() })
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
            let message = format!(
                "asks for the same host, path and method as {} at {}: no request could be told apart",
                first.path(),
                first.place(),
            );
            second.fault(message);
        }
    }
}
