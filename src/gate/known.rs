//! Holds what the gate needs of a record, and judges with it.

use std::net::IpAddr;

use bytes::Bytes;
use once_cell::race::OnceBox;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::clock::Timestamp;
use crate::gate::room::Stay;
use crate::gate::vault::{self, Vault};
use crate::gate::{Refusal, Terms};
use crate::key::packed::{Names, Packed};
use crate::key::record::{DEFAULT_SCHEME, Holder, KeyRecord, Life, Permissions, Scope, State};
use crate::key::seal::{SealFault, Tag};
use crate::key::text::KeyId;
use crate::rate::limits::Limits;
use crate::store::{Row, Seniority};

/// A record, as far as the gate needs it. Replaced whole when the record changes.
///
/// There may be a million: what a request looks at stands by itself, the rest is packed.
#[derive(Debug)]
pub struct Known {
    revision: u64,
    /// Where it does not end, at the end of time.
    expires_at: Timestamp,
    /// The fast verifier, if there is one.
    tag: Option<Tag>,
    switch: Switch,
    rights: Rights,
    own_limits: Own,
    packed: Packed,
    /// Made with the first use.
    identity: OnceBox<CallerIdentity>,
}

/// Whether a record is good for anything, but for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Switch {
    /// It is.
    On,
    /// Not until enabled again.
    Off,
    /// Withdrawn for good.
    Revoked,
}

/// Whether a record has limits of its own, or of a scheme of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    /// Those of the scheme `default`.
    Nothing,
    /// It says something, or belongs to another scheme.
    Something,
}

/// What the gate needs of a stored record, if it could be read.
#[derive(Debug)]
pub enum Stored {
    /// It could.
    Readable(Box<Known>),
    /// It could, and has no tag that can be judged here: only argon2 can judge its key.
    Untagged(Box<Known>),
    /// It could not.
    Unreadable,
}

impl Stored {
    /// Where nothing was known before.
    pub fn alone(self) -> Known {
        match self {
            Self::Readable(known) | Self::Untagged(known) => *known,
            Self::Unreadable => Known::unreadable(None),
        }
    }

    /// Where `before` was known.
    pub fn over(self, before: &Known) -> Known {
        match self {
            Self::Readable(known) | Self::Untagged(known) => *known,
            Self::Unreadable => Known::unreadable(Some(before)),
        }
    }
}

/// What a record opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Every route behind the gateway, from everywhere.
    Caller,
    /// Some routes, or from some addresses.
    LimitedCaller,
    /// The admin listener.
    Operator,
    /// The record could not be read: nobody is let in, and nobody is told that the key is wrong.
    Unreadable,
}

/// What the upstream is told of a caller: percent-encoded outside visible ASCII.
#[derive(Clone, Debug)]
pub struct CallerIdentity {
    /// The key's id.
    pub id: Bytes,
    /// Its name.
    pub name: Bytes,
    /// Who it speaks for.
    pub owner: Option<Bytes>,
}

/// What an operator's token opens.
#[derive(Clone, Debug)]
pub struct OperatorRights {
    /// For the audit log.
    pub name: Box<str>,
    /// What it may do.
    pub permissions: Permissions,
}

impl Known {
    /// What the gate needs of `record`, which was in `row`.
    pub fn new(record: &KeyRecord, row: &Row) -> Result<Self, SealFault> {
        let life = record.life();
        Ok(Self {
            revision: record.revision,
            expires_at: life.expires_at.unwrap_or(NEVER),
            tag: record.tag.clone(),
            switch: match life {
                Life { revoked: true, .. } => Switch::Revoked,
                Life { disabled: true, .. } => Switch::Off,
                Life { .. } => Switch::On,
            },
            rights: rights(&record.holder),
            own_limits: own_limits(&record.holder),
            packed: Packed::new(record, &row.sealed)?,
            identity: OnceBox::new(),
        })
    }

    /// A record that cannot be read; `before` is what was known of it.
    fn unreadable(before: Option<&Self>) -> Self {
        let revoked = before.is_some_and(|it| it.switch == Switch::Revoked);
        Self {
            revision: before.map_or(0, |it| it.revision),
            expires_at: NEVER,
            tag: None,
            switch: if revoked { Switch::Revoked } else { Switch::On },
            rights: Rights::Unreadable,
            own_limits: Own::Nothing,
            packed: Packed::nothing(),
            identity: OnceBox::new(),
        }
    }

    /// The same with a tag, if the record is still at `revision`.
    pub fn with_tag(&self, revision: u64, tag: &Tag) -> Option<Self> {
        (self.revision == revision).then(|| Self {
            tag: Some(tag.clone()),
            packed: self.packed.clone(),
            identity: OnceBox::new(),
            ..*self
        })
    }

    /// The same with the tag that `before` has, if that is for the same contents.
    pub fn tagged_as(&self, before: &Self) -> Option<Self> {
        let tag = before.tag.as_ref().filter(|_| self.opens_the_same_as(before))?;
        self.with_tag(self.revision, tag)
    }

    /// Whether `stored` takes its place: on a tie too, as its tag or seal may be newer. After a lost
    /// write it may even be another change, and the store's is the one that stays.
    pub fn yields_to(&self, stored: &Self) -> bool {
        self.seniority() <= stored.seniority()
    }

    /// Whether whoever was let in by the one is let in by the other.
    pub fn opens_the_same_as(&self, other: &Self) -> bool {
        let apart = |it: &Self| (it.seniority(), it.expires_at, it.switch, it.rights);
        apart(self) == apart(other) && self.packed.says_the_same_as(&other.packed)
    }

