//! Decides whether a head can be trusted to mean the same to everyone: host, framing, method, path.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header};
use percent_encoding::{CONTROLS, utf8_percent_encode};

use crate::config::HeadLimits;
use crate::proxy::rejection::Rejection;
use crate::route::host::Host;
use crate::route::path::normal_form;
use crate::route::table::Head;

/// What was found of a head that is good.
#[derive(Debug)]
pub struct Checked<'a> {
    host: Host<'a>,
    path: &'a str,
    method: &'a Method,
    headers: &'a HeaderMap,
}

impl Checked<'_> {
    /// What routes look at.
    pub fn head(&self) -> Head<'_> {
        Head { host: &self.host, path: self.path, method: self.method, headers: self.headers }
    }
}

/// Checks a head and brings its target to origin form, with the path in normal form: what is
/// matched is what is forwarded.
pub fn check<'a, B>(
    request: &'a mut Request<B>,
    limits: &HeadLimits,
) -> Result<Checked<'a>, Rejection> {
    check_size(request, limits)?;
    if request.version() == Version::HTTP_2 {
        check_http2(request)?;
    }
    check_method(request.method())?;
    check_framing(request.headers_mut())?;
    normalise(request)?;
    let host = host(request)?;
    let (path, headers) = (request.uri().path(), request.headers());
    Ok(Checked { host, path, method: request.method(), headers })
}

fn check_size<B>(request: &Request<B>, limits: &HeadLimits) -> Result<(), Rejection> {
    let headers = request.headers();
    let uri = request.uri();
    let authority = uri.authority().map_or(0, |it| "http://".len() + it.as_str().len());
    let target = authority + uri.path_and_query().map_or(0, |it| it.as_str().len());
    if target > limits.uri_bytes_max {
        return Err(Rejection::UriTooLong);
    }
    let bytes: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > limits.bytes_max || headers.len() > limits.count_max {
        return Err(Rejection::HeadersTooLarge);
    }
    Ok(())
}

fn check_method(method: &Method) -> Result<(), Rejection> {
    match method.as_str() {
        "TRACE" => Err(Rejection::MethodNotAllowed(Vec::new())),
        "CONNECT" => Err(Rejection::NoTunnel),
        it if it.len() > METHOD_BYTES_MAX => Err(Rejection::BadRequest("the method is too long")),
        _ => Ok(()),
    }
}

/// What h2 lets pass of a malformed request: RFC 9113, 8.1.1, 8.2.1 and 8.3.1.
fn check_http2<B>(request: &Request<B>) -> Result<(), Rejection> {
    let uri = request.uri();
    if !uri.scheme_str().is_none_or(|it| it == "http" || it == "https") {
        return Err(Rejection::BadRequest("the :scheme is neither http nor https"));
    }
    if uri.path_and_query().is_some_and(|it| it.as_str().starts_with('?')) {
        return Err(Rejection::BadRequest("the :path has no path"));
    }
    let headers = request.headers();
    if headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err(Rejection::Framing("content-length must stand there once"));
    }
    let is_spaced = |it: &HeaderValue| {
        let ends = [it.as_bytes().first(), it.as_bytes().last()];
        ends.iter().flatten().any(|it| matches!(it, b' ' | b'\t'))
    };
    if headers.values().any(is_spaced) {
        return Err(Rejection::BadRequest("the value of a field begins or ends with a space"));
    }
    Ok(())
}

/// hyper has refused what contradicts itself. What it lets pass is several codings, which an
/// upstream may read in another order. What follows such a body is never a request.
fn check_framing(headers: &mut HeaderMap) -> Result<(), Rejection> {
    let length = headers.get(header::CONTENT_LENGTH);
    if length.is_some_and(|it| it.len() > 1 && it.as_bytes().starts_with(b"0")) {
        write_plainly(headers);
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let (Some(coding), more) = (codings.next(), codings.next()) else { return Ok(()) };
    if more.is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(Rejection::Framing(
            "transfer-encoding must be \"chunked\", once, and nothing else",
        ));
    }
    Ok(())
}

/// A length without leading zeros, which some upstream may read as octal.
fn write_plainly(headers: &mut HeaderMap) {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok());
    if let Some(length) = length.and_then(|it| it.parse::<u64>().ok()) {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
}

fn normalise<B>(request: &mut Request<B>) -> Result<(), Rejection> {
    let is_absolute = request.version() != Version::HTTP_2 && request.uri().scheme().is_some();
    let uri = request.uri_mut();
    let target = uri.path_and_query().map_or("", PathAndQuery::as_str);
    if !uri.path().starts_with('/') {
        return Err(Rejection::BadRequest("the request target has no path"));
    }
    let path = normal_form(uri.path()).map_err(Rejection::BadPath)?;
    let query_begins = target.len() - uri.query().map_or(0, |it| "?".len() + it.len());
    let query = plain(target.get(query_begins..).unwrap_or_default());
    let (path, query) = match (path, query) {
        // In absolute form there may be no path, though it reads as one: `http://a?b`, `http://a#`.
        (Cow::Borrowed(_), Cow::Borrowed(_)) if !is_absolute => return Ok(()),
        (path, query) => (path.into_owned(), query),
    };
    let target = PathAndQuery::try_from(path + &query)
        .map_err(|_chars| Rejection::BadRequest("the path cannot be read"))?;
    let mut parts = std::mem::take(uri).into_parts();
    parts.path_and_query = Some(target);
    *uri = Uri::from_parts(parts)
        .map_err(|_parts| Rejection::BadRequest("the request target cannot be read"))?;
    Ok(())
}

/// A query is not touched, but that a target has visible characters alone: RFC 9112, 3.2.
fn plain(query: &str) -> Cow<'_, str> {
    if query.bytes().all(|it| it.is_ascii_graphic()) {
        return Cow::Borrowed(query);
    }
    utf8_percent_encode(query, CONTROLS).into()
}

/// Exactly one valid `Host`; in absolute form it agrees with the authority, which on HTTP/2 may
/// also stand alone.
fn host<B>(request: &Request<B>) -> Result<Host<'_>, Rejection> {
    if request.version() == Version::HTTP_2 && !request.headers().contains_key(header::HOST) {
        let authority = request.uri().authority();
        let authority = authority.ok_or(Rejection::BadRequest("there is no :authority"))?;
        return Host::parse(authority.as_str())
            .map(|(host, _port)| host)
            .map_err(|_malformed| Rejection::BadRequest("the :authority is not a host"));
    }
    let mut values = request.headers().get_all(header::HOST).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Rejection::BadRequest("there must be exactly one host header"));
    };
    let (host, port) = Host::parse(value)
        .map_err(|_malformed| Rejection::BadRequest("the host header is not a host"))?;
    if let Some(authority) = request.uri().authority() {
        let named = Host::parse(authority.as_str())
            .map_err(|_malformed| Rejection::BadRequest("the target's authority is not a host"))?;
        if named != (host.clone(), port) {
            return Err(Rejection::BadRequest(
                "the host header and the request target name different hosts",
            ));
        }
    }
    Ok(host)
}

const METHOD_BYTES_MAX: usize = 32;
