//! An object without some of its fields.
//!
//! Invariants: what is owned as one is never taken apart; a list or map that loses its last part stays, empty.
//! Absent: which fields go.

use serde_json::{Map, Value};

use super::element::Element;
use super::set::Set;
use super::spot::{Items, Shape, Spot};

/// `object` without the fields of `gone`.
pub(super) fn without(root: Spot, object: &Value, gone: &Set) -> Value {
    if gone.is_empty() {
        return object.clone();
    }
    match (root.shape(Some(object)), object) {
        (Shape::List(list), Value::Array(items)) if !matches!(list.items, Items::Atomic) => {
            let kept = items.iter().filter_map(|item| match list.element(item) {
                Ok(element) => part(list.item, item, gone, &element),
                Err(_) => Some(item.clone()),
            });
            Value::Array(kept.collect())
        }
        (Shape::Map(map), Value::Object(entries)) if !map.atomic => {
            let kept = entries.iter().filter_map(|(name, value)| {
                part(map.child(name), value, gone, &Element::field(name)).map(|value| (name.clone(), value))
            });
            Value::Object(kept.collect::<Map<String, Value>>())
        }
        _ => object.clone(),
    }
}

fn part(spot: Spot, value: &Value, gone: &Set, element: &Element) -> Option<Value> {
    match gone.get(element) {
        None => Some(value.clone()),
        Some(node) if node.member => None,
        Some(node) => Some(without(spot, value, &node.children)),
    }
}