    /// How long it may stay in memory; `None`: as before, since it could not be read.
    pub fn stay(&self) -> Option<Stay> {
        match (self.rights, self.switch) {
            (Rights::Unreadable, _) => None,
            (Rights::Operator, Switch::On | Switch::Off) => Some(Stay::Always),
            (Rights::Operator, Switch::Revoked) | (Rights::Caller | Rights::LimitedCaller, _) => {
                Some(Stay::WhileRoom)
            }
        }
    }

    /// By which it is compared with another state of the same record.
    pub fn seniority(&self) -> Seniority {
        Seniority { revoked: self.switch == Switch::Revoked, revision: self.revision }
    }

    /// The record of `id` as a store may have it, should it have lost it; none where it could not be
    /// read.
    pub fn row(&self, id: KeyId, vault: &Vault) -> Option<Row> {
        let record = self.packed.record(id, self.tag.clone())?;
        let Some(sealed) = self.packed.kept() else { return vault.seal(&record).ok() };
        let row = vault::row(id, &record, sealed);
        vault.reseal(&row).ok().map(|it| it.unwrap_or(row))
    }

    /// Counts the changes by operators.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The fast verifier, if there is one.
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The slow verifier, a PHC string, and of which revision; none where the record could not be
    /// read.
    pub fn argon2id(&self) -> Option<(Box<str>, u64)> {
        self.packed.argon2id().map(|it| (it.into(), self.revision))
    }

    /// What the record opens.
    pub fn rights(&self) -> Rights {
        self.rights
    }

    /// Whether its limits may be others than those of the scheme `default`: it says something of
    /// them itself, or is of another scheme.
    pub fn has_limits(&self) -> bool {
        self.own_limits == Own::Something
    }

    /// A caller's scheme, and what its record says of its limits itself; `None`: it is no caller's,
    /// or could not be read. Has to be unpacked.
    pub fn limits(&self) -> Option<(&str, Limits)> {
        self.packed.limits()
    }

    /// What the upstream is told of the caller `id`; `None`: it is none.
    pub fn identity(&self, id: KeyId) -> Option<&CallerIdentity> {
        match self.rights {
            Rights::Caller | Rights::LimitedCaller => {
                let told = || {
                    Ok::<_, ()>(Box::new(CallerIdentity::new(id, self.packed.names().ok_or(())?)))
                };
                self.identity.get_or_try_init(told).ok()
            }
            Rights::Operator | Rights::Unreadable => None,
        }
    }

    /// What an operator's token opens; `None`: it is none.
    pub fn operator(&self) -> Option<OperatorRights> {
        let permissions = self.packed.permissions()?;
        Some(OperatorRights { name: self.packed.names()?.name.into(), permissions })
    }

    /// Whether a request on a route, from an address, is let in at `now`.
    pub fn judge(&self, terms: &Terms, address: IpAddr, now: Timestamp) -> Result<(), Refusal> {
        let is_limited = match self.rights {
            Rights::Caller => false,
            Rights::LimitedCaller => true,
            Rights::Operator => return Err(Refusal::UnknownKey),
            Rights::Unreadable => return Err(Refusal::StoreUnreachable),
        };
        self.judge_state(now)?;
        if is_limited && !self.packed.opens(&terms.name) {
            return Err(Refusal::RouteNotAllowed);
        }
        if is_limited && !self.packed.admits(address) {
            return Err(Refusal::AddressNotAllowed);
        }
        Ok(())
    }

    /// Whether the record is good for anything at `now`.
    pub fn judge_state(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.life().state(now) {
            State::Active | State::Retiring => Ok(()),
            State::Disabled => Err(Refusal::DisabledKey),
            State::Expired => Err(Refusal::ExpiredKey),
            State::Revoked => Err(Refusal::RevokedKey),
        }
    }

    fn life(&self) -> Life {
        Life {
            revoked: self.switch == Switch::Revoked,
            disabled: self.switch == Switch::Off,
            expires_at: Some(self.expires_at),
        }
    }
}

fn rights(holder: &Holder) -> Rights {
    match holder {
        Holder::Operator(_) => Rights::Operator,
        Holder::Caller(Scope { routes: None, allow_addresses: None, .. }) => Rights::Caller,
        Holder::Caller(_) => Rights::LimitedCaller,
    }
}

fn own_limits(holder: &Holder) -> Own {
    match holder {
        Holder::Caller(scope) if scope.scheme != DEFAULT_SCHEME || !scope.limits.is_silent() => {
            Own::Something
        }
        Holder::Caller(_) | Holder::Operator(_) => Own::Nothing,
    }
}

impl CallerIdentity {
    /// All in one piece of memory.
    fn new(id: KeyId, names: Names<'_>) -> Self {
        let mut text = id.as_str().to_owned();
        let mut encode = |it: &str| {
            let start = text.len();
            text.extend(utf8_percent_encode(it, NOT_VISIBLE));
            start..text.len()
        };
        let (name, owner) = (encode(names.name), names.owner.map(encode));
        let text = Bytes::copy_from_slice(text.as_bytes());
        Self {
            id: text.slice(..id.as_str().len()),
            name: text.slice(name),
            owner: owner.map(|it| text.slice(it)),
        }
    }
}

/// Everything but visible ASCII, and `%` itself, so that decoding gives the name back.
const NOT_VISIBLE: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// Nothing that ends does so later.
const NEVER: Timestamp = Timestamp::from_micros(i64::MAX);
