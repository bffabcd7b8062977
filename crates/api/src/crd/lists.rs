//! Lists that are sets, or maps by keys: no item stands twice.
//!
//! Invariants: each item that stands more than once is told once, where it stands the second time.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::schema::Schema;
use crate::schema::ListType;
use crate::validate::{FieldError, Path};

/// Items that stand twice at a place and below.
pub(super) fn repeated(path: &Path, value: &Value, schema: &Schema, errors: &mut Vec<FieldError>) {
    match value {
        Value::Array(items) => {
            match schema.list_type {
                Some(ListType::Set) => {
                    let places = second_places(items.iter().map(Value::to_string));
                    errors.extend(places.map(|at| FieldError::duplicate(&path.index(at), items[at].clone())));
                }
                Some(ListType::Map) => by_keys(path, items, &schema.list_keys, errors),
                _ => {}
            }
            if let Some(below) = &schema.items {
                items.iter().enumerate().for_each(|(at, item)| repeated(&path.index(at), item, below, errors));
            }
        }
        Value::Object(map) => {
            for (name, value) in map {
                match schema.properties.get(name) {
                    Some(below) => repeated(&path.child(name), value, below, errors),
                    None => {
                        if let Some(below) = schema.field(name) {
                            repeated(&path.key(name), value, below, errors);
                        }
                    }
                }
            }
        }
        _ => {}
    }
}

fn by_keys(path: &Path, items: &[Value], keys: &[String], errors: &mut Vec<FieldError>) {
    if let Some((at, item)) = items.iter().enumerate().find(|(_, item)| !item.is_object() && !item.is_null()) {
        let detail = "must be an object for an array of list-type map";
        errors.push(FieldError::invalid(&path.index(at), item.clone(), detail));
        return;
    }
    let names: Vec<Value> = items
        .iter()
        .map(|item| {
            let found = keys.iter().filter_map(|key| item.get(key).map(|value| (key.clone(), value.clone())));
            Value::Object(found.collect::<Map<String, Value>>())
        })
        .collect();
    let places = second_places(names.iter().map(Value::to_string));
    errors.extend(places.map(|at| FieldError::duplicate(&path.index(at), names[at].clone())));
}

/// Where each text stands for the second time.
fn second_places(texts: impl Iterator<Item = String>) -> impl Iterator<Item = usize> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut places = Vec::new();
    for (at, text) in texts.enumerate() {
        let times = seen.entry(text).or_default();
        *times += 1;
        if *times == 2 {
            places.push(at);
        }
    }
    places.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_stands_twice() {
        let schema = Schema::compile(&json!({"type": "object", "properties": {
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
        }}));
        let value = json!({"set": ["a", "b", "a", "a"], "map": [{"name": "x"}, {"name": "y"}, {"name": "x", "v": 1}]});
        let mut errors = Vec::new();
        repeated(&Path::none(), &value, &schema, &mut errors);
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors, ["map[2]: Duplicate value: {\"name\":\"x\"}", "set[2]: Duplicate value: \"a\""]);
    }
}
