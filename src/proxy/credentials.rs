//! Takes keys out of a request, wherever they may stand.

use http::header::{AUTHORIZATION, Entry};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::Bearer;
use crate::gate::Shown;
use crate::key::text::Prefix;

/// Where keys may stand.
#[derive(Clone, Debug)]
pub struct Credentials {
    headers: Vec<HeaderName>,
    bearer: Bearer,
    prefixes: Vec<Prefix>,
}

impl Credentials {
    /// In any of `headers`; as a bearer token only with one of `prefixes`.
    pub fn new(headers: Vec<HeaderName>, bearer: Bearer, prefixes: Vec<Prefix>) -> Self {
        Self { headers, bearer, prefixes }
    }

    /// The header that is named in a challenge: the first one.
    pub fn header(&self) -> &HeaderName {
        self.headers.first().unwrap_or(&API_KEY)
    }

    /// Takes whatever is shown out of the headers, all of it, whether it is a key or not.
    pub fn take(&self, headers: &mut HeaderMap) -> Shown<HeaderValue> {
        let mut shown = Shown::Nothing;
        for name in &self.headers {
            if let Entry::Occupied(values) = headers.entry(name) {
                let (_, values) = values.remove_entry_mult();
                shown = values.fold(shown, and);
            }
        }
        match self.bearer {
            Bearer::PassedOn => shown,
            Bearer::Accepted => self.bearer_keys(headers).into_iter().fold(shown, and),
        }
    }

    /// Takes `Authorization` out where a key of ours stands in it.
    fn bearer_keys(&self, headers: &mut HeaderMap) -> Vec<HeaderValue> {
        let values = headers.get_all(AUTHORIZATION).iter();
        let ours: Vec<HeaderValue> = values.filter_map(|it| self.bearer_key(it)).collect();
        if !ours.is_empty() {
            headers.remove(AUTHORIZATION);
        }
        ours
    }

    /// The key in a bearer value that begins with a prefix of ours. Bytes are looked at, whatever
    /// stands between and behind: an upstream may read it leniently, and is to see no key.
    fn bearer_key(&self, value: &HeaderValue) -> Option<HeaderValue> {
        let (scheme, token) = value.as_bytes().split_at_checked(BEARER.len())?;
        let token = token.strip_prefix(b" ").or_else(|| token.strip_prefix(b"\t"))?;
        let token = token.trim_ascii();
        let is_ours = |prefix: &Prefix| {
            token.strip_prefix(prefix.as_str().as_bytes()).is_some_and(|it| it.starts_with(b"_"))
        };
        let is_key = scheme.eq_ignore_ascii_case(BEARER) && self.prefixes.iter().any(is_ours);
        is_key.then(|| HeaderValue::from_bytes(token).ok()).flatten()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what was shown before is wiped out here")]
fn and(shown: Shown<HeaderValue>, value: HeaderValue) -> Shown<HeaderValue> {
    match shown {
        Shown::Nothing => Shown::One(value),
        Shown::One(_) | Shown::Several => Shown::Several,
    }
}

const BEARER: &[u8] = b"bearer";
static API_KEY: HeaderName = HeaderName::from_static("api-key");

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[(&'static str, &'static str)], expected: &str, left: &[&str]) {
        let names = vec![HeaderName::from_static("api-key"), HeaderName::from_static("x-key")];
        let credentials = Credentials::new(names, Bearer::Accepted, vec!["kw".parse().unwrap()]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let shown = match credentials.take(&mut map) {
            Shown::Nothing => "nothing".to_owned(),
            Shown::One(value) => value.to_str().unwrap().to_owned(),
            Shown::Several => "several".to_owned(),
        };
        assert_eq!(shown, expected);
        assert_eq!(map.keys().map(HeaderName::as_str).collect::<Vec<_>>(), left);
    }

    #[test]
    fn what_is_shown_is_never_printed() {
        let mut headers = HeaderMap::new();
        headers.append("api-key", HeaderValue::from_static("kw_secret"));
        let credentials = Credentials::new(vec![API_KEY.clone()], Bearer::PassedOn, Vec::new());
        let shown = credentials.take(&mut headers);
        assert_eq!(format!("{shown:?}"), "One(<redacted>)");
    }

    #[test]
    fn every_header_in_which_a_key_may_stand_is_removed() {
        check(&[("accept", "*/*")], "nothing", &["accept"]);
        check(&[("api-key", "a"), ("accept", "*/*")], "a", &["accept"]);
        check(&[("x-key", "a")], "a", &[]);
    }

    #[test]
    fn more_than_one_value_is_ambiguous_wherever_they_stand() {
        check(&[("api-key", "a"), ("api-key", "b")], "several", &[]);
        check(&[("api-key", "a"), ("x-key", "a")], "several", &[]);
        check(&[("api-key", "a"), ("authorization", "Bearer kw_b")], "several", &[]);
    }

    #[test]
    fn a_bearer_value_without_a_prefix_of_ours_is_passed_on() {
        check(&[("authorization", "Bearer kw_b")], "kw_b", &[]);
        check(&[("authorization", "bearer  kw_b")], "kw_b", &[]);
        check(&[("authorization", "Bearer eyJ_b")], "nothing", &["authorization"]);
        check(&[("authorization", "Basic kw_b")], "nothing", &["authorization"]);
        check(&[("authorization", "Bearerkw_b")], "nothing", &["authorization"]);
        check(&[("authorization", "Bearer kwkw_b")], "nothing", &["authorization"]);
        check(&[("authorization", "Bearer kw")], "nothing", &["authorization"]);
    }

    #[test]
    fn a_bearer_value_with_a_key_is_taken_whatever_stands_around_it() {
        check(&[("authorization", "Bearer\tkw_b")], "kw_b", &[]);
        check(&[("authorization", "bEARER \t kw_b")], "kw_b", &[]);
        let credentials =
            Credentials::new(vec![API_KEY.clone()], Bearer::Accepted, vec!["kw".parse().unwrap()]);
        for value in [&b"Bearer kw_b\xff"[..], b"Bearer kw_b \x80", b"Bearer \tkw_\xfc"] {
            let mut map = HeaderMap::new();
            map.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
            assert!(matches!(credentials.take(&mut map), Shown::One(_)), "{value:?}");
            assert!(map.is_empty(), "{value:?}");
        }
    }
}
