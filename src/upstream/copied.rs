//! Keeps what it takes to send a request once more.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

/// A copy of a request's head. It is nearly never needed, so its headers are copied as bytes, one
/// behind the other: sharing each of them with the request would be counted, and counting dozens of
/// them costs more than copying all.
#[derive(Debug)]
pub struct Copied {
    method: Method,
    uri: Uri,
    headers: Vec<u8>,
}

impl Copied {
    /// Of a request.
    pub fn of<B>(request: &Request<B>) -> Self {
        let mut headers = Vec::with_capacity(USUAL_BYTES);
        for (name, value) in request.headers() {
            for part in [name.as_str().as_bytes(), value.as_bytes()] {
                headers.extend_from_slice(&(part.len() as u64).to_le_bytes());
                headers.extend_from_slice(part);
            }
        }
        Self { method: request.method().clone(), uri: request.uri().clone(), headers }
    }

    /// The request again, with this body.
    pub fn with<B>(self, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        let (mut headers, mut left) = (HeaderMap::new(), &*self.headers);
        while let Some((name, value, rest)) = header(left) {
            headers.append(name, value);
            left = rest;
        }
        *request.headers_mut() = headers;
        request
    }
}

/// The first of those that were written one behind the other, and the others.
fn header(bytes: &[u8]) -> Option<(HeaderName, HeaderValue, &[u8])> {
    let (name, rest) = part(bytes)?;
    let (value, rest) = part(rest)?;
    Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?, rest))
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

/// More than most requests have.
const USUAL_BYTES: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_again_is_the_same() {
        let request = Request::delete("/a?b")
            .header("host", "a.example")
            .header("x-own", "one")
            .header("x-own", "two")
            .header("x-empty", "")
            .header("x-obs", HeaderValue::from_bytes(b"caf\xe9").unwrap())
            .body(())
            .unwrap();
        let again = Copied::of(&request).with(());
        assert_eq!((again.method(), again.uri()), (request.method(), request.uri()));
        assert_eq!(again.headers(), request.headers());
    }
}
