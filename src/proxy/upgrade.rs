//! Decides to which protocol a connection may be upgraded, if to any.

use http::{HeaderMap, HeaderValue, Method, Request, Version, header};
use http_body::Body;

/// The one protocol that is asked of the upstream: the first that the client names and the route
/// too, over HTTP/1.1, by a GET without a body, whose `Connection` names `Upgrade`. `None`: this
/// is a request like any other. To be asked before the headers are cleaned.
pub fn wanted<B: Body>(request: &Request<B>, upgrades: &[String]) -> Option<HeaderValue> {
    let headers = request.headers();
    // Nearly every request is decided here.
    if !headers.contains_key(header::UPGRADE) {
        return None;
    }
    let may = request.version() == Version::HTTP_11
        && *request.method() == Method::GET
        && request.body().is_end_stream()
        && words(headers, header::CONNECTION).any(|it| it.eq_ignore_ascii_case("upgrade"));
    let named = |protocol: &str| {
        let ours = upgrades.iter().find(|it| it.eq_ignore_ascii_case(protocol))?;
        HeaderValue::from_str(ours).ok()
    };
    words(headers, header::UPGRADE).find_map(named).filter(|_| may)
}

fn words(headers: &HeaderMap, name: http::HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|it| it.to_str().ok());
    values.flat_map(|it| it.split(',')).map(str::trim).filter(|it| !it.is_empty())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{Empty, Full};

    use super::*;

    fn request(method: &str, headers: &[(&'static str, &'static str)]) -> Request<Empty<Bytes>> {
        let mut request = Request::builder().method(method).body(Empty::new()).unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        request
    }

    #[track_caller]
    fn check(headers: &[(&'static str, &'static str)], expected: Option<&str>) {
        let upgrades = ["websocket".to_owned(), "acme/2".to_owned()];
        let wanted = wanted(&request("GET", headers), &upgrades);
        assert_eq!(wanted.as_ref().map(|it| it.to_str().unwrap()), expected, "{headers:?}");
    }

    #[test]
    fn one_protocol_that_the_route_names_is_asked_for() {
        let names = |it| [("connection", "keep-alive, Upgrade"), ("upgrade", it)];
        check(&names("websocket"), Some("websocket"));
        check(&names("WebSocket"), Some("websocket"));
        check(&names("h2c, acme/2, websocket"), Some("acme/2"));
        check(&names("acme"), None);
        check(&names("acme/3"), None);
        check(&names("websocket/13"), None);
        check(&names("h2c"), None);
        check(&names(""), None);
        check(
            &[("connection", "upgrade"), ("upgrade", "h2c"), ("upgrade", "websocket")],
            Some("websocket"),
        );
    }

    #[test]
    fn it_is_asked_for_on_this_connection_or_not_at_all() {
        check(&[("upgrade", "websocket")], None);
        check(&[("connection", "keep-alive"), ("upgrade", "websocket")], None);
        check(&[("connection", "upgrades"), ("upgrade", "websocket")], None);
        check(&[("connection", "upgrade")], None);
        check(
            &[("connection", "close"), ("connection", "upgrade"), ("upgrade", "websocket")],
            Some("websocket"),
        );
    }

    const ASKS: [(&str, &str); 2] = [("connection", "upgrade"), ("upgrade", "websocket")];

    #[test]
    fn only_a_get_over_http_1_1_without_a_body_can_be_upgraded() {
        let upgrades = ["websocket".to_owned()];
        for method in ["POST", "HEAD", "OPTIONS", "PRI"] {
            assert_eq!(wanted(&request(method, &ASKS), &upgrades), None, "{method}");
        }
        for version in [Version::HTTP_10, Version::HTTP_2] {
            let mut request = request("GET", &ASKS);
            *request.version_mut() = version;
            assert_eq!(wanted(&request, &upgrades), None, "{version:?}");
        }
        let longer = request("GET", &ASKS).map(|_| Full::new(Bytes::from_static(b"a")));
        assert_eq!(wanted(&longer, &upgrades), None);
        assert_eq!(wanted(&request("GET", &ASKS), &[]), None);
    }
}
