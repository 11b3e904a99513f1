//! Mints, lists, shows, changes and revokes keys.

use reqwest::Method;
use serde_json::{Map, Value};

use crate::cli::Streams;
use crate::cli::args::Output;
use crate::cli::args::keys::{
    Change, Keys, KeysAction, KeysCreate, KeysList, KeysPreview, KeysUpdate, Limits,
};
use crate::cli::credentials::{Credentials, id};
use crate::cli::documents::Credential;
use crate::cli::failure::Failure;
use crate::cli::words;
use crate::clock::Timestamp;

/// Does what was typed after `keyward keys`.
pub fn keys(typed: Keys, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let keys = Credentials::new("key", "/v1/keys", &typed.access)?;
    match typed.action {
        KeysAction::Create(it) => create(&keys, it, streams),
        KeysAction::List(it) => list(&keys, &it, streams),
        KeysAction::Show { id } => show(&keys, &id, streams),
        KeysAction::Update(it) => update(&keys, *it, streams),
        KeysAction::Preview(it) => preview(&keys, it, streams),
        KeysAction::Revoke(it) => keys.revoke(&it.ids, streams),
    }
}

fn create(keys: &Credentials, typed: KeysCreate, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let mut call = keys.call(Method::POST, "");
    if let Some(key) = &typed.idempotency_key {
        call = call.header("idempotency-key", key);
    }
    keys.mint(call.json(&create_body(typed, Timestamp::now())), streams)
}

fn list(keys: &Credentials, typed: &KeysList, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let limit = if typed.all { Some(PAGE_MAX) } else { typed.limit };
    let query: Vec<(&str, String)> = [
        ("state", typed.state.map(|it| it.as_str().to_owned())),
        ("owner", typed.owner.clone()),
        ("q", typed.q.clone()),
        ("limit", limit.map(|it| it.to_string())),
        ("cursor", typed.cursor.clone()),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect();
    let mut page = keys.page(&query)?;
    while typed.all && page.go_on(keys, &query)? {}
    page.show(words::keys, keys, streams)
}

fn show(keys: &Credentials, typed: &str, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let answer = keys.send(keys.call(Method::GET, id(typed)?.as_str()))?;
    write!(streams.out, "{}", words::document(&answer.document, keys.output()))?;
    Ok(streams.out.flush()?)
}

fn update(keys: &Credentials, typed: KeysUpdate, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let id = id(&typed.id)?;
    let body = update_body(typed.change, Timestamp::now());
    if body.is_empty() {
        return Err(Failure::Usage("nothing to change: name what, like --disable".to_owned()));
    }
    let mut call = keys.call(Method::PATCH, id.as_str()).json(&body);
    if let Some(revision) = typed.if_match {
        call = call.header("if-match", format!("\"{revision}\""));
    }
    let answer = keys.send(call)?;
    let changed: Credential = answer.read()?;
    write!(streams.out, "{}", words::document(&answer.document, keys.output()))?;
    streams.out.flush()?;
    Ok(words::propagation(streams.err, changed.propagation.as_ref())?)
}

fn preview(
    keys: &Credentials,
    typed: KeysPreview,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    let call = keys.call_below(Method::POST, id(&typed.id)?.as_str(), "limits/preview");
    let answer = keys.send(call.json(&body(said(typed.limits))))?;
    let shown = match keys.output() {
        Output::Table => words::preview(&answer.read()?),
        Output::Json => words::json(&answer.document),
    };
    write!(streams.out, "{shown}")?;
    Ok(streams.out.flush()?)
}

/// Only what was typed: the rest is the API's default.
fn create_body(typed: KeysCreate, now: Timestamp) -> Map<String, Value> {
    let [rate, quota, max_in_flight] = said(typed.limits);
    body([
        ("name", Some(typed.name.into())),
        ("owner", typed.owner.map(Value::from)),
        ("scheme", typed.scheme.map(Value::from)),
        rate,
        quota,
        max_in_flight,
        ("expires_at", typed.expiry.at(now).map(|it| it.to_string().into())),
        ("routes", some(typed.routes)),
        ("allow_addresses", some(typed.allow_addresses)),
        ("metadata", typed.metadata.map(|it| Value::Object(it.0))),
    ])
}

/// Only what is to change; `null` clears.
fn update_body(typed: Change, now: Timestamp) -> Map<String, Value> {
    let Change { clear, open, switch, .. } = typed;
    let [rate, quota, max_in_flight] = said(typed.limits);
    let expires_at = typed.expiry.at(now).map(|it| it.to_string().into());
    let disabled = if switch.disable { Some(true) } else { switch.enable.then_some(false) };
    body([
        ("name", typed.name.map(Value::from)),
        (
            "owner",
            typed.owner.map(Value::from).or_else(|| clear.clear_owner.then_some(Value::Null)),
        ),
        rate,
        quota,
        max_in_flight,
        ("expires_at", expires_at.or_else(|| clear.clear_expiry.then_some(Value::Null))),
        ("routes", some(typed.routes).or_else(|| open.clear_routes.then_some(Value::Null))),
        (
            "allow_addresses",
            some(typed.allow_addresses)
                .or_else(|| open.clear_allow_addresses.then_some(Value::Null)),
        ),
        ("metadata", typed.metadata.map(|it| Value::Object(it.0))),
        ("disabled", disabled.map(Value::from)),
    ])
}

fn said(limits: Limits) -> [(&'static str, Option<Value>); 3] {
    let Limits { rate, quota, max_in_flight } = limits;
    [
        ("rate", rate.map(limit)),
        ("quota", quota.map(limit)),
        ("max_in_flight", max_in_flight.map(limit)),
    ]
}

/// What is said of a limit: `default` is the scheme's, which is `null`.
fn limit(typed: String) -> Value {
    if typed == DEFAULT { Value::Null } else { typed.into() }
}

fn body<const N: usize>(members: [(&str, Option<Value>); N]) -> Map<String, Value> {
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn some(items: Vec<String>) -> Option<Value> {
    if items.is_empty() { None } else { Some(items.into()) }
}

const DEFAULT: &str = "default";
const PAGE_MAX: u16 = 500;

#[cfg(test)]
mod tests;
