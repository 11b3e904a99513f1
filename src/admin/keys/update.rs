//! Changes a key.

use crate::admin::Admin;
use crate::admin::answer::{Answer, Done};
use crate::admin::asked::Asked;
use crate::admin::conditions::Precondition;
use crate::admin::keys::draft::{Changes, Objects, Terms};
use crate::admin::records::{Changed, Found, TRIES_MAX};
use crate::admin::rejection::Rejection;
use crate::admin::writing::{Action, Author, Deed};
use crate::clock::Timestamp;
use crate::store::{Expect, Kind, Ticket, Written};

/// Changes a key: where nobody asks for a revision, the last write wins.
pub async fn update(mut asked: Asked) -> Result<Answer, Rejection> {
    let id = asked.record_id()?;
    let mut fields = asked.fields().await?;
    let now = asked.now();
    let precondition = Precondition::read(asked.headers(), &mut fields);
    let admin = &asked.admin;
    let config = admin.config();
    let terms = Terms { now, config: &config };
    let objects = if asked.merges() { Objects::Merge } else { Objects::Replace };
    let changes = Changes::read(fields, objects, &terms)?;
    let draft = Draft { admin, author: Author::from(&asked.operator), precondition, changes };
    let mut found = admin.find(id, Kind::Key).await?;
    for _ in 0..TRIES_MAX {
        match change(&draft, found, now).await? {
            Tried::Done(found, ticket) => {
                let propagation = admin.receipts(&ticket).await;
                let document = found.document(now);
                let answer = Answer::json(Done::Well, &Changed { document, propagation })?;
                return Ok(answer.with_revision(found.record.revision));
            }
            Tried::Overtaken(by) => found = by,
        }
    }
    Err(Rejection::Overloaded)
}

/// What is to be changed, by whom, and under which condition.
struct Draft<'a> {
    admin: &'a Admin,
    author: Author,
    precondition: Precondition,
    changes: Changes,
}

/// How one try ended.
enum Tried {
    /// The key is as it was to be.
    Done(Found, Ticket),
    /// Somebody else was faster, and this is how they left it.
    Overtaken(Found),
}

/// One try. What would change nothing is not written.
async fn change(draft: &Draft<'_>, found: Found, now: Timestamp) -> Result<Tried, Rejection> {
    let Found { record: before, last_used } = found;
    if before.revoked_at.is_some() {
        return Err(Rejection::Revoked);
    }
    draft.precondition.check(before.revision)?;
    let (admin, record) = (draft.admin, draft.changes.clone().apply(&before)?);
    if record == before {
        let ticket = admin.keyring.store().ticket().await?;
        return Ok(Tried::Done(Found { record, last_used }, ticket));
    }
    let deed = Deed {
        action: Action::KeyUpdate,
        at: now,
        before: Some(&before),
        after: &record,
        expect: Expect::Revision(before.revision),
        idempotency: None,
    };
    match admin.write(&draft.author, deed).await? {
        Written::Applied(ticket) => Ok(Tried::Done(Found { record, last_used }, ticket)),
        Written::Conflict(Some(row)) => Ok(Tried::Overtaken(admin.read(&row, Kind::Key)?)),
        Written::Conflict(None) => Err(Rejection::NotFound),
        Written::Replayed { .. } | Written::IdempotencyConflict => {
            Err(Rejection::Internal("a change has no idempotency key"))
        }
    }
}
