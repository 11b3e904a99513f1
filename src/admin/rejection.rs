//! The one table of refusals on the admin listener: whatever can go wrong, and how it looks.

use std::time::Duration;

use http::{HeaderValue, Method, header};
use serde::Serialize;

use crate::gate::Refusal;
use crate::key::record::Permission;
use crate::key::seal::SealFault;
use crate::problem::{Problem, Row};
use crate::store::{Unavailable, WriteFault};

/// Why a call is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// The request is wrong; holds everything that is.
    #[error("{}", in_words(.0))]
    BadRequest(Vec<Fault>),
    /// The gate does not know who asks.
    #[error("{}", about_tokens(*.0))]
    Token(Refusal),
    /// Too many wrong tokens came from there; the next may come after this time.
    #[error("too many wrong tokens from this address")]
    TooManyAttempts(Duration),
    /// The operator lacks this permission.
    #[error("this needs the permission {0}, which this operator does not have")]
    PermissionDenied(Permission),
    /// A page of somebody else's site sends the request.
    #[error("requests from pages of another origin are refused")]
    ForeignOrigin,
    /// The request was meant for somebody else.
    #[error(
        "this listener does not go by that name: use its own address or localhost, or add the name to admin.hosts"
    )]
    WrongHost,
    /// There is nothing there.
    #[error("there is nothing here by that name")]
    NotFound,
    /// There is something, and it takes other methods.
    #[error("this takes other methods")]
    MethodNotAllowed(Vec<Method>),
    /// The same idempotency key came with another body before.
    #[error(
        "this Idempotency-Key was used for another request in the last 24 hours: choose a new one"
    )]
    IdempotencyConflict,
    /// It cannot be done as things stand.
    #[error("{0}")]
    StateConflict(&'static str),
    /// The record was withdrawn for good.
    #[error("the key was revoked, for good: it takes no other change")]
    Revoked,
    /// `If-Match` named another revision than this one.
    #[error("the key has changed since: it is at revision {0}")]
    RevisionConflict(u64),
    /// The body is beyond the limit.
    #[error("the body is larger than 1 MiB")]
    BodyTooLarge,
    /// The store cannot be asked. Operators are told why: they are the ones who can mend it.
    #[error("{0}; nothing was changed")]
    Store(Unavailable),
    /// A record cannot be trusted.
    #[error("the record cannot be read; the log says why")]
    Unreadable(SealFault),
    /// There is more to do than can be done.
    #[error("too much to do at the moment; nothing was changed")]
    Overloaded,
    /// Nobody knows whether the change was made.
    #[error(
        "whether the change was made is not known: repeat it, a mint with the same Idempotency-Key"
    )]
    OutcomeUnknown,
    /// Our own fault.
    #[error("something went wrong inside the gateway")]
    Internal(&'static str),
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where: a field like `routes[1]`, a header or a parameter; `body` for all of it.
    pub path: String,
    /// What, and what would be right.
    pub detail: String,
}

impl Rejection {
    /// A request with one fault.
    pub fn fault(path: &str, detail: impl Into<String>) -> Self {
        Self::BadRequest(vec![Fault { path: path.to_owned(), detail: detail.into() }])
    }

