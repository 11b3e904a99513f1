//! Holds a record in a quarter of the space, and reads from it what a request needs.
//!
//! It never leaves the process: stores have the record as it was sealed. So it may change with any
//! version, and what has to be understood by others is in one form only.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use postcard::{take_from_bytes, to_extend};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::key::argon2id::{self, Cost};
use crate::key::packed::limits::PackedLimits;
use crate::key::record::{DEFAULT_SCHEME, Holder, KeyRecord, Label, Permissions, Scope};
use crate::key::seal::{SealFault, Sealed, Tag};
use crate::key::text::KeyId;
use crate::rate::limits::Limits;

mod limits;

/// A record but for its id and its tag.
///
/// First the routes that it opens and the networks that it may come from, each after their number,
/// so that they are found without reading the rest; then the rest; then the sealed record as it was,
/// where it could not be written again to the byte.
#[derive(Clone, Debug)]
pub struct Packed(Box<[u8]>);

#[derive(Serialize, Deserialize)]
struct Rest<'a> {
    prefix: Word<'a>,
    last_digits: &'a str,
    name: &'a str,
    #[serde(borrow)]
    holder: PackedHolder<'a>,
    created_at: i64,
    created_by: &'a str,
    expires_at: Option<i64>,
    disabled: bool,
    revoked_at: Option<i64>,
    revision: u64,
    #[serde(borrow)]
    argon2id: Slow<'a>,
}

#[derive(Serialize, Deserialize)]
enum PackedHolder<'a> {
    Caller {
        scheme: Word<'a>,
        owner: Option<&'a str>,
        limits: PackedLimits,
        /// As JSON; nothing where there is none.
        #[serde(borrow)]
        metadata: Cow<'a, str>,
    },
    Operator(Permissions),
}

/// What most records have takes a byte.
#[derive(Serialize, Deserialize)]
enum Word<'a> {
    Usual,
    Other(&'a str),
}

#[derive(Serialize, Deserialize)]
enum Slow<'a> {
    Usual(argon2id::Hash),
    Parts(Cost, argon2id::Hash),
    Text(&'a str),
}

/// What an upstream or the audit log is told of a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names<'a> {
    /// The record's name.
    pub name: &'a str,
    /// Who it speaks for.
    pub owner: Option<&'a str>,
}

impl Packed {
    /// Packs a record that was in `sealed`. What would not come back from it to the byte is kept as
    /// it was.
    pub fn new(record: &KeyRecord, sealed: &Sealed) -> Result<Self, SealFault> {
        let mut bytes = pack(record).map_err(|fault| SealFault::Unreadable(fault.to_string()))?;
        let again = unpack(&bytes, record.id, record.tag.clone());
        if !again.is_some_and(|it| sealed.spells(&it)) {
            bytes.extend_from_slice(sealed.as_bytes());
        }
        // A copy: what is only cut short keeps its space.
        Ok(Self(Box::from(bytes.as_slice())))
    }

    /// Of nothing that could be read.
    pub fn nothing() -> Self {
        Self(Box::default())
    }

    /// The record; `None`: there was none.
    pub fn record(&self, id: KeyId, tag: Option<Tag>) -> Option<KeyRecord> {
        unpack(&self.0, id, tag)
    }

    /// Whether another says the same, as far as this version understands it.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        self.0 == other.0 || self.understood() == other.understood()
    }

    fn understood(&self) -> &[u8] {
        let kept = rest(&self.0).map_or(0, |(_, kept)| kept.len());
        self.0.len().checked_sub(kept).and_then(|it| self.0.get(..it)).unwrap_or_default()
    }

    /// The sealed record, where it has to be passed on as it was.
    pub fn kept(&self) -> Option<Sealed> {
        let (_, kept) = rest(&self.0)?;
        (!kept.is_empty()).then(|| Sealed::from_bytes(kept.to_vec()))
    }

    /// What its holder is called.
    pub fn names(&self) -> Option<Names<'_>> {
        let (rest, _) = rest(&self.0)?;
        let owner = match rest.holder {
            PackedHolder::Caller { owner, .. } => owner,
            PackedHolder::Operator(_) => None,
        };
        Some(Names { name: rest.name, owner })
    }

    /// What an operator may do; `None`: it is no operator's.
    pub fn permissions(&self) -> Option<Permissions> {
        match rest(&self.0)?.0.holder {
            PackedHolder::Operator(permissions) => Some(permissions),
            PackedHolder::Caller { .. } => None,
        }
    }

    /// A caller's scheme, and what its record says of its limits itself; `None`: it is no caller's.
    pub fn limits(&self) -> Option<(&str, Limits)> {
        match rest(&self.0)?.0.holder {
            PackedHolder::Caller { scheme, limits, .. } => {
                Some((scheme.text(DEFAULT_SCHEME), limits.into()))
            }
            PackedHolder::Operator(_) => None,
        }
    }

    /// The slow verifier, a PHC string.
    pub fn argon2id(&self) -> Option<String> {
        rest(&self.0)?.0.argon2id.text()
    }

    /// Whether it opens a route.
    pub fn opens(&self, route: &str) -> bool {
        let mut opens = false;
        let routes = each(&self.0, |it: &str| opens |= it == route);
        matches!(routes, Some((Limited::No, _))) || (routes.is_some() && opens)
    }

    /// Whether it may come from an address.
    pub fn admits(&self, address: IpAddr) -> bool {
        let mut admits = false;
        let networks = each(&self.0, |_: &str| ())
            .and_then(|(_, rest)| each(rest, |it: IpNet| admits |= it.contains(&address)));
        matches!(networks, Some((Limited::No, _))) || (networks.is_some() && admits)
    }
}

