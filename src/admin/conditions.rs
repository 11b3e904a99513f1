//! Reads the headers that make a call repeatable or conditional: `Idempotency-Key`, `If-Match`.

use http::{HeaderMap, HeaderName, header};

use crate::admin::answer::etag;
use crate::admin::fields::{Fields, Spot};
use crate::admin::rejection::Rejection;
use crate::key::text::KeyId;
use crate::store::Idempotency;

/// By which a repetition of a call is known; `call` and the body's fields make the fingerprint.
pub fn idempotency(
    headers: &HeaderMap,
    operator: KeyId,
    call: &str,
    fields: &mut Fields,
) -> Option<Idempotency> {
    let key = one_text(headers, &IDEMPOTENCY_KEY, &mut fields.spot("Idempotency-Key"))?;
    if !(1..=KEY_CHARS_MAX).contains(&key.len()) || !key.bytes().all(|it| it.is_ascii_graphic()) {
        fields.spot("Idempotency-Key").fault("expected 1 to 255 visible characters");
        return None;
    }
    let mut fingerprint = blake3::Hasher::new();
    fingerprint.update(call.as_bytes()).update(b"\0").update(fields.canonical());
    Some(Idempotency {
        operator: operator.to_string(),
        key,
        fingerprint: *fingerprint.finalize().as_bytes(),
    })
}

/// What `If-Match` asks of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing: the last write wins.
    None,
    /// One of these revisions, as they are written in `ETag`; `*` is any.
    OneOf(Vec<String>),
}

impl Precondition {
    /// Reads `If-Match`.
    pub fn read(headers: &HeaderMap, fields: &mut Fields) -> Self {
        let mut spot = fields.spot("If-Match");
        let Some(text) = one_text(headers, &header::IF_MATCH, &mut spot) else {
            return Self::None;
        };
        let tags: Vec<String> = text.split(',').map(|it| it.trim().to_owned()).collect();
        if !tags.iter().all(|it| it == "*" || (it.len() >= 2 && it.ends_with('"'))) {
            spot.fault("expected a revision in quotes as in ETag, like \"3\"");
        }
        Self::OneOf(tags)
    }

    /// Refuses a document at another revision.
    pub fn check(&self, revision: u64) -> Result<(), Rejection> {
        let holds = match self {
            Self::None => true,
            Self::OneOf(tags) => tags.iter().any(|it| it == "*" || *it == etag(revision)),
        };
        if holds { Ok(()) } else { Err(Rejection::RevisionConflict(revision)) }
    }
}

fn one_text(headers: &HeaderMap, name: &HeaderName, spot: &mut Spot<'_>) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    if text.is_none() {
        spot.fault("must be there once at most, in visible characters");
    }
    text.map(str::to_owned)
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const KEY_CHARS_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(call: &str, body: &str) -> [u8; 32] {
        let headers = HeaderMap::from_iter([(IDEMPOTENCY_KEY, "k".parse().unwrap())]);
        let operator = "000000000001".parse().unwrap();
        let mut fields = Fields::parse(body.as_bytes());
        idempotency(&headers, operator, call, &mut fields).unwrap().fingerprint
    }

    #[test]
    fn the_same_body_has_the_same_fingerprint_however_it_is_written() {
        let body = fingerprint("POST /v1/keys", r#"{"name":"a","owner":"b"}"#);
        assert_eq!(fingerprint("POST /v1/keys", "{ \"owner\":\"b\",\n\"name\":\"a\" }"), body);
        assert_ne!(fingerprint("POST /v1/keys", r#"{"name":"a","owner":"c"}"#), body);
        assert_ne!(fingerprint("POST /v1/operators", r#"{"name":"a","owner":"b"}"#), body);
    }

    #[track_caller]
    fn check(if_match: Option<&str>, expected: Result<bool, ()>) {
        let value = if_match.map(|it| (header::IF_MATCH, it.parse().unwrap()));
        let mut fields = Fields::parse(b"{}");
        let precondition = Precondition::read(&value.into_iter().collect(), &mut fields);
        let actual = fields.end().map(|()| precondition.check(3).is_ok());
        assert_eq!(actual.map_err(|_fault| ()), expected, "{if_match:?}");
    }

    #[test]
    fn a_precondition_holds_for_its_revisions() {
        check(None, Ok(true));
        check(Some("\"3\""), Ok(true));
        check(Some("\"2\", \"3\""), Ok(true));
        check(Some("*"), Ok(true));
        check(Some("\"2\""), Ok(false));
        check(Some("W/\"3\""), Ok(false));
        check(Some("3"), Err(()));
    }
}
