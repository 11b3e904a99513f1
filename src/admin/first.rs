//! Makes the first operator of a store that has none.

use crate::admin::minting::{Order, mint};
use crate::admin::rejection::Rejection;
use crate::admin::writing::{Action, Author, Deed, write};
use crate::clock::Timestamp;
use crate::gate::keyring::Keyring;
use crate::key::record::{Holder, Label, MalformedLabel, Permissions};
use crate::key::text::{ApiKey, Prefix};
use crate::store::{Expect, Written};

/// The token of the first operator, who holds every permission; `None` where the store has an
/// operator already, be it a revoked one. Of many who try at once one gets a token.
pub async fn first_operator(
    keyring: &Keyring,
    now: Timestamp,
) -> Result<Option<ApiKey>, Rejection> {
    if !keyring.store().operators().await?.is_empty() {
        return Ok(None);
    }
    let name: Result<Label, MalformedLabel> = "first operator".parse();
    let order = Order {
        prefix: Prefix::of_operators(),
        name: name.map_err(|_malformed| Rejection::Internal("the first operator has no name"))?,
        holder: Holder::Operator(Permissions::all()),
        expires_at: None,
        created_by: OURSELVES.to_owned(),
        created_at: now,
    };
    let (token, record) = mint(keyring, order).await?;
    let deed = Deed {
        action: Action::OperatorCreate,
        at: now,
        before: None,
        after: &record,
        expect: Expect::NoOperator,
        idempotency: None,
    };
    let [id, name, address] = [OURSELVES, OURSELVES, "local"].map(str::to_owned);
    match write(keyring, &Author { id, name, address }, deed).await? {
        Written::Applied(_) => Ok(Some(token)),
        Written::Conflict(_) | Written::Replayed { .. } | Written::IdempotencyConflict => Ok(None),
    }
}

const OURSELVES: &str = "keyward";
