//! What the API sets, keeps and checks when an object of a custom kind is written.
//!
//! Invariants: a write to the status changes the status and who manages it, nothing else; every other change of anything
//! but the metadata is a new generation; what an update does not change is not held against it.
//! Absent: decoding, storing.

use serde_json::{Map, Value};

use super::{Custom, check, lists, meta, rules};
use crate::kinds::{Kind, Subresource};
use crate::quote::quoted;
use crate::validate::{self, FieldError, Path, content};

/// Prepares a new object.
pub(crate) fn prepare_create(kind: &Kind, map: &mut Map<String, Value>) {
    if kind.has(Subresource::Status) {
        map.remove("status");
    }
    if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("generation".to_owned(), Value::from(1));
    }
}

/// Prepares a changed object, whose metadata is settled.
pub(crate) fn prepare_update(kind: &Kind, map: &mut Map<String, Value>, before: &Map<String, Value>) {
    if kind.has(Subresource::Status) {
        match before.get("status") {
            Some(status) => map.insert("status".to_owned(), status.clone()),
            None => map.remove("status"),
        };
    }
    let content = |key: &&String| *key != "metadata";
    let is_changed = map.keys().chain(before.keys()).filter(content).any(|key| map.get(key) != before.get(key));
    if is_changed && let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        let generation = before.get("metadata").and_then(|m| m.get("generation")).and_then(Value::as_i64).unwrap_or(0);
        metadata.insert("generation".to_owned(), Value::from(generation.saturating_add(1)));
    }
}

/// Prepares a write to the status: all else stays as stored.
pub(crate) fn prepare_status(map: &mut Map<String, Value>, before: &Map<String, Value>) {
    let status = map.remove("status");
    let managers = map.get_mut("metadata").and_then(|metadata| metadata.as_object_mut()?.remove("managedFields"));
    *map = before.clone();
    match status {
        Some(status) => map.insert("status".to_owned(), status),
        None => map.remove("status"),
    };
    if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        match managers {
            Some(managers) => metadata.insert("managedFields".to_owned(), managers),
            None => metadata.remove("managedFields"),
        };
    }
}

/// The rules that a new object breaks.
pub(crate) fn validate_create(kind: &Kind, custom: &Custom, object: &Value) -> Vec<FieldError> {
    let errors = type_meta(kind, object);
    if !errors.is_empty() {
        return errors;
    }
    let mut errors = validate::new_metadata(kind, object);
    errors.extend(check::broken(&Path::none(), object, None, &custom.schema));
    errors.extend(custom.scale.iter().flat_map(|scale| scale.broken(object, false)));
    meta::broken(&Path::none(), object, &custom.schema, &mut errors);
    lists::repeated(&Path::none(), object, &custom.schema, &mut errors);
    errors.extend(rules::broken(object, None, &custom.schema, &errors));
    errors
}

/// The rules that a changed object breaks.
pub(crate) fn validate_update(kind: &Kind, custom: &Custom, new: &Value, old: &Value) -> Vec<FieldError> {
    let errors = type_meta(kind, new);
    if !errors.is_empty() {
        return errors;
    }
    let mut errors = validate::changed_metadata(new, old);
    errors.extend(check::broken(&Path::none(), new, Some(old), &custom.schema));
    errors.extend(custom.scale.iter().flat_map(|scale| scale.broken(new, false)));
    meta::broken(&Path::none(), new, &custom.schema, &mut errors);
    repeated_anew(custom, new, old, &mut errors);
    errors.extend(rules::broken(new, Some(old), &custom.schema, &errors));
    errors
}

/// The rules that a write to the status breaks.
pub(crate) fn validate_status(kind: &Kind, custom: &Custom, new: &Value, old: &Value) -> Vec<FieldError> {
    let errors = type_meta(kind, new);
    if !errors.is_empty() {
        return errors;
    }
    let mut errors = validate::changed_metadata(new, old);
    if let (Some(status), Some(schema)) = (new.get("status"), custom.schema.properties.get("status")) {
        errors.extend(check::broken(&Path::root("status"), status, old.get("status"), schema));
    }
    errors.extend(custom.scale.iter().flat_map(|scale| scale.broken(new, true)));
    repeated_anew(custom, new, old, &mut errors);
    errors.extend(rules::broken(new, Some(old), &custom.schema, &errors));
    errors
}

/// Items that stand twice, unless some did before.
fn repeated_anew(custom: &Custom, new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let mut before = Vec::new();
    lists::repeated(&Path::none(), old, &custom.schema, &mut before);
    if before.is_empty() {
        lists::repeated(&Path::none(), new, &custom.schema, errors);
    }
}

