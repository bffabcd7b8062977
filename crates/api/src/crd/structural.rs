//! Whether a schema is structural: every field it speaks of is declared in one place, with a type.
//!
//! Invariants: violations are told in Kubernetes' words, sorted.
//! Absent: the other rules about schemas (`props`).

use serde_json::{Map, Value, json};

use super::pattern;
use super::schema::{entries, list};
use crate::validate::{FieldError, Path, aggregate};

/// Where in a schema a place is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// All violations of a definition's schemas as one text; none when they are structural.
pub(super) fn violations(definition: &Value) -> Option<String> {
    let mut errors = Vec::new();
    if definition["spec"]["preserveUnknownFields"] == true {
        let path = Path::root("spec").child("preserveUnknownFields");
        errors.push(FieldError::invalid(&path, true, "must be false"));
    }
    for (at, version) in list(&definition["spec"], "versions").iter().enumerate() {
        let path = Path::root("spec").child("versions").index(at).child("schema").child("openAPIV3Schema");
        if let Some(schema) = version["schema"].get("openAPIV3Schema") {
            errors.extend(faults(&path, schema));
        }
    }
    (!errors.is_empty()).then(|| aggregate(&errors))
}

/// What keeps a schema from being structural.
pub(super) fn faults(path: &Path, schema: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    invariants(schema, Level::Root, path, &mut errors);
    complete_values(schema, Some(schema), path, path, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn flag(schema: &Value, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool).unwrap_or_default()
}

fn property_path(path: &Path, name: &str) -> Path {
    path.child("properties").key(name)
}

fn invariants(schema: &Value, level: Level, path: &Path, errors: &mut Vec<FieldError>) {
    let ty = text(schema, "type");
    match schema.get("items") {
        Some(items) if items.is_object() => invariants(items, Level::Item, &path.child("items"), errors),
        _ if ty == "array" => errors.push(FieldError::required(&path.child("items"), "must be specified")),
        _ => {}
    }
    for (name, property) in entries(schema, "properties") {
        invariants(property, Level::Field, &property_path(path, name), errors);
    }
    if let Some(additional) = schema.get("additionalProperties") {
        let path = path.child("additionalProperties");
        if level == Level::Root {
            errors.push(FieldError::forbidden(&path, "must not be used at the root"));
        }
        if additional.is_object() {
            invariants(additional, Level::Field, &path, errors);
        }
    }
    extensions(schema, path, errors);
    let any_of = json!([{"type": "integer"}, {"type": "string"}]);
    let skips_any_of = schema.get("anyOf") == Some(&any_of);
    let skips_first = list(schema, "allOf").first().is_some_and(|first| first.get("anyOf") == Some(&any_of));
    value_validation(schema, (skips_any_of, skips_first), path, errors);
    types(schema, level, path, errors);
    metadata(schema, level, path, errors);
}

fn extensions(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if !flag(schema, "x-kubernetes-int-or-string") {
        return;
    }
    for key in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if flag(schema, key) {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(&path.child(key), true, detail));
        }
    }
}

fn types(schema: &Value, level: Level, path: &Path, errors: &mut Vec<FieldError>) {
    let ty = text(schema, "type");
    let type_path = path.child("type");
    let is_embedded = flag(schema, "x-kubernetes-embedded-resource");
    let preserves = flag(schema, "x-kubernetes-preserve-unknown-fields");
    if is_embedded && ty != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match ty.is_empty() {
            true => FieldError::required(&type_path, detail),
            false => FieldError::invalid(&type_path, ty, detail),
        });
    } else if ty.is_empty() && !flag(schema, "x-kubernetes-int-or-string") && !preserves {
        let place = match level {
            Level::Root => "at the root",
            Level::Item => "for specified array items",
            Level::Field => "for specified object fields",
        };
        errors.push(FieldError::required(&type_path, format!("must not be empty {place}")));
    }
    if is_embedded && schema.get("additionalProperties").is_some() {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(FieldError::forbidden(&path.child("additionalProperties"), detail));
    }
    if level == Level::Root && !ty.is_empty() && ty != "object" {
        errors.push(FieldError::invalid(&type_path, ty, "must be object at the root"));
    }
    if is_embedded && !preserves && entries(schema, "properties").next().is_none() {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without \
             x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(&path.child("properties"), detail));
    }
}

/// `kind`, `apiVersion` and `metadata` of whole objects.
fn metadata(schema: &Value, level: Level, path: &Path, errors: &mut Vec<FieldError>) {
    let is_object = level == Level::Root || flag(schema, "x-kubernetes-embedded-resource");
    for name in ["kind", "apiVersion"] {
        let Some(property) = schema["properties"].get(name).filter(|_| is_object) else { continue };
        let ty = text(property, "type");
        if ty != "string" {
            let path = property_path(path, name).child("type");
            errors.push(FieldError::invalid(&path, ty, "must be string"));
        }
    }
    let Some(metadata) = schema["properties"].get("metadata") else { return };
    let path = property_path(path, "metadata");
    let ty = text(metadata, "type");
    if is_object && ty != "object" {
        errors.push(FieldError::invalid(&path.child("type"), ty, "must be object"));
    }
    if level != Level::Root {
        return;
    }
    let only_names = |map: &Map<String, Value>| map.keys().all(|key| matches!(key.as_str(), "name" | "generateName"));
    let is_bare = metadata.as_object().is_none_or(|map| {
        map.iter().all(|(key, value)| match key.as_str() {
            "type" | "default" => true,
            "properties" => value.as_object().is_none_or(only_names),
            _ => false,
        })
    });
    if !is_bare {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(&path, detail));
    }
}

