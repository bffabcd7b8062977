//! What a definition's schema may say beyond being structural, and whether its defaults keep its own rules.
//!
//! Invariants: faults are told in the order of fields.
//! Absent: rules that an older definition broke already and an update may go on breaking.

use serde_json::Value;

use super::schema::{Schema, entries, list, texts};
use super::{check, meta, prune};
use crate::validate::{FieldError, Path};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// What stands around a place.
#[derive(Clone, Copy)]
struct Around<'a> {
    /// Why no default may stand here.
    no_defaults: Option<&'a str>,
    in_metadata: bool,
    is_root: bool,
}

/// What a schema says that it may not.
pub(super) fn faults(path: &Path, schema: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    place(path, schema, Around { no_defaults: None, in_metadata: false, is_root: true }, &mut errors);
    errors
}

fn place(path: &Path, schema: &Value, around: Around<'_>, errors: &mut Vec<FieldError>) {
    if !schema.is_object() {
        return;
    }
    standard(path, schema, around, errors);
    let inner = Around { is_root: false, ..around };
    if schema["uniqueItems"] == true {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(&path.child("uniqueItems"), detail));
    }
    if let Some(additional) = schema.get("additionalProperties").filter(|value| !value.is_null()) {
        let path = path.child("additionalProperties");
        if entries(schema, "properties").next().is_some() && *additional != true {
            errors.push(FieldError::forbidden(&path, "additionalProperties and properties are mutual exclusive"));
        }
        let reason = "inside additionalProperties applying to object metadata";
        let no_defaults = if around.in_metadata { Some(reason) } else { around.no_defaults };
        place(&path, additional, Around { no_defaults, ..inner }, errors);
    }
    for (name, property) in entries(schema, "properties") {
        let is_meta = prune::META_FIELDS.contains(&name.as_str())
            && (around.is_root || schema["x-kubernetes-embedded-resource"] == true);
        let reason = format!("in top-level {name}");
        let no_defaults = if is_meta && around.is_root { Some(reason.as_str()) } else { around.no_defaults };
        let below = Around { no_defaults, in_metadata: around.in_metadata || is_meta, is_root: false };
        place(&path.child("properties").key(name), property, below, errors);
    }
    if let Some(not) = schema.get("not") {
        place(&path.child("not"), not, inner, errors);
    }
    for key in ["allOf", "oneOf", "anyOf"] {
        for (at, one) in list(schema, key).iter().enumerate() {
            place(&path.child(key).index(at), one, inner, errors);
        }
    }
    if let Some(items) = schema.get("items") {
        place(&path.child("items"), items, inner, errors);
    }
    maps(path, schema, errors);
    lists(path, schema, errors);
    map_keys(path, schema, errors);
    rules(path, schema, errors);
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn standard(path: &Path, schema: &Value, around: Around<'_>, errors: &mut Vec<FieldError>) {
    let ty = text(schema, "type");
    if !ty.is_empty() && !TYPES.contains(&ty) {
        errors.push(FieldError::not_supported(&path.child("type"), ty, &TYPES));
    }
    if let (Some(reason), true) = (around.no_defaults, schema.get("default").is_some_and(|value| !value.is_null())) {
        errors.push(FieldError::forbidden(&path.child("default"), format!("must not be set {reason}")));
    }
    for key in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        let is_set = match schema.get(key) {
            None | Some(Value::Null) => false,
            Some(Value::Object(map)) => !map.is_empty() || key == "dependencies" || key == "additionalItems",
            Some(Value::String(text)) => !text.is_empty(),
            Some(_) => true,
        };
        if is_set {
            errors.push(FieldError::forbidden(&path.child(key), format!("{key} is not supported")));
        }
    }
    if ty == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        errors.push(FieldError::forbidden(&path.child("type"), detail));
    }
    if schema.get("items").and_then(Value::as_array).is_some_and(|items| !items.is_empty()) {
        errors.push(FieldError::forbidden(&path.child("items"), "items must be a schema object and not an array"));
    }
    if around.in_metadata && schema["x-kubernetes-embedded-resource"] == true {
        let path = path.child("x-kubernetes-embedded-resource");
        errors.push(FieldError::forbidden(&path, "must not be used inside of resource meta"));
    }
}

/// A field that must have a value where another stands.
fn must_be(path: &Path, value: &str, detail: String, errors: &mut Vec<FieldError>) {
    errors.push(match value.is_empty() {
        true => FieldError::required(path, detail),
        false => FieldError::invalid(path, value, detail),
    });
}