fn pack(record: &KeyRecord) -> Result<Vec<u8>, postcard::Error> {
    let (routes, networks, holder) = match &record.holder {
        Holder::Caller(scope) => {
            let metadata = if scope.metadata.is_empty() {
                String::new()
            } else {
                serde_json::to_string(&scope.metadata)
                    .map_err(|_own| postcard::Error::SerdeSerCustom)?
            };
            let owner = scope.owner.as_ref().map(Label::as_str);
            let metadata = Cow::Owned(metadata);
            let scheme = Word::of(&scope.scheme, DEFAULT_SCHEME);
            let limits = PackedLimits::from(&scope.limits);
            let holder = PackedHolder::Caller { scheme, owner, limits, metadata };
            (scope.routes.as_deref(), scope.allow_addresses.as_deref(), holder)
        }
        Holder::Operator(permissions) => (None, None, PackedHolder::Operator(permissions.clone())),
    };
    let rest = Rest {
        prefix: Word::of(record.prefix.as_str(), PREFIX),
        last_digits: &record.last_digits,
        name: record.name.as_str(),
        holder,
        created_at: record.created_at.as_micros(),
        created_by: &record.created_by,
        expires_at: record.expires_at.map(Timestamp::as_micros),
        disabled: record.disabled,
        revoked_at: record.revoked_at.map(Timestamp::as_micros),
        revision: record.revision,
        argon2id: Slow::of(&record.argon2id),
    };
    let bytes = list(Vec::new(), routes)?;
    to_extend(&rest, list(bytes, networks)?)
}

fn unpack(bytes: &[u8], id: KeyId, tag: Option<Tag>) -> Option<KeyRecord> {
    let (rest, _) = rest(bytes)?;
    let holder = match rest.holder {
        PackedHolder::Operator(permissions) => Holder::Operator(permissions),
        PackedHolder::Caller { scheme, owner, limits, metadata } => {
            let (mut routes, mut networks) = (Vec::new(), Vec::new());
            let (has_routes, bytes) = each(bytes, |it: &str| routes.push(it.to_owned()))?;
            let (has_networks, _) = each(bytes, |it: IpNet| networks.push(it))?;
            Holder::Caller(Scope {
                scheme: scheme.text(DEFAULT_SCHEME).to_owned(),
                owner: owner.map(str::parse).transpose().ok()?,
                routes: has_routes.then(routes),
                allow_addresses: has_networks.then(networks),
                limits: limits.into(),
                metadata: match &*metadata {
                    "" => serde_json::Map::new(),
                    text => serde_json::from_str(text).ok()?,
                },
            })
        }
    };
    Some(KeyRecord {
        id,
        prefix: rest.prefix.text(PREFIX).parse().ok()?,
        last_digits: rest.last_digits.to_owned(),
        name: rest.name.parse().ok()?,
        holder,
        created_at: Timestamp::from_micros(rest.created_at),
        created_by: rest.created_by.to_owned(),
        expires_at: rest.expires_at.map(Timestamp::from_micros),
        disabled: rest.disabled,
        revoked_at: rest.revoked_at.map(Timestamp::from_micros),
        revision: rest.revision,
        argon2id: rest.argon2id.text()?,
        tag,
    })
}

/// What stands behind the lists, and what behind that.
fn rest(bytes: &[u8]) -> Option<(Rest<'_>, &[u8])> {
    let (_, bytes) = each(bytes, |_: &str| ())?;
    let (_, bytes) = each(bytes, |_: IpNet| ())?;
    take_from_bytes(bytes).ok()
}

impl<'a> Word<'a> {
    fn of(text: &'a str, usual: &str) -> Self {
        if text == usual { Self::Usual } else { Self::Other(text) }
    }

    fn text(&self, usual: &'a str) -> &'a str {
        match self {
            Self::Usual => usual,
            Self::Other(text) => text,
        }
    }
}

impl<'a> Slow<'a> {
    fn of(phc: &'a str) -> Self {
        match argon2id::parts(phc) {
            Some((cost, hash)) if cost == Cost::default() => Self::Usual(hash),
            Some((cost, hash)) => Self::Parts(cost, hash),
            None => Self::Text(phc),
        }
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::Usual(hash) => hash.phc(Cost::default()).ok(),
            Self::Parts(cost, hash) => hash.phc(*cost).ok(),
            Self::Text(phc) => Some((*phc).to_owned()),
        }
    }
}

/// What keys begin with where nobody says another.
const PREFIX: &str = "kw";

/// Whether there is a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limited {
    Yes,
    No,
}

impl Limited {
    fn then<T>(self, list: T) -> Option<T> {
        match self {
            Self::Yes => Some(list),
            Self::No => None,
        }
    }
}

/// Writes a list: its length, if there is one, and what it holds.
fn list<T: Serialize>(bytes: Vec<u8>, items: Option<&[T]>) -> Result<Vec<u8>, postcard::Error> {
    let mut bytes = to_extend(&items.map(<[T]>::len), bytes)?;
    for item in items.unwrap_or_default() {
        bytes = to_extend(item, bytes)?;
    }
    Ok(bytes)
}

/// Looks at everything in a list, without keeping any of it; and what stands behind it.
fn each<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    mut look: impl FnMut(T),
) -> Option<(Limited, &'a [u8])> {
    let (length, mut bytes) = take_from_bytes::<Option<usize>>(bytes).ok()?;
    let Some(length) = length else { return Some((Limited::No, bytes)) };
    for _ in 0..length {
        let (item, behind) = take_from_bytes(bytes).ok()?;
        look(item);
        bytes = behind;
    }
    Some((Limited::Yes, bytes))
}

#[cfg(test)]
mod tests;
