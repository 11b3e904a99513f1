//! Checks what hyper leaves open in an upstream's answer, so that nobody reads more or less of it
//! than was sent.

use http::{HeaderValue, Response, Version, header};
use http_body::Body;

/// What is wrong with an answer.
pub type Flaw = &'static str;

/// Makes an answer one that can be passed on, or says why it cannot. That it came over HTTP/2 can
/// still be told from its version: there trailers need not be announced.
pub fn check<B: Body>(response: &mut Response<B>) -> Result<(), Flaw> {
    if response.status().as_u16() == SWITCHING_PROTOCOLS {
        return Err("it switched protocols, for which nobody had asked");
    }
    let has_length = response.body().size_hint().exact().is_some();
    if !has_length && response.headers().contains_key(header::TRANSFER_ENCODING) {
        check_chunked(response)?;
        // RFC 9112, 6.3: it has no say beside a transfer coding.
        response.headers_mut().remove(header::CONTENT_LENGTH);
    } else if has_length {
        let mut lengths = response.headers().get_all(header::CONTENT_LENGTH).iter();
        let first = lengths.next();
        let one_of_many =
            first.filter(|it| lengths.next().is_some() || it.as_bytes().contains(&b','));
        // hyper has found them all to be the same.
        if let Some(length) = one_of_many.map(first_of).transpose()? {
            response.headers_mut().insert(header::CONTENT_LENGTH, length);
        }
    }
    if !has_length && response.headers().contains_key(header::CONTENT_LENGTH) {
        // Over HTTP/2 hyper takes several lengths, and what is none, for no length at all.
        return Err("its length is no number");
    }
    if response.version() != Version::HTTP_2 {
        // RFC 9112, 2.6: a message has the version of who sends it, and we send it on.
        *response.version_mut() = Version::HTTP_11;
    }
    Ok(())
}

/// What an answer says of who gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// It does its work, well or badly.
    SomebodyIsThere,
    /// It cannot serve requests for now, or nobody behind it can.
    NobodyIsThere,
}

impl Says {
    /// By its status.
    pub fn of<B>(response: &Response<B>) -> Self {
        match response.status().as_u16() {
            502..=504 => Self::NobodyIsThere,
            _ => Self::SomebodyIsThere,
        }
    }
}

/// hyper takes off chunks, and nothing else.
fn check_chunked<B>(response: &Response<B>) -> Result<(), Flaw> {
    let mut codings = response.headers().get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = |it: &HeaderValue| it.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    let one = codings.next().is_some_and(is_chunked) && codings.next().is_none();
    if one && response.version() == Version::HTTP_11 {
        Ok(())
    } else {
        Err("it has a transfer coding that is not `chunked` alone")
    }
}

fn first_of(list: &HeaderValue) -> Result<HeaderValue, Flaw> {
    let first = list.as_bytes().split(|it| *it == b',').next().unwrap_or_default();
    HeaderValue::from_bytes(first.trim_ascii()).map_err(|_invisible| "its length is no number")
}

/// The status of an answer after which another protocol is spoken.
pub const SWITCHING_PROTOCOLS: u16 = 101;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use http_body::{Frame, SizeHint};

    use super::*;

    /// As long as hyper makes a body that has these headers.
    #[derive(Debug)]
    struct Read(SizeHint);

    impl Body for Read {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(None)
        }

        fn size_hint(&self) -> SizeHint {
            self.0
        }
    }

    #[track_caller]
    fn checked(
        status: u16,
        version: Version,
        headers: &[(&'static str, &'static str)],
    ) -> Result<Response<Read>, Flaw> {
        let is_coded = headers.iter().any(|(name, _)| *name == "transfer-encoding");
        let length = if is_coded { SizeHint::new() } else { SizeHint::with_exact(3) };
        let response = Response::builder().status(status).version(version);
        let mut response = response.body(Read(length)).unwrap();
        for (name, value) in headers {
            response.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        check(&mut response).map(|()| response)
    }

    #[test]
    fn one_length_is_left_and_none_beside_chunks() {
        let lengths = |headers: &[_]| {
            let response = checked(200, Version::HTTP_11, headers).unwrap();
            let lengths = response.headers().get_all(header::CONTENT_LENGTH).iter();
            lengths.map(|it| it.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(lengths(&[("content-length", "3")]), ["3"]);
        assert_eq!(lengths(&[("content-length", "3, 3")]), ["3"]);
        assert_eq!(lengths(&[("content-length", "3"), ("content-length", "3")]), ["3"]);
        let nothing: [&str; 0] = [];
        assert_eq!(
            lengths(&[("transfer-encoding", " Chunked "), ("content-length", "3")]),
            nothing
        );
    }

    #[test]
    fn what_cannot_be_undone_is_not_passed_on() {
        for coding in ["gzip", "gzip, chunked", "chunked, identity", "xchunked", "chunked, chunked"]
        {
            assert!(
                checked(200, Version::HTTP_11, &[("transfer-encoding", coding)]).is_err(),
                "{coding}"
            );
        }
        let twice = [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
        assert!(checked(200, Version::HTTP_11, &twice).is_err());
        assert!(checked(200, Version::HTTP_10, &twice[..1]).is_err());
        assert!(checked(101, Version::HTTP_11, &[("upgrade", "websocket")]).is_err());
    }

    #[test]
    fn an_answer_whose_length_nobody_could_read_is_not_passed_on() {
        let mut response = Response::builder().version(Version::HTTP_2).body(Read(SizeHint::new()));
        let response = response.as_mut().unwrap();
        assert!(check(response).is_ok());
        for length in ["3", "4"] {
            response.headers_mut().append("content-length", HeaderValue::from_static(length));
        }
        assert!(check(response).is_err());
    }

    #[test]
    fn an_answer_has_our_version() {
        assert_eq!(checked(200, Version::HTTP_10, &[]).unwrap().version(), Version::HTTP_11);
    }
}
