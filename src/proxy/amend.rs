//! Changes of a message what its route has changed: the path, the headers.

use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Uri};
use http_body::Body;

use crate::config::{self, HeaderEdits, PathPrefix};
use crate::proxy::rejection::Rejection;
use crate::route::path::without_prefix;
use crate::route::table::PathPattern;

/// Takes off the path, which is in normal form, what the upstream is not to see of it.
pub fn strip(uri: &mut Uri, route: &config::Route) -> Result<(), Rejection> {
    match (&route.prefix, &route.pattern.path) {
        (PathPrefix::Kept, _) | (PathPrefix::Stripped, PathPattern::Exact(_)) => Ok(()),
        (PathPrefix::Stripped, PathPattern::Prefix(prefix)) => strip_prefix(uri, prefix),
    }
}

fn strip_prefix(uri: &mut Uri, prefix: &str) -> Result<(), Rejection> {
    let path = without_prefix(uri.path(), prefix).map_err(Rejection::BadPath)?;
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let target = PathAndQuery::try_from(target)
        .map_err(|_chars| Rejection::BadRequest("the path cannot be read"))?;
    let mut parts = std::mem::take(uri).into_parts();
    parts.path_and_query = Some(target);
    *uri = Uri::from_parts(parts)
        .map_err(|_parts| Rejection::BadRequest("the request target cannot be read"))?;
    Ok(())
}

/// Removes and sets what the route says.
pub fn edit(headers: &mut HeaderMap, edits: &HeaderEdits) {
    for name in &edits.remove {
        headers.remove(name);
    }
    for (name, value) in &edits.set {
        headers.insert(name.clone(), value.clone());
    }
}

/// Refuses a request that says by itself that its body is longer than it may be.
pub fn check_length<B: Body>(request: &Request<B>, route: &config::Route) -> Result<(), Rejection> {
    let too_large = route.max_body.is_some_and(|it| request.body().size_hint().lower() > it);
    if too_large { Err(Rejection::BodyTooLarge) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(target: &str, prefix: &str, expected: Option<&str>) {
        let mut uri: Uri = target.parse().unwrap();
        let stripped = strip_prefix(&mut uri, prefix).ok().map(|()| uri.to_string());
        assert_eq!(stripped.as_deref(), expected, "{target} without {prefix}");
    }

    #[test]
    fn what_comes_after_the_prefix_is_left_and_the_query() {
        check("/v3/x?q", "/v3/", Some("/x?q"));
        check("/v3?q=/v3/", "/v3", Some("/?q=/v3/"));
        check("/v3/x?", "/v3", Some("/x?"));
        check("http://h/v3/x?q", "/v3", Some("http://h/x?q"));
        check("/v3//evil?q", "/v3/", None);
    }

    #[test]
    fn headers_are_removed_and_then_set() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-a", "1"), ("x-a", "2"), ("x-b", "1"), ("x-b", "2"), ("x-c", "1")]
        {
            headers.append(name, value.parse().unwrap());
        }
        let set = ["x-b", "x-d"].map(|it| (it.parse().unwrap(), "set".parse().unwrap()));
        edit(
            &mut headers,
            &HeaderEdits { set: set.to_vec(), remove: vec!["x-a".parse().unwrap()] },
        );
        let mut left: Vec<_> =
            headers.iter().map(|(name, it)| (name.as_str(), it.as_bytes())).collect();
        left.sort_unstable();
        assert_eq!(left, [("x-b", &b"set"[..]), ("x-c", b"1"), ("x-d", b"set")]);
    }
}
