//! Values of expressions. Lists and maps of an object are looked at where they are, never copied.
//!
//! Invariants: comparing never fails; values of different types are unequal, numbers aside.

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::crd::schema::{Schema, Type};

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
    /// Nanoseconds.
    Duration(i64),
    Time(Timestamp),
    List(List<'a>),
    Map(Table<'a>),
    Optional(Option<Arc<Val<'a>>>),
    /// The name of a type.
    Type(&'static str),
    /// An amount, an address, a range of addresses or a URL, with the text it was read from.
    Special(Special),
}

/// Values that libraries of Kubernetes know.
#[derive(Debug, Clone)]
pub(crate) enum Special {
    Quantity(crate::quantity::Quantity),
    Ip(std::net::IpAddr),
    Cidr(std::net::IpAddr, u8),
    Url(Arc<str>),
}

/// A list.
#[derive(Debug, Clone)]
pub(crate) enum List<'a> {
    Made(Arc<Vec<Val<'a>>>),
    Of(&'a [Value], Option<&'a Schema>),
}

/// A map.
#[derive(Debug, Clone)]
pub(crate) enum Table<'a> {
    Made(Arc<Vec<(Val<'a>, Val<'a>)>>),
    Of(&'a Map<String, Value>, Option<&'a Schema>),
}

/// A value of an object, as its schema types it.
pub(crate) fn from_json<'a>(value: &'a Value, schema: Option<&'a Schema>) -> Val<'a> {
    match value {
        Value::Null => Val::Null,
        Value::Bool(value) => Val::Bool(*value),
        Value::Number(number) => match (number.as_i64(), schema.map(|schema| schema.ty)) {
            (Some(_), Some(Type::Number)) | (None, _) => Val::Double(number.as_f64().unwrap_or_default()),
            (Some(number), _) => Val::Int(number),
        },
        Value::String(text) => typed_text(text, schema),
        Value::Array(items) => Val::List(List::Of(items, schema)),
        Value::Object(map) => Val::Map(Table::Of(map, schema)),
    }
}

fn typed_text<'a>(text: &str, schema: Option<&Schema>) -> Val<'a> {
    let format = schema.and_then(|schema| schema.rules.as_ref()?.format.as_deref());
    let typed = match format {
        Some("date-time" | "datetime") => text.parse().ok().map(Val::Time),
        Some("date") => format!("{text}T00:00:00Z").parse().ok().map(Val::Time),
        Some("duration") => super::text::duration(text).map(Val::Duration),
        Some("byte") => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.decode(text).ok().map(|bytes| Val::Bytes(bytes.into()))
        }
        _ => None,
    };
    typed.unwrap_or_else(|| Val::Text(text.into()))
}

/// A field's name as expressions spell it, which escape what is no name there.
pub(super) fn unescaped(name: &str) -> String {
    let name = name.replace("__dot__", ".").replace("__dash__", "-").replace("__slash__", "/");
    let name = name.replace("__underscores__", "__");
    match name.strip_prefix("__").and_then(|inner| inner.strip_suffix("__")) {
        Some(inner) if !inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_lowercase()) => inner.to_owned(),
        _ => name,
    }
}

