//! Turns the head of a request into what HTTP/2 wants, and back.

use http::header::{CONNECTION, HOST, HeaderValue, TE};
use http::uri::{Authority, Parts, Scheme as UriScheme};
use http::{Request, Uri};

use crate::config::Endpoint;
use crate::upstream::body::RequestBody;

/// `Host` becomes the authority; `te: trailers` stays, and what named it goes: RFC 9113, 8.2.2.
/// hyper would remove what `Connection` names.
pub fn to_http2(request: Request<RequestBody>, endpoint: &Endpoint) -> Request<RequestBody> {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(CONNECTION);
    let host = parts.headers.remove(HOST);
    let authority = host.and_then(|it| Authority::try_from(it.as_bytes()).ok());
    let mut uri = parts.uri.into_parts();
    let is_secure = endpoint.scheme.is_secure();
    uri.scheme = Some(if is_secure { UriScheme::HTTPS } else { UriScheme::HTTP });
    // A request that was let in has a host that is one.
    uri.authority = authority.or_else(|| own_authority(endpoint));
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
    Request::from_parts(parts, body)
}

/// As it was.
pub fn to_http1(request: Request<RequestBody>) -> Request<RequestBody> {
    let (mut parts, body) = request.into_parts();
    let uri = std::mem::take(&mut parts.uri).into_parts();
    let host = uri.authority.and_then(|it| HeaderValue::from_str(it.as_str()).ok());
    if let Some(host) = host {
        parts.headers.insert(HOST, host);
    }
    if parts.headers.contains_key(TE) {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    let mut origin_form = Parts::default();
    origin_form.path_and_query = uri.path_and_query;
    parts.uri = Uri::from_parts(origin_form).unwrap_or_default();
    Request::from_parts(parts, body)
}

fn own_authority(endpoint: &Endpoint) -> Option<Authority> {
    let Endpoint { host, port, .. } = endpoint;
    let text =
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    text.parse().ok()
}
