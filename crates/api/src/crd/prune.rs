//! Taking out what a schema does not know, and nulls that mean nothing.
//!
//! Invariants: what is kept is not changed; paths are those of strict decoding errors, sorted.
//! Absent: metadata, which its own type prunes (`meta`).

use serde_json::Value;

use super::schema::{Additional, Schema};

/// The fields of every object, which a schema need not name.
pub(super) const META_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Takes out of an object what its schema does not know; returns the paths of what went.
pub(super) fn unknown(object: &mut Value, schema: &Schema) -> Vec<String> {
    pruned(object, schema, true)
}

/// The same at a place within an object.
pub(super) fn place(value: &mut Value, schema: &Schema) -> Vec<String> {
    pruned(value, schema, false)
}

fn pruned(value: &mut Value, schema: &Schema, is_root: bool) -> Vec<String> {
    let mut pruner = Pruner { path: String::new(), found: Vec::new() };
    pruner.place(value, Some(schema), is_root);
    pruner.found.sort();
    pruner.found
}

struct Pruner {
    path: String,
    found: Vec<String>,
}

impl Pruner {
    /// `is_object` at the root and where a whole object is embedded.
    fn place(&mut self, value: &mut Value, schema: Option<&Schema>, is_root: bool) {
        let preserves = schema.is_some_and(|schema| schema.preserve);
        match value {
            Value::Object(map) => {
                let Some(schema) = schema else {
                    let keys: Vec<String> = map.keys().cloned().collect();
                    keys.iter().for_each(|key| self.note(key));
                    map.clear();
                    return;
                };
                let is_embedded = is_root || schema.embedded;
                map.retain(|key, value| {
                    if is_embedded && META_FIELDS.contains(&key.as_str()) {
                        return true;
                    }
                    let below = match (schema.properties.get(key), &schema.additional) {
                        (Some(property), _) => Some(property),
                        (None, Some(Additional::Schema(values))) => Some(&**values),
                        // Kubernetes takes what no schema is given for as a place where nothing is known.
                        (None, Some(Additional::Allowed(_))) => None,
                        (None, None) if preserves => return true,
                        (None, None) => {
                            self.note(key);
                            return false;
                        }
                    };
                    let length = self.path.len();
                    self.step(key);
                    self.place(value, below, false);
                    self.path.truncate(length);
                    true
                });
            }
            Value::Array(items) => {
                let below = schema.and_then(|schema| schema.items.as_deref());
                if preserves && below.is_none() {
                    return;
                }
                for (index, item) in items.iter_mut().enumerate() {
                    let length = self.path.len();
                    self.path.push_str(&format!("[{index}]"));
                    self.place(item, below, false);
                    self.path.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn step(&mut self, key: &str) {
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(key);
    }

    fn note(&mut self, key: &str) {
        self.found.push(if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) });
    }
}

/// Takes out nulls where a schema allows none and has no default in their place.
pub(super) fn nulls(value: &mut Value, schema: Option<&Schema>) {
    match value {
        Value::Object(map) => map.retain(|key, value| {
            let below = schema.and_then(|schema| schema.field(key));
            if value.is_null() && below.is_some_and(|below| below.refuses_null() && below.default.is_none()) {
                return false;
            }
            nulls(value, below);
            true
        }),
        Value::Array(items) => {
            let below = schema.and_then(|schema| schema.items.as_deref());
            items.iter_mut().for_each(|item| nulls(item, below));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Schema {
        Schema::compile(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "a": {"type": "integer"},
                "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "string"}}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"y": {"type": "string"}}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"known": {"type": "object", "properties": {"z": {"type": "string"}}}}},
                "n": {"type": "string", "nullable": true}, "d": {"type": "string", "default": "x"},
            }},
        }}))
    }

    #[test]
    fn what_is_unknown_goes() {
        let mut object = json!({"apiVersion": "g/v", "kind": "K", "metadata": {"name": "a"}, "other": 1, "spec": {
            "a": 1, "b": 2, "list": [{"x": "1", "y": "2"}], "map": {"k": {"y": "1", "z": "2"}},
            "free": {"any": {"thing": [1]}, "known": {"z": "1", "q": 2}}}});
        let found = unknown(&mut object, &schema());
        assert_eq!(found, ["other", "spec.b", "spec.free.known.q", "spec.list[0].y", "spec.map.k.z"]);
        assert_eq!(
            object,
            json!({"apiVersion": "g/v", "kind": "K", "metadata": {"name": "a"}, "spec": {"a": 1, "list": [{"x": "1"}],
                "map": {"k": {"y": "1"}}, "free": {"any": {"thing": [1]}, "known": {"z": "1"}}}})
        );
        assert!(unknown(&mut object, &schema()).is_empty());
    }

    #[test]
    fn nulls_that_mean_nothing_go() {
        let mut object = json!({"spec": {"a": null, "n": null, "d": null, "other": null}});
        nulls(&mut object, Some(&schema()));
        assert_eq!(object, json!({"spec": {"n": null, "d": null, "other": null}}));
    }
}
