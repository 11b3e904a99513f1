//! The calls on operators: who else may use this listener, and for what.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::admin::Admin;
use crate::admin::answer::{Answer, Done};
use crate::admin::asked::Asked;
use crate::admin::conditions::idempotency;
use crate::admin::documents::Document;
use crate::admin::fields::{Fields, Spot, label, list as items, parsed, time_after};
use crate::admin::minting::Order;
use crate::admin::records::{Found, withdraw};
use crate::admin::rejection::Rejection;
use crate::clock::Timestamp;
use crate::key::record::{Holder, KeyRecord, Label, Permission, Permissions, State};
use crate::key::text::{KeyId, Prefix};
use crate::store::Kind;

#[derive(Serialize)]
struct Operators<'a> {
    items: Vec<Document<'a>>,
}

/// Lists all operators, newest first.
pub async fn list(asked: Asked) -> Result<Answer, Rejection> {
    let (operators, now) = (asked.admin.operators().await?, asked.now());
    let items = operators.iter().map(|it| it.document(now)).collect();
    Answer::json(Done::Well, &Operators { items })
}

/// Makes an operator, or answers with the one that the same call has made before.
pub async fn create(mut asked: Asked) -> Result<Answer, Rejection> {
    let mut fields = asked.fields().await?;
    let now = asked.now();
    let author = asked.operator.id();
    let idempotency = idempotency(asked.headers(), author, CALL, &mut fields);
    let new = New::read(fields, now)?;
    let beyond = new.permissions.missing_in(asked.operator.permissions()).next();
    if let Some(permission) = beyond {
        return Err(Rejection::PermissionDenied(permission));
    }
    asked.admin.issue(&asked.operator, new.order(author, now), idempotency).await
}

/// Withdraws an operator, unless nobody would be left to manage operators.
pub async fn revoke(asked: Asked) -> Result<Answer, Rejection> {
    let admin = Arc::clone(&asked.admin);
    let _alone = admin.revoking_operators.lock().await;
    let (id, now) = (asked.record_id()?, asked.now());
    let operators = admin.operators().await?;
    let mut managers = operators.iter().map(|it| &it.record).filter(|it| manages(it, now));
    if managers.clone().any(|it| it.id == id) && managers.all(|it| it.id == id) {
        return Err(Rejection::StateConflict(
            "this is the last operator with operators:manage that does not expire: make another one first",
        ));
    }
    withdraw(asked, Kind::Operator).await
}

impl Admin {
    async fn operators(&self) -> Result<Vec<Found>, Rejection> {
        let rows = self.keyring.store().operators().await?;
        let rows = self.keyring.all_current(rows).await?;
        Ok(rows.iter().filter_map(|row| self.read_listed(row, Kind::Operator)).collect())
    }
}

/// Whether it may manage operators, now and for as long as nobody changes that.
fn manages(record: &KeyRecord, now: Timestamp) -> bool {
    let Holder::Operator(permissions) = &record.holder else { return false };
    record.state(now) == State::Active
        && record.expires_at.is_none()
        && permissions.contains(Permission::OperatorsManage)
}

/// An operator to be made.
struct New {
    name: Label,
    permissions: Permissions,
    expires_at: Option<Timestamp>,
}

impl New {
    fn read(mut fields: Fields, now: Timestamp) -> Result<Self, Rejection> {
        let name = fields.need("name", label);
        let permissions = fields.need("permissions", permissions);
        let expires_at = fields.take("expires_at", |it, spot| time_after(now, it, spot)).value();
        fields.end()?;
        let (Some(name), Some(permissions)) = (name, permissions) else {
            return Err(Rejection::Internal("a field was needed and not missed"));
        };
        Ok(Self { name, permissions, expires_at })
    }

    fn order(self, author: KeyId, now: Timestamp) -> Order {
        Order {
            prefix: Prefix::of_operators(),
            name: self.name,
            holder: Holder::Operator(self.permissions),
            expires_at: self.expires_at,
            created_by: author.to_string(),
            created_at: now,
        }
    }
}

fn permissions(value: Value, spot: &mut Spot<'_>) -> Option<Permissions> {
    let permissions: Vec<Permission> = items(Permission::ALL.len(), value, spot, parsed)?;
    if permissions.is_empty() {
        spot.fault("expected at least one");
        return None;
    }
    Some(permissions.into_iter().collect())
}

const CALL: &str = "POST /v1/operators";