    /// The row of this refusal: one for each way of saying no. There is none for a gateway that is
    /// on its way out: it still changes what it is asked to, and gives receipts, until its last
    /// request is done, since a revocation must not have to look for another gateway.
    pub fn row(&self) -> Row {
        let (status, code, title) = match self {
            Self::BadRequest(_) => (400, "bad_request", "The request is wrong"),
            Self::Token(Refusal::MissingKey) => (401, "missing_token", "A token is needed"),
            Self::Token(
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
                | Refusal::AddressNotAllowed,
            ) => (401, "unknown_token", "The token opens nothing"),
            Self::Token(Refusal::StoreUnreachable) | Self::Store(_) | Self::Unreadable(_) => {
                (503, "store_unreachable", "The store cannot be asked")
            }
            Self::Token(Refusal::Overloaded) | Self::Overloaded => {
                (503, "overloaded", "Too much to do")
            }
            Self::TooManyAttempts(_) => (429, "too_many_attempts", "Too many wrong tokens"),
            Self::PermissionDenied(_) | Self::ForeignOrigin => {
                (403, "permission_denied", "Not allowed")
            }
            Self::WrongHost => (421, "wrong_host", "Not the host that was asked for"),
            Self::NotFound => (404, "not_found", "Nothing is here"),
            Self::MethodNotAllowed(_) => (405, "method_not_allowed", "The method is not allowed"),
            Self::IdempotencyConflict => {
                (409, "idempotency_conflict", "Another request had this Idempotency-Key")
            }
            Self::StateConflict(_) => (409, "state_conflict", "Not as things stand"),
            Self::Revoked => (409, "revoked", "The key was revoked"),
            Self::RevisionConflict(_) => (412, "revision_conflict", "The key has changed since"),
            Self::BodyTooLarge => (413, "body_too_large", "The body is too large"),
            Self::OutcomeUnknown => (504, "outcome_unknown", "The outcome is not known"),
            Self::Internal(_) => (500, "internal_error", "Our fault"),
        };
        Row { status, code, title }
    }

    /// As it goes to the client; what is inside stays inside.
    pub fn problem(&self) -> Problem {
        let row = self.row();
        let problem = Problem::new(row, self.to_string());
        match self {
            Self::BadRequest(faults) => problem.with_member("errors", listed(faults)),
            Self::PermissionDenied(permission) => {
                problem.with_member("permission", permission.as_str().into())
            }
            // No permission would let it in.
            Self::ForeignOrigin => problem.with_member("permission", serde_json::Value::Null),
            Self::RevisionConflict(revision) => problem.with_member("revision", (*revision).into()),
            Self::MethodNotAllowed(allowed) => problem.with_allow(allowed),
            Self::TooManyAttempts(wait) => problem.with_retry_after(*wait),
            Self::Token(_) if row.status == 401 => {
                problem.with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            }
            Self::Token(_)
            | Self::WrongHost
            | Self::NotFound
            | Self::IdempotencyConflict
            | Self::StateConflict(_)
            | Self::Revoked
            | Self::BodyTooLarge
            | Self::Store(_)
            | Self::Unreadable(_)
            | Self::Overloaded
            | Self::OutcomeUnknown
            | Self::Internal(_) => problem,
        }
    }
}

impl From<Unavailable> for Rejection {
    fn from(fault: Unavailable) -> Self {
        Self::Store(fault)
    }
}

impl From<WriteFault> for Rejection {
    fn from(fault: WriteFault) -> Self {
        match fault {
            WriteFault::Unavailable(fault) => Self::Store(fault),
            WriteFault::OutcomeUnknown => Self::OutcomeUnknown,
        }
    }
}

impl From<SealFault> for Rejection {
    fn from(fault: SealFault) -> Self {
        Self::Unreadable(fault)
    }
}

fn about_tokens(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::MissingKey => "an operator's token is needed: Authorization: Bearer kwop_…",
        Refusal::MalformedKey => "what was shown is not an operator's token",
        Refusal::AmbiguousKey => "more than one token was shown",
        Refusal::UnknownKey
        | Refusal::RouteNotAllowed
        | Refusal::OverLimit(_)
        | Refusal::AddressLimited(_)
        | Refusal::Uncounted
        | Refusal::AddressNotAllowed => "the token is not known",
        Refusal::RevokedKey => "the token was revoked",
        Refusal::ExpiredKey => "the token has expired",
        Refusal::DisabledKey => "the token is disabled",
        Refusal::StoreUnreachable => "tokens cannot be checked at the moment",
        Refusal::Overloaded => "too much to do at the moment",
    }
}

fn in_words(faults: &[Fault]) -> String {
    let words: Vec<String> =
        faults.iter().map(|it| format!("{}: {}", it.path, it.detail)).collect();
    words.join("; ")
}

fn listed(faults: &[Fault]) -> serde_json::Value {
    let faults = faults.iter().map(|it| serde_json::json!({"path": it.path, "detail": it.detail}));
    faults.collect()
}
