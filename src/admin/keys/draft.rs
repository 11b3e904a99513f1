//! Reads what a new key is to be, or how one is to change.

use std::iter;

use ipnet::IpNet;
use serde_json::{Map, Value};

use crate::admin::fields::{
    Fields, Given, Spot, flag, hint, json_bytes, label, list, object, text, time_after,
};
use crate::admin::keys::limits::GivenLimits;
use crate::admin::rejection::Rejection;
use crate::clock::Timestamp;
use crate::config::{self, Config, units};
use crate::key::record::{DEFAULT_SCHEME, Holder, KeyRecord, Label, Scope};
use crate::rate::limits::Limits;

/// What a draft is read against.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Keys expire after it.
    pub now: Timestamp,
    /// The schemes that there are, and the routes; none on an admin node, which cannot know them.
    pub config: &'a Config,
}

/// A key to be minted.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Which integration it is for.
    pub name: Label,
    /// What it is good for.
    pub scope: Scope,
    /// From then on it is refused.
    pub expires_at: Option<Timestamp>,
}

/// How a key is to change.
#[derive(Clone, Debug)]
pub struct Changes {
    name: Option<Label>,
    disabled: Given<bool>,
    metadata: Metadata,
    common: Common,
}

/// How an object inside the body is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objects {
    /// It takes the place of the one before.
    Replace,
    /// It is a patch to the one before, as RFC 7396 says.
    Merge,
}

type Metadata = (Objects, Given<Map<String, Value>>);

#[derive(Clone, Debug)]
struct Common {
    owner: Given<Label>,
    limits: GivenLimits,
    expires_at: Given<Timestamp>,
    routes: Given<Vec<String>>,
    allow_addresses: Given<Vec<IpNet>>,
}

impl NewKey {
    /// Reads the body of a mint.
    pub fn read(mut fields: Fields, terms: &Terms<'_>) -> Result<Self, Rejection> {
        let name = fields.need("name", label);
        let scheme = fields.take("scheme", |it, spot| scheme(terms.config, it, spot)).value();
        let common = Common::read(&mut fields, terms);
        let metadata = fields.take("metadata", metadata).value();
        fields.end()?;
        let Common { owner, limits, expires_at, routes, allow_addresses } = common;
        let scope = Scope {
            scheme: scheme.unwrap_or_else(|| DEFAULT_SCHEME.to_owned()),
            owner: owner.value(),
            routes: routes.value(),
            allow_addresses: allow_addresses.value(),
            limits: limits.over(Limits::SILENT),
            metadata: metadata.unwrap_or_default(),
        };
        let name = name.ok_or(Rejection::Internal("a name was needed and not missed"))?;
        Ok(Self { name, scope, expires_at: expires_at.value() })
    }
}

impl Changes {
    /// Reads the body of a change.
    pub fn read(
        mut fields: Fields,
        objects: Objects,
        terms: &Terms<'_>,
    ) -> Result<Self, Rejection> {
        let name = fields.take("name", label);
        if name == Given::Default {
            fields.spot("name").fault("a key has a name: it cannot be null");
        }
        fields.take("scheme", |_scheme, spot| -> Option<()> {
            spot.fault("cannot be changed: a key begins with its scheme's prefix");
            None
        });
        let common = Common::read(&mut fields, terms);
        let metadata = (objects, fields.take("metadata", metadata));
        let disabled = fields.take("disabled", |it, spot| flag(&it, spot));
        fields.end()?;
        Ok(Self { name: name.value(), disabled, metadata, common })
    }

    /// The record with the next revision, or as it is where nothing changes.
    pub fn apply(self, record: &KeyRecord) -> Result<KeyRecord, Rejection> {
        let Holder::Caller(before) = &record.holder else { return Err(Rejection::NotFound) };
        let Common { owner, limits, expires_at, routes, allow_addresses } = self.common;
        let scope = Scope {
            scheme: before.scheme.clone(),
            owner: owner.over(before.owner.clone()),
            routes: routes.over(before.routes.clone()),
            allow_addresses: allow_addresses.over(before.allow_addresses.clone()),
            limits: limits.over(before.limits),
            metadata: changed(self.metadata, &before.metadata)?,
        };
        let mut changed = KeyRecord {
            name: self.name.unwrap_or_else(|| record.name.clone()),
            holder: Holder::Caller(scope),
            expires_at: expires_at.over(record.expires_at),
            disabled: self.disabled.over(Some(record.disabled)).unwrap_or_default(),
            ..record.clone()
        };
        if changed != *record {
            changed.revision = record.revision.saturating_add(1);
        }
        Ok(changed)
    }
}