fn maps(path: &Path, schema: &Value, errors: &mut Vec<FieldError>) {
    let (key, ty) = ("x-kubernetes-preserve-unknown-fields", text(schema, "type"));
    if schema.get(key) == Some(&Value::Bool(false)) {
        errors.push(FieldError::invalid(&path.child(key), false, "must be true or undefined"));
    }
    let Some(map_type) = schema.get("x-kubernetes-map-type").and_then(Value::as_str) else { return };
    if ty != "object" {
        must_be(&path.child("type"), ty, "must be object if x-kubernetes-map-type is specified".to_owned(), errors);
    }
    if !["atomic", "granular"].contains(&map_type) {
        let path = path.child("x-kubernetes-map-type");
        errors.push(FieldError::not_supported(&path, map_type, &["atomic", "granular"]));
    }
}

fn lists(path: &Path, schema: &Value, errors: &mut Vec<FieldError>) {
    let ty = text(schema, "type");
    let list_path = path.child("x-kubernetes-list-type");
    let list_type = schema.get("x-kubernetes-list-type").and_then(Value::as_str);
    let items = schema.get("items").filter(|items| items.is_object());
    if let Some(list_type) = list_type {
        if ty != "array" {
            must_be(&path.child("type"), ty, "must be array if x-kubernetes-list-type is specified".to_owned(), errors);
        } else if let (true, Some(items)) = (list_type == "set", items) {
            let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
            let (key, is_wrong) = match text(items, "type") {
                "array" => {
                    let inner = text(items, "x-kubernetes-list-type");
                    ("x-kubernetes-list-type", !inner.is_empty() && inner != "atomic")
                }
                "object" => ("x-kubernetes-map-type", text(items, "x-kubernetes-map-type") != "atomic"),
                _ => ("", false),
            };
            if is_wrong {
                let value = items.get("x-kubernetes-list-type").cloned().unwrap_or_default();
                errors.push(FieldError::invalid(&path.child("items").child(key), value, detail));
            }
        }
        if !["atomic", "set", "map"].contains(&list_type) {
            errors.push(FieldError::not_supported(&list_path, list_type, &["atomic", "set", "map"]));
        }
    }
    if !list(schema, "x-kubernetes-list-map-keys").is_empty() && list_type != Some("map") {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty".to_owned();
        must_be(&list_path, list_type.unwrap_or_default(), detail, errors);
    }
}

/// Lists that are maps: their keys are scalars that every item has.
fn map_keys(path: &Path, schema: &Value, errors: &mut Vec<FieldError>) {
    let list_type = text(schema, "x-kubernetes-list-type");
    let Some(items) = schema.get("items").filter(|items| items.is_object()) else {
        if list_type == "map" {
            let detail = "must have a schema if x-kubernetes-list-type is map";
            errors.push(FieldError::required(&path.child("items"), detail));
        }
        return;
    };
    let (items_path, keys) = (path.child("items"), texts(schema, "x-kubernetes-list-map-keys"));
    let keys_path = path.child("x-kubernetes-list-map-keys");
    let shown = || schema["x-kubernetes-list-map-keys"].clone();
    if list_type == "map" {
        if keys.is_empty() {
            let detail = "must not be empty if x-kubernetes-list-type is map";
            errors.push(FieldError::required(&keys_path, detail));
        }
        let ty = text(items, "type");
        if ty != "object" {
            let detail = "must be object if parent array's x-kubernetes-list-type is map";
            errors.push(FieldError::invalid(&items_path.child("type"), ty, detail));
        }
        for (at, key) in keys.iter().enumerate().filter(|_| ty == "object") {
            match items["properties"].get(key) {
                None => {
                    let detail = "entries must all be names of item properties";
                    errors.push(FieldError::invalid(&keys_path, shown(), detail));
                }
                Some(property) if matches!(text(property, "type"), "array" | "object") => {
                    let path = items_path.child("properties").key(key).child("type");
                    let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    errors.push(FieldError::invalid(&path, ty, detail));
                }
                Some(_) => {}
            }
            if keys[..at].contains(key) {
                errors.push(FieldError::invalid(&keys_path, shown(), "must not contain duplicate entries"));
            }
        }
    }
    if !matches!(list_type, "set" | "map") {
        return;
    }
    if items["nullable"] == true {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(FieldError::forbidden(&items_path.child("nullable"), detail));
    }
    let required = texts(items, "required");
    for key in keys.iter().filter(|_| list_type == "map") {
        let Some(property) = items["properties"].get(key) else { continue };
        let path = items_path.child("properties").key(key);
        if !required.contains(key) && property.get("default").is_none_or(Value::is_null) {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required \
                property";
            errors.push(FieldError::required(&path.child("default"), detail));
        }
        if property["nullable"] == true {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(&path.child("nullable"), detail));
        }
    }
}

