//! Lets those trailers pass that were announced and may be.

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::Frame;

/// The names of the trailers that may pass.
#[derive(Debug, Default)]
pub struct Trailers(Option<Box<[HeaderName]>>);

impl Trailers {
    /// Those of these names, and no others.
    pub fn announced(names: Vec<HeaderName>) -> Self {
        Self(Some(names.into_boxed_slice()))
    }

    /// Removes what may not pass.
    pub fn clean(&self, frame: &mut Frame<Bytes>) {
        if let Some(fields) = frame.trailers_mut() {
            self.retain(fields);
        }
    }

    fn retain(&self, fields: &mut HeaderMap) {
        let passes = |name: &HeaderName| self.0.as_ref().is_some_and(|it| it.contains(name));
        let unwanted: Vec<HeaderName> = fields.keys().filter(|it| !passes(it)).cloned().collect();
        for name in &unwanted {
            fields.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn what_was_not_announced_does_not_pass() {
        let name = HeaderName::from_static;
        let fields = ["x-sum", "x-keyward-owner"].map(|it| (name(it), HeaderValue::from(1)));
        let left = |trailers: Trailers| {
            let mut frame = Frame::trailers(fields.clone().into_iter().collect());
            trailers.clean(&mut frame);
            let left = frame.into_trailers().unwrap();
            left.keys().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(left(Trailers::announced(vec![name("x-sum"), name("x-other")])), ["x-sum"]);
        assert!(left(Trailers::default()).is_empty());
    }
}
