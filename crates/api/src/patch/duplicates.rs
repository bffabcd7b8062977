//! A JSON value of no known type, and the keys that it repeats.
//!
//! Invariants: the last of repeated keys wins; paths are written as in strict decoding errors.
//! Absent: types.

use crate::quote::quoted;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt::{self, Write};

/// Errors that are kept: as many as a kube-apiserver keeps.
const ERRORS_MAX: usize = 100;

/// Reads `text`, and lists the keys it repeats as strict decoding errors.
///
/// # Errors
/// A text that is no JSON.
pub(crate) fn read(text: &str) -> Result<(Value, Vec<String>), serde_json::Error> {
    let mut found = Found { path: String::new(), errors: Vec::new() };
    let mut json = serde_json::Deserializer::from_str(text);
    let value = Seed(&mut found).deserialize(&mut json)?;
    json.end()?;
    Ok((value, found.errors))
}

struct Found {
    path: String,
    errors: Vec<String>,
}

struct Seed<'a>(&'a mut Found);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let length = self.0.path.len();
            let _ = write!(self.0.path, "[{}]", items.len());
            let next = access.next_element_seed(Seed(self.0));
            self.0.path.truncate(length);
            match next? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let length = self.0.path.len();
            if length > 0 {
                self.0.path.push('.');
            }
            self.0.path.push_str(&key);
            if entries.contains_key(&key) && self.0.errors.len() < ERRORS_MAX {
                let error = format!("duplicate field {}", quoted(&self.0.path));
                if !self.0.errors.contains(&error) {
                    self.0.errors.push(error);
                }
            }
            let value = access.next_value_seed(Seed(self.0));
            self.0.path.truncate(length);
            entries.insert(key, value?);
        }
        Ok(Value::Object(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn repeated_keys_have_paths() {
        let (value, errors) = read(r#"{"a":1,"a":2,"b":[{"c":1,"c":2,"c":3}]}"#).expect("reads");
        assert_eq!(value, json!({"a": 2, "b": [{"c": 3}]}));
        assert_eq!(errors, ["duplicate field \"a\"", "duplicate field \"b[0].c\""]);
        assert!(read("{} x").is_err());
    }
}
