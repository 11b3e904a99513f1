//! Makes of a request that was let in the one that the upstream gets.

use std::cell::Cell;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use hyper::body::{Body, Incoming};

use crate::config::UpstreamHost;
use crate::gate::running::Grant;
use crate::proxy::amend::edit;
use crate::proxy::forwarded::tell;
use crate::proxy::hygiene::clean;
use crate::proxy::{Downstream, Proxy, Route};
use crate::upstream::body::RequestBody;
use crate::upstream::upload::Watch;

/// The request for the upstream. Without a grant there is none.
pub fn outbound(
    proxy: &Proxy,
    downstream: &Downstream,
    route: &Route,
    request: (Request<Incoming>, HeaderValue),
    grant: &Grant,
) -> Request<RequestBody> {
    let (request, request_id) = request;
    let (mut parts, body) = request.into_parts();
    let direction = proxy.trust.direction(downstream.peer);
    if parts.version == Version::HTTP_2 {
        as_http1(&mut parts);
    }
    let trailers = clean(&mut parts.headers, direction, parts.version, &route.up);
    edit(&mut parts.headers, &route.settings.request_headers);
    identify(&mut parts.headers, grant);
    parts.headers.insert(X_REQUEST_ID, request_id);
    tell(&mut parts.headers, downstream, direction);
    name_host(&mut parts.headers, &route.upstream.settings().host);
    frame(&mut parts, &body);
    let origin = std::mem::replace(&mut parts.version, Version::HTTP_11);
    parts.uri = origin_form(parts.uri);
    let watch = Watch {
        deadline: std::rc::Rc::clone(grant.run()) as _,
        body_timeout: proxy.body_timeout,
        response_timeout: route.response_timeout(),
    };
    let most = route.settings.max_body;
    Request::from_parts(parts, RequestBody::new((body, origin), most, trailers, watch))
}

/// HTTP/2 names the host in the target and may take a cookie header apart. Upstreams get it as in
/// HTTP/1.1, where each stands in one line: RFC 9113, 8.2.3 and 8.3.1.
fn as_http1(parts: &mut Parts) {
    let headers = &mut parts.headers;
    let authority = parts.uri.authority().map(|it| HeaderValue::from_str(it.as_str()));
    if let Some(Ok(authority)) = authority {
        headers.entry(header::HOST).or_insert(authority);
    }
    if headers.get_all(header::COOKIE).iter().nth(1).is_some() {
        let crumbs = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
        // What was joined from values is one.
        if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.collect::<Vec<_>>().join(&b"; "[..])) {
            headers.insert(header::COOKIE, cookie);
        }
    }
}

