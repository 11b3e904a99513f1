//! Mints: draws a plaintext and makes the record that will verify it.

use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;

use crate::admin::rejection::Rejection;
use crate::clock::Timestamp;
use crate::gate::hashing::QueueFull;
use crate::gate::keyring::Keyring;
use crate::key::record::{Holder, KeyRecord, Label};
use crate::key::text::{ApiKey, Prefix};

/// What is to be minted.
#[derive(Clone, Debug)]
pub struct Order {
    /// What stands before the id.
    pub prefix: Prefix,
    /// Which integration or person it is for.
    pub name: Label,
    /// What it opens.
    pub holder: Holder,
    /// From then on it is refused.
    pub expires_at: Option<Timestamp>,
    /// Who mints it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
}

/// The plaintext, which is kept nowhere, and the record.
pub async fn mint(keyring: &Keyring, order: Order) -> Result<(ApiKey, KeyRecord), Rejection> {
    let key = ApiKey::mint(&order.prefix, &mut UnwrapErr(SysRng));
    let tag = keyring.vault().tag(&key.digest());
    let pending = keyring.hashing().mint(key.digest());
    let hashed = pending.map_err(|QueueFull| Rejection::Overloaded)?.await;
    let argon2id = hashed
        .map_err(|_ended| Rejection::Internal("argon2's threads have ended"))?
        .map_err(|_fault| Rejection::Internal("argon2 refused its own parameters"))?;
    let record = KeyRecord {
        id: key.id(),
        prefix: order.prefix,
        last_digits: key.last_digits().to_owned(),
        name: order.name,
        holder: order.holder,
        created_at: keyring.lease().date(order.created_at),
        created_by: order.created_by,
        expires_at: order.expires_at,
        disabled: false,
        revoked_at: None,
        revision: 1,
        argon2id,
        tag: Some(tag),
    };
    Ok((key, record))
}
