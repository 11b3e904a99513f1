//! Reads JSON strictly: a name that stands twice in one object is a fault, wherever it stands.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::admin::rejection::Fault;

/// The value that `text` holds; notes every repeated name.
pub fn parse(text: &[u8], faults: &mut Vec<Fault>) -> Result<Value, Fault> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Node { path: String::new(), faults }.deserialize(&mut reader);
    let value = value.and_then(|it| reader.end().map(|()| it));
    value.map_err(|fault| Fault { path: "body".to_owned(), detail: format!("not JSON: {fault}") })
}

/// A value still to be read, and where it stands.
struct Node<'a> {
    path: String,
    faults: &'a mut Vec<Fault>,
}

impl Node<'_> {
    fn below(&mut self, path: String) -> Node<'_> {
        Node { path, faults: self.faults }
    }

    fn field(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, list.len());
            let Some(item) = items.next_element_seed(self.below(path))? else { break };
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let path = self.field(&name);
            let value = fields.next_value_seed(self.below(path.clone()))?;
            if map.insert(name, value).is_some() {
                self.faults.push(Fault { path, detail: "stands here more than once".to_owned() });
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_as_it_stands() {
        let text = r#"{"a":[null,true,-1,18446744073709551615,1.5,"\u00e9",{}],"b":{"c":[]}}"#;
        let mut faults = Vec::new();
        let value = parse(text.as_bytes(), &mut faults).unwrap();
        assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
        assert!(faults.is_empty());
    }

    #[test]
    fn every_repeated_name_is_found() {
        let text = r#"{"a":1,"a":2,"b":[{"c":1,"c":1}],"d":{"e":{"f":1,"f":1}}}"#;
        let mut faults = Vec::new();
        parse(text.as_bytes(), &mut faults).unwrap();
        let paths: Vec<&str> = faults.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(paths, ["a", "b[0].c", "d.e.f"]);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "{} {}", "{'a':1}", "[1,]", "\u{feff}{}", &"[".repeat(1_000)] {
            let fault = parse(text.as_bytes(), &mut Vec::new()).unwrap_err();
            assert!(fault.detail.starts_with("not JSON: "), "{text:?}: {fault:?}");
        }
        assert!(parse(b"\"\xff\"", &mut Vec::new()).is_err());
    }
}
