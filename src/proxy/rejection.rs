//! The one table of refusals on the data plane: whatever can go wrong, and how it looks.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, header};

use crate::gate::Refusal;
use crate::gate::remaining::{Over, Remaining, Which};
use crate::listener::vitals::Unread;
use crate::problem::{Problem, Row};
use crate::route::path::PathFault;
use crate::route::table::Miss;
use crate::upstream::SendError;
use crate::upstream::upload::UploadFault;

/// Why a request is not answered by its upstream.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// As many requests are under way as may be.
    #[error("as many requests are under way as this gateway takes")]
    Overloaded,
    /// The head contradicts itself or HTTP.
    #[error("{0}")]
    BadRequest(&'static str),
    /// Its body may end in more than one place, so nobody knows what comes after it.
    #[error("{0}")]
    Framing(&'static str),
    /// The path has no normal form.
    #[error("{0}")]
    BadPath(PathFault),
    /// The target is longer than `max_uri_bytes`.
    #[error("the request target is longer than this gateway allows")]
    UriTooLong,
    /// The head is longer than `max_header_bytes`, or has more than `max_headers` lines.
    #[error("the headers are larger or more than this gateway allows")]
    HeadersTooLarge,
    /// A method that is never forwarded, or for which no route asks.
    #[error("the method is not allowed here")]
    MethodNotAllowed(Vec<Method>),
    /// A tunnel is asked for: what follows is meant for whoever is at its other end.
    #[error("this gateway opens no tunnels")]
    NoTunnel,
    /// No route fits.
    #[error("no route fits this host and path")]
    NoRoute,
    /// The gate said no.
    #[error(transparent)]
    Gate(#[from] Refusal),
    /// The key was withdrawn, lost its right, or could not be checked any more, while the request
    /// was running.
    #[error("the request was ended while it was running: {0}")]
    Cut(Refusal),
    /// It is no request.
    #[error("this is not HTTP/1.1")]
    Unreadable,
    /// The head took longer than `header_timeout`.
    #[error("the request's head did not arrive in time")]
    HeadTimeout,
    /// The body is longer than the route's `max_body`.
    #[error("the request's body is longer than this route allows")]
    BodyTooLarge,
    /// The client stopped sending.
    #[error("the request's body did not arrive in time")]
    BodyTimeout,
    /// The upstream did not answer.
    #[error("the upstream did not answer in time")]
    UpstreamTimeout,
    /// The upstream could not be asked.
    #[error(transparent)]
    Send(SendError),
    /// Our own fault.
    #[error("something went wrong inside the gateway")]
    Panicked,
}

impl Rejection {
    /// The row of this refusal: one for each way of saying no.
    pub fn row(&self) -> Row {
        let (status, code, title) = match self {
            Self::BadRequest(_)
            | Self::Framing(_)
            | Self::Unreadable
            | Self::BadPath(_)
            | Self::Send(SendError::Upload(_)) => (400, "bad_request", "The request is malformed"),
            Self::BodyTooLarge => (413, "body_too_large", "The body is too large"),
            Self::UriTooLong => (414, "uri_too_long", "The request target is too long"),
            Self::HeadersTooLarge => (431, "headers_too_large", "The headers are too large"),
            Self::MethodNotAllowed(_) | Self::NoTunnel => {
                (405, "method_not_allowed", "The method is not allowed")
            }
            Self::NoRoute => (404, "no_route", "No route fits"),
            Self::Gate(Refusal::MissingKey) => (401, "missing_key", "A key is needed"),
            Self::Gate(Refusal::MalformedKey) => (401, "malformed_key", "This is not a key"),
            Self::Gate(Refusal::AmbiguousKey) => (401, "ambiguous_key", "More than one key"),
            Self::Gate(Refusal::UnknownKey) => (401, "unknown_key", "The key is not known"),
            Self::Gate(Refusal::StoreUnreachable) | Self::Cut(Refusal::StoreUnreachable) => {
                (503, "store_unreachable", "Keys cannot be checked")
            }
            Self::Gate(Refusal::Uncounted) => {
                (503, "store_unreachable", "The quota cannot be counted")
            }
            // Whatever took the key's right away while it was used, in one word; the detail says it.
            Self::Gate(Refusal::RevokedKey) | Self::Cut(_) => {
                (401, "revoked_key", "The key was revoked")
            }
            Self::Gate(Refusal::ExpiredKey) => (401, "expired_key", "The key has expired"),
            Self::Gate(Refusal::DisabledKey) => (401, "disabled_key", "The key is disabled"),
            Self::Gate(Refusal::RouteNotAllowed) => (403, "route_not_allowed", "Not with this key"),
            Self::Gate(Refusal::AddressNotAllowed) => {
                (403, "address_not_allowed", "Not from this address")
            }
            Self::Gate(
                Refusal::OverLimit(Over { which: Which::Rate | Which::RouteRate, .. })
                | Refusal::AddressLimited(_),
            ) => (429, "rate_limited", "Too many requests"),
            Self::Gate(Refusal::OverLimit(Over { which: Which::Quota, .. })) => {
                (429, "quota_exhausted", "The quota is used up")
            }
            Self::Gate(Refusal::OverLimit(Over { which: Which::InFlight, .. })) => {
                (429, "too_many_in_flight", "Too many requests at once")
            }
            Self::Overloaded
            | Self::Gate(Refusal::Overloaded)
            | Self::Send(SendError::Crowded(_)) => (503, "overloaded", "Too much to do"),
            Self::HeadTimeout | Self::BodyTimeout => {
                (408, "request_timeout", "The request took too long to arrive")
            }
            Self::UpstreamTimeout => (504, "upstream_timeout", "The upstream took too long"),
            Self::Send(SendError::NoEndpoint) => {
                (503, "no_healthy_endpoint", "No endpoint is there")
            }
            Self::Send(SendError::Unreachable(_)) => {
                (502, "upstream_unreachable", "The upstream is not there")
            }
            Self::Send(SendError::Failed(_) | SendError::Flawed(_)) => {
                (502, "upstream_failed", "The upstream failed")
            }
            Self::Panicked => (500, "internal_error", "Our fault"),
        };
        Row { status, code, title }
    }

    /// Whose fault it was, for the log: a failure of ours or of the upstream is worth a line.
    pub fn is_failure(&self) -> bool {
        self.row().status >= 500 && self.row().code != "overloaded"
    }

    /// Whether nothing behind the request is taken for one: who contradicts themselves once is not
    /// believed about where the next begins.
    pub fn ends_connection(&self) -> bool {
        matches!(self, Self::BadRequest(_) | Self::Framing(_) | Self::NoTunnel)
    }

    /// As it goes to the client. Details of upstreams stay inside.
    pub fn problem(&self, key_header: &HeaderName) -> Problem {
        let row = self.row();
        let detail = match self.outer() {
            Some(outer) => outer.to_owned(),
            None => self.to_string(),
        };
        let problem = Problem::new(row, detail);
        if let Self::MethodNotAllowed(allowed) = self {
            problem.with_allow(allowed)
        } else if matches!(self, Self::NoTunnel) {
            problem.with_allow(&[])
        } else if let Some(wait) = self.retry_after() {
            problem.with_retry_after(wait)
        } else if row.status == 401 {
            problem.with_header(header::WWW_AUTHENTICATE, challenge(key_header))
        } else {
            problem
        }
    }

    /// In how long the same request gets in, where that is known.
    fn retry_after(&self) -> Option<Duration> {
        let Self::Gate(refusal) = self else { return None };
        match refusal {
            Refusal::OverLimit(over) => Some(over.retry_after),
            Refusal::AddressLimited(wait) => Some(*wait),
            Refusal::MissingKey
            | Refusal::MalformedKey
            | Refusal::AmbiguousKey
            | Refusal::UnknownKey
            | Refusal::RevokedKey
            | Refusal::ExpiredKey
            | Refusal::DisabledKey
            | Refusal::RouteNotAllowed
            | Refusal::AddressNotAllowed
            | Refusal::StoreUnreachable
            | Refusal::Uncounted
            | Refusal::Overloaded => None,
        }
    }

    /// What the caller is told of its limits beside it.
    pub fn remaining(&self) -> Option<Remaining> {
        if let Self::Gate(Refusal::OverLimit(over)) = self { Some(over.remaining()) } else { None }
    }

    /// What is said outside, where the message is for the log alone.
    fn outer(&self) -> Option<&'static str> {
        let Self::Send(fault) = self else { return None };
        match fault {
            SendError::Unreachable(_) => Some("the upstream cannot be reached"),
            SendError::Failed(_) => {
                Some("the upstream closed the connection, or did not answer with HTTP")
            }
            SendError::Crowded(_) => Some("no connection to the upstream became free"),
            SendError::NoEndpoint | SendError::Flawed(_) | SendError::Upload(_) => None,
        }
    }
}

impl From<SendError> for Rejection {
    fn from(fault: SendError) -> Self {
        match fault {
            SendError::Upload(UploadFault::TooLarge) => Self::BodyTooLarge,
            SendError::Upload(UploadFault::Malformed | UploadFault::Incomplete)
            | SendError::NoEndpoint
            | SendError::Crowded(_)
            | SendError::Unreachable(_)
            | SendError::Failed(_)
            | SendError::Flawed(_) => Self::Send(fault),
        }
    }
}

impl From<Unread> for Rejection {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Malformed => Self::Unreadable,
            Unread::TargetTooLong => Self::UriTooLong,
            Unread::HeadTooLarge => Self::HeadersTooLarge,
            Unread::TooSlow => Self::HeadTimeout,
        }
    }
}

impl From<Miss> for Rejection {
    fn from(miss: Miss) -> Self {
        match miss {
            Miss::NoRoute => Self::NoRoute,
            Miss::Method { allowed } => Self::MethodNotAllowed(allowed),
        }
    }
}

fn challenge(key_header: &HeaderName) -> HeaderValue {
    let text = format!(r#"ApiKey realm="keyward", header="{key_header}""#);
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("ApiKey"))
}
