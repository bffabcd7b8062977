//! The fields that an object sets.
//!
//! Invariants: a struct's own fields stand for themselves only where they end; keys of maps, items of lists and empty
//! maps always do.
//! Absent: what is wrong with the object; see `check`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::element::Element;
use super::set::{Node, Set};
use super::spot::{Items, Shape, Spot};

/// The set of the fields of an object.
pub(super) fn owned(root: Spot, object: &Value) -> Set {
    at(root, object).children
}

fn at(spot: Spot, value: &Value) -> Node {
    let mut node = Node::default();
    match spot.shape(Some(value)) {
        Shape::Scalar(_) => node.member = true,
        Shape::List(list) if matches!(list.items, Items::Atomic) => node.member = true,
        Shape::Map(map) if map.atomic => node.member = true,
        Shape::List(list) => {
            let mut items: BTreeMap<Element, Vec<&Value>> = BTreeMap::new();
            for item in value.as_array().into_iter().flatten() {
                if let Ok(element) = list.element(item) {
                    items.entry(element).or_default().push(item);
                }
            }
            for (element, items) in items {
                let mut below = match items.as_slice() {
                    [item] => at(list.item, item),
                    _ => Node::default(),
                };
                below.member = true;
                node.children.put(element, below);
            }
        }
        Shape::Map(map) => {
            for (name, value) in value.as_object().into_iter().flatten() {
                let mut below = at(map.child(name), value);
                let is_empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                below.member |= is_empty || !map.names(name);
                node.children.put(Element::field(name), below);
            }
        }
    }
    node
}
