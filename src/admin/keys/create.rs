//! Mints a key.

use crate::admin::answer::Answer;
use crate::admin::asked::Asked;
use crate::admin::conditions::idempotency;
use crate::admin::keys::draft::{NewKey, Terms};
use crate::admin::minting::Order;
use crate::admin::rejection::Rejection;
use crate::key::record::Holder;

/// Mints a key, or answers with the one that the same call has minted before.
pub async fn create(mut asked: Asked) -> Result<Answer, Rejection> {
    let mut fields = asked.fields().await?;
    let now = asked.now();
    let (admin, operator) = (&asked.admin, &asked.operator);
    let idempotency = idempotency(asked.headers(), operator.id(), CALL, &mut fields);
    let config = admin.config();
    let new = NewKey::read(fields, &Terms { now, config: &config })?;
    let prefix = config.prefix_of(&new.scope.scheme).cloned();
    let order = Order {
        prefix: prefix.ok_or(Rejection::Internal("a scheme was found and then was not"))?,
        name: new.name,
        holder: Holder::Caller(new.scope),
        expires_at: new.expires_at,
        created_by: operator.id().to_string(),
        created_at: now,
    };
    admin.issue(operator, order, idempotency).await
}

const CALL: &str = "POST /v1/keys";
