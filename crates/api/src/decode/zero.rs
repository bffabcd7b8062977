//! What Go writes for values that nobody set, and what it leaves out.
//!
//! Invariants: filling a filled struct changes nothing.
//! Absent: Kubernetes' defaults, which are rules and not zero values.

use crate::schema::{Field, Struct, Ty, Type, schema};
use serde_json::{Map, Value};

/// Whether Go leaves out `field` when it holds `value`. A null is what reading leaves of a value that was not set.
pub(super) fn is_omitted(field: &Field, value: &Value) -> bool {
    let is_empty = match value {
        Value::Null => return true,
        Value::String(text) => text.is_empty(),
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
    };
    // An empty list of managed fields means something: the account is to begin anew.
    if !is_empty || field.name == "managedFields" {
        return false;
    }
    match schema().resolve(field.ty) {
        // A list or map that is empty is stored as none.
        Ty::List(_) | Ty::Map(_) => true,
        Ty::String | Ty::Bool | Ty::Int32 | Ty::Int64 | Ty::Uint32 | Ty::Float64 | Ty::Bytes => {
            field.omitempty && !field.pointer
        }
        _ => false,
    }
}

/// Adds what Go always writes.
pub(super) fn fill(body: &Struct, object: &mut Map<String, Value>) {
    for &place in &body.always {
        let field = &body.fields[usize::from(place)];
        if !object.contains_key(field.name) {
            object.insert(field.name.to_owned(), if field.pointer { Value::Null } else { zero(field.ty) });
        }
    }
}

/// An element of a list or map: a null there stands for the zero value.
pub(super) fn element(ty: Ty, value: Value) -> Value {
    if value.is_null() { zero(ty) } else { value }
}

/// A struct in which nothing is set.
pub fn zero_struct(ty: &Type) -> Value {
    let mut object = Map::new();
    if let crate::schema::Body::Struct(body) = &ty.body {
        fill(body, &mut object);
    }
    Value::Object(object)
}

fn zero(ty: Ty) -> Value {
    match schema().resolve(ty) {
        Ty::String | Ty::Bytes => Value::String(String::new()),
        Ty::Bool => Value::Bool(false),
        Ty::Int32 | Ty::Int64 | Ty::Uint32 | Ty::Float64 | Ty::IntOrString => Value::from(0),
        Ty::Quantity => Value::String("0".to_owned()),
        Ty::Duration => Value::String("0s".to_owned()),
        Ty::Ref(id) => zero_struct(schema().get(id)),
        Ty::Patch => Value::Object(Map::new()),
        Ty::SchemaOrBool => Value::Bool(false),
        Ty::Time
        | Ty::MicroTime
        | Ty::RawExtension
        | Ty::FieldsV1
        | Ty::Json
        | Ty::SchemaOrArray
        | Ty::SchemaOrStrings
        | Ty::List(_)
        | Ty::Map(_) => Value::Null,
    }
}