/// The form of `x-kubernetes-validations`.
fn rules(path: &Path, schema: &Value, errors: &mut Vec<FieldError>) {
    const REASONS: [&str; 4] =
        ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    let has_breaks = |text: &str| text.contains(['\n', '\r']);
    for (at, rule) in list(schema, "x-kubernetes-validations").iter().enumerate() {
        let path = path.child("x-kubernetes-validations").index(at);
        let (expression, message) = (text(rule, "rule").trim(), text(rule, "message"));
        if expression.is_empty() {
            errors.push(FieldError::required(&path.child("rule"), "rule is not specified"));
        } else if !message.is_empty() && message.trim().is_empty() {
            let detail = "must be non-empty if specified";
            errors.push(FieldError::invalid(&path.child("message"), message, detail));
        } else if has_breaks(message.trim()) {
            errors.push(FieldError::invalid(&path.child("message"), message, "must not contain line breaks"));
        } else if has_breaks(expression) && message.trim().is_empty() {
            let detail = "message must be specified if rule contains line breaks";
            errors.push(FieldError::required(&path.child("message"), detail));
        }
        let own_message = text(rule, "messageExpression");
        if !own_message.is_empty() && own_message.trim().is_empty() {
            let detail = "messageExpression must be non-empty if specified";
            errors.push(FieldError::required(&path.child("messageExpression"), detail));
        }
        if let Some(reason) = rule.get("reason").and_then(Value::as_str).filter(|reason| !REASONS.contains(reason)) {
            errors.push(FieldError::not_supported(&path.child("reason"), reason, &REASONS));
        }
        let field_path = text(rule, "fieldPath");
        if !field_path.is_empty() && field_path.trim().is_empty() {
            let detail = "must be non-empty if specified";
            errors.push(FieldError::invalid(&path.child("fieldPath"), field_path, detail));
        }
        if has_breaks(field_path) {
            errors.push(FieldError::invalid(&path.child("fieldPath"), field_path, "must not contain line breaks"));
        }
    }
}

/// Defaults that their own schema would refuse or prune.
pub(super) fn default_faults(path: &Path, json: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    defaults(path, json, &Schema::compile(json), &mut errors);
    errors
}

fn defaults(path: &Path, json: &Value, schema: &Schema, errors: &mut Vec<FieldError>) {
    if !schema.has_defaults {
        return;
    }
    if let Some(default) = &schema.default {
        let path = path.child("default");
        let mut pruned = default.clone();
        if !prune::place(&mut pruned, schema).is_empty() {
            errors.push(FieldError::invalid(&path, default.clone(), "must not have unknown fields"));
        }
        meta::broken(&path, default, schema, errors);
        errors.extend(check::broken(&path, default, None, schema));
    }
    if let (Some(items), Some(below)) = (json.get("items"), schema.items.as_deref()) {
        defaults(&path.child("items"), items, below, errors);
    }
    for (name, property) in entries(json, "properties") {
        if let Some(below) = schema.properties.get(name) {
            defaults(&path.child("properties").key(name), property, below, errors);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(found: &[FieldError], want: &[&str]) {
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, want);
    }

    #[test]
    fn what_a_schema_may_not_say() {
        let schema = json!({"type": "object", "properties": {
            "metadata": {"type": "object", "default": {}},
            "a": {"type": "text", "$ref": "#/x"},
            "m": {"type": "object", "properties": {"x": {"type": "string"}}, "additionalProperties": {"type": "string"}},
            "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}}}},
            "s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}, "uniqueItems": true}}});
        check(
            &faults(&Path::root("s"), &schema),
            &[
                "s.properties[a].type: Unsupported value: \"text\": supported values: \"array\", \"boolean\", \"integer\", \
             \"number\", \"object\", \"string\"",
                "s.properties[a].$ref: Forbidden: $ref is not supported",
                "s.properties[l].items.properties[k].default: Required value: this property is in \
             x-kubernetes-list-map-keys, so it must have a default or be a required property",
                "s.properties[m].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
                "s.properties[metadata].default: Forbidden: must not be set in top-level metadata",
                "s.properties[s].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity \
             becomes quadratic",
                "s.properties[s].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with \
             x-kubernetes-list-type=set",
            ],
        );
    }

    #[test]
    fn defaults_keep_their_own_rules() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "integer", "maximum": 3, "default": 4},
            "b": {"type": "object", "default": {"x": 1, "y": 2}, "properties": {"x": {"type": "integer"}}},
            "c": {"type": "string", "default": "fine"}}});
        check(
            &default_faults(&Path::root("s"), &schema),
            &[
                "s.properties[a].default: Invalid value: 4:  in body should be less than or equal to 3",
                "s.properties[b].default: Invalid value: {\"x\":1,\"y\":2}: must not have unknown fields",
            ],
        );
    }
}
