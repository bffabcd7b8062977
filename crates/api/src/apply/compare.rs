//! What differs between two objects, as sets of fields.
//!
//! Invariants: no field is in more than one of the three sets; equal objects give empty sets.
//! Absent: who owns what.

use std::collections::BTreeMap;

use serde_json::Value;

use super::element::Element;
use super::set::{Node, Set};
use super::spot::{Items, ListShape, MapShape, Shape, Spot};

/// What a second object removes, modifies and adds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) removed: Set,
    pub(super) modified: Set,
    pub(super) added: Set,
}

impl Comparison {
    /// Leaves out fields and all below them.
    pub(super) fn without(self, fields: &Set) -> Comparison {
        Comparison {
            removed: self.removed.recursive_difference(fields),
            modified: self.modified.recursive_difference(fields),
            added: self.added.recursive_difference(fields),
        }
    }

    /// What has another value now.
    pub(super) fn written(self) -> (Set, Set) {
        (self.modified.union(self.added), self.removed)
    }
}

/// What differs at one place.
#[derive(Default)]
struct Changes {
    removed: Node,
    modified: Node,
    added: Node,
}

/// What `new` changes of `old`.
pub(super) fn compare(root: Spot, old: &Value, new: &Value) -> Comparison {
    let changes = between(root, Some(old), Some(new));
    Comparison { removed: changes.removed.children, modified: changes.modified.children, added: changes.added.children }
}

/// What differs at a place that may not differ at all.
fn between(spot: Spot, old: Option<&Value>, new: Option<&Value>) -> Changes {
    if old == new { Changes::default() } else { at(spot, old, new) }
}

/// What differs at a place that does differ.
fn at(spot: Spot, old: Option<&Value>, new: Option<&Value>) -> Changes {
    let (was, is) = (old.map(|value| spot.shape(Some(value))), new.map(|value| spot.shape(Some(value))));
    let mut changes = Changes::default();
    match (was, is) {
        (Some(was), Some(is)) if !was.is_like(&is) => {
            look(&was, old, new, &mut changes);
            look(&is, old, new, &mut changes);
        }
        (_, Some(shape)) | (Some(shape), None) => look(&shape, old, new, &mut changes),
        (None, None) => {}
    }
    changes
}

fn look(shape: &Shape, old: Option<&Value>, new: Option<&Value>, changes: &mut Changes) {
    let is_leaf = match shape {
        Shape::Scalar(_) => true,
        Shape::List(list) => !list_items(list, old, new, changes),
        Shape::Map(map) => !map_items(map, old, new, changes),
    };
    match (old, new) {
        (None, _) => changes.added.member = true,
        (_, None) => changes.removed.member = true,
        (Some(old), Some(new)) if is_leaf && old != new => changes.modified.member = true,
        _ => {}
    }
}

/// Compares in parts; false when the list is owned as one, or has no parts on either side.
fn list_items(list: &ListShape, old: Option<&Value>, new: Option<&Value>, changes: &mut Changes) -> bool {
    let (old, new) = (as_list(old), as_list(new));
    if matches!(list.items, Items::Atomic) || (old.is_empty() && new.is_empty()) {
        return false;
    }
    let mut items: BTreeMap<Element, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
    for item in old {
        if let Ok(element) = list.element(item) {
            items.entry(element).or_default().0.push(item);
        }
    }
    for item in new {
        if let Ok(element) = list.element(item) {
            items.entry(element).or_default().1.push(item);
        }
    }
    for (element, (old, new)) in items {
        match (old.as_slice(), new.as_slice()) {
            ([] | [_], [] | [_]) => {
                changes.put(|| element, between(list.item, old.first().copied(), new.first().copied()));
            }
            // Items that share a name are owned as one.
            ([_, _, ..], [_, _, ..]) => {
                if old != new {
                    changes.modified.children.put(element, Node::leaf());
                }
            }
            ([_, _, ..], _) => {
                if let Some(new) = new.first() {
                    changes.put(|| element.clone(), at(list.item, None, Some(new)));
                }
                changes.removed.children.put(element, Node::leaf());
            }
            (_, [_, _, ..]) => {
                if let Some(old) = old.first() {
                    changes.put(|| element.clone(), at(list.item, Some(old), None));
                }
                changes.added.children.put(element, Node::leaf());
            }
        }
    }
    true
}

/// Compares in parts; false when the map is owned as one, or has no parts on either side.
fn map_items(map: &MapShape, old: Option<&Value>, new: Option<&Value>, changes: &mut Changes) -> bool {
    let (old, new) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
    let is_empty = |map: Option<&serde_json::Map<String, Value>>| map.is_none_or(serde_json::Map::is_empty);
    if map.atomic || (is_empty(old) && is_empty(new)) {
        return false;
    }
    for (name, was) in old.into_iter().flatten() {
        let is = new.and_then(|new| new.get(name));
        if is != Some(was) {
            changes.put(|| Element::field(name), at(map.child(name), Some(was), is));
        }
    }
    for (name, is) in new.into_iter().flatten() {
        if old.is_none_or(|old| !old.contains_key(name)) {
            changes.put(|| Element::field(name), at(map.child(name), None, Some(is)));
        }
    }
    true
}

fn as_list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

impl Changes {
    /// Most places do not differ, and most that do differ in one way: the step is made only as often as it is needed.
    fn put(&mut self, element: impl FnOnce() -> Element, below: Changes) {
        let Changes { removed, modified, added } = below;
        let sets = [
            (&mut self.removed.children, removed),
            (&mut self.modified.children, modified),
            (&mut self.added.children, added),
        ];
        let mut sets = sets.into_iter().filter(|(_, node)| !node.is_empty());
        let Some((first, node)) = sets.next() else { return };
        let element = element();
        for (set, node) in sets {
            set.put(element.clone(), node);
        }
        first.put(element, node);
    }
}
