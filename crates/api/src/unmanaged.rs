//! Objects without the account of their managers, which is a third of an object, and which of all readers only those who
//! apply read.
//!
//! Invariants: all else is read as if the wrapper were not there; what is left out is skipped and never built.
//! Absent: answers of the API, which show it.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::CowStrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

/// Reads an object and leaves out `metadata.managedFields`; for whoever implements `Deserialize` by it.
///
/// # Errors
/// Those of the object's own reading.
pub fn read<'de, K: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<K, D::Error> {
    K::deserialize(Without { inner: deserializer, place: Place::Object })
}

/// Reads metadata and leaves out its `managedFields`; for `#[serde(deserialize_with)]`.
///
/// # Errors
/// Those of the metadata's own reading.
pub fn metadata<'de, M: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<M, D::Error> {
    M::deserialize(Without { inner: deserializer, place: Place::Metadata })
}

/// Where a map stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Object,
    Metadata,
}

/// A reader, seed, visitor or map that knows where it stands.
struct Without<T> {
    inner: T,
    place: Place,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Without<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(Without { inner: visitor, place: self.place })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_option(Without { inner: visitor, place: self.place })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_map(Without { inner: visitor, place: self.place })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_struct(name, fields, Without { inner: visitor, place: self.place })
    }

    // An object and its metadata are maps; for anything else the object's own reading has the words.
    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct enum identifier ignored_any
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Without<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(Members { map, place: self.place, in_metadata: false })
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Without { inner: deserializer, place: self.place })
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<V::Value, E> {
        self.inner.visit_bool(value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<V::Value, E> {
        self.inner.visit_i64(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<V::Value, E> {
        self.inner.visit_u64(value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<V::Value, E> {
        self.inner.visit_f64(value)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<V::Value, E> {
        self.inner.visit_str(text)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, list: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(list)
    }
}

/// The members of an object or of its metadata.
struct Members<A> {
    map: A,
    place: Place,
    /// The member that comes next is the metadata.
    in_metadata: bool,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key_seed(Key)? {
            if self.place == Place::Metadata && key == "managedFields" {
                self.map.next_value::<IgnoredAny>()?;
                continue;
            }
            self.in_metadata = self.place == Place::Object && key == "metadata";
            return seed.deserialize(CowStrDeserializer::new(key)).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        match self.in_metadata {
            true => self.map.next_value_seed(Without { inner: seed, place: Place::Metadata }),
            false => self.map.next_value_seed(seed),
        }
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Without<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Without { inner: deserializer, place: self.place })
    }
}

/// A key, copied only where it has escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::{Value, json};

    use super::*;

    fn pod() -> Value {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "n", "labels": {"managedFields": "stays"}, "uid": "u",
                "managedFields": [{"manager": "m", "operation": "Update", "fieldsV1": {"f:spec": {}}}],
                "annotations": {"metadata": "{}"}, "deletionTimestamp": null},
            "spec": {"containers": [{"name": "c", "env": [{"name": "managedFields", "value": "1"}]}]},
            "status": {"conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null}]}})
    }

    #[test]
    fn all_else_is_read() {
        let text = pod().to_string();
        let mut whole: Pod = serde_json::from_str(&text).expect("a pod");
        assert!(whole.metadata.managed_fields.take().is_some_and(|fields| fields.len() == 1));
        assert_eq!(read::<Pod, _>(&mut serde_json::Deserializer::from_str(&text)).expect("a pod"), whole);
        assert_eq!(read::<Pod, _>(pod()).expect("a pod"), whole);
        assert_eq!(metadata::<ObjectMeta, _>(pod()["metadata"].clone()).expect("metadata"), whole.metadata);
    }

    #[test]
    fn what_is_broken_is_broken() {
        let read = |text: &str| read::<Pod, _>(&mut serde_json::Deserializer::from_str(text));
        let whole = |text: &str| serde_json::from_str::<Pod>(text).map_err(|error| error.to_string());
        for text in [
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"managedFields":[}}"#,
            r#"{"apiVersion":"v1","kind":"Pod","metadata":"text"}"#,
            r#"{"apiVersion":"v1","kind":"Pod","metadata":[1]}"#,
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":7}}"#,
            r#"{"apiVersion":"v1","kind":"Pod","metadata":7}"#,
            "[]",
            "7",
            "",
        ] {
            let said = read(text).map_err(|error| error.to_string());
            assert!(said.is_err(), "{text}");
            assert_eq!(said, whole(text), "{text}");
        }
        assert_eq!(
            read(r#"{"kind":"Pod","apiVersion":"v1","metadata":null}"#).ok(),
            whole(r#"{"kind":"Pod","apiVersion":"v1","metadata":null}"#).ok()
        );
        assert_eq!(read(r#"{"kind":"Pod","apiVersion":"v1"}"#).ok(), whole(r#"{"kind":"Pod","apiVersion":"v1"}"#).ok());
    }
}
