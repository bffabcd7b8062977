//! The schemas of custom kinds in documents: what their definitions say, with the fields that every object has.
//!
//! Invariants: version 2 says nothing that its dialect lacks; what a definition keeps beyond its schema stays open.
//! Absent: whether a schema is allowed; see `crd`.

use serde_json::{Map, Value, json};

use super::definitions::Dialect;
use crate::kinds::Kind;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// A custom kind and the `openAPIV3Schema` of its version.
#[derive(Debug)]
pub struct CustomKind {
    /// The kind.
    pub kind: Kind,
    /// The schema as it was written.
    pub schema: Value,
}

/// What a schema may say that documents leave out.
const LEFT_OUT: &[&str] = &["id", "$schema", "definitions", "dependencies", "patternProperties", "additionalItems"];

/// The full name of the type of lists of a kind.
pub(super) fn list_type(kind: &Kind) -> String {
    let package = kind.type_name.rsplit_once('.').map_or("", |(package, _)| package);
    format!("{package}.{}", kind.list_kind())
}

/// The types that the definitions of custom kinds refer to.
pub(super) fn roots() -> [String; 2] {
    [format!("{META}.ObjectMeta"), format!("{META}.ListMeta")]
}

/// The definitions of a custom kind and of its lists, by name.
pub(super) fn definitions(custom: &CustomKind, dialect: Dialect) -> [(String, Value); 2] {
    let kind = &custom.kind;
    let gvk = |name: &str| json!([{"group": kind.group, "kind": name, "version": kind.version}]);
    let mut one = object(custom, dialect);
    one["x-kubernetes-group-version-kind"] = gvk(kind.kind);
    let selectable = kind.custom.iter().flat_map(|custom| &custom.selectable);
    let selectable: Vec<Value> = selectable.map(|path| json!({"fieldPath": path})).collect();
    let list_kind = kind.list_kind();
    let mut list = json!({
        "type": "object",
        "description": format!("{list_kind} is a list of {}", kind.kind),
        "required": ["items"],
        "properties": {
            "items": {
                "type": "array",
                "description": format!("List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md", kind.plural),
                "items": dialect.reference_schema(kind.type_name),
            },
            "metadata": reference("ListMeta", LIST_METADATA, dialect),
        },
        "x-kubernetes-group-version-kind": gvk(&list_kind),
    });
    type_meta(&mut list, API_VERSION, KIND);
    if !selectable.is_empty() && dialect == Dialect::V3 {
        one["x-kubernetes-selectable-fields"] = selectable.clone().into();
        list["x-kubernetes-selectable-fields"] = selectable.into();
    }
    [(kind.type_name.to_owned(), one), (list_type(kind), list)]
}

fn object(custom: &CustomKind, dialect: Dialect) -> Value {
    let CustomKind { kind, schema } = custom;
    let keeps_all = kind.custom.as_ref().is_some_and(|custom| custom.preserves_unknown);
    let preserves = keeps_all || schema["x-kubernetes-preserve-unknown-fields"] == true;
    if !schema.is_object() || (dialect == Dialect::V2 && preserves) {
        return json!({"type": "object"});
    }
    let mut object = written(schema, dialect);
    embedded(&mut object, dialect);
    type_meta(&mut object, API_VERSION, KIND);
    object["properties"]["metadata"] = reference("ObjectMeta", METADATA, dialect);
    object
}

