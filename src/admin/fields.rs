//! Reads the fields of a JSON object and gathers everything that is wrong with them.

use serde_json::{Map, Value};

use crate::admin::rejection::{Fault, Rejection};
use crate::admin::strict;
use crate::clock::Timestamp;
use crate::config::nearest::nearest;
use crate::key::record::Label;

/// The fields of one object. Every reader takes one out; [`Fields::end`] says what was wrong.
#[derive(Debug, Default)]
pub struct Fields {
    rest: Map<String, Value>,
    names: Vec<&'static str>,
    canonical: Vec<u8>,
    faults: Vec<Fault>,
}

/// What a field says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given<T> {
    /// Nothing: it is not there.
    Nothing,
    /// `null`: the default.
    Default,
    /// This.
    Value(T),
    /// Something wrong, which was noted.
    Wrong,
}

impl<T> Given<T> {
    /// What it says, if it says anything.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Nothing | Self::Default | Self::Wrong => None,
        }
    }

    /// What a field is that was `before`: itself where nothing is said of it.
    pub fn over(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Nothing | Self::Wrong => before,
            Self::Default => None,
            Self::Value(value) => Some(value),
        }
    }
}

/// Where something stands, for whoever reads it to say what is wrong with it.
#[derive(Debug)]
pub struct Spot<'a> {
    path: String,
    faults: &'a mut Vec<Fault>,
}

impl Spot<'_> {
    /// Notes a fault.
    pub fn fault(&mut self, detail: impl Into<String>) {
        self.faults.push(Fault { path: self.path.clone(), detail: detail.into() });
    }

    /// The item at `index` below it.
    pub fn item(&mut self, index: usize) -> Spot<'_> {
        Spot { path: format!("{}[{index}]", self.path), faults: self.faults }
    }
}

impl Fields {
    /// Reads a whole body.
    pub fn parse(body: &[u8]) -> Self {
        let mut fields = Self::default();
        match strict::parse(body, &mut fields.faults) {
            Ok(Value::Object(map)) => {
                fields.canonical = Value::Object(map.clone()).to_string().into_bytes();
                fields.rest = map;
            }
            Ok(_other) => fields.spot("body").fault("expected an object"),
            Err(fault) => fields.faults.push(fault),
        }
        fields
    }

    /// The body in its one spelling: without white space, names in order.
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// A place outside the body: a header.
    pub fn spot(&mut self, path: &str) -> Spot<'_> {
        Spot { path: path.to_owned(), faults: &mut self.faults }
    }

    /// Takes out a field and has it read.
    pub fn take<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Value, &mut Spot<'_>) -> Option<T>,
    ) -> Given<T> {
        self.names.push(name);
        match self.rest.remove(name) {
            None => Given::Nothing,
            Some(Value::Null) => Given::Default,
            Some(value) => read(value, &mut self.spot(name)).map_or(Given::Wrong, Given::Value),
        }
    }

    /// Takes out a field that must say something.
    pub fn need<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Value, &mut Spot<'_>) -> Option<T>,
    ) -> Option<T> {
        let given = self.take(name, read);
        if matches!(given, Given::Nothing | Given::Default) && !self.rest_is_unreadable() {
            self.spot(name).fault("is required");
        }
        given.value()
    }

    /// Says everything that was wrong, unknown fields last.
    pub fn end(mut self) -> Result<(), Rejection> {
        for name in std::mem::take(&mut self.rest).keys() {
            let hint = hint(name, &self.names);
            self.spot(name).fault(format!("unknown field; {hint}"));
        }
        if self.faults.is_empty() { Ok(()) } else { Err(Rejection::BadRequest(self.faults)) }
    }

    /// Where the body is no object, one fault says enough.
    fn rest_is_unreadable(&self) -> bool {
        self.canonical.is_empty()
    }
}

/// A text.
pub fn text(value: Value, spot: &mut Spot<'_>) -> Option<String> {
    if let Value::String(text) = value {
        return Some(text);
    }
    spot.fault("expected text");
    None
}

/// A text that means something.
pub fn parsed<T>(value: Value, spot: &mut Spot<'_>) -> Option<T>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let parsed: Result<T, T::Err> = text(value, spot)?.parse();
    parsed.map_err(|fault| spot.fault(fault.to_string())).ok()
}

/// A name or an owner.
pub fn label(value: Value, spot: &mut Spot<'_>) -> Option<Label> {
    parsed(value, spot)
}

/// Yes or no.
pub fn flag(value: &Value, spot: &mut Spot<'_>) -> Option<bool> {
    let flag = value.as_bool();
    if flag.is_none() {
        spot.fault("expected true or false");
    }
    flag
}

/// A time after `now`.
pub fn time_after(now: Timestamp, value: Value, spot: &mut Spot<'_>) -> Option<Timestamp> {
    let time: Timestamp = parsed(value, spot)?;
    if time > now {
        return Some(time);
    }
    spot.fault(format!("has passed: it is {now}"));
    None
}

/// At most `max` items, each of them read.
pub fn list<T>(
    max: usize,
    value: Value,
    spot: &mut Spot<'_>,
    read: impl Fn(Value, &mut Spot<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let Value::Array(items) = value else {
        spot.fault("expected a list");
        return None;
    };
    if items.len() > max {
        spot.fault(format!("has {} items; at most {max} are allowed", items.len()));
        return None;
    }
    // All are read, so that all faults are found, before the first missing one ends it.
    let items: Vec<Option<T>> =
        items.into_iter().enumerate().map(|(at, it)| read(it, &mut spot.item(at))).collect();
    items.into_iter().collect()
}

/// An object of at most `bytes_max` bytes as JSON.
pub fn object(bytes_max: usize, value: Value, spot: &mut Spot<'_>) -> Option<Map<String, Value>> {
    let Value::Object(map) = value else {
        spot.fault("expected an object");
        return None;
    };
    let bytes = json_bytes(&map);
    if bytes <= bytes_max {
        return Some(map);
    }
    spot.fault(format!("is {bytes} bytes as JSON; at most {bytes_max} are allowed"));
    None
}

/// How long an object is as JSON without white space.
pub fn json_bytes(map: &Map<String, Value>) -> usize {
    serde_json::to_vec(map).map_or(usize::MAX, |it| it.len())
}

/// A question after the nearest of `names`, or all of them where none is near.
pub fn hint(name: &str, names: &[&str]) -> String {
    nearest(name, names.iter()).map_or_else(
        || format!("there are {}", names.join(", ")),
        |nearest| format!("did you mean {nearest:?}?"),
    )
}
