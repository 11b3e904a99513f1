//! Holds what can be typed after `keyward keys`.

use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value};

use crate::cli::args::{Access, Expiry, Ids};

/// `keyward keys`
#[derive(Args, Debug)]
pub struct Keys {
    /// How the admin API is reached.
    #[command(flatten)]
    pub access: Access,
    /// What to do.
    #[command(subcommand)]
    pub action: KeysAction,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeysAction {
    /// Mint a key; its plaintext alone goes to standard output, this once
    Create(KeysCreate),
    /// List keys, newest first
    List(KeysList),
    /// Show one key
    Show {
        /// Its id
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Change a key
    Update(Box<KeysUpdate>),
    /// Say what limits would have refused of the last day's requests, and change nothing
    Preview(KeysPreview),
    /// Revoke keys, for good, and say which gateways have confirmed it
    Revoke(Ids),
}

/// What a key is limited to. What was not typed is as its scheme says, or stays as it was.
#[derive(Args, Clone, Debug, Default)]
pub struct Limits {
    /// How fast: "100/s", "6000/min burst 9000", "unlimited", or "default": as its scheme says.
    /// With " shadow" at the end what is over it is counted and not refused
    #[arg(long, value_name = "RATE")]
    pub rate: Option<String>,
    /// How much: "100000/day", "1000000/month", "unlimited" or "default"; or with " shadow"
    #[arg(long, value_name = "QUOTA")]
    pub quota: Option<String>,
    /// How many requests at once: 50, "unlimited" or "default"; or with " shadow"
    #[arg(long, value_name = "COUNT")]
    pub max_in_flight: Option<String>,
}

/// `keyward keys create`
#[derive(Args, Debug)]
pub struct KeysCreate {
    /// Which integration it is for
    #[arg(long)]
    pub name: String,
    /// Who it speaks for
    #[arg(long)]
    pub owner: Option<String>,
    /// The family of keys that it belongs to; without: "default"
    #[arg(long, value_name = "NAME")]
    pub scheme: Option<String>,
    /// What it is limited to.
    #[command(flatten)]
    pub limits: Limits,
    /// When it ends.
    #[command(flatten)]
    pub expiry: Expiry,
    /// A route that it opens; several times. Without: all
    #[arg(long = "route", value_name = "ROUTE")]
    pub routes: Vec<String>,
    /// A network that it may come from, like 10.0.0.0/8; several times. Without: any
    #[arg(long = "allow-address", value_name = "NETWORK")]
    pub allow_addresses: Vec<String>,
    /// Notes of your own, a JSON object
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<Metadata>,
    /// Under the same one the same call mints nothing again, for a day
    #[arg(long, value_name = "TEXT")]
    pub idempotency_key: Option<String>,
}

/// `keyward keys list`
#[derive(Args, Debug)]
pub struct KeysList {
    /// Only keys in this state
    #[arg(long, value_enum)]
    pub state: Option<KeyState>,
    /// Only keys of this owner
    #[arg(long)]
    pub owner: Option<String>,
    /// Only keys with this in their name, owner or id
    #[arg(long, value_name = "TEXT")]
    pub q: Option<String>,
    /// At most so many
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub limit: Option<u16>,
    /// Where a page before this one ended
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// All of them, page after page
    #[arg(long, conflicts_with_all = ["limit", "cursor"])]
    pub all: bool,
}

/// A key's state, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyState {
    /// Let in
    Active,
    /// Refused until enabled again
    Disabled,
    /// Let in until its successor has taken over
    Retiring,
    /// Refused since its time is over
    Expired,
    /// Refused for good
    Revoked,
}

impl KeyState {
    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Retiring => "retiring",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// `keyward keys update`
#[derive(Args, Debug)]
pub struct KeysUpdate {
    /// Its id
    #[arg(value_name = "ID")]
    pub id: String,
    /// What is to change.
    #[command(flatten)]
    pub change: Change,
    /// Only if the key still has this revision
    #[arg(long, value_name = "REVISION")]
    pub if_match: Option<u64>,
}

/// `keyward keys preview`
#[derive(Args, Debug)]
pub struct KeysPreview {
    /// Its id
    #[arg(value_name = "ID")]
    pub id: String,
    /// What it would be limited to.
    #[command(flatten)]
    pub limits: Limits,
}

/// What is to change of a key: at least one thing.
#[derive(Args, Debug, Default)]
pub struct Change {
    /// Which integration it is for
    #[arg(long)]
    pub name: Option<String>,
    /// Who it speaks for
    #[arg(long, conflicts_with = "clear_owner")]
    pub owner: Option<String>,
    /// What it is limited to.
    #[command(flatten)]
    pub limits: Limits,
    /// When it ends.
    #[command(flatten)]
    pub expiry: Expiry,
    /// A route that it opens, instead of those before; several times
    #[arg(long = "route", value_name = "ROUTE", conflicts_with = "clear_routes")]
    pub routes: Vec<String>,
    /// A network that it may come from, instead of those before; several times
    #[arg(
        long = "allow-address",
        value_name = "NETWORK",
        conflicts_with = "clear_allow_addresses"
    )]
    pub allow_addresses: Vec<String>,
    /// Notes of your own, a JSON object, instead of those before
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<Metadata>,
    /// What it no longer has.
    #[command(flatten)]
    pub clear: Clear,
    /// What it is no longer bound to.
    #[command(flatten)]
    pub open: Open,
    /// Whether it is let in.
    #[command(flatten)]
    pub switch: Switch,
}

/// What a key no longer has.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Clear {
    /// It speaks for nobody
    #[arg(long)]
    pub clear_owner: bool,
    /// It does not end
    #[arg(long, conflicts_with_all = ["expires_at", "expires_in"])]
    pub clear_expiry: bool,
}

/// What a key is no longer bound to.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Open {
    /// It opens every route
    #[arg(long)]
    pub clear_routes: bool,
    /// It may come from anywhere
    #[arg(long)]
    pub clear_allow_addresses: bool,
}

/// Whether a key is let in.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Switch {
    /// Refuse it until it is enabled again
    #[arg(long, conflicts_with = "enable")]
    pub disable: bool,
    /// Let it in again
    #[arg(long)]
    pub enable: bool,
}

/// A JSON object.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata(pub Map<String, Value>);

impl FromStr for Metadata {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map(Self).map_err(|it| format!("expected a JSON object: {it}"))
    }
}