/// hyper takes a GET or HEAD of unknown length for one without a body, and would drop it.
fn frame(parts: &mut Parts, body: &Incoming) {
    let is_doubted = matches!(parts.method, Method::GET | Method::HEAD) && !body.is_end_stream();
    if is_doubted && !parts.headers.contains_key(header::CONTENT_LENGTH) {
        parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Says who asks, where a key was shown.
fn identify(headers: &mut HeaderMap, grant: &Grant) {
    let Some(entry) = grant.entry() else { return };
    let known = entry.known();
    let Some(identity) = known.identity(entry.id()) else { return };
    let told = [
        (X_KEYWARD_KEY_ID, Some(&identity.id)),
        (X_KEYWARD_KEY_NAME, Some(&identity.name)),
        (X_KEYWARD_OWNER, identity.owner.as_ref()),
    ];
    for (name, text) in told {
        let value = text.and_then(|it| HeaderValue::from_maybe_shared(it.clone()).ok());
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
}

/// Where the upstream is to see its own address, only the connection knows it.
fn name_host(headers: &mut HeaderMap, host: &UpstreamHost) {
    match host {
        UpstreamHost::Client | UpstreamHost::Endpoint => {}
        UpstreamHost::Named(name) => {
            headers.insert(header::HOST, name.clone());
        }
    }
}

/// An upstream never sees the absolute form.
fn origin_form(uri: Uri) -> Uri {
    if uri.authority().is_none() {
        return uri;
    }
    let mut parts = uri.into_parts();
    parts.scheme = None;
    parts.authority = None;
    Uri::from_parts(parts).unwrap_or_default()
}

/// Makes request ids: random, and unlike any other worker's.
#[derive(Debug)]
pub struct RequestIds {
    seed: u64,
    count: Cell<u64>,
}

impl RequestIds {
    /// From 128 random bits.
    pub fn new(seed: [u64; 2]) -> Self {
        Self { seed: seed[0], count: Cell::new(seed[1]) }
    }

    /// The next one: 32 hexadecimal digits. It names a request; it keeps no secret.
    pub fn next(&self) -> HeaderValue {
        let count = self.count.get().wrapping_add(1);
        self.count.set(count);
        let (high, low) = (mix(count ^ self.seed), mix(count.rotate_left(32) ^ !self.seed));
        let mut digits = [0_u8; 32];
        for (eight, half) in digits.chunks_exact_mut(8).zip([high >> 32, high, low >> 32, low]) {
            eight.copy_from_slice(&hexadecimal(half & 0xFFFF_FFFF));
        }
        HeaderValue::from_bytes(&digits).unwrap_or(HeaderValue::from_static("0"))
    }
}

/// The eight digits of 32 bits, all at once: every request gets four times as many.
fn hexadecimal(bits: u64) -> [u8; 8] {
    let halves = (bits << 16 | bits) & 0x0000_FFFF_0000_FFFF;
    let bytes = (halves << 8 | halves) & 0x00FF_00FF_00FF_00FF;
    let digits = (bytes << 4 | bytes) & 0x0F0F_0F0F_0F0F_0F0F;
    // 1 in each byte whose digit is a letter.
    let letters = ((digits + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    let text = digits + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10);
    text.to_be_bytes()
}

/// splitmix64: a bijection, so no two counts give the same.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

const X_KEYWARD_KEY_ID: HeaderName = HeaderName::from_static("x-keyward-key-id");
const X_KEYWARD_KEY_NAME: HeaderName = HeaderName::from_static("x-keyward-key-name");
const X_KEYWARD_OWNER: HeaderName = HeaderName::from_static("x-keyward-owner");

/// By which a request is found again, here and upstream.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[cfg(test)]
mod tests {
    use super::*;

    fn from_http2(target: &str, headers: &[(&'static str, &'static str)]) -> Parts {
        let request = Request::get(target).version(Version::HTTP_2).body(()).unwrap();
        let mut parts = request.into_parts().0;
        for (name, value) in headers {
            parts.headers.append(*name, HeaderValue::from_static(value));
        }
        as_http1(&mut parts);
        parts
    }

    #[test]
    fn the_host_of_http_2_is_its_authority() {
        let host = |target: &str, headers: &[_]| {
            let parts = from_http2(target, headers);
            let hosts: Vec<_> = parts.headers.get_all(header::HOST).iter().cloned().collect();
            assert_eq!(origin_form(parts.uri), "/v3/x?q");
            hosts
        };
        assert_eq!(host("https://api.example.com:8443/v3/x?q", &[]), ["api.example.com:8443"]);
        assert_eq!(host("https://[::1]/v3/x?q", &[]), ["[::1]"]);
        // They agree, or the request would not have come here.
        assert_eq!(
            host("https://api.example.com/v3/x?q", &[("host", "API.example.com")]),
            ["API.example.com"]
        );
        assert_eq!(host("/v3/x?q", &[("host", "a")]), ["a"]);
    }

    #[test]
    fn a_cookie_that_http_2_took_apart_is_one_again() {
        let cookies = |headers: &[_]| {
            let parts = from_http2("https://h/", headers);
            parts.headers.get_all(header::COOKIE).iter().cloned().collect::<Vec<_>>()
        };
        assert_eq!(
            cookies(&[("cookie", "a=b"), ("x", "1"), ("cookie", "c=d"), ("cookie", "e=f")]),
            ["a=b; c=d; e=f"]
        );
        assert_eq!(cookies(&[("cookie", "a=b; c=d")]), ["a=b; c=d"]);
        assert_eq!(cookies(&[]), [""; 0]);
    }

    #[test]
    fn digits_are_hexadecimal() {
        for bits in (0..1_000_u64).map(|it| mix(it) >> 32).chain([0, 9, 10, 0xFFFF_FFFF]) {
            assert_eq!(hexadecimal(bits), *format!("{bits:08x}").as_bytes());
        }
    }

    #[test]
    fn no_two_requests_have_one_id() {
        let ids = RequestIds::new([1, 2]);
        let drawn: std::collections::HashSet<_> = (0..10_000).map(|_| ids.next()).collect();
        assert_eq!(drawn.len(), 10_000);
        assert!(drawn.iter().all(|it| it.len() == 32));
    }
}
