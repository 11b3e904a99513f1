//! The calls on callers' keys.

use crate::admin::answer::{Answer, Done};
use crate::admin::asked::Asked;
use crate::admin::records::withdraw;
use crate::admin::rejection::Rejection;
use crate::store::Kind;

pub mod create;
pub mod draft;
pub mod limits;
pub mod list;
pub mod preview;
pub mod update;

/// Shows one key.
pub async fn show(asked: Asked) -> Result<Answer, Rejection> {
    let found = asked.admin.find(asked.record_id()?, Kind::Key).await?;
    let answer = Answer::json(Done::Well, &found.document(asked.now()))?;
    Ok(answer.with_revision(found.record.revision))
}

/// Revokes a key, for good.
pub async fn revoke(asked: Asked) -> Result<Answer, Rejection> {
    withdraw(asked, Kind::Key).await
}