/// What stands under `anyOf`, `allOf`, `oneOf` and `not`; the two ways to say "integer or string" are allowed.
fn value_validation(schema: &Value, skips: (bool, bool), path: &Path, errors: &mut Vec<FieldError>) {
    for key in ["anyOf", "allOf", "oneOf"] {
        if key == "anyOf" && skips.0 {
            continue;
        }
        for (at, nested) in list(schema, key).iter().enumerate() {
            let skips_any_of = key == "allOf" && at == 0 && skips.1;
            nested_validation(nested, skips_any_of, &path.child(key).index(at), errors);
        }
    }
    if let Some(not) = schema.get("not") {
        nested_validation(not, false, &path.child("not"), errors);
    }
    let expression = text(schema, "pattern");
    if let Some(why) = Some(expression).filter(|e| !e.is_empty()).and_then(|e| pattern::compile(e).err()) {
        let detail = format!("must be a valid regular expression, but isn't: {why}");
        errors.push(FieldError::invalid(&path.child("pattern"), expression, detail));
    }
}

fn nested_validation(schema: &Value, skips_any_of: bool, path: &Path, errors: &mut Vec<FieldError>) {
    value_validation(schema, (skips_any_of, false), path, errors);
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        nested_validation(items, false, &path.child("items"), errors);
    }
    for (name, property) in entries(schema, "properties") {
        nested_validation(property, false, &property_path(path, name), errors);
    }
    let is_set = |key: &str| match schema.get(key) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    };
    for (key, state) in [
        ("type", "empty"),
        ("additionalProperties", "undefined"),
        ("default", "undefined"),
        ("title", "empty"),
        ("description", "empty"),
        ("nullable", "false"),
        ("x-kubernetes-preserve-unknown-fields", "false"),
        ("x-kubernetes-embedded-resource", "false"),
        ("x-kubernetes-int-or-string", "false"),
        ("x-kubernetes-list-map-keys", "empty"),
        ("x-kubernetes-list-type", "undefined"),
        ("x-kubernetes-map-type", "undefined"),
        ("x-kubernetes-validations", "empty"),
    ] {
        let is_there = match key {
            "additionalProperties" => schema.get(key).is_some_and(|value| value.is_object() || *value == true),
            "default" => schema.get(key).is_some_and(|value| !value.is_null()),
            _ => is_set(key),
        };
        if is_there {
            errors.push(FieldError::forbidden(&path.child(key), format!("must be {state} to be structural")));
        }
    }
    if schema["properties"].get("metadata").is_some() {
        let path = property_path(path, "metadata");
        errors.push(FieldError::forbidden(&path, "must not be specified in a nested context"));
    }
}

/// Holds what `nested` speaks of under its junctors against the structure.
fn complete_values(nested: &Value, whole: Option<&Value>, path: &Path, at: &Path, errors: &mut Vec<FieldError>) {
    if let Some(not) = nested.get("not") {
        complete(not, whole, path, &at.child("not"), errors);
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        for (index, one) in list(nested, key).iter().enumerate() {
            complete(one, whole, path, &at.child(key).index(index), errors);
        }
    }
}

fn complete(nested: &Value, whole: Option<&Value>, path: &Path, at: &Path, errors: &mut Vec<FieldError>) {
    let Some(whole) = whole else {
        errors.push(FieldError::required(path, format!("because it is defined in {at}")));
        return;
    };
    complete_values(nested, Some(whole), path, at, errors);
    if let Some(items) = nested.get("items").filter(|items| items.is_object()) {
        complete(items, whole.get("items"), &path.child("items"), &at.child("items"), errors);
    }
    for (name, property) in entries(nested, "properties") {
        let (path, at) = (property_path(path, name), property_path(at, name));
        complete(property, whole["properties"].get(name), &path, &at, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: Value, want: &[&str]) {
        let found: Vec<String> = faults(&Path::root("s"), &schema).iter().map(ToString::to_string).collect();
        assert_eq!(found, want, "{schema}");
    }

    #[test]
    fn what_is_structural() {
        check(
            json!({"type": "object", "properties": {
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "pattern": "^a"}}},
            "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "spec": {"type": "object", "oneOf": [{"required": ["a"]}, {"properties": {"a": {"minLength": 1}}}],
                "properties": {"a": {"type": "string"}}}}}),
            &[],
        );
    }

    #[test]
    fn what_is_not() {
        check(json!({}), &["s.type: Required value: must not be empty at the root"]);
        check(
            json!({"type": "object", "properties": {"a": {}, "l": {"type": "array"}, "b": {"type": "array", "items": {}}}}),
            &[
                "s.properties[a].type: Required value: must not be empty for specified object fields",
                "s.properties[b].items.type: Required value: must not be empty for specified array items",
                "s.properties[l].items: Required value: must be specified",
            ],
        );
        check(
            json!({"type": "object", "anyOf": [{"type": "object", "properties": {"a": {"minLength": 1}}}]}),
            &[
                "s.anyOf[0].type: Forbidden: must be empty to be structural",
                "s.properties[a]: Required value: because it is defined in s.anyOf[0].properties[a]",
            ],
        );
        check(
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
            &[
                "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is \
             implicitly specified",
            ],
        );
        let text = violations(&json!({"spec": {"preserveUnknownFields": true}}));
        assert_eq!(text.as_deref(), Some("spec.preserveUnknownFields: Invalid value: true: must be false"));
    }
}
