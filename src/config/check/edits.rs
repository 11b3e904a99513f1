//! Checks what a route asks of headers, and what it changes of them.

use http::{HeaderName, HeaderValue};

use crate::config::HeaderEdits;
use crate::config::raw::Node;
use crate::config::reader::Field;
use crate::config::values::expected;

/// What a request's headers must say; `None`, and a fault, where something is wrong.
pub fn asked(field: &Field<'_>, keys: &[HeaderName]) -> Option<Vec<(HeaderName, HeaderValue)>> {
    values(field, |name| asked_name(name, keys))
}

/// What is changed of a message; `None`, and a fault, where something is wrong.
pub fn edits(set: &Field<'_>, remove: &Field<'_>, keys: &[HeaderName]) -> Option<HeaderEdits> {
    let values = values(set, |name| edited_name(name, keys));
    let names = remove.each(|it| edited_name(text(it)?, keys));
    check_count(remove, names.len());
    let (Some(values), names) = (values, names) else { return None };
    for (field, name) in &names {
        let set_too = values.iter().find(|(it, _value)| Some(it) == name.as_ref());
        if let Some((name, _value)) = set_too {
            field.fault(format!("\"{name}\" is in {} too, which replaces it anyway", set.path()));
        }
    }
    let remove = names.into_iter().map(|(_field, name)| name).collect::<Option<Vec<_>>>()?;
    Some(HeaderEdits { set: values, remove })
}

/// Names with their values: each name once.
fn values(
    field: &Field<'_>,
    parse: impl Fn(&str) -> Result<HeaderName, String>,
) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let entries = field.entries();
    check_count(field, entries.len());
    let mut read: Vec<Option<(HeaderName, HeaderValue)>> = Vec::new();
    for (name, field) in entries {
        let name = parse(name).map_err(|fault| field.fault(fault)).ok();
        if read.iter().flatten().any(|(other, _value)| Some(other) == name.as_ref()) {
            field.fault("is named twice: capitals make no other name of it");
        }
        let value = field.required(visible);
        read.push(name.zip(value));
    }
    read.into_iter().collect()
}

fn check_count(field: &Field<'_>, count: usize) {
    if count > HEADERS_MAX {
        field.fault(format!("expected at most {HEADERS_MAX} headers, found {count}"));
    }
}

fn text(node: &Node) -> Result<&str, String> {
    node.text().ok_or_else(|| expected("the name of a header like \"x-tenant\"", node))
}

/// A value as it stands on the wire. It may be a credential, so it is repeated nowhere.
fn visible(node: &Node) -> Result<HeaderValue, String> {
    const WANTED: &str = "a value of visible ASCII characters, without spaces at its ends";
    let text = node.text().ok_or_else(|| expected(WANTED, node))?;
    let is_visible = |it: &&str| it.bytes().all(|it| it == b' ' || it.is_ascii_graphic());
    let text = Some(text).filter(is_visible).filter(|it| !it.is_empty() && it.trim() == *it);
    let value = text.and_then(|it| HeaderValue::from_str(it).ok());
    let mut value = value.ok_or_else(|| format!("expected {WANTED}"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_characters| format!("expected the name of a header, found {name:?}"))
}

/// A route is found before keys and claims are taken out.
fn asked_name(name: &str, keys: &[HeaderName]) -> Result<HeaderName, String> {
    let name = header_name(name)?;
    match plain(&name).as_str() {
        "host" => Err("a route's hosts are named in hosts".to_owned()),
        "connection" | "content-length" | "transfer-encoding" | "keep-alive" | "te" | "trailer" => {
            Err(format!("{name:?} is about one connection or message: no route depends on it"))
        }
        it if is_key(it, keys) => Err(format!("{name:?} carries a key: no route depends on it")),
        it if it.starts_with(FAMILY) => {
            Err(format!("{name:?} is ours to say: from a client it is removed"))
        }
        _ => Ok(name),
    }
}

/// Some upstreams read `_` as `-`, so no spelling is free that another one is not.
fn edited_name(name: &str, keys: &[HeaderName]) -> Result<HeaderName, String> {
    let name = header_name(name)?;
    let plain = plain(&name);
    let plain = plain.as_str();
    if plain == "host" {
        return Err("what an upstream sees in Host is set by its host".to_owned());
    }
    if FRAMING.contains(&plain) {
        return Err(format!("{name:?} frames the message, which is the gateway's to do"));
    }
    if HOP_BY_HOP.contains(&plain) {
        return Err(format!("{name:?} is about one connection, and never goes any further"));
    }
    if is_key(plain, keys) {
        return Err(format!("{name:?} carries a key, which is always removed"));
    }
    if OURS.contains(&plain) || plain.starts_with(FAMILY) {
        return Err(format!("{name:?} is the gateway's own word, which no route changes"));
    }
    Ok(name)
}

fn is_key(plain: &str, keys: &[HeaderName]) -> bool {
    keys.iter().any(|it| self::plain(it) == plain)
}

fn plain(name: &HeaderName) -> String {
    name.as_str().replace('_', "-")
}

const FAMILY: &str = "x-keyward-";
const FRAMING: [&str; 4] = ["content-length", "expect", "trailer", "transfer-encoding"];
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "upgrade",
];
const OURS: [&str; 4] =
    ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id"];

/// What a route may ask for or change at one place: far below what a head holds.
const HEADERS_MAX: usize = 64;
