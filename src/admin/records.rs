//! Finds, shows and withdraws records: what keys and operators have in common.

use serde::Serialize;

use crate::admin::Admin;
use crate::admin::answer::{Answer, Done};
use crate::admin::asked::Asked;
use crate::admin::documents::{Document, Moments};
use crate::admin::rejection::Rejection;
use crate::admin::writing::{Action, Author, Deed};
use crate::clock::Timestamp;
use crate::gate::entry::Entry;
use crate::gate::vault::kind;
use crate::key::record::{KeyRecord, State};
use crate::key::text::KeyId;
use crate::store::register::Propagation;
use crate::store::{Expect, Kind, Row, Written};

/// A record that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it says.
    pub record: KeyRecord,
    /// When it was last used.
    pub last_used: Option<Timestamp>,
}

impl Found {
    /// As it is shown at `now`.
    pub fn document(&self, now: Timestamp) -> Document<'_> {
        Document::new(&self.record, Moments { now, last_used: self.last_used })
    }
}

/// A record with what was done to it.
#[derive(Debug, Serialize)]
pub struct Changed<'a> {
    /// As it is now.
    #[serde(flatten)]
    pub document: Document<'a>,
    /// Who has confirmed it.
    pub propagation: Propagation,
}

#[derive(Debug, Serialize)]
struct Withdrawn {
    id: KeyId,
    state: State,
    revoked_at: Option<Timestamp>,
    propagation: Propagation,
}

impl Admin {
    /// The record under `id`, if it is one of that kind.
    pub async fn find(&self, id: KeyId, wanted: Kind) -> Result<Found, Rejection> {
        let row = self.keyring.store().find(id).await?.ok_or(Rejection::NotFound)?;
        self.read(&self.keyring.current(row).await?, wanted)
    }

    /// The record in a row, if it is one of that kind.
    pub fn read(&self, row: &Row, wanted: Kind) -> Result<Found, Rejection> {
        let record = self.keyring.vault().open(row)?;
        if kind(&record.holder) != wanted {
            return Err(Rejection::NotFound);
        }
        let here = self.keyring.entries().get(row.id);
        let last_used = row.last_used_at.max(here.and_then(|it| Entry::last_used(&it)));
        Ok(Found { record, last_used })
    }

    /// The same for a list, from which one that cannot be read is left out; the log says why.
    pub fn read_listed(&self, row: &Row, wanted: Kind) -> Option<Found> {
        let found = self.read(row, wanted);
        let found = found.inspect_err(|fault| {
            tracing::error!(key.id = %row.id, ?fault, "a record cannot be read: it is not listed");
        });
        found.ok()
    }
}

/// Withdraws the record that the path names, for good. Repeated, it writes nothing and waits for
/// the fleet again.
pub async fn withdraw(asked: Asked, wanted: Kind) -> Result<Answer, Rejection> {
    let (admin, id, now) = (&asked.admin, asked.record_id()?, asked.now());
    let author = Author::from(&asked.operator);
    let mut record = admin.find(id, wanted).await?.record;
    let mut tries = 0..TRIES_MAX;
    let ticket = loop {
        if record.revoked_at.is_some() {
            let row = admin.keyring.vault().seal(&record)?;
            break admin.keyring.store().ticket_for(&row).await?;
        }
        tries.next().ok_or(Rejection::Overloaded)?;
        let revoked = record.clone().revoked(now);
        match admin.write(&author, revocation(&record, &revoked, now)).await? {
            Written::Applied(ticket) => {
                record = revoked;
                break ticket;
            }
            Written::Conflict(Some(row)) => record = admin.read(&row, wanted)?.record,
            Written::Conflict(None) => return Err(Rejection::NotFound),
            Written::Replayed { .. } | Written::IdempotencyConflict => {
                return Err(Rejection::Internal("a revocation has no idempotency key"));
            }
        }
    };
    let propagation = admin.receipts(&ticket).await;
    let done = if propagation.complete { Done::Well } else { Done::NotEverywhere };
    let (state, revoked_at) = (record.state(now), record.revoked_at);
    Answer::json(done, &Withdrawn { id, state, revoked_at, propagation })
}

fn revocation<'a>(before: &'a KeyRecord, after: &'a KeyRecord, at: Timestamp) -> Deed<'a> {
    let action = match kind(&before.holder) {
        Kind::Key => Action::KeyRevoke,
        Kind::Operator => Action::OperatorRevoke,
    };
    let expect = Expect::Revision(before.revision);
    Deed { action, at, before: Some(before), after, expect, idempotency: None }
}

/// How often a change is tried anew because others were faster.
pub const TRIES_MAX: usize = 32;
