//! Holds the admin API's documents as far as people are shown them; what is missing is empty.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Reads a document, or says what it is not.
pub fn read<T: serde::de::DeserializeOwned>(document: &Value) -> Result<T, serde_json::Error> {
    T::deserialize(document)
}

/// A key, or an operator's token.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Credential {
    /// The public half.
    pub id: String,
    /// Which integration or person it is for.
    pub name: String,
    /// The last four characters of the plaintext.
    pub last_digits: String,
    /// Who a key speaks for.
    pub owner: Option<String>,
    /// Whether it is let in.
    pub state: String,
    /// How fast a key may be used, where it says so itself.
    pub rate: Option<String>,
    /// How much, where it says so itself.
    pub quota: Option<String>,
    /// How many requests of it may be under way, where it says so itself: a number or a text.
    pub max_in_flight: Option<Value>,
    /// What an operator may do.
    pub permissions: Vec<String>,
    /// When it was minted.
    pub created_at: Option<String>,
    /// When it was last used.
    pub last_used_at: Option<String>,
    /// A key's plaintext, only when it was just minted.
    pub key: Option<Secret>,
    /// A token's plaintext, only when it was just minted.
    pub token: Option<Secret>,
    /// Whether nothing was minted, since the same call was made before.
    pub replayed: bool,
    /// Who has confirmed the change.
    pub propagation: Option<Propagation>,
}

/// What reading the configuration again has changed, by the paths of settings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Reloaded {
    /// What is so now.
    pub applied: Vec<String>,
    /// What will be so after a restart.
    pub waits_for_restart: Vec<String>,
}

/// A plaintext. It cannot be printed by accident, and is wiped on drop.
#[derive(Clone, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The plaintext, to be shown to a person this once.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(<redacted>)")
    }
}

/// A page of a list.
#[derive(Clone, Debug, Deserialize)]
pub struct Page<T = Value> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next one begins; none: this is the last.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// What revoking answers.
#[derive(Clone, Debug, Deserialize)]
pub struct Receipt {
    /// What was revoked.
    pub id: String,
    /// When.
    #[serde(default)]
    pub revoked_at: Option<String>,
    /// Who has confirmed it.
    pub propagation: Propagation,
}

/// Who has confirmed a change.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Propagation {
    /// Whether nobody is missing.
    pub complete: bool,
    /// How long that took.
    pub elapsed_ms: f64,
    /// Who has confirmed it, or can certainly let nobody in.
    pub gateways: Vec<Confirmation>,
    /// Who has not.
    pub unconfirmed: Vec<String>,
}

/// One gateway's confirmation.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Confirmation {
    /// Which gateway.
    pub id: String,
    /// For people.
    pub name: String,
    /// `confirmed`, or `fenced`: its lease is certainly over.
    pub state: String,
    /// After so long.
    pub applied_ms: Option<f64>,
    /// How many running requests it ended.
    pub closed_streams: Option<u64>,
}

/// A gateway in the register.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Gateway {
    /// Drawn when its process started.
    pub id: String,
    /// For people.
    pub name: String,
    /// Its version.
    pub version: String,
    /// When it started.
    pub started_at: Option<String>,
    /// `live`, `unconfirmed` or `draining`.
    pub state: String,
    /// How far it is behind.
    pub lag_ms: Option<f64>,
    /// How many keys it knows.
    pub keys: Option<u64>,
    /// Whether it knows all of them.
    pub complete: bool,
}

/// What limits would have refused.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Preview {
    /// The first moment of which requests are looked at.
    pub since: String,
    /// The last one.
    pub until: String,
    /// The limits as they would be, by name.
    pub proposed: Map<String, Value>,
    /// How many requests there were, each for as many as it costs.
    pub requests: u64,
    /// How many of them would have been refused.
    pub refused: u64,
    /// The same as a share.
    pub share: f64,
    /// What each limit would refuse if it were the only one.
    pub by_limit: HashMap<String, Option<Refused>>,
    /// What cannot be told.
    pub note: Option<String>,
}

/// What one limit would refuse.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Refused {
    /// How many.
    pub refused: u64,
    /// The same as a share.
    pub share: f64,
}

/// A refusal, RFC 9457.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// A few words.
    pub title: String,
    /// What is to be said about this one.
    pub detail: String,
    /// Its code.
    pub code: String,
    /// By which it is found in logs.
    pub request_id: Option<String>,
    /// Everything that is wrong with what was sent.
    pub errors: Vec<FieldError>,
}

/// One thing that is wrong with what was sent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct FieldError {
    /// Where.
    pub path: String,
    /// What.
    pub detail: String,
}
