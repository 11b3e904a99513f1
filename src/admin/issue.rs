//! Issues a key or a token: mints it, or answers with what the same call has minted before.

use serde::Serialize;

use crate::admin::Admin;
use crate::admin::answer::{Answer, Done};
use crate::admin::documents::{Document, Moments};
use crate::admin::minting::{Order, mint};
use crate::admin::rejection::Rejection;
use crate::admin::sign_in::Operator;
use crate::admin::writing::{Action, Author, Deed};
use crate::clock::Timestamp;
use crate::gate::vault::kind;
use crate::key::record::KeyRecord;
use crate::key::text::{ApiKey, KeyId};
use crate::store::register::Propagation;
use crate::store::{Expect, Idempotency, Kind, Ticket, Written};

/// What was issued, with the plaintext, this once.
#[derive(Serialize)]
struct Issued<'a> {
    #[serde(flatten)]
    document: Document<'a>,
    #[serde(flatten)]
    plaintext: Plaintext<'a>,
    propagation: Propagation,
}

/// Under the name that it has on the wire.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Plaintext<'a> {
    Key(&'a str),
    Token(&'a str),
}

/// What an earlier call issued. Its plaintext is kept nowhere.
#[derive(Serialize)]
struct IssuedBefore<'a> {
    #[serde(flatten)]
    document: Document<'a>,
    replayed: bool,
    propagation: Propagation,
}

impl Admin {
    /// Issues what was ordered.
    pub async fn issue(
        &self,
        operator: &Operator,
        order: Order,
        idempotency: Option<Idempotency>,
    ) -> Result<Answer, Rejection> {
        let (kind, now) = (kind(&order.holder), order.created_at);
        let (plaintext, record) = mint(&self.keyring, order).await?;
        let deed = Deed {
            action: match kind {
                Kind::Key => Action::KeyCreate,
                Kind::Operator => Action::OperatorCreate,
            },
            at: now,
            before: None,
            after: &record,
            expect: Expect::Absent,
            idempotency,
        };
        match self.write(&Author::from(operator), deed).await? {
            Written::Applied(ticket) => self.issued(kind, &plaintext, &record, &ticket).await,
            Written::Replayed { id, ticket } => self.replayed(kind, id, &ticket, now).await,
            Written::IdempotencyConflict => Err(Rejection::IdempotencyConflict),
            Written::Conflict(_) => Err(Rejection::Internal("an id was drawn twice")),
        }
    }

    async fn issued(
        &self,
        kind: Kind,
        plaintext: &ApiKey,
        record: &KeyRecord,
        ticket: &Ticket,
    ) -> Result<Answer, Rejection> {
        let propagation = self.receipts(ticket).await;
        let moments = Moments { now: record.created_at, last_used: None };
        let (plaintext, path) = match kind {
            Kind::Key => (Plaintext::Key(plaintext.expose()), "/v1/keys"),
            Kind::Operator => (Plaintext::Token(plaintext.expose()), "/v1/operators"),
        };
        let document = Document::new(record, moments);
        let answer = Answer::json(Done::Created, &Issued { document, plaintext, propagation })?;
        let location = format!("{path}/{}", record.id);
        Ok(answer.with_revision(record.revision).with_location(&location))
    }

    async fn replayed(
        &self,
        kind: Kind,
        id: KeyId,
        ticket: &Ticket,
        now: Timestamp,
    ) -> Result<Answer, Rejection> {
        let found = self.find(id, kind).await?;
        let propagation = self.receipts(ticket).await;
        let document = found.document(now);
        let answer =
            Answer::json(Done::Well, &IssuedBefore { document, replayed: true, propagation })?;
        Ok(answer.with_revision(found.record.revision))
    }
}
