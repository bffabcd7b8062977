//! A configuration laid over an object.
//!
//! Invariants: what the configuration does not name stays; items that both have stand in the configuration's order,
//! and those of the object alone keep their place among them as far as that goes.
//! Absent: removal of what a manager no longer applies; see `remove`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::element::Element;
use super::spot::{Items, ListShape, MapShape, Shape, Spot};

/// `live` with `config` over it.
pub(super) fn merge(root: Spot, live: &Value, config: &Value) -> Value {
    at(root, Some(live), Some(config)).unwrap_or_default()
}

fn at(spot: Spot, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    let (live, config) = match (live, config) {
        (Some(live), Some(config)) => (live, config),
        (one, other) => return one.or(other).cloned(),
    };
    match spot.shape(Some(config)) {
        Shape::List(list) if !matches!(list.items, Items::Atomic) => list_items(&list, live, config),
        Shape::Map(map) if !map.atomic => map_items(&map, live, config),
        _ => Some(config.clone()),
    }
}

fn map_items(map: &MapShape, live: &Value, config: &Value) -> Option<Value> {
    let empty = Map::new();
    let old = live.as_object().unwrap_or(&empty);
    let new = config.as_object().unwrap_or(&empty);
    if old.is_empty() && new.is_empty() {
        return Some(config.clone());
    }
    let mut out = Map::new();
    for name in old.keys().chain(new.keys().filter(|name| !old.contains_key(*name))) {
        if let Some(value) = at(map.child(name), old.get(name), new.get(name)) {
            out.insert(name.clone(), value);
        }
    }
    (!out.is_empty()).then_some(Value::Object(out))
}

fn list_items(list: &ListShape, live: &Value, config: &Value) -> Option<Value> {
    let items = |value: &Value| value.as_array().map(Vec::as_slice).unwrap_or_default().to_vec();
    let (old, new) = (items(live), items(config));
    if old.is_empty() && new.is_empty() {
        return Some(config.clone());
    }
    let merged = Weave::new(list, &old, &new).run();
    (!merged.is_empty()).then_some(Value::Array(merged))
}

/// Two lists on their way into one.
struct Weave<'a> {
    list: &'a ListShape<'a>,
    old: Vec<(Element, &'a Value)>,
    new: Vec<(Element, &'a Value)>,
    /// The one old item of a name; none when several share it, which are not merged.
    by_name: BTreeMap<Element, Option<&'a Value>>,
    in_new: BTreeSet<Element>,
    /// Names that both lists have and that were not reached yet, in the new order.
    shared: VecDeque<Element>,
    out: Vec<Value>,
}

impl<'a> Weave<'a> {
    fn new(list: &'a ListShape<'a>, old: &'a [Value], new: &'a [Value]) -> Weave<'a> {
        let named = |items: &'a [Value]| -> Vec<(Element, &'a Value)> {
            items.iter().filter_map(|item| list.element(item).ok().map(|element| (element, item))).collect()
        };
        let (old, new) = (named(old), named(new));
        let mut by_name: BTreeMap<Element, Option<&Value>> = BTreeMap::new();
        for (element, item) in &old {
            by_name.entry(element.clone()).and_modify(|there| *there = None).or_insert(Some(*item));
        }
        let in_new = new.iter().map(|(element, _)| element.clone()).collect();
        let shared = new.iter().map(|(element, _)| element).filter(|e| by_name.contains_key(e)).cloned().collect();
        let out = Vec::with_capacity(old.len().max(new.len()));
        Weave { list, old, new, by_name, in_new, shared, out }
    }

    fn run(mut self) -> Vec<Value> {
        let mut taken: BTreeSet<Element> = BTreeSet::new();
        let (mut o, mut n) = (0, 0);
        while o < self.old.len() || n < self.new.len() {
            if let (Some((was, _)), Some((is, _))) = (self.old.get(o), self.new.get(n)) {
                if was == is {
                    taken.insert(is.clone());
                    self.take_new(n);
                    self.shared.pop_front();
                    (o, n) = (o + 1, n + 1);
                    continue;
                }
                if self.in_new.contains(was) && self.shared.front().is_some_and(|next| next != was) {
                    // Both have it, but it is another's turn.
                    o += 1;
                    continue;
                }
            }
            if let Some((was, item)) = self.old.get(o) {
                if !self.in_new.contains(was) {
                    self.out.push((*item).clone());
                    o += 1;
                    continue;
                }
                if taken.contains(was) {
                    o += 1;
                }
            }
            if let Some((is, _)) = self.new.get(n) {
                let is_turn = self.shared.front() == Some(is);
                taken.insert(is.clone());
                self.take_new(n);
                if is_turn {
                    self.shared.pop_front();
                }
                n += 1;
            }
        }
        self.out
    }

    /// Takes a new item, over the old one of its name.
    fn take_new(&mut self, place: usize) {
        let (element, item) = &self.new[place];
        let old = self.by_name.get(element).copied().flatten();
        self.out.extend(at(self.list.item, old, Some(item)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;
    use serde_json::json;

    fn names(names: &str) -> Value {
        let containers: Vec<Value> = names.chars().map(|c| json!({"name": c.to_string(), "image": "i"})).collect();
        json!({"spec": {"containers": containers}})
    }

    #[test]
    fn items_keep_an_order() {
        let pod = Spot::root(kinds::by_kind("v1", "Pod").expect("a kind"));
        for (live, config, want) in [
            ("abc", "abc", "abc"),
            ("abc", "cba", "cba"),
            ("abc", "b", "abc"),
            ("abc", "d", "abcd"),
            ("abcd", "db", "acdb"),
            ("", "ba", "ba"),
            ("axby", "ba", "xbya"),
        ] {
            let merged = merge(pod, &names(live), &names(config));
            let got: String = merged["spec"]["containers"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|c| c["name"].as_str().unwrap_or_default())
                .collect();
            assert_eq!(got, want, "{live} + {config}");
        }
    }

    #[test]
    fn parts_and_wholes() {
        let pod = Spot::root(kinds::by_kind("v1", "Pod").expect("a kind"));
        let live = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x"]},
            "spec": {"containers": [{"name": "c", "image": "i", "command": ["a", "b"]}],
                "nodeSelector": {"a": "b"}, "hostNetwork": true}});
        let config = json!({"metadata": {"labels": {"a": "3"}, "finalizers": ["y"]},
            "spec": {"containers": [{"name": "c", "command": ["z"]}], "nodeSelector": {"c": "d"}}});
        let merged = merge(pod, &live, &config);
        assert_eq!(
            merged,
            json!({"metadata": {"labels": {"a": "3", "b": "2"}, "finalizers": ["x", "y"]},
                "spec": {"containers": [{"name": "c", "image": "i", "command": ["z"]}],
                    "nodeSelector": {"c": "d"}, "hostNetwork": true}})
        );
    }
}
