//! Filling in the defaults of a schema.
//!
//! Invariants: what is set stays; filling in twice changes nothing.
//! Absent: whether a default is allowed (`props`).

use serde_json::Value;

use super::schema::Schema;

/// Fills in defaults at a place and below.
pub(super) fn fill(value: &mut Value, schema: &Schema) {
    if !schema.has_defaults {
        return;
    }
    match value {
        Value::Object(map) => {
            for (name, property) in &schema.properties {
                let Some(default) = &property.default else { continue };
                let is_unset = map.get(name).is_none_or(|value| value.is_null() && property.refuses_null());
                if is_unset {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in map.iter_mut() {
                let Some(below) = schema.field(name) else { continue };
                item(value, below);
            }
        }
        Value::Array(items) => {
            let Some(below) = schema.items.as_deref() else { return };
            items.iter_mut().for_each(|value| item(value, below));
        }
        _ => {}
    }
}

fn item(value: &mut Value, schema: &Schema) {
    if let (true, true, Some(default)) = (value.is_null(), schema.refuses_null(), &schema.default) {
        *value = default.clone();
    }
    fill(value, schema);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_where_nothing_is_set() {
        let schema = Schema::compile(&json!({"type": "object", "properties": {
            "a": {"type": "string", "default": "A"},
            "b": {"type": "object", "default": {}, "properties": {"c": {"type": "integer", "default": 7}}},
            "n": {"type": "string", "nullable": true, "default": "N"},
            "list": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
        }}));
        let mut object = json!({"a": null, "n": null, "list": [{}, {"p": "UDP"}]});
        fill(&mut object, &schema);
        let want = json!({"a": "A", "b": {"c": 7}, "n": null, "list": [{"p": "TCP"}, {"p": "UDP"}]});
        assert_eq!(object, want);
        fill(&mut object, &schema);
        assert_eq!(object, want);
    }
}
