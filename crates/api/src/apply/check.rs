//! What is wrong with the types of an applied configuration.
//!
//! Invariants: says it in the words of a kube-apiserver, each fault with its path.
//! Absent: the rules of the kind, which are checked on what comes of the merge.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Map, Value};

use super::element::Element;
use super::spot::{Items, ListShape, MapShape, Scalar, Shape, Spot};
use crate::quote::quoted;

/// The faults of a configuration as one text; none when it fits the kind.
pub(super) fn faults(root: Spot, config: &Value) -> Option<String> {
    let mut faults = Vec::new();
    at(root, config, &mut String::new(), &mut faults);
    match faults.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        several => {
            Some(format!("errors:\n{}", several.iter().map(|f| format!("  {f}")).collect::<Vec<_>>().join("\n")))
        }
    }
}

fn at(spot: Spot, value: &Value, path: &mut String, faults: &mut Vec<String>) {
    match (spot.shape(Some(value)), value) {
        (_, Value::Null) => {}
        (Shape::Scalar(scalar), value) => {
            if let Some(fault) = scalar_fault(scalar, value) {
                faults.push(said(path, &fault));
            }
        }
        (Shape::List(list), Value::Array(items)) => list_items(&list, items, path, faults),
        (Shape::Map(map), Value::Object(entries)) => map_items(&map, entries, path, faults),
        (Shape::List(_), value) => faults.push(said(path, &format!("expected list, got {}", shown(value)))),
        (Shape::Map(_), value) => faults.push(said(path, &format!("expected map, got {}", shown(value)))),
    }
}

fn said(path: &str, fault: &str) -> String {
    if path.is_empty() { fault.to_owned() } else { format!("{path}: {fault}") }
}

fn scalar_fault(scalar: Scalar, value: &Value) -> Option<String> {
    match (scalar, value) {
        (Scalar::String, Value::String(_)) | (Scalar::Bool, Value::Bool(_)) | (Scalar::Number, Value::Number(_)) => {
            None
        }
        (Scalar::Any, Value::String(_) | Value::Bool(_) | Value::Number(_)) => None,
        (Scalar::Number, other) => Some(format!("expected numeric (int or float), got {}", go_type(other))),
        (Scalar::String, other) => {
            Some(format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_value(other)))
        }
        (Scalar::Bool, other) => Some(format!("expected boolean, got {}", shown(other))),
        (Scalar::Any, other) => Some(format!("expected any scalar, got {}", shown(other))),
    }
}

fn list_items(list: &ListShape, items: &[Value], path: &mut String, faults: &mut Vec<String>) {
    let mut seen: BTreeSet<Element> = BTreeSet::new();
    for (place, item) in items.iter().enumerate() {
        let step = match list.items {
            Items::Atomic => format!("[{place}]"),
            Items::Set | Items::Keyed(_) | Items::Named(_) => match list.element(item) {
                Ok(element) => {
                    let step = element.to_string();
                    if !seen.insert(element) {
                        faults.push(said(path, &format!("duplicate entries for key {step}")));
                    }
                    step
                }
                Err(fault) => {
                    faults.push(said(path, &format!("element {place}: {fault}")));
                    return;
                }
            },
        };
        let above = path.len();
        path.push_str(&step);
        at(list.item, item, path, faults);
        path.truncate(above);
    }
}

fn map_items(map: &MapShape, entries: &Map<String, Value>, path: &mut String, faults: &mut Vec<String>) {
    for (name, value) in entries {
        let above = path.len();
        // Writing to a string cannot fail.
        let _ = write!(path, ".{name}");
        if map.knows(name) {
            at(map.child(name), value, path, faults);
        } else {
            faults.push(said(path, "field not declared in schema"));
        }
        path.truncate(above);
    }
}

/// A value as Go prints the holder of one.
fn shown(value: &Value) -> String {
    format!("&{{{}}}", printed(value))
}

fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(printed).collect::<Vec<_>>().join(" ")),
        Value::Object(entries) => {
            let entries: Vec<String> = entries.iter().map(|(key, value)| format!("{key}:{}", printed(value))).collect();
            format!("map[{}]", entries.join(" "))
        }
        other => other.to_string(),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn go_value(value: &Value) -> String {
    match value {
        Value::Object(entries) => {
            let entries: Vec<String> = entries.iter().map(|(k, v)| format!("{}:{}", quoted(k), go_value(v))).collect();
            format!("map[string]interface {{}}{{{}}}", entries.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_value).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;
    use serde_json::json;

    #[test]
    fn faults_are_named() {
        let root = Spot::root(kinds::by_kind("apps/v1", "Deployment").expect("a kind"));
        let containers = |items: Value| json!({"spec": {"template": {"spec": {"containers": items}}}});
        for (config, want) in [
            (json!({"spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}}}), None),
            (json!({"spec": {"replicas": null}}), None),
            (json!({"spec": {"foo": 1}}), Some(".spec.foo: field not declared in schema")),
            (json!({"spec": {"replicas": "3"}}), Some(".spec.replicas: expected numeric (int or float), got string")),
            (
                containers(json!([{"name": "a"}, {"name": "a"}])),
                Some(".spec.template.spec.containers: duplicate entries for key [name=\"a\"]"),
            ),
            (
                containers(json!([{"name": "a", "command": [1]}])),
                Some(
                    ".spec.template.spec.containers[name=\"a\"].command[0]: expected string, got &value.valueUnstructured{Value:1}",
                ),
            ),
            (
                json!({"metadata": {"labels": {"a": true}}, "spec": {"x": 1}}),
                Some(
                    "errors:\n  .metadata.labels.a: expected string, got &value.valueUnstructured{Value:true}\n  .spec.x: field not declared in schema",
                ),
            ),
        ] {
            assert_eq!(faults(root, &config).as_deref(), want, "{config}");
        }
    }
}
