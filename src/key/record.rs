//! Holds what is stored of a key, the states it goes through and the bounds of its fields.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::key::seal::Tag;
use crate::key::text::{KeyId, Prefix};
use crate::rate::limits::Limits;

/// What is stored of a key or of an operator's token: everything but the plaintext.
///
/// A change is a new value with the next revision; see [`KeyRecord::revoked`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The public half.
    pub id: KeyId,
    /// What stands before the id.
    pub prefix: Prefix,
    /// The last four characters of the plaintext; people know the key by them.
    pub last_digits: String,
    /// Which integration or person it is for.
    pub name: Label,
    /// What it opens: the data plane or the admin listener.
    pub holder: Holder,
    /// When it was minted.
    pub created_at: Timestamp,
    /// The operator who minted it.
    pub created_by: String,
    /// From then on it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Refused until enabled again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// Withdrawn then, for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// Counts the changes by operators, from 1.
    pub revision: u64,
    /// The slow verifier, a PHC string; it needs no other secret.
    pub argon2id: String,
    /// The fast verifier, under a pepper; made from the plaintext, so it can be made anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
}

/// Whose credential a record is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// A caller of the APIs behind the gateway.
    Caller(Scope),
    /// An operator on the admin listener.
    Operator(Permissions),
}

/// What a caller's key is good for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The family of keys it belongs to.
    pub scheme: String,
    /// Who it speaks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Label>,
    /// The routes it opens; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<String>>,
    /// The networks it may come from; `None`: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_addresses: Option<Vec<IpNet>>,
    /// What it says of its limits itself; its scheme says the rest.
    #[serde(default, skip_serializing_if = "Limits::is_silent")]
    pub limits: Limits,
    /// The operators' own notes.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// The state of a key at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Let in.
    Active,
    /// Refused until enabled again.
    Disabled,
    /// Let in until its overlap with its successor ends.
    Retiring,
    /// Refused since its time is over.
    Expired,
    /// Refused for good.
    Revoked,
}

/// What decides a record's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Withdrawn for good.
    pub revoked: bool,
    /// Refused until enabled again.
    pub disabled: bool,
    /// From then on it is refused.
    pub expires_at: Option<Timestamp>,
}

impl Life {
    /// The state at `now`. Revoked outlives everything else.
    pub fn state(self, now: Timestamp) -> State {
        if self.revoked {
            State::Revoked
        } else if self.expires_at.is_some_and(|it| it <= now) {
            State::Expired
        } else if self.disabled {
            State::Disabled
        } else {
            State::Active
        }
    }
}

impl KeyRecord {
    /// What decides its state.
    pub fn life(&self) -> Life {
        Life {
            revoked: self.revoked_at.is_some(),
            disabled: self.disabled,
            expires_at: self.expires_at,
        }
    }

    /// The state at `now`.
    pub fn state(&self, now: Timestamp) -> State {
        self.life().state(now)
    }

    /// The next revision, in which the key is withdrawn; the first withdrawal's time stays.
    #[must_use]
    pub fn revoked(self, now: Timestamp) -> Self {
        Self {
            revoked_at: self.revoked_at.or(Some(now)),
            revision: self.revision.saturating_add(1),
            ..self
        }
    }
}

/// A name of 1 to 128 characters without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(String);

impl Label {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = MalformedLabel;

    fn from_str(text: &str) -> Result<Self, MalformedLabel> {
        let length = text.chars().count();
        if !(1..=LABEL_CHARS_MAX).contains(&length) || text.chars().any(char::is_control) {
            return Err(MalformedLabel);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Label {
    type Error = MalformedLabel;

    fn try_from(text: String) -> Result<Self, MalformedLabel> {
        text.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text cannot be a name or an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 128 characters, none of them a control character")]
pub struct MalformedLabel;

/// One thing that an operator may do on the admin listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Permission {
    /// Look at keys.
    #[serde(rename = "keys:read")]
    KeysRead,
    /// Mint keys.
    #[serde(rename = "keys:create")]
    KeysCreate,
    /// Change keys.
    #[serde(rename = "keys:update")]
    KeysUpdate,
    /// Revoke keys.
    #[serde(rename = "keys:revoke")]
    KeysRevoke,
    /// Ask whether a key would be let in.
    #[serde(rename = "keys:verify")]
    KeysVerify,
    /// Look at what keys are used for.
    #[serde(rename = "usage:read")]
    UsageRead,
    /// Read who changed what.
    #[serde(rename = "audit:read")]
    AuditRead,
    /// Look at gateways, metrics and the reasons of `/readyz`.
    #[serde(rename = "fleet:read")]
    FleetRead,
    /// Forget gateways.
    #[serde(rename = "fleet:manage")]
    FleetManage,
    /// Have the configuration read again.
    #[serde(rename = "config:reload")]
    ConfigReload,
    /// Look at, make and revoke operators.
    #[serde(rename = "operators:manage")]
    OperatorsManage,
}

impl Permission {
    /// Every permission there is.
    pub const ALL: [Self; 11] = [
        Self::KeysRead,
        Self::KeysCreate,
        Self::KeysUpdate,
        Self::KeysRevoke,
        Self::KeysVerify,
        Self::UsageRead,
        Self::AuditRead,
        Self::FleetRead,
        Self::FleetManage,
        Self::ConfigReload,
        Self::OperatorsManage,
    ];

    /// As it is written: `keys:read`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeysRead => "keys:read",
            Self::KeysCreate => "keys:create",
            Self::KeysUpdate => "keys:update",
            Self::KeysRevoke => "keys:revoke",
            Self::KeysVerify => "keys:verify",
            Self::UsageRead => "usage:read",
            Self::AuditRead => "audit:read",
            Self::FleetRead => "fleet:read",
            Self::FleetManage => "fleet:manage",
            Self::ConfigReload => "config:reload",
            Self::OperatorsManage => "operators:manage",
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(text: &str) -> Result<Self, UnknownPermission> {
        Self::ALL.into_iter().find(|it| it.as_str() == text).ok_or(UnknownPermission)
    }
}

/// There is no such permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such permission; there are keys:read, keys:create, keys:update, keys:revoke, keys:verify, usage:read, audit:read, fleet:read, fleet:manage, config:reload and operators:manage"
)]
pub struct UnknownPermission;

/// A set of permissions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions(std::collections::BTreeSet<Permission>);

impl Permissions {
    /// All of them, as the first operator has.
    pub fn all() -> Self {
        Permission::ALL.into_iter().collect()
    }

    /// Whether `permission` is among them.
    pub fn contains(&self, permission: Permission) -> bool {
        self.0.contains(&permission)
    }

    /// Those of `self` that `other` lacks.
    pub fn missing_in<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Permission> + 'a {
        self.0.difference(&other.0).copied()
    }

    /// One by one, in the order of [`Permission::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = Permission> + '_ {
        self.0.iter().copied()
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

/// The scheme of keys for which nobody names another.
pub const DEFAULT_SCHEME: &str = "default";

const LABEL_CHARS_MAX: usize = 128;