fn type_meta(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (field, wanted) in [("kind", kind.kind.to_owned()), ("apiVersion", kind.api_version())] {
        let found = object[field].as_str().unwrap_or_default();
        if found != wanted {
            errors.push(FieldError::invalid(&Path::root(field), found, format!("must be {wanted}")));
        }
    }
    errors
}

/// What is accepted in an object but likely not meant.
pub(crate) fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let finalizers = |object: &Value| super::schema::texts(&object["metadata"], "finalizers");
    let known = old.map(finalizers).unwrap_or_default();
    let mut added: Vec<String> = finalizers(new).into_iter().filter(|name| !known.contains(name)).collect();
    added.sort_unstable();
    added.dedup();
    let mut out = Vec::new();
    for name in added {
        let shown = quoted(&name);
        out.extend(content::label_key(&name).iter().map(|why| format!("metadata.finalizers: {shown}: {why}")));
        if !name.contains('/') && !["orphan", "foregroundDeletion", "kubernetes"].contains(&name.as_str()) {
            let path = if name.contains('.') { " including a path (/)" } else { "" };
            out.push(format!(
                "metadata.finalizers: {shown}: prefer a domain-qualified finalizer name{path} to avoid accidental \
                 conflicts with other finalizer writers"
            ));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::{Interner, served};
    use serde_json::json;

    fn kind() -> Kind {
        let definition = json!({"spec": {"group": "g.io", "scope": "Namespaced",
            "names": {"plural": "ks", "kind": "K"}, "versions": [
                {"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                        "spec": {"type": "object", "properties": {"n": {"type": "integer", "maximum": 5},
                            "m": {"type": "integer"}}},
                        "status": {"type": "object", "properties": {"p": {"type": "string"}}}}}}}]},
            "status": {"acceptedNames": {"plural": "ks", "kind": "K"},
                "conditions": [{"type": "NamesAccepted", "status": "True"}]}});
        served(&definition, &mut Interner::default()).expect("room").remove(0)
    }

    fn object(spec: Value) -> Value {
        json!({"apiVersion": "g.io/v1", "kind": "K", "metadata": {"name": "a", "namespace": "b", "generation": 3},
            "spec": spec})
    }

    fn texts(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_not_changed_is_not_held_against_an_update() {
        let kind = kind();
        let custom = kind.custom.as_deref().expect("custom");
        let old = object(json!({"n": 9}));
        assert_eq!(
            texts(&validate_create(&kind, custom, &old)),
            ["spec.n: Invalid value: 9: spec.n in body should be less than or equal to 5"]
        );
        let new = object(json!({"n": 9, "m": 1}));
        assert_eq!(texts(&validate_update(&kind, custom, &new, &old)), Vec::<String>::new());
        let worse = object(json!({"n": 8}));
        assert_eq!(validate_update(&kind, custom, &worse, &old).len(), 1);
        let mut status = old.clone();
        status["status"] = json!({"p": 1});
        assert_eq!(
            texts(&validate_status(&kind, custom, &status, &old)),
            ["status.p: Invalid value: \"integer\": p in body must be of type string: \"integer\""]
        );
        let mut other = old.clone();
        other["kind"] = json!("L");
        assert_eq!(texts(&validate_create(&kind, custom, &other)), ["kind: Invalid value: \"L\": must be K"]);
    }

    #[test]
    fn generations_and_status() {
        let kind = kind();
        let old = object(json!({"n": 1}));
        let before = old.as_object().expect("an object");
        let mut new = object(json!({"n": 2}));
        new["status"] = json!({"p": "x"});
        let map = new.as_object_mut().expect("an object");
        prepare_update(&kind, map, before);
        assert_eq!((map["metadata"]["generation"].clone(), map.get("status")), (json!(4), None));
        let mut new = object(json!({"n": 2}));
        new["status"] = json!({"p": "x"});
        new["metadata"]["labels"] = json!({"a": "b"});
        new["metadata"]["managedFields"] = json!([1]);
        prepare_status(new.as_object_mut().expect("an object"), before);
        let mut want = old.clone();
        want["status"] = json!({"p": "x"});
        want["metadata"]["managedFields"] = json!([1]);
        assert_eq!(new, want);
    }

    #[test]
    fn finalizers_without_a_domain_are_warned_of() {
        let new = json!({"metadata": {"finalizers": ["a", "b.c", "d.e/f", "orphan"]}});
        assert_eq!(warnings(&new, None).len(), 2);
        assert!(warnings(&new, Some(&new)).is_empty());
    }
}
