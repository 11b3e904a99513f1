//! Decides who asks: turns a bearer token into an operator.

use std::net::IpAddr;

use http::{HeaderMap, header};

use crate::admin::Admin;
use crate::admin::rejection::Rejection;
use crate::clock::Moment;
use crate::gate::Refusal;
use crate::key::record::{Permission, Permissions};
use crate::key::text::{KeyId, PresentedKey};

/// An operator whose token was checked just now. Made by [`Admin::sign_in`] alone.
#[derive(Clone, Debug)]
pub struct Operator {
    id: KeyId,
    name: Box<str>,
    permissions: Permissions,
    address: IpAddr,
}

impl Operator {
    /// The public half of the token.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// For the audit log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// From where.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// What the operator may do.
    pub fn permissions(&self) -> &Permissions {
        &self.permissions
    }

    /// Refuses whoever lacks `permission`.
    pub fn must_hold(&self, permission: Permission) -> Result<(), Rejection> {
        if self.permissions.contains(permission) {
            Ok(())
        } else {
            Err(Rejection::PermissionDenied(permission))
        }
    }
}

impl Admin {
    /// The operator whose token the head shows.
    pub async fn sign_in(
        &self,
        headers: &HeaderMap,
        address: IpAddr,
    ) -> Result<Operator, Rejection> {
        match self.operator(headers, address).await {
            Ok(operator) => Ok(operator),
            Err(refusal) => {
                if is_attempt(refusal) {
                    self.attempts.failed(address).map_err(Rejection::TooManyAttempts)?;
                }
                Err(Rejection::Token(refusal))
            }
        }
    }

    async fn operator(&self, headers: &HeaderMap, address: IpAddr) -> Result<Operator, Refusal> {
        let shown = bearer(headers)?;
        let token = PresentedKey::parse(shown).map_err(|_malformed| Refusal::MalformedKey)?;
        let (id, rights) = self.keyring.operator(&token, address, Moment::now()).await?;
        Ok(Operator { id, name: rights.name, permissions: rights.permissions, address })
    }
}

fn bearer(headers: &HeaderMap) -> Result<&[u8], Refusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Err(Refusal::MissingKey),
        (Some(value), None) => value.as_bytes(),
        (Some(_), Some(_)) => return Err(Refusal::AmbiguousKey),
    };
    let (scheme, token) = value.split_at_checked(SCHEME.len()).ok_or(Refusal::MalformedKey)?;
    let is_bearer = scheme.eq_ignore_ascii_case(SCHEME);
    if is_bearer { Ok(token.trim_ascii()) } else { Err(Refusal::MalformedKey) }
}

/// Whether somebody may have been guessing.
fn is_attempt(refusal: Refusal) -> bool {
    match refusal {
        Refusal::MissingKey | Refusal::StoreUnreachable | Refusal::Overloaded => false,
        Refusal::MalformedKey
        | Refusal::AmbiguousKey
        | Refusal::UnknownKey
        | Refusal::RevokedKey
        | Refusal::ExpiredKey
        | Refusal::DisabledKey
        | Refusal::RouteNotAllowed
        | Refusal::OverLimit(_)
        | Refusal::AddressLimited(_)
        | Refusal::Uncounted
        | Refusal::AddressNotAllowed => true,
    }
}

const SCHEME: &[u8] = b"bearer ";
