//! Pods that fit nowhere, found by what may help them.
//!
//! Invariants: a pod is here at most once; whoever wakes it takes it out.
//!
//! Absent: why it fits nowhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::key::Key;

/// Pods that fit nowhere, found by what may help them.
#[derive(Default)]
pub(crate) struct Parked {
    all: BTreeMap<Key, Vec<String>>,
    /// Those that only changes of one of these nodes help.
    by_node: BTreeMap<String, BTreeSet<Key>>,
    /// Those that a change of any node may help.
    anywhere: BTreeSet<Key>,
    /// Those that pods on other nodes may help, by coming or going.
    heeding: BTreeSet<Key>,
}

impl Parked {
    /// Sets a pod aside until one of `nodes` changes, or any if there are none; or any pod if it heeds them.
    pub(crate) fn put(&mut self, key: &Key, nodes: Vec<String>, heeds_pods: bool) {
        self.take(key);
        for node in &nodes {
            self.by_node.entry(node.clone()).or_default().insert(key.clone());
        }
        if nodes.is_empty() {
            self.anywhere.insert(key.clone());
        }
        if heeds_pods {
            self.heeding.insert(key.clone());
        }
        self.all.insert(key.clone(), nodes);
    }

    /// Takes a pod out.
    pub(crate) fn take(&mut self, key: &Key) {
        for node in self.all.remove(key).into_iter().flatten() {
            if let Some(keys) = self.by_node.get_mut(&node) {
                keys.remove(key);
                if keys.is_empty() {
                    self.by_node.remove(&node);
                }
            }
        }
        self.anywhere.remove(key);
        self.heeding.remove(key);
    }

    /// Those that wait for this node by name.
    pub(crate) fn naming(&self, node: &str) -> impl Iterator<Item = &Key> {
        self.by_node.get(node).into_iter().flatten()
    }

    /// Those that any node may help.
    pub(crate) fn anywhere(&self) -> impl Iterator<Item = &Key> {
        self.anywhere.iter()
    }

    /// Those that pods on other nodes may help.
    pub(crate) fn heeding(&self) -> impl Iterator<Item = &Key> {
        self.heeding.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_found_by_what_helps_them_until_they_are_taken() {
        let key = |name: &str| Key::new("x", name);
        let mut parked = Parked::default();
        parked.put(&key("daemon"), vec!["n-1".into()], false);
        parked.put(&key("any"), Vec::new(), false);
        parked.put(&key("shy"), Vec::new(), true);
        let found = |parked: &Parked| {
            let names = |keys: Vec<&Key>| keys.into_iter().map(|k| k.name.clone()).collect::<Vec<_>>();
            (
                names(parked.naming("n-1").collect()),
                names(parked.anywhere().collect()),
                names(parked.heeding().collect()),
            )
        };
        assert_eq!(found(&parked), (vec!["daemon".into()], vec!["any".into(), "shy".into()], vec!["shy".into()]));
        parked.put(&key("shy"), vec!["n-1".into()], false);
        assert_eq!(found(&parked), (vec!["daemon".into(), "shy".into()], vec!["any".into()], vec![]));
        ["daemon", "any", "shy"].iter().for_each(|name| parked.take(&key(name)));
        assert_eq!(found(&parked), (vec![], vec![], vec![]));
        assert!(parked.by_node.is_empty());
    }
}