/// A schema as a dialect has it.
fn written(schema: &Value, dialect: Dialect) -> Value {
    let Some(source) = schema.as_object() else { return schema.clone() };
    let mut out: Map<String, Value> = source
        .iter()
        .filter(|(key, _)| !LEFT_OUT.contains(&key.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    match dialect {
        Dialect::V3 => unfold(&mut out),
        Dialect::V2 => reduce(&mut out),
    }
    for key in ["items", "additionalProperties"] {
        if let Some(below) = out.get_mut(key).filter(|below| below.is_object()) {
            *below = written(below, dialect);
        }
    }
    if let Some(Value::Object(properties)) = out.get_mut("properties") {
        properties.values_mut().for_each(|below| *below = written(below, dialect));
    }
    Value::Object(out)
}

/// Says in words of the dialect what an extension means.
fn unfold(schema: &mut Map<String, Value>) {
    if schema.get("x-kubernetes-int-or-string") != Some(&Value::Bool(true)) {
        return;
    }
    let any_of = json!([{"type": "integer"}, {"type": "string"}]);
    let is_said = schema.get("anyOf") == Some(&any_of)
        || schema.get("allOf").and_then(|all| all.get(0)).and_then(|first| first.get("anyOf")) == Some(&any_of);
    match (is_said, schema.contains_key("anyOf")) {
        (true, _) => {}
        (false, false) => {
            schema.insert("anyOf".to_owned(), any_of);
        }
        (false, true) => {
            let all = schema.entry("allOf").or_insert_with(|| json!([]));
            if let Some(all) = all.as_array_mut() {
                all.insert(0, json!({"anyOf": any_of}));
            }
        }
    }
}

/// Takes out what version 2 does not know.
fn reduce(schema: &mut Map<String, Value>) {
    for key in ["allOf", "oneOf", "anyOf", "not"] {
        schema.remove(key);
    }
    let is_true = |schema: &Map<String, Value>, key: &str| schema.get(key) == Some(&Value::Bool(true));
    let preserves = is_true(schema, "x-kubernetes-preserve-unknown-fields");
    if is_true(schema, "nullable") {
        for key in ["type", "nullable", "items", "properties"] {
            schema.remove(key);
        }
    }
    schema.remove("nullable");
    if preserves {
        schema.remove("items");
        schema.remove("properties");
    }
    let ty = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    if (ty == "array" && !schema.contains_key("items")) || (ty == "object" && preserves) {
        schema.remove("type");
    }
    let is_nullable = |value: &Value| value.get("nullable") == Some(&Value::Bool(true));
    let nullable: Vec<String> = match schema.get("properties") {
        Some(Value::Object(map)) => map.iter().filter(|(_, v)| is_nullable(v)).map(|(k, _)| k.clone()).collect(),
        _ => Vec::new(),
    };
    let additional_is_nullable = schema.get("additionalProperties").is_some_and(is_nullable);
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.retain(|name| !additional_is_nullable && !nullable.iter().any(|there| name == there));
        if required.is_empty() {
            schema.remove("required");
        }
    }
}

/// Gives embedded objects the fields that every object has.
fn embedded(schema: &mut Value, dialect: Dialect) {
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(|below| embedded(below, dialect));
    }
    for key in ["items", "additionalProperties"] {
        if let Some(below) = schema.get_mut(key).filter(|below| below.is_object()) {
            embedded(below, dialect);
        }
    }
    if schema["x-kubernetes-embedded-resource"] != true
        || (dialect == Dialect::V2 && schema["x-kubernetes-preserve-unknown-fields"] == true)
    {
        return;
    }
    type_meta(schema, EMBEDDED_API_VERSION, EMBEDDED_KIND);
    schema["properties"]["metadata"] = reference("ObjectMeta", METADATA, dialect);
    let mut required = schema["required"].as_array().cloned().unwrap_or_default();
    for name in ["kind", "apiVersion"] {
        if !required.iter().any(|there| there == name) {
            required.push(name.into());
        }
    }
    schema["required"] = required.into();
}

fn type_meta(schema: &mut Value, api_version: &str, kind: &str) {
    schema["properties"]["apiVersion"] = json!({"type": "string", "description": api_version});
    schema["properties"]["kind"] = json!({"type": "string", "description": kind});
}

fn reference(name: &str, description: &str, dialect: Dialect) -> Value {
    let mut reference = dialect.reference_schema(&format!("{META}.{name}"));
    if dialect == Dialect::V3 {
        reference = json!({ "allOf": [reference] });
    }
    reference["description"] = description.into();
    reference
}

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST_METADATA: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const EMBEDDED_API_VERSION: &str = "apiVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const EMBEDDED_KIND: &str = "kind is a string value representing the type of this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_two_says_no_more_than_it_can() {
        let schema = json!({"type": "object", "required": ["a", "b"], "properties": {
            "a": {"type": "string", "nullable": true},
            "b": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"c": {"type": "string"}}},
            "p": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "n": {"type": "integer", "minimum": 1}}});
        assert_eq!(
            written(&schema, Dialect::V2),
            json!({"type": "object", "required": ["b"], "properties": {"a": {},
                "b": {"x-kubernetes-preserve-unknown-fields": true}, "p": {"x-kubernetes-int-or-string": true},
                "n": {"type": "integer", "minimum": 1}}})
        );
        assert_eq!(written(&schema, Dialect::V3), schema);
    }

    #[test]
    fn embedded_objects_have_metadata() {
        let mut schema = json!({"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true});
        embedded(&mut schema, Dialect::V3);
        assert_eq!(schema["required"], json!(["kind", "apiVersion"]));
        assert!(schema["properties"]["metadata"]["allOf"].is_array());
    }
}
