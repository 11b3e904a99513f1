//! Makes changes: seals, stores and audits them in one step, and waits until the fleet confirms.

use crate::admin::Admin;
use crate::admin::documents::{Document, Moments};
use crate::admin::rejection::Rejection;
use crate::admin::sign_in::Operator;
use crate::clock::{Moment, Timestamp};
use crate::gate::keyring::Keyring;
use crate::key::record::KeyRecord;
use crate::key::text::KeyId;
use crate::store::register::{Propagation, receipts};
use crate::store::{Audit, Expect, Idempotency, Ticket, Write, Written};

/// Who changes something.
#[derive(Clone, Debug)]
pub struct Author {
    /// The operator's id, or what does it without one.
    pub id: String,
    /// The operator, if it is one.
    pub operator: Option<KeyId>,
    /// The operator's name.
    pub name: String,
    /// From where.
    pub address: String,
}

impl From<&Operator> for Author {
    fn from(operator: &Operator) -> Self {
        Self {
            id: operator.id().to_string(),
            operator: Some(operator.id()),
            name: operator.name().to_owned(),
            address: operator.address().to_string(),
        }
    }
}

/// A change to be made.
#[derive(Debug)]
pub struct Deed<'a> {
    /// What it is.
    pub action: Action,
    /// When.
    pub at: Timestamp,
    /// The record as it was.
    pub before: Option<&'a KeyRecord>,
    /// The record as it is to be.
    pub after: &'a KeyRecord,
    /// What must hold for that.
    pub expect: Expect,
    /// Which repetition of it changes nothing.
    pub idempotency: Option<Idempotency>,
}

/// What a change is, as the audit log calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A key is minted.
    KeyCreate,
    /// A key is changed.
    KeyUpdate,
    /// A key is withdrawn.
    KeyRevoke,
    /// An operator is made.
    OperatorCreate,
    /// An operator is withdrawn.
    OperatorRevoke,
    /// A gateway is taken out of the register.
    GatewayForget,
    /// The configuration is read again.
    ConfigReload,
}

impl Action {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeyCreate => "key.create",
            Self::KeyUpdate => "key.update",
            Self::KeyRevoke => "key.revoke",
            Self::OperatorCreate => "operator.create",
            Self::OperatorRevoke => "operator.revoke",
            Self::GatewayForget => "gateway.forget",
            Self::ConfigReload => "config.reload",
        }
    }
}

/// Makes a change. What has to be waited for is in the answer's ticket.
pub async fn write(
    keyring: &Keyring,
    author: &Author,
    deed: Deed<'_>,
) -> Result<Written, Rejection> {
    let row = keyring.vault().seal(deed.after)?;
    let id = row.id;
    let write = Write {
        row,
        expect: deed.expect,
        audit: audit_of(author, &deed),
        idempotency: deed.idempotency,
    };
    let written = keyring.store().write(write).await?;
    if matches!(written, Written::Applied(_)) {
        tell(author, deed.action, id.as_str());
    }
    Ok(written)
}

impl Admin {
    /// Makes a change, and counts how long that took. Whoever was let in with the head of a request
    /// may have been withdrawn while its body came: what this process has confirmed counts here.
    pub async fn write(&self, author: &Author, deed: Deed<'_>) -> Result<Written, Rejection> {
        let begun = Moment::now();
        if let Some(operator) = author.operator {
            self.keyring.judge_operator(operator, begun).map_err(Rejection::Token)?;
        }
        let written = write(&self.keyring, author, deed).await;
        self.tally.wrote(Moment::now().since(begun));
        written
    }

    /// Waits until the fleet has confirmed a change, or certainly will not.
    pub async fn receipts(&self, ticket: &Ticket) -> Propagation {
        let begun = Moment::now();
        let propagation = receipts(self.keyring.store(), ticket).await;
        self.tally.waited(Moment::now().since(begun), &propagation);
        propagation
    }
}

/// The line in the log that every change leaves.
pub fn tell(author: &Author, action: Action, target: &str) {
    let (record, gateway) = match action {
        Action::GatewayForget => (None, Some(target)),
        Action::ConfigReload => (None, None),
        Action::KeyCreate
        | Action::KeyUpdate
        | Action::KeyRevoke
        | Action::OperatorCreate
        | Action::OperatorRevoke => (Some(target), None),
    };
    tracing::info!(
        event = "audit",
        action = action.as_str(),
        record.id = record,
        gateway.id = gateway,
        operator.id = author.id,
        operator.name = author.name,
        address = author.address,
        "an operator changed something"
    );
}

/// The row in the store that every change leaves, without what was before and after.
pub fn audit(author: &Author, action: Action, target: String, at: Timestamp) -> Audit {
    Audit {
        at,
        operator: author.id.clone(),
        operator_name: author.name.clone(),
        address: author.address.clone(),
        action: action.as_str().to_owned(),
        target,
        before: None,
        after: None,
    }
}

fn audit_of(author: &Author, deed: &Deed<'_>) -> Audit {
    let moments = Moments { now: deed.at, last_used: None };
    let document = |it| serde_json::to_value(Document::new(it, moments)).unwrap_or_default();
    Audit {
        before: deed.before.map(document),
        after: Some(document(deed.after)),
        ..audit(author, deed.action, deed.after.id.to_string(), deed.at)
    }
}