impl<'a> Val<'a> {
    pub(crate) fn text(text: impl Into<Arc<str>>) -> Val<'a> {
        Val::Text(text.into())
    }

    pub(crate) fn list(items: Vec<Val<'a>>) -> Val<'a> {
        Val::List(List::Made(Arc::new(items)))
    }

    pub(super) fn none() -> Val<'a> {
        Val::Optional(None)
    }

    pub(crate) fn some(value: Val<'a>) -> Val<'a> {
        Val::Optional(Some(Arc::new(value)))
    }

    /// The name of its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Val::Null => "null_type",
            Val::Bool(_) => "bool",
            Val::Int(_) => "int",
            Val::Uint(_) => "uint",
            Val::Double(_) => "double",
            Val::Text(_) => "string",
            Val::Bytes(_) => "bytes",
            Val::Duration(_) => "google.protobuf.Duration",
            Val::Time(_) => "google.protobuf.Timestamp",
            Val::List(_) => "list",
            Val::Map(_) => "map",
            Val::Optional(_) => "optional_type",
            Val::Type(_) => "type",
            Val::Special(Special::Quantity(_)) => "kubernetes.Quantity",
            Val::Special(Special::Ip(_)) => "net.IP",
            Val::Special(Special::Cidr(..)) => "net.CIDR",
            Val::Special(Special::Url(_)) => "kubernetes.URL",
        }
    }

    /// The order of two values of one type; none for others.
    pub(super) fn order(&self, other: &Val<'a>) -> Option<Ordering> {
        match (self, other) {
            (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
            (Val::Text(a), Val::Text(b)) => Some(a.cmp(b)),
            (Val::Bytes(a), Val::Bytes(b)) => Some(a.cmp(b)),
            (Val::Duration(a), Val::Duration(b)) => Some(a.cmp(b)),
            (Val::Time(a), Val::Time(b)) => Some(a.cmp(b)),
            (Val::Int(a), Val::Int(b)) => Some(a.cmp(b)),
            (Val::Uint(a), Val::Uint(b)) => Some(a.cmp(b)),
            (Val::Int(a), Val::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Val::Uint(a), Val::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (a, b) => a.number()?.partial_cmp(&b.number()?),
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Val::Int(number) => Some(*number as f64),
            Val::Uint(number) => Some(*number as f64),
            Val::Double(number) => Some(*number),
            _ => None,
        }
    }

    /// Whether two values are the same.
    pub(crate) fn equals(&self, other: &Val<'a>) -> bool {
        match (self, other) {
            (Val::Null, Val::Null) => true,
            (Val::List(a), Val::List(b)) => a.equals(b),
            (Val::Map(a), Val::Map(b)) => {
                a.len() == b.len()
                    && a.keys().into_iter().all(|key| match (a.get(&key), b.get(&key)) {
                        (Some(a), Some(b)) => a.equals(&b),
                        _ => false,
                    })
            }
            (Val::Optional(None), Val::Optional(None)) => true,
            (Val::Optional(Some(a)), Val::Optional(Some(b))) => a.equals(b),
            (Val::Type(a), Val::Type(b)) => a == b,
            (Val::Special(a), Val::Special(b)) => a.equals(b),
            (a, b) => a.order(b).is_some_and(Ordering::is_eq),
        }
    }
}

impl Special {
    fn equals(&self, other: &Special) -> bool {
        match (self, other) {
            (Special::Quantity(a), Special::Quantity(b)) => a.cmp(b).is_eq(),
            (Special::Ip(a), Special::Ip(b)) => a == b,
            (Special::Cidr(a, m), Special::Cidr(b, n)) => (a, m) == (b, n),
            (Special::Url(a), Special::Url(b)) => a == b,
            _ => false,
        }
    }
}

impl<'a> List<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            List::Made(items) => items.len(),
            List::Of(items, _) => items.len(),
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<Val<'a>> {
        match self {
            List::Made(items) => items.get(at).cloned(),
            List::Of(items, schema) => {
                items.get(at).map(|item| from_json(item, schema.and_then(|schema| schema.items.as_deref())))
            }
        }
    }

    pub(super) fn items(&self) -> impl Iterator<Item = Val<'a>> + '_ {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    pub(super) fn contains(&self, value: &Val<'a>) -> bool {
        self.items().any(|item| item.equals(value))
    }

    /// Sets and maps by keys are the same in any order.
    fn equals(&self, other: &List<'a>) -> bool {
        use crate::schema::ListType;
        let has_no_order = matches!(self, List::Of(_, Some(schema)) if matches!(schema.list_type, Some(ListType::Set | ListType::Map)));
        self.len() == other.len()
            && match has_no_order {
                true => self.items().all(|item| other.contains(&item)),
                false => self.items().zip(other.items()).all(|(a, b)| a.equals(&b)),
            }
    }
}

impl<'a> Table<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Table::Made(entries) => entries.len(),
            Table::Of(map, _) => map.len(),
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &Val<'a>) -> Option<Val<'a>> {
        match (self, key) {
            (Table::Made(entries), key) => entries.iter().find(|(there, _)| there.equals(key)).map(|(_, v)| v.clone()),
            (Table::Of(map, schema), Val::Text(key)) => {
                map.get(&**key).map(|value| from_json(value, schema.and_then(|schema| schema.field(key))))
            }
            _ => None,
        }
    }

    /// The value of a field, as expressions spell it.
    pub(super) fn field(&self, name: &str) -> Option<Val<'a>> {
        let key = match self {
            Table::Of(_, Some(schema)) if !schema.properties.is_empty() => unescaped(name),
            _ => name.to_owned(),
        };
        self.get(&Val::text(key))
    }

    pub(super) fn keys(&self) -> Vec<Val<'a>> {
        match self {
            Table::Made(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
            Table::Of(map, _) => map.keys().map(|key| Val::text(key.as_str())).collect(),
        }
    }
}
