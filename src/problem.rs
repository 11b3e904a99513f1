//! Makes every refusal that leaves this process: `application/problem+json` of RFC 9457.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Map, Value};

use crate::clock::seconds_until;

/// A refusal on its way to the wire.
#[derive(Clone, Debug)]
pub struct Problem {
    row: Row,
    detail: Cow<'static, str>,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// One way of saying no: what a table of refusals holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The HTTP status.
    pub status: u16,
    /// The code, which also ends the type's URN.
    pub code: &'static str,
    /// A few words, the same for every problem of this code.
    pub title: &'static str,
}

impl Problem {
    /// The refusal of a row, with what is to be said about this one.
    pub fn new(row: Row, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { row, detail: detail.into(), members: Map::new(), headers: Vec::new() }
    }

    /// With one more member in the document.
    #[must_use]
    pub fn with_member(mut self, name: &str, value: Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }

    /// With one more header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// With the time after which it makes sense to try again: whole seconds, rounded up.
    #[must_use]
    pub fn with_retry_after(self, wait: Duration) -> Self {
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds_until(wait)))
    }

    /// With the methods that there are instead.
    #[must_use]
    pub fn with_allow(self, methods: &[Method]) -> Self {
        let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
        let names = HeaderValue::from_str(&names.join(", "));
        self.with_header(header::ALLOW, names.unwrap_or(HeaderValue::from_static("")))
    }

    /// The response. A 503 always says when to come back.
    pub fn into_response(self, request_id: &str) -> Response<Full<Bytes>> {
        let must_say_when = self.row.status == 503
            && !self.headers.iter().any(|(name, _)| *name == header::RETRY_AFTER);
        let this = if must_say_when { self.with_retry_after(Duration::from_secs(1)) } else { self };
        let body = Bytes::from(this.document(request_id));
        let mut response = Response::new(Full::new(body));
        *response.status_mut() =
            StatusCode::from_u16(this.row.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(this.headers);
        response
    }

    /// The whole message, for a connection on which nobody speaks HTTP any more.
    pub fn into_http1(self, request_id: &str) -> Vec<u8> {
        let row = self.row;
        let body = self.document(request_id);
        let reason = StatusCode::from_u16(row.status).ok().and_then(|it| it.canonical_reason());
        let mut message = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\nx-request-id: {request_id}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            row.status,
            reason.unwrap_or_default(),
            body.len()
        )
        .into_bytes();
        message.extend_from_slice(&body);
        message
    }

    fn document(&self, request_id: &str) -> Vec<u8> {
        let mut document = Map::new();
        let kind = format!("urn:keyward:problem:{}", self.row.code);
        document.insert("type".to_owned(), kind.into());
        document.insert("title".to_owned(), self.row.title.into());
        document.insert("status".to_owned(), self.row.status.into());
        document.insert("detail".to_owned(), self.detail.as_ref().into());
        document.insert("code".to_owned(), self.row.code.into());
        if !request_id.is_empty() {
            document.insert("request_id".to_owned(), request_id.into());
        }
        document.extend(self.members.clone());
        Value::Object(document).to_string().into_bytes()
    }
}

/// What a process answers that is asked how it is and should get no requests: a report and not a
/// refusal, though its status is one.
pub fn not_ready(report: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(report)));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
