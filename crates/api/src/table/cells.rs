//! What many rows show alike: names, ages, containers, labels, addresses.
//!
//! Invariants: a path is a JSON pointer; what is absent reads as empty, never fails.

use jiff::Timestamp;
use serde_json::Value;

use crate::selector::Labels;

use super::duration::{human_duration, seconds_since};

/// How many entries of a list are shown before `+ N more...`.
pub(super) const SHOWN_MAX: usize = 3;

pub(super) const NONE: &str = "<none>";
pub(super) const UNSET: &str = "<unset>";
pub(super) const UNKNOWN: &str = "<unknown>";

pub(super) fn text<'a>(obj: &'a Value, path: &str) -> &'a str {
    obj.pointer(path).and_then(Value::as_str).unwrap_or("")
}

/// A text, or what stands for its absence.
pub(super) fn text_or(obj: &Value, path: &str, absent: &str) -> Value {
    let text = text(obj, path);
    Value::from(if text.is_empty() { absent } else { text })
}

pub(super) fn cell(obj: &Value, path: &str) -> Value {
    Value::from(text(obj, path))
}

pub(super) fn number(obj: &Value, path: &str) -> i64 {
    obj.pointer(path).and_then(Value::as_i64).unwrap_or(0)
}

pub(super) fn integer(obj: &Value, path: &str) -> Value {
    Value::from(number(obj, path))
}

pub(super) fn flag(obj: &Value, path: &str) -> bool {
    obj.pointer(path).and_then(Value::as_bool).unwrap_or(false)
}

pub(super) fn list<'a>(obj: &'a Value, path: &str) -> &'a [Value] {
    obj.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// How many entries a list or a map has.
pub(super) fn length(obj: &Value, path: &str) -> usize {
    match obj.pointer(path) {
        Some(Value::Array(list)) => list.len(),
        Some(Value::Object(map)) => map.len(),
        _ => 0,
    }
}

/// A number or text as text (`IntOrString`, quantities).
pub(super) fn shown(obj: &Value, path: &str) -> Option<String> {
    match obj.pointer(path)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

pub(super) fn name(obj: &Value) -> Value {
    cell(obj, "/metadata/name")
}

pub(super) fn moment(obj: &Value, path: &str) -> Option<Timestamp> {
    text(obj, path).parse().ok()
}

/// How long ago a moment of the object was.
pub(super) fn since(obj: &Value, path: &str, now: Timestamp) -> String {
    moment(obj, path).map_or_else(|| UNKNOWN.to_owned(), |moment| human_duration(seconds_since(moment, now)))
}

pub(super) fn age(obj: &Value, now: Timestamp) -> Value {
    Value::from(since(obj, "/metadata/creationTimestamp", now))
}

pub(super) fn created_at(obj: &Value) -> Value {
    text_or(obj, "/metadata/creationTimestamp", "0001-01-01T00:00:00Z")
}

/// Names and images of the containers at a path.
pub(super) fn containers(obj: &Value, path: &str) -> [Value; 2] {
    let joined = |key: &str| {
        let parts: Vec<&str> = list(obj, path).iter().map(|container| text(container, key)).collect();
        Value::from(parts.join(","))
    };
    [joined("/name"), joined("/image")]
}

/// A map as `a=b,c=d`.
pub(super) fn labels(obj: &Value, path: &str) -> Value {
    let pairs = obj.pointer(path).and_then(Value::as_object).into_iter().flatten();
    let pairs: Vec<String> = pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or(""))).collect();
    Value::from(if pairs.is_empty() { NONE.to_owned() } else { pairs.join(",") })
}

/// A `metav1.LabelSelector` as text.
pub(super) fn selector(obj: &Value, path: &str) -> Value {
    let selector = obj.pointer(path).unwrap_or(&Value::Null);
    Value::from(match Labels::from_json(selector).map(|selector| selector.to_string()) {
        Ok(text) if text.is_empty() => NONE.to_owned(),
        Ok(text) => text,
        Err(_) => "<error>".to_owned(),
    })
}

/// The first entries, and how many more there are.
pub(super) fn first_few(entries: &[String]) -> String {
    let shown = entries.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(",");
    if entries.len() > SHOWN_MAX { format!("{shown} + {} more...", entries.len() - SHOWN_MAX) } else { shown }
}

/// The condition of a type.
pub(super) fn condition<'a>(obj: &'a Value, kind: &str) -> Option<&'a Value> {
    list(obj, "/status/conditions").iter().find(|condition| text(condition, "/type") == kind)
}

/// Whether the condition of a type is `True`.
pub(super) fn is_true(obj: &Value, kind: &str) -> bool {
    condition(obj, kind).is_some_and(|condition| text(condition, "/status") == "True")
}

/// Whether the object is being deleted.
pub(super) fn is_deleting(obj: &Value) -> bool {
    !text(obj, "/metadata/deletionTimestamp").is_empty()
}