impl Common {
    fn read(fields: &mut Fields, terms: &Terms<'_>) -> Self {
        Self {
            owner: fields.take("owner", label),
            limits: GivenLimits::read(fields),
            expires_at: fields.take("expires_at", |it, spot| time_after(terms.now, it, spot)),
            routes: fields.take("routes", |it, spot| routes(&terms.config.routes, it, spot)),
            allow_addresses: fields
                .take("allow_addresses", |it, spot| list(ITEMS_MAX, it, spot, network)),
        }
    }
}

fn scheme(config: &Config, value: Value, spot: &mut Spot<'_>) -> Option<String> {
    let scheme = text(value, spot)?;
    if config.prefix_of(&scheme).is_some() {
        return Some(scheme);
    }
    let others = config.schemes.iter().map(|it| it.name.as_str());
    let names: Vec<&str> = iter::once(DEFAULT_SCHEME).chain(others).collect();
    spot.fault(format!("there is no such scheme; {}", hint(&scheme, &names)));
    None
}

fn routes(known: &[config::Route], value: Value, spot: &mut Spot<'_>) -> Option<Vec<String>> {
    list(ITEMS_MAX, value, spot, |value, spot| {
        let name = text(value, spot)?;
        if known.is_empty() || known.iter().any(|it| it.name == name) {
            return Some(name);
        }
        let names: Vec<&str> = known.iter().map(|it| it.name.as_str()).collect();
        let hint = hint(&name, &names);
        spot.fault(format!("there is no such route; {hint}"));
        None
    })
}

/// A network, or one address.
fn network(value: Value, spot: &mut Spot<'_>) -> Option<IpNet> {
    let text = text(value, spot)?;
    let network = units::network(&text);
    if network.is_none() {
        spot.fault("expected an address or a network, like 10.0.0.7 or 10.0.0.0/8");
    }
    network
}

fn metadata(value: Value, spot: &mut Spot<'_>) -> Option<Map<String, Value>> {
    object(METADATA_BYTES_MAX, value, spot)
}

fn changed(
    (objects, given): Metadata,
    before: &Map<String, Value>,
) -> Result<Map<String, Value>, Rejection> {
    let Given::Value(patch) = given else {
        return Ok(given.over(Some(before.clone())).unwrap_or_default());
    };
    let after = match objects {
        Objects::Replace => patch,
        Objects::Merge => merged(before.clone(), patch),
    };
    if json_bytes(&after) > METADATA_BYTES_MAX {
        return Err(Rejection::fault("metadata", "would be more than 4096 bytes as JSON"));
    }
    Ok(after)
}

/// RFC 7396: `null` takes a field away, an object is a patch itself, all else replaces.
fn merged(mut before: Map<String, Value>, patch: Map<String, Value>) -> Map<String, Value> {
    for (name, value) in patch {
        let old = before.remove(&name);
        let new = match (old, value) {
            (_, Value::Null) => continue,
            (Some(Value::Object(old)), Value::Object(patch)) => Value::Object(merged(old, patch)),
            (_, Value::Object(patch)) => Value::Object(merged(Map::new(), patch)),
            (_, value) => value,
        };
        before.insert(name, new);
    }
    before
}

const ITEMS_MAX: usize = 64;
const METADATA_BYTES_MAX: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn objects_merge_as_the_rfc_says() {
        let before = map(serde_json::json!({"a": "b", "c": {"d": "e", "f": "g"}, "h": [1]}));
        let patch =
            map(serde_json::json!({"a": "z", "c": {"f": null}, "h": [2], "i": {"j": null}}));
        let expected = map(serde_json::json!({"a": "z", "c": {"d": "e"}, "h": [2], "i": {}}));
        assert_eq!(merged(before, patch), expected);
    }
}
