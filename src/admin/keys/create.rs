//! Mints a key.

use serde::Serialize;

use crate::admin::answer::{Answer, Done};
use crate::admin::asked::Asked;
use crate::admin::conditions::idempotency;
use crate::admin::documents::{Document, Moments};
use crate::admin::keys::draft::{NewKey, Terms};
use crate::admin::minting::{Order, mint};
use crate::admin::rejection::Rejection;
use crate::admin::writing::{Action, Author, Deed, write};
use crate::key::record::Holder;
use crate::store::register::Propagation;
use crate::store::{Expect, Kind, Written};

/// A new key, with its plaintext, this once.
#[derive(Serialize)]
struct Minted<'a> {
    #[serde(flatten)]
    document: Document<'a>,
    key: &'a str,
    propagation: Propagation,
}

/// Mints a key, or answers with the one that the same call has minted before.
pub async fn create(mut asked: Asked) -> Result<Answer, Rejection> {
    let now = asked.now();
    let mut fields = asked.fields().await?;
    let operator = asked.operator.id();
    let idempotency = idempotency(asked.headers(), operator, CALL, &mut fields);
    let admin = &asked.admin;
    let new = NewKey::read(fields, &Terms { now, routes: &admin.config.routes })?;
    let order = Order {
        prefix: admin.config.keys.prefix.clone(),
        name: new.name,
        holder: Holder::Caller(new.scope),
        expires_at: new.expires_at,
        created_by: operator.to_string(),
        created_at: now,
    };
    let (key, record) = mint(&admin.keyring, order).await?;
    let deed = Deed {
        action: Action::KeyCreate,
        at: now,
        before: None,
        after: &record,
        expect: Expect::Absent,
        idempotency,
    };
    let ticket = match write(&admin.keyring, &Author::from(&asked.operator), deed).await? {
        Written::Applied(ticket) => ticket,
        Written::Replayed { id, ticket } => {
            return admin.replayed((id, Kind::Key), &ticket, now).await;
        }
        Written::IdempotencyConflict => return Err(Rejection::IdempotencyConflict),
        Written::Conflict(_) => return Err(Rejection::Internal("an id was drawn twice")),
    };
    let propagation = admin.receipts(&ticket).await;
    let document = Document::new(&record, Moments { now, last_used: None });
    let minted = Minted { document, key: key.expose(), propagation };
    let answer = Answer::json(Done::Created, &minted)?;
    Ok(answer.with_revision(record.revision).with_location(&format!("/v1/keys/{}", record.id)))
}

const CALL: &str = "POST /v1/keys";
