//! The small steps of defaulting: set what is absent, visit what is there.

use serde_json::{Map, Value};

use crate::quantity::Quantity;

/// Sets a field that is absent, null or an empty text.
pub(super) fn set(obj: &mut Value, key: &str, default: impl Into<Value>) {
    if let Some(map) = obj.as_object_mut() {
        let unset = match map.get(key) {
            None | Some(Value::Null) => true,
            Some(Value::String(text)) => text.is_empty(),
            Some(_) => false,
        };
        if unset {
            map.insert(key.to_owned(), default.into());
        }
    }
}

/// Sets a number that is absent, null or zero.
pub(super) fn set_number(obj: &mut Value, key: &str, default: i64) {
    if obj.get(key).and_then(Value::as_i64) == Some(0) && default != 0 {
        obj[key] = Value::from(default);
    }
    set(obj, key, default);
}

/// Sets a field whose empty text means something, so that only its absence counts.
pub(super) fn set_absent(obj: &mut Value, key: &str, default: impl Into<Value>) {
    if let Some(map) = obj.as_object_mut()
        && map.get(key).is_none_or(Value::is_null)
    {
        map.insert(key.to_owned(), default.into());
    }
}

/// A field as an object, made when absent; nothing when the holder is no object.
pub(super) fn object<'a>(obj: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    set_absent(obj, key, Map::new());
    obj.get_mut(key)
}

/// The items of a list field.
pub(super) fn items<'a>(obj: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    obj.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

/// A text field, empty when absent.
pub(super) fn text<'a>(obj: &'a Value, key: &str) -> &'a str {
    obj.get(key).and_then(Value::as_str).unwrap_or("")
}

/// Whether a list or map field is absent or empty.
pub(super) fn is_empty(obj: &Value, key: &str) -> bool {
    match obj.get(key) {
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        other => other.is_none_or(Value::is_null),
    }
}

/// Writes the quantities of a resource list canonically; what is no quantity stays for validation.
pub(super) fn resource_list(obj: &mut Value, key: &str) {
    for (_, amount) in obj.get_mut(key).and_then(Value::as_object_mut).into_iter().flatten() {
        if let Ok(quantity) = Quantity::from_json(amount) {
            *amount = Value::from(quantity.rounded_to_milli().to_string());
        }
    }
}

/// The `limits` and `requests` below a `resources` field.
pub(super) fn resources(obj: &mut Value, key: &str) {
    if let Some(resources) = obj.get_mut(key) {
        resource_list(resources, "limits");
        resource_list(resources, "requests");
    }
}
