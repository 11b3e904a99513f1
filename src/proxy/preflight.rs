//! Finds the route of a request, and tells a CORS preflight, which may need no key, from the rest.
//!
//! A preflight asks, by OPTIONS, whether a request by another method would be allowed. So the
//! route of that other request decides: if it says `forward`, the preflight goes where that request
//! would go, whether the route names OPTIONS or not, and whatever other route does. If it says
//! `key`, the preflight is a request like any other. A preflight does not bring the headers of the
//! request that it asks for: no route that asks for headers is found for it.

use std::rc::Rc;

use http::{HeaderName, Method, Request, header};
use http_body::Body;

use crate::gate::Terms;
use crate::proxy::rejection::Rejection;
use crate::proxy::{Plan, Route};
use crate::route::table::Head;

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Found<'p> {
    /// The route's place.
    pub place: usize,
    /// The route.
    pub route: &'p Route,
    /// What the gate is to know of it.
    pub terms: &'p Rc<Terms>,
}

/// The method that a preflight asks for; `None`: it is no preflight. Browsers send none with a
/// body, and say each thing once.
pub fn asked<B: Body>(request: &Request<B>) -> Option<Method> {
    if *request.method() != Method::OPTIONS || !request.body().is_end_stream() {
        return None;
    }
    let once = |name: HeaderName| {
        let mut values = request.headers().get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    once(header::ORIGIN)?;
    let method = once(header::ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes();
    Method::from_bytes(method).ok().filter(|_| method.len() <= METHOD_BYTES_MAX)
}

impl Plan {
    /// The route of a request with this head, which may be a preflight for the method `asked`.
    pub fn find(&self, head: &Head<'_>, asked: Option<&Method>) -> Result<Found<'_>, Rejection> {
        if let Some(found) = asked.and_then(|it| self.find_preflight(head, it)) {
            return Ok(found);
        }
        let place = self.table.find(head)?;
        let route = self.routes.get(place).ok_or(Rejection::NoRoute)?;
        Ok(Found { place, route, terms: &route.terms })
    }

    fn find_preflight(&self, head: &Head<'_>, asked: &Method) -> Option<Found<'_>> {
        let place = self.table.find(&Head { method: asked, ..*head }).ok()?;
        let route = self.routes.get(place)?;
        Some(Found { place, route, terms: route.preflight.as_ref()? })
    }
}

const METHOD_BYTES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{Empty, Full};

    use super::*;

    #[track_caller]
    fn check(method: &str, headers: &[(&str, &str)], expected: Option<&str>) {
        let mut request = Request::builder().method(method).body(Empty::<Bytes>::new()).unwrap();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let expected: Option<Method> = expected.map(|it| it.parse().unwrap());
        assert_eq!(asked(&request), expected, "{method} with {headers:?}");
    }

    const ORIGIN: (&str, &str) = ("origin", "https://app.example.com");
    const ASKS: &str = "access-control-request-method";

    #[test]
    fn a_preflight_says_where_it_comes_from_and_what_it_asks_for() {
        check("OPTIONS", &[ORIGIN, (ASKS, "PUT")], Some("PUT"));
        check("OPTIONS", &[("origin", "null"), (ASKS, "PATCH")], Some("PATCH"));
        check("OPTIONS", &[ORIGIN], None);
        check("OPTIONS", &[(ASKS, "PUT")], None);
        check("GET", &[ORIGIN, (ASKS, "PUT")], None);
        check("options", &[ORIGIN, (ASKS, "PUT")], None);
    }

    #[test]
    fn what_a_browser_would_not_send_is_no_preflight() {
        check("OPTIONS", &[ORIGIN, ORIGIN, (ASKS, "PUT")], None);
        check("OPTIONS", &[ORIGIN, (ASKS, "PUT"), (ASKS, "PUT")], None);
        check("OPTIONS", &[ORIGIN, (ASKS, "PUT, GET")], None);
        check("OPTIONS", &[ORIGIN, (ASKS, "")], None);
        check("OPTIONS", &[ORIGIN, (ASKS, &"P".repeat(33))], None);
        let request = Request::options("/").header(ORIGIN.0, ORIGIN.1).header(ASKS, "PUT");
        assert_eq!(asked(&request.body(Full::new(Bytes::from_static(b"a"))).unwrap()), None);
    }
}
