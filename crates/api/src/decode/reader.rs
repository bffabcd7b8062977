//! Reads a value along its type: one visitor for every type, fed by JSON text or by a value already read.
//!
//! Invariants: a wrong type never stops the reading, so that a later syntax error is still found; the first wrong type
//! is kept, as Go does; a null comes back as null and the place it stood in decides what that means.
//! Absent: the order of messages between kinds of failure (see `decode`).

use super::scalar::{self, Token};
use super::zero;
use crate::schema::{Body, Field, Struct, Ty, Type, schema};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// Strict errors that are kept: as many as a kube-apiserver keeps.
const STRICT_ERRORS_MAX: usize = 100;

/// Whose words tell of a wrong type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// Go's JSON decoder.
    Json,
    /// apimachinery's converter from unstructured objects, which strategic merge patches pass.
    Unstructured,
}

/// What was found while reading.
pub(super) struct Reader {
    words: Words,
    /// Whether unknown and repeated fields are of interest, here and now.
    strict: bool,
    strict_errors: Vec<String>,
    /// A type's own decoder refused: this outranks `first`.
    fatal: Option<String>,
    /// The first wrong type.
    first: Option<String>,
    /// `apiVersion` or `kind` is of a wrong type: this outranks all.
    meta: Option<String>,
    /// Path with keys and indices, as strict errors show it.
    path: String,
    /// Fields on the way, as type errors show them.
    go_path: Vec<&'static str>,
    /// The struct that holds the last field of `go_path`.
    go_struct: &'static str,
}

impl Reader {
    pub(super) fn new(words: Words, strict: bool) -> Self {
        Reader {
            words,
            strict,
            strict_errors: Vec::new(),
            fatal: None,
            first: None,
            meta: None,
            path: String::new(),
            go_path: Vec::new(),
            go_struct: "",
        }
    }

    /// A strict reader of what stands at a path.
    pub(super) fn at(path: &str) -> Self {
        Reader { path: path.to_owned(), ..Reader::new(Words::Json, true) }
    }

