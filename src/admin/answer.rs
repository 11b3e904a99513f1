//! How a call that was carried out looks on the wire.

use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, header};
use serde::Serialize;

use crate::admin::rejection::Rejection;
use crate::problem;

/// An answer on its way to the wire.
#[derive(Debug)]
pub struct Answer {
    done: Done,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Here it is.
    Well,
    /// Something new was made.
    Created,
    /// It was done, and not everybody has confirmed it yet.
    NotEverywhere,
    /// A report, not a refusal: this gateway should not get requests now.
    NotReady,
}

impl Answer {
    /// A JSON document.
    pub fn json(done: Done, document: &impl Serialize) -> Result<Self, Rejection> {
        let body = serde_json::to_vec(document)
            .map_err(|_fault| Rejection::Internal("an answer could not be written"))?;
        let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        Ok(Self { done, headers, body })
    }

    /// Text of that type.
    pub fn text(content_type: &'static str, text: String) -> Self {
        let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static(content_type))];
        Self { done: Done::Well, headers, body: text.into_bytes() }
    }

    /// With the document's `ETag`.
    #[must_use]
    pub fn with_revision(self, revision: u64) -> Self {
        self.with(header::ETAG, &etag(revision))
    }

    /// With where the new document is.
    #[must_use]
    pub fn with_location(self, path: &str) -> Self {
        self.with(header::LOCATION, path)
    }

    /// As the response.
    pub fn into_response(self) -> Response<Body> {
        let mut response = match self.done {
            Done::Well => with_status(200, self.body),
            Done::Created => with_status(201, self.body),
            Done::NotEverywhere => with_status(202, self.body),
            Done::NotReady => problem::not_ready(self.body).map(Body::new),
        };
        response.headers_mut().extend(self.headers);
        response
    }

    fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.extend(HeaderValue::from_str(value).map(|it| (name, it)));
        self
    }
}

fn with_status(status: u16, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    if let Ok(status) = status.try_into() {
        *response.status_mut() = status;
    }
    response
}

/// How a revision is written in `ETag` and `If-Match`.
pub fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}
