//! What a handler gets: who asks, and the parts of the request it may read.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::admin::Admin;
use crate::admin::fields::Fields;
use crate::admin::rejection::Rejection;
use crate::admin::sign_in::Operator;
use crate::clock::{Moment, Timestamp};
use crate::key::text::KeyId;

/// A call that needs no permission.
#[derive(Debug)]
pub struct Visit {
    /// Where it is asked.
    pub admin: Arc<Admin>,
    /// Who asks, if they showed a token.
    pub operator: Option<Operator>,
}

/// A call by an operator who holds its permission.
#[derive(Debug)]
pub struct Asked {
    /// Where it is asked.
    pub admin: Arc<Admin>,
    /// Who asks.
    pub operator: Operator,
    /// What the path names.
    pub id: Option<String>,
    /// The head.
    pub head: Parts,
    /// Not read yet.
    pub body: Body,
}

impl Asked {
    /// The store's clock, on which everything is judged and dated.
    pub fn now(&self) -> Timestamp {
        self.admin.keyring.lease().store_time(Moment::now())
    }

    /// The head's fields.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// What the path names.
    pub fn id(&self) -> Result<&str, Rejection> {
        self.id.as_deref().ok_or(Rejection::NotFound)
    }

    /// The record that the path names.
    pub fn record_id(&self) -> Result<KeyId, Rejection> {
        self.id()?.parse().map_err(|_no_id| Rejection::NotFound)
    }

    /// The query's pairs, decoded, in order.
    pub fn query(&self) -> Result<Vec<(String, String)>, Rejection> {
        let query = Query::try_from_uri(&self.head.uri);
        query.map(|it| it.0).map_err(|_fault| Rejection::fault("query", "cannot be read"))
    }

    /// The fields of the JSON body.
    pub async fn fields(&mut self) -> Result<Fields, Rejection> {
        let is_json = self.has_json();
        let mut fields = Fields::parse(&read(std::mem::take(&mut self.body)).await?);
        if !is_json {
            fields.spot("Content-Type").fault("expected application/json");
        }
        Ok(fields)
    }

    fn has_json(&self) -> bool {
        let value = self.headers().get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
        let essence = value.and_then(|it| it.split(';').next()).unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
            || (self.head.method == Method::PATCH && is_merge_patch(essence))
    }

    /// Whether objects inside the body are to be merged, as RFC 7396 says, and not replaced.
    pub fn merges(&self) -> bool {
        let value = self.headers().get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
        value.and_then(|it| it.split(';').next()).is_some_and(|it| is_merge_patch(it.trim()))
    }
}

/// Reads away a small body that nobody wants, so that its sender can read the answer.
pub async fn read_away(head: &Parts, body: Body) {
    // Who waits for "100 Continue" has sent nothing yet and is not told to.
    if !head.headers.contains_key(header::EXPECT) {
        waste(body, UNWANTED_BYTES_MAX).await;
    }
}

/// Reads a body whole. One that is too large is read on for a while: whoever is still sending
/// would otherwise see a reset instead of the answer.
async fn read(mut body: Body) -> Result<Bytes, Rejection> {
    let collected = Limited::new(&mut body, BODY_BYTES_MAX).collect();
    match tokio::time::timeout(BODY_TIMEOUT, collected).await {
        Ok(Ok(read)) => Ok(read.to_bytes()),
        Ok(Err(fault)) if fault.is::<LengthLimitError>() => {
            waste(body, TOO_LARGE_BYTES_MAX).await;
            Err(Rejection::BodyTooLarge)
        }
        Ok(Err(_broken)) => Err(Rejection::fault("body", "did not arrive whole")),
        Err(_elapsed) => Err(Rejection::fault("body", "did not arrive in time")),
    }
}

async fn waste(mut body: Body, mut bytes: usize) {
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = bytes.checked_sub(length) else { return };
            bytes = rest;
        }
    };
    drop(tokio::time::timeout(WASTE_TIME_MAX, read).await);
}

fn is_merge_patch(essence: &str) -> bool {
    essence.eq_ignore_ascii_case("application/merge-patch+json")
}

const BODY_BYTES_MAX: usize = 1024 * 1024;
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const UNWANTED_BYTES_MAX: usize = 64 * 1024;
const TOO_LARGE_BYTES_MAX: usize = 4 * 1024 * 1024;
const WASTE_TIME_MAX: Duration = Duration::from_secs(1);