    /// A seed that reads the whole of an object.
    pub(super) fn root(&mut self, ty: Ty) -> Seed<'_> {
        Seed { ty, reader: self }
    }

    /// The wrong type to report, if any.
    pub(super) fn failure(&self) -> Option<String> {
        self.fatal.clone().or_else(|| self.first.clone())
    }

    /// What is wrong with `apiVersion` or `kind`, if anything.
    pub(super) fn meta_failure(&self) -> Option<String> {
        self.meta.clone()
    }

    pub(super) fn strict_errors(self) -> Vec<String> {
        self.strict_errors
    }

    fn strict_error(&mut self, what: &str, field: &str) {
        if !self.strict || self.strict_errors.len() >= STRICT_ERRORS_MAX {
            return;
        }
        let path = if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) };
        let error = format!("{what} field {}", crate::quote::quoted(&path));
        if !self.strict_errors.contains(&error) {
            self.strict_errors.push(error);
        }
    }

    /// Keeps the message for a token that does not fit `ty`.
    fn wrong(&mut self, token: &Token<'_>, ty: Ty, go_type: Option<&str>) {
        let go_type = go_type.map_or_else(|| schema().go_type(ty), str::to_owned);
        let message = match self.words {
            Words::Unstructured => scalar::unconvertible(token, schema().resolve(ty), &go_type),
            Words::Json => {
                let value = token.description(schema().resolve(ty));
                self.place(&value, &go_type)
            }
        };
        if self.go_path.len() == 2 && self.go_path[0] == "TypeMeta" && self.meta.is_none() {
            let field = self.go_path[1];
            let value = token.description(Ty::String);
            self.meta = Some(format!(
                "couldn't get version/kind; json parse error: json: cannot unmarshal {value} into Go struct field \
                 .{field} of type string"
            ));
        }
        self.first.get_or_insert(message);
    }

    fn place(&self, value: &str, go_type: &str) -> String {
        if self.go_path.is_empty() {
            return format!("json: cannot unmarshal {value} into Go value of type {go_type}");
        }
        let path = self.go_path.join(".");
        format!("json: cannot unmarshal {value} into Go struct field {}.{path} of type {go_type}", self.go_struct)
    }

    /// A scalar as the normal form writes it; null when it does not fit.
    fn scalar(&mut self, ty: Ty, token: Token<'_>) -> Value {
        match scalar::read(schema().resolve(ty), &token) {
            Ok(value) => value,
            Err(scalar::Refusal::WrongType(go_type)) => {
                self.wrong(&token, ty, go_type);
                Value::Null
            }
            Err(scalar::Refusal::Message { text, fatal }) => {
                let kept = if fatal { &mut self.fatal } else { &mut self.first };
                kept.get_or_insert(text);
                Value::Null
            }
        }
    }

    fn object<'de, A: MapAccess<'de>>(&mut self, ty: Ty, access: A) -> Result<Value, A::Error> {
        match schema().resolve(ty) {
            Ty::Ref(id) => self.fields(schema().get(id), access),
            Ty::Map(item) => self.map(item, access),
            Ty::SchemaOrArray | Ty::SchemaOrBool | Ty::SchemaOrStrings => self.nested_schema(access),
            Ty::RawExtension | Ty::FieldsV1 | Ty::Json | Ty::Patch => raw_object(access),
            _ => {
                self.wrong_token(ty, Token::Object);
                skip_object(access)
            }
        }
    }

    /// A type with a decoder of its own refuses for good what it does not take.
    fn wrong_token(&mut self, ty: Ty, token: Token<'_>) {
        let _ = self.scalar(ty, token);
    }

    fn fields<'de, A: MapAccess<'de>>(&mut self, ty: &'static Type, mut access: A) -> Result<Value, A::Error> {
        let Body::Struct(body) = &ty.body else { return raw_object(access) };
        let mut object = Map::new();
        let mut seen = vec![false; body.fields.len()];
        while let Some(key) = access.next_key_seed(Key(body))? {
            match key {
                Found::Unknown(name) => {
                    self.strict_error("unknown", &name);
                    access.next_value::<IgnoredAny>()?;
                }
                Found::Field(place) => {
                    let field = &body.fields[place];
                    if std::mem::replace(&mut seen[place], true) {
                        self.strict_error("duplicate", field.name);
                    }
                    let value = self.field(ty, field, &mut access)?;
                    if zero::is_omitted(field, &value) {
                        object.remove(field.name);
                    } else {
                        object.insert(field.name.to_owned(), value);
                    }
                }
            }
        }
        zero::fill(body, &mut object);
        Ok(Value::Object(object))
    }

    fn field<'de, A: MapAccess<'de>>(
        &mut self,
        ty: &'static Type,
        field: &'static Field,
        access: &mut A,
    ) -> Result<Value, A::Error> {
        let path_length = self.path.len();
        let go_length = self.go_path.len();
        let outer = self.go_struct;
        if self.strict {
            if !self.path.is_empty() {
                self.path.push('.');
            }
            self.path.push_str(field.name);
        }
        if !field.via.is_empty() {
            self.go_path.extend(field.via.split('.'));
        }
        self.go_path.push(field.name);
        self.go_struct = ty.name;
        let value = access.next_value_seed(Seed { ty: field.ty, reader: self });
        self.path.truncate(path_length);
        self.go_path.truncate(go_length);
        self.go_struct = outer;
        value
    }

    fn map<'de, A: MapAccess<'de>>(&mut self, item: &'static Ty, mut access: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if object.contains_key(&key) {
                self.strict_error("duplicate", &key);
            }
            let length = self.path.len();
            if self.strict {
                if length > 0 {
                    self.path.push('.');
                }
                self.path.push_str(&key);
            }
            let value = access.next_value_seed(Seed { ty: *item, reader: self });
            self.path.truncate(length);
            object.insert(key, zero::element(*item, value?));
        }
        Ok(Value::Object(object))
    }

    fn list<'de, A: SeqAccess<'de>>(&mut self, item: Ty, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let length = self.path.len();
            if self.strict {
                self.path.push_str(&format!("[{}]", items.len()));
            }
            let next = access.next_element_seed(Seed { ty: item, reader: self });
            self.path.truncate(length);
            match next? {
                Some(value) => items.push(zero::element(item, value)),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    /// Below a custom resource's schema Kubernetes reads nested schemas without looking for unknown fields.
    fn nested_schema<'de, A: MapAccess<'de>>(&mut self, access: A) -> Result<Value, A::Error> {
        let Some(ty) = schema().find("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps") else {
            return raw_object(access);
        };
        let strict = std::mem::replace(&mut self.strict, false);
        let value = self.fields(ty, access);
        self.strict = strict;
        value
    }

    fn array<'de, A: SeqAccess<'de>>(&mut self, ty: Ty, mut access: A) -> Result<Value, A::Error> {
        match schema().resolve(ty) {
            Ty::List(item) => self.list(*item, access),
            Ty::SchemaOrStrings => self.list(Ty::String, access),
            Ty::SchemaOrArray => {
                let strict = std::mem::replace(&mut self.strict, false);
                let id = schema().find_id("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps");
                let value = self.list(id.map_or(Ty::Json, Ty::Ref), access);
                self.strict = strict;
                value
            }
            Ty::RawExtension | Ty::FieldsV1 | Ty::Json | Ty::Patch => {
                let mut items = Vec::new();
                while let Some(item) = access.next_element::<Value>()? {
                    items.push(item);
                }
                Ok(Value::Array(items))
            }
            _ => {
                self.wrong_token(ty, Token::Array);
                while access.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Value::Null)
            }
        }
    }
}

fn raw_object<'de, A: MapAccess<'de>>(mut access: A) -> Result<Value, A::Error> {
    let mut object = Map::new();
    while let Some((key, value)) = access.next_entry::<String, Value>()? {
        object.insert(key, value);
    }
    Ok(Value::Object(object))
}

fn skip_object<'de, A: MapAccess<'de>>(mut access: A) -> Result<Value, A::Error> {
    while access.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(Value::Null)
}

/// A key of a struct: its field, found without keeping the name.
struct Key(&'static Struct);

enum Found {
    /// Place among the struct's fields.
    Field(usize),
    Unknown(String),
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Found, E> {
        let place = self.0.fields.iter().position(|field| field.name == name);
        Ok(place.map_or_else(|| Found::Unknown(name.to_owned()), Found::Field))
    }
}

/// Reads one value of a type.
pub(super) struct Seed<'r> {
    ty: Ty,
    reader: &'r mut Reader,
}

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
        Ok(self.reader.scalar(self.ty, Token::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(self.reader.scalar(self.ty, Token::Number(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(self.reader.scalar(self.ty, Token::Number(value.into())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        let number = serde_json::Number::from_f64(value);
        Ok(number.map_or(Value::Null, |number| self.reader.scalar(self.ty, Token::Number(number))))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(self.reader.scalar(self.ty, Token::String(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        self.reader.array(self.ty, access)
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        self.reader.object(self.ty, access)
    }
}
