//! Reads what Redis answers: values in an order that the script says.

use redis::Value;

use crate::store::redis::text;

/// The answer is not what the script gives: another version wrote it, or it was changed by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer in it is not what this version of keyward gives or understands")]
pub struct Malformed;

/// The values of an answer, one after another.
#[derive(Debug)]
pub struct Reply(std::vec::IntoIter<Value>);

impl Reply {
    /// Of an answer that is a list.
    pub fn of(value: Value) -> Result<Self, Malformed> {
        let Value::Array(values) = value else { return Err(Malformed) };
        Ok(Self(values.into_iter()))
    }

    /// The next value, whatever it is.
    pub fn any(&mut self) -> Result<Value, Malformed> {
        self.0.next().ok_or(Malformed)
    }

    /// Bytes.
    pub fn bytes(&mut self) -> Result<Vec<u8>, Malformed> {
        self.maybe_bytes()?.ok_or(Malformed)
    }

    /// Bytes, or nothing.
    pub fn maybe_bytes(&mut self) -> Result<Option<Vec<u8>>, Malformed> {
        // Lists end at the first value that is nothing.
        match self.0.next() {
            Some(Value::BulkString(bytes)) => Ok(Some(bytes)),
            Some(Value::SimpleString(text)) => Ok(Some(text.into_bytes())),
            Some(Value::Nil) | None => Ok(None),
            Some(_) => Err(Malformed),
        }
    }

    /// Text.
    pub fn text(&mut self) -> Result<String, Malformed> {
        String::from_utf8(self.bytes()?).map_err(|_bytes| Malformed)
    }

    /// A number that is not negative, as such or in digits.
    pub fn number(&mut self) -> Result<u64, Malformed> {
        let value = self.any()?;
        if let Value::Int(number) = value {
            return u64::try_from(number).map_err(|_negative| Malformed);
        }
        let Value::BulkString(digits) = value else { return Err(Malformed) };
        text::number(&digits)
    }

    /// A list within it.
    pub fn list(&mut self) -> Result<Vec<Value>, Malformed> {
        let Value::Array(values) = self.any()? else { return Err(Malformed) };
        Ok(values)
    }

    /// A list within it, to be read like this one.
    pub fn inner(&mut self) -> Result<Self, Malformed> {
        Ok(Self(self.list()?.into_iter()))
    }
}
