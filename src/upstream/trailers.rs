//! Lets those trailers pass that may.

use std::fmt::Debug;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::Frame;

/// The trailers that may pass.
#[derive(Debug, Default)]
pub struct Trailers(Passing);

#[derive(Debug, Default)]
enum Passing {
    #[default]
    Nothing,
    These(Box<[HeaderName]>),
    Whatever(Rc<dyn Permit>),
}

/// Says of a name whether it may stand below a body.
pub trait Permit: Debug {
    /// Whether it may.
    fn permits(&self, name: &HeaderName) -> bool;
}

impl Trailers {
    /// Those of these names, and no others.
    pub fn announced(names: Vec<HeaderName>) -> Self {
        Self(Passing::These(names.into_boxed_slice()))
    }

    /// Those that `permit` permits, announced or not.
    pub fn permitted(permit: Rc<dyn Permit>) -> Self {
        Self(Passing::Whatever(permit))
    }

    /// Removes what may not pass.
    pub fn clean(&self, frame: &mut Frame<Bytes>) {
        if let Some(fields) = frame.trailers_mut() {
            self.retain(fields);
        }
    }

    fn retain(&self, fields: &mut HeaderMap) {
        let unwanted: Vec<HeaderName> =
            fields.keys().filter(|it| !self.passes(it)).cloned().collect();
        for name in &unwanted {
            fields.remove(name);
        }
    }

    fn passes(&self, name: &HeaderName) -> bool {
        match &self.0 {
            Passing::Nothing => false,
            Passing::These(names) => names.contains(name),
            Passing::Whatever(permit) => permit.permits(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[derive(Debug)]
    struct ButOurs;

    impl Permit for ButOurs {
        fn permits(&self, name: &HeaderName) -> bool {
            !name.as_str().starts_with("x-keyward-")
        }
    }

    #[track_caller]
    fn check(trailers: &Trailers, expected: &[&str]) {
        let name = HeaderName::from_static;
        let fields = ["x-sum", "x-keyward-owner"].map(|it| (name(it), HeaderValue::from(1)));
        let mut frame = Frame::trailers(fields.into_iter().collect());
        trailers.clean(&mut frame);
        let left = frame.into_trailers().unwrap();
        assert_eq!(left.keys().map(HeaderName::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_was_not_announced_does_not_pass() {
        let names = ["x-sum", "x-other"].map(HeaderName::from_static);
        check(&Trailers::announced(names.to_vec()), &["x-sum"]);
        check(&Trailers::default(), &[]);
    }

    #[test]
    fn what_need_not_be_announced_passes_by_its_name() {
        check(&Trailers::permitted(Rc::new(ButOurs)), &["x-sum"]);
    }
}
