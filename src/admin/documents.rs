//! How keys and operators look to people: never a plaintext, a hash or a tag.

use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::key::record::{Holder, KeyRecord, Label, Permission, Permissions, Scope, State};
use crate::key::text::KeyId;
use crate::rate::Rate;
use crate::rate::limits::{InFlight, Mode, Setting};
use crate::rate::quota::Quota;

/// A record as it is shown.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Document<'a> {
    /// A caller's key.
    Key(KeyDocument<'a>),
    /// An operator.
    Operator(OperatorDocument<'a>),
}

/// A caller's key, and what it says of its limits itself. `()` stands for what later versions say here: `null`.
#[derive(Debug, Serialize)]
pub struct KeyDocument<'a> {
    id: KeyId,
    name: &'a str,
    last_digits: &'a str,
    scheme: &'a str,
    owner: Option<&'a str>,
    state: State,
    rate: Option<Setting<Rate>>,
    quota: Option<Setting<Quota>>,
    max_in_flight: Option<Value>,
    routes: Option<&'a [String]>,
    allow_addresses: Option<&'a [IpNet]>,
    metadata: Option<&'a Map<String, Value>>,
    created_at: Timestamp,
    created_by: &'a str,
    last_used_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    successor: (),
    revision: u64,
}

/// An operator.
#[derive(Debug, Serialize)]
pub struct OperatorDocument<'a> {
    id: KeyId,
    name: &'a str,
    permissions: Vec<Permission>,
    state: State,
    created_at: Timestamp,
    created_by: &'a str,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
}

/// What a record does not say of itself.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// By which its state is judged.
    pub now: Timestamp,
    /// When it was last used.
    pub last_used: Option<Timestamp>,
}

impl<'a> Document<'a> {
    /// A record at a moment.
    pub fn new(record: &'a KeyRecord, moments: Moments) -> Self {
        match &record.holder {
            Holder::Caller(scope) => Self::Key(key(record, scope, moments)),
            Holder::Operator(permissions) => Self::Operator(operator(record, permissions, moments)),
        }
    }
}

fn key<'a>(record: &'a KeyRecord, scope: &'a Scope, moments: Moments) -> KeyDocument<'a> {
    KeyDocument {
        id: record.id,
        name: record.name.as_str(),
        last_digits: &record.last_digits,
        scheme: &scope.scheme,
        owner: scope.owner.as_ref().map(Label::as_str),
        state: record.state(moments.now),
        rate: scope.limits.rate,
        quota: scope.limits.quota,
        max_in_flight: scope.limits.max_in_flight.map(max_in_flight),
        routes: scope.routes.as_deref(),
        allow_addresses: scope.allow_addresses.as_deref(),
        metadata: (!scope.metadata.is_empty()).then_some(&scope.metadata),
        created_at: record.created_at,
        created_by: &record.created_by,
        last_used_at: moments.last_used,
        expires_at: record.expires_at,
        revoked_at: record.revoked_at,
        successor: (),
        revision: record.revision,
    }
}

/// A number where nothing else is said.
pub fn max_in_flight(setting: Setting<InFlight>) -> Value {
    match setting {
        Setting::Limited(limit, Mode::Enforced) => limit.0.get().into(),
        Setting::Limited(_, Mode::Shadow) | Setting::Unlimited => setting.to_string().into(),
    }
}

fn operator<'a>(
    record: &'a KeyRecord,
    permissions: &Permissions,
    moments: Moments,
) -> OperatorDocument<'a> {
    OperatorDocument {
        id: record.id,
        name: record.name.as_str(),
        permissions: permissions.iter().collect(),
        state: record.state(moments.now),
        created_at: record.created_at,
        created_by: &record.created_by,
        expires_at: record.expires_at,
        last_used_at: moments.last_used,
    }
}
