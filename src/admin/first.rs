//! Makes the first operator of a store that has none.

use crate::admin::minting::{Order, mint};
use crate::admin::rejection::Rejection;
use crate::admin::writing::{Action, Author, Deed, write};
use crate::clock::Timestamp;
use crate::gate::keyring::Keyring;
use crate::key::record::{Holder, KeyRecord, Label, MalformedLabel, Permissions};
use crate::key::text::{ApiKey, KeyId, Prefix};
use crate::store::{Expect, Written};

/// The first operator, who holds every permission, before the store knows of it.
#[derive(Debug)]
pub struct First {
    token: ApiKey,
    record: KeyRecord,
}

/// Whether the first operator is the one that was to be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It is.
    Now,
    /// The store had an operator already, be it a revoked one.
    AnotherWas,
}

impl First {
    /// Mints its token.
    pub async fn mint(keyring: &Keyring, now: Timestamp) -> Result<Self, Rejection> {
        let name: Result<Label, MalformedLabel> = "first operator".parse();
        let order = Order {
            prefix: Prefix::of_operators(),
            name: name.map_err(|_malformed| Rejection::Internal("a name was refused"))?,
            holder: Holder::Operator(Permissions::all()),
            expires_at: None,
            created_by: OURSELVES.to_owned(),
            created_at: now,
        };
        let (token, record) = mint(keyring, order).await?;
        Ok(Self { token, record })
    }

    /// The plaintext.
    pub fn token(&self) -> &ApiKey {
        &self.token
    }

    /// Its public half.
    pub fn id(&self) -> KeyId {
        self.record.id
    }

    /// Enters it into the store. Of many who try at once one does.
    pub async fn enter(&self, keyring: &Keyring) -> Result<Entered, Rejection> {
        let deed = Deed {
            action: Action::OperatorCreate,
            at: self.record.created_at,
            before: None,
            after: &self.record,
            expect: Expect::NoOperator,
            idempotency: None,
        };
        let [id, name, address] = [OURSELVES, OURSELVES, "local"].map(str::to_owned);
        match write(keyring, &Author { id, operator: None, name, address }, deed).await? {
            Written::Applied(_) => Ok(Entered::Now),
            Written::Conflict(_) | Written::Replayed { .. } | Written::IdempotencyConflict => {
                Ok(Entered::AnotherWas)
            }
        }
    }
}

const OURSELVES: &str = "keyward";
