//! Sets of fields, and what `fieldsV1` makes of them.
//!
//! A set is a tree of steps. A node that is a member stands for the field itself; children stand for what is below.
//!
//! Invariants: no node is neither a member nor has children; steps stand in order, each once.
//! Absent: types; only [`Set::with_named_fields`] looks at them.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::element::{Element, ElementError};
use super::spot::{Shape, Spot};

/// A set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set(Vec<(Element, Node)>);

/// What a set says of one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// Whether the field itself is in the set.
    pub(super) member: bool,
    /// What is in the set below the field.
    pub(super) children: Set,
}

impl Node {
    /// The field itself, nothing below.
    pub(super) fn leaf() -> Node {
        Node { member: true, children: Set::default() }
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }
}

/// The marker of a member that has children.
const SELF: &str = ".";

impl Set {
    /// The set of these paths, each of field names joined by dots.
    pub fn of(paths: &[&str]) -> Set {
        let mut set = Set::default();
        for path in paths {
            let mut steps = path.split('.').rev();
            let mut node = Node::leaf();
            let mut name = steps.next().unwrap_or_default();
            for step in steps {
                let mut children = Set::default();
                children.put(Element::field(name), node);
                node = Node { member: false, children };
                name = step;
            }
            let mut one = Set::default();
            one.put(Element::field(name), node);
            set = set.union(one);
        }
        set
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets what is said of a step; an empty node says nothing.
    pub(super) fn put(&mut self, element: Element, node: Node) {
        if node.is_empty() {
            return;
        }
        if self.0.last().is_none_or(|(last, _)| *last < element) {
            self.0.push((element, node));
            return;
        }
        match self.place(&element) {
            Ok(place) => self.0[place].1 = node,
            Err(place) => self.0.insert(place, (element, node)),
        }
    }

    fn place(&self, element: &Element) -> Result<usize, usize> {
        self.0.binary_search_by(|(there, _)| there.cmp(element))
    }

    /// What is said of a step.
    pub(super) fn get(&self, element: &Element) -> Option<&Node> {
        self.place(element).ok().map(|place| &self.0[place].1)
    }

    /// What is in either.
    #[must_use]
    pub fn union(self, other: Set) -> Set {
        if self.is_empty() || other.is_empty() {
            return if self.is_empty() { other } else { self };
        }
        let mut out = Vec::with_capacity(self.0.len().max(other.0.len()));
        let (mut ours, mut theirs) = (self.0.into_iter().peekable(), other.0.into_iter().peekable());
        while let (Some((our, _)), Some((their, _))) = (ours.peek(), theirs.peek()) {
            match our.cmp(their) {
                Ordering::Less => out.extend(ours.next()),
                Ordering::Greater => out.extend(theirs.next()),
                Ordering::Equal => {
                    if let (Some((element, a)), Some((_, b))) = (ours.next(), theirs.next()) {
                        let node = Node { member: a.member || b.member, children: a.children.union(b.children) };
                        out.push((element, node));
                    }
                }
            }
        }
        out.extend(ours);
        out.extend(theirs);
        Set(out)
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Set) -> Set {
        let mut out = Set::default();
        for (element, node) in &self.0 {
            if let Some(with) = other.get(element) {
                let children = node.children.intersection(&with.children);
                out.put(element.clone(), Node { member: node.member && with.member, children });
            }
        }
        out
    }

    /// What is in this one only. A field does not stand for what is below it.
    #[must_use]
    pub fn difference(mut self, other: &Set) -> Set {
        for (element, without) in &other.0 {
            if let Ok(place) = self.place(element) {
                let node = &mut self.0[place].1;
                node.member &= !without.member;
                node.children = std::mem::take(&mut node.children).difference(&without.children);
                if node.is_empty() {
                    self.0.remove(place);
                }
            }
        }
        self
    }

    /// What is in this one only, where a field stands for all that is below it.
    #[must_use]
    pub fn recursive_difference(mut self, other: &Set) -> Set {
        for (element, without) in &other.0 {
            if let Ok(place) = self.place(element) {
                let node = &mut self.0[place].1;
                node.children = std::mem::take(&mut node.children).recursive_difference(&without.children);
                if without.member {
                    *node = Node::default();
                }
                if node.is_empty() {
                    self.0.remove(place);
                }
            }
        }
        self
    }

    /// Whether it holds a path.
    pub(super) fn has(&self, path: &[Element]) -> bool {
        match path {
            [] => false,
            [last] => self.get(last).is_some_and(|node| node.member),
            [first, rest @ ..] => self.get(first).is_some_and(|node| node.children.has(rest)),
        }
    }

    /// Every path, those that end on a level before those that go on below it.
    pub(super) fn paths(&self) -> Vec<Vec<Element>> {
        let mut out = Vec::new();
        self.collect(&mut Vec::new(), &mut out);
        out
    }

    fn collect(&self, above: &mut Vec<Element>, out: &mut Vec<Vec<Element>>) {
        for (element, _) in self.0.iter().filter(|(_, node)| node.member) {
            let mut path = above.clone();
            path.push(element.clone());
            out.push(path);
        }
        for (element, node) in &self.0 {
            above.push(element.clone());
            node.children.collect(above, out);
            above.pop();
        }
    }

    /// The set with every named field of a struct in it that it holds something below of.
    pub(super) fn with_named_fields(mut self, spot: Spot) -> Set {
        let Shape::Map(map) = spot.shape(None) else { return self };
        for (element, node) in &mut self.0 {
            let Some(name) = element.field_name() else { continue };
            if map.names(name) && !node.children.is_empty() {
                node.member = true;
            }
            let below = map.child(name);
            node.children = std::mem::take(&mut node.children).with_named_fields_below(below);
        }
        self
    }

    fn with_named_fields_below(self, spot: Spot) -> Set {
        let Shape::List(list) = spot.shape(None) else { return self.with_named_fields(spot) };
        let named = |(element, node): (Element, Node)| {
            (element, Node { member: node.member, children: node.children.with_named_fields_below(list.item) })
        };
        Set(self.0.into_iter().map(named).collect())
    }

    /// The set that `fieldsV1` of anyone holds.
    ///
    /// # Errors
    /// Steps that are none.
    pub fn from_fields(fields: &Value) -> Result<Set, ElementError> {
        let mut out = Set::default();
        for (key, below) in fields.as_object().into_iter().flatten().filter(|(key, _)| *key != SELF) {
            let Some(element) = Element::parse(key)? else { continue };
            let children = Set::from_fields(below)?;
            let member = children.is_empty() || is_member(below);
            out.put(element, Node { member, children });
        }
        Ok(out)
    }

    /// The set in `fieldsV1` that this server wrote.
    pub(super) fn from_stored(fields: &Value) -> Set {
        let mut out = Set::default();
        for (key, below) in fields.as_object().into_iter().flatten().filter(|(key, _)| *key != SELF) {
            let children = Set::from_stored(below);
            out.put(Element::stored(key), Node { member: is_member(below), children });
        }
        out
    }

    /// As `fieldsV1`.
    pub fn into_fields(self) -> Value {
        let mut out = Map::new();
        for (element, node) in self.0 {
            let is_marked = node.member && !node.children.is_empty();
            let mut below = node.children.into_fields();
            if is_marked && let Some(below) = below.as_object_mut() {
                below.insert(SELF.to_owned(), Value::Object(Map::new()));
            }
            out.insert(element.into_string(), below);
        }
        Value::Object(out)
    }

    /// Whether stored `fieldsV1` has something of this set, without reading all of it.
    pub(super) fn meets(&self, fields: &Value) -> bool {
        self.0.iter().any(|(element, node)| {
            let below = fields.get(element.as_str());
            below.is_some_and(|below| (node.member && is_member(below)) || node.children.meets(below))
        })
    }

    /// Whether the text of stored `fieldsV1` may have something of this set; when not, it has nothing.
    pub(super) fn may_meet(&self, text: &str) -> bool {
        let is_plain =
            |name: &str| name.bytes().all(|byte| (b' '..0x7f).contains(&byte) && !matches!(byte, b'"' | b'\\'));
        self.0.iter().map(|(element, _)| element.as_str()).any(|name| !is_plain(name) || text.contains(name))
    }

    /// Whether stored `fieldsV1` has all of this set, without reading all of it.
    pub(super) fn is_within(&self, fields: &Value) -> bool {
        self.0.iter().all(|(element, node)| {
            let below = fields.get(element.as_str());
            below.is_some_and(|below| (!node.member || is_member(below)) && node.children.is_within(below))
        })
    }
}

/// Whether what stands below a step of `fieldsV1` makes the step a member.
fn is_member(below: &Value) -> bool {
    below.as_object().is_none_or(|below| below.is_empty() || below.contains_key(SELF))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(fields: Value) -> Set {
        Set::from_fields(&fields).expect("a set")
    }

    #[test]
    fn fields_survive() {
        for fields in [
            json!({}),
            json!({"f:spec": {"f:replicas": {}, "f:template": {".": {}, "f:spec": {}}}}),
            json!({"f:metadata": {"f:finalizers": {".": {}, "v:\"a\"": {}}}, "f:x": {"k:{\"name\":\"a\"}": {".": {}}}}),
        ] {
            let read = set(fields.clone());
            assert_eq!(Set::from_stored(&read.clone().into_fields()), read);
            if !fields.to_string().contains("{\".\":{}}") {
                assert_eq!(read.into_fields(), fields);
            }
        }
        assert_eq!(set(json!({"f:a": {"x:unknown": {}}})).into_fields(), json!({"f:a": {}}));
        assert!(Set::from_fields(&json!({"f:a": {"bad": {}}})).is_err());
    }

    #[test]
    fn algebra() {
        let one = set(json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {}}));
        let two = set(json!({"f:a": {"f:b": {}}, "f:d": {"f:e": {}}, "f:g": {}}));
        let union = json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {".": {}, "f:e": {}}, "f:g": {}});
        assert_eq!(one.clone().union(two.clone()).into_fields(), union);
        assert_eq!(one.intersection(&two).into_fields(), json!({"f:a": {"f:b": {}}}));
        assert_eq!(one.clone().difference(&two).into_fields(), json!({"f:a": {".": {}, "f:c": {}}, "f:d": {}}));
        assert_eq!(two.clone().difference(&one).into_fields(), json!({"f:d": {"f:e": {}}, "f:g": {}}));
        assert_eq!(two.clone().recursive_difference(&one).into_fields(), json!({"f:g": {}}));
        assert!(two.meets(&json!({"f:a": {"f:b": {}}})) && !two.meets(&json!({"f:a": {}, "f:d": {}})));
        assert!(two.is_within(&union) && !two.is_within(&json!({"f:a": {"f:b": {}}, "f:d": {}, "f:g": {}})));
    }

    #[test]
    fn paths_end_before_they_go_on() {
        let set = set(json!({"f:b": {}, "f:a": {"f:z": {}, "k:{\"name\":\"x\"}": {".": {}, "f:i": {}}}}));
        let text = |path: &Vec<Element>| path.iter().map(ToString::to_string).collect::<String>();
        let paths: Vec<String> = set.paths().iter().map(text).collect();
        assert_eq!(paths, [".b", ".a.z", ".a[name=\"x\"]", ".a[name=\"x\"].i"]);
        assert_eq!(Set::of(&["a.b", "a", "c"]).into_fields(), json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}}));
    }
}
