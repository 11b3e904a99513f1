//! Keeps what it takes to send a request once more.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body::Body;

use crate::upstream::body::RequestBody;
use crate::upstream::upload::Upload;

/// The head of a request that is idempotent and has no body. A list is copied, not the map:
/// that is a third of the price, and it is nearly never needed.
#[derive(Debug)]
pub struct Replay {
    method: Method,
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Replay {
    /// Of a request that may be repeated; `None`: this one may not.
    pub fn of(request: &Request<RequestBody>) -> Option<Self> {
        if !request.method().is_idempotent() || !request.body().is_end_stream() {
            return None;
        }
        let headers = request.headers().iter();
        Some(Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: headers.map(|(name, value)| (name.clone(), value.clone())).collect(),
        })
    }

    /// The request again.
    pub fn request(self, upload: Upload) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::empty(upload));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        *request.headers_mut() = headers;
        request
    }
}
