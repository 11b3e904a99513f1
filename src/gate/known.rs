//! Holds what the gate needs of a record, and judges with it.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use ipnet::IpNet;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::clock::Timestamp;
use crate::gate::vault::Vault;
use crate::gate::{Refusal, Terms};
use crate::key::record::{Holder, KeyRecord, Life, Permissions, Scope, State};
use crate::key::seal::Tag;
use crate::store::{Revoked, Row, Seniority};

/// A record, as far as the gate needs it. Replaced whole when the record changes.
#[derive(Clone, Debug)]
pub struct Known {
    revision: u64,
    life: Life,
    verifier: Verifier,
    rights: Rights,
    /// As the store held it, should it ever lose it.
    row: Option<Arc<Row>>,
}

/// What the gate needs of a stored record, if it could be read.
#[derive(Debug)]
pub enum Stored {
    /// It could.
    Readable(Box<Known>),
    /// It could not.
    Unreadable,
}

impl Stored {
    /// Where nothing was known before.
    pub fn alone(self) -> Known {
        match self {
            Self::Readable(known) => *known,
            Self::Unreadable => Known::unreadable(None),
        }
    }

    /// Where `before` was known.
    pub fn over(self, before: &Known) -> Known {
        match self {
            Self::Readable(known) => *known,
            Self::Unreadable => Known::unreadable(Some(before)),
        }
    }
}

/// By what a shown key is compared.
#[derive(Clone, Debug)]
pub enum Verifier {
    /// A tag under a pepper that is here.
    Tag(Tag),
    /// Nothing but argon2id: a PHC string.
    Slow(Box<str>),
}

/// What a record opens.
#[derive(Clone, Debug)]
pub enum Rights {
    /// Routes behind the gateway.
    Caller(CallerRights),
    /// The admin listener.
    Operator(OperatorRights),
    /// The record could not be read: nobody is let in, and nobody is told that the key is wrong.
    Unreadable,
}

/// What a caller's key opens, and what the upstream is told of it.
#[derive(Clone, Debug)]
pub struct CallerRights {
    routes: Option<Box<[Box<str>]>>,
    addresses: Option<Box<[IpNet]>>,
    /// Id, name and owner, percent-encoded outside visible ASCII.
    pub identity: CallerIdentity,
}

/// What the upstream is told of a caller.
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
    pub fn new(record: &KeyRecord, row: &Row, vault: &Vault) -> Self {
        let tag = record.tag.as_ref().filter(|it| vault.knows(it.pepper()));
        Self {
            revision: record.revision,
            life: record.life(),
            verifier: match tag {
                Some(tag) => Verifier::Tag(tag.clone()),
                None => Verifier::Slow(record.argon2id.as_str().into()),
            },
            rights: match &record.holder {
                Holder::Caller(scope) => Rights::Caller(caller_rights(record, scope)),
                Holder::Operator(permissions) => Rights::Operator(OperatorRights {
                    name: record.name.as_str().into(),
                    permissions: permissions.clone(),
                }),
            },
            row: Some(Arc::new(plainly(record, row))),
        }
    }

    /// A record that cannot be read; `before` is what was known of it.
    fn unreadable(before: Option<&Self>) -> Self {
        Self {
            revision: before.map_or(0, |it| it.revision),
            life: Life {
                revoked: before.is_some_and(|it| it.life.revoked),
                disabled: false,
                expires_at: None,
            },
            verifier: Verifier::Slow(Box::default()),
            rights: Rights::Unreadable,
            row: None,
        }
    }

    /// The same with a tag, if the record is still at `revision`.
    pub fn with_tag(&self, revision: u64, tag: &Tag) -> Option<Self> {
        let verifier = Verifier::Tag(tag.clone());
        (self.revision == revision).then(|| Self { verifier, ..self.clone() })
    }

    /// Whether `stored` takes its place: on a tie too, as only its tag or seal may be newer.
    pub fn yields_to(&self, stored: &Self) -> bool {
        self.seniority() <= stored.seniority()
    }

    /// Whether whoever was let in by the one is let in by the other.
    pub fn opens_the_same_as(&self, other: &Self) -> bool {
        let unreadable = |it: &Self| matches!(it.rights, Rights::Unreadable);
        self.seniority() == other.seniority() && unreadable(self) == unreadable(other)
    }

    fn seniority(&self) -> Seniority {
        Seniority { revoked: self.life.revoked, revision: self.revision }
    }

    /// The record as the store held it; none where it could not be read.
    pub fn row(&self) -> Option<&Arc<Row>> {
        self.row.as_ref()
    }

    /// Counts the changes by operators.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// By what a shown key is compared.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// What the record opens.
    pub fn rights(&self) -> &Rights {
        &self.rights
    }

    /// Whether a request on a route, from an address, is let in at `now`.
    pub fn judge(&self, terms: &Terms, address: IpAddr, now: Timestamp) -> Result<(), Refusal> {
        let rights = match &self.rights {
            Rights::Caller(rights) => rights,
            Rights::Operator(_) => return Err(Refusal::UnknownKey),
            Rights::Unreadable => return Err(Refusal::StoreUnreachable),
        };
        self.judge_state(now)?;
        if !rights.routes.as_ref().is_none_or(|it| it.iter().any(|it| **it == *terms.name)) {
            return Err(Refusal::RouteNotAllowed);
        }
        if !rights.addresses.as_ref().is_none_or(|it| it.iter().any(|it| it.contains(&address))) {
            return Err(Refusal::AddressNotAllowed);
        }
        Ok(())
    }

    /// Whether the record is good for anything at `now`.
    pub fn judge_state(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.life.state(now) {
            State::Active | State::Retiring => Ok(()),
            State::Disabled => Err(Refusal::DisabledKey),
            State::Expired => Err(Refusal::ExpiredKey),
            State::Revoked => Err(Refusal::RevokedKey),
        }
    }
}

/// The row with what its record says: what stands beside the seal, anybody may have written.
fn plainly(record: &KeyRecord, row: &Row) -> Row {
    let revoked = if record.life().revoked { Revoked::Yes } else { Revoked::No };
    Row { revision: record.revision, revoked, created_at: record.created_at, ..row.clone() }
}

fn caller_rights(record: &KeyRecord, scope: &Scope) -> CallerRights {
    CallerRights {
        routes: scope.routes.as_ref().map(|it| it.iter().map(|it| it.as_str().into()).collect()),
        addresses: scope.allow_addresses.as_ref().map(|it| it.as_slice().into()),
        identity: CallerIdentity {
            id: Bytes::copy_from_slice(record.id.as_str().as_bytes()),
            name: encode(record.name.as_str()),
            owner: scope.owner.as_ref().map(|it| encode(it.as_str())),
        },
    }
}

fn encode(text: &str) -> Bytes {
    Bytes::from(utf8_percent_encode(text, NOT_VISIBLE).to_string())
}

/// Everything but visible ASCII, and `%` itself, so that decoding gives the name back.
const NOT_VISIBLE: &AsciiSet = &CONTROLS.add(b' ').add(b'%');
