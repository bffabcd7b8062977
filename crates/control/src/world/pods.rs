//! Pods, found by name, by controller and by node.
//!
//! Invariants: the indexes name exactly the pods that are kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use decide::view::PodView;

use crate::key::Key;

/// Pods, found by name, by controller and by node.
#[derive(Default)]
pub(crate) struct Pods {
    all: BTreeMap<Key, Arc<PodView>>,
    by_controller: HashMap<String, BTreeSet<Key>>,
    /// Pods that nobody controls, by namespace.
    orphans: HashMap<String, BTreeSet<Key>>,
    by_node: HashMap<String, BTreeSet<Key>>,
}

fn put<K: Eq + Hash>(index: &mut HashMap<K, BTreeSet<Key>>, at: K, key: &Key) {
    index.entry(at).or_default().insert(key.clone());
}

fn take(index: &mut HashMap<String, BTreeSet<Key>>, at: &str, key: &Key) {
    if let Some(keys) = index.get_mut(at) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(at);
        }
    }
}

impl Pods {
    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<PodView>> {
        self.all.get(key)
    }

    /// Keeps a pod; returns what was kept before.
    pub(super) fn put(&mut self, key: Key, pod: Arc<PodView>) -> Option<Arc<PodView>> {
        let before = self.remove(&key);
        match &pod.controller {
            Some(controller) => put(&mut self.by_controller, controller.uid.clone(), &key),
            None => put(&mut self.orphans, key.namespace.clone(), &key),
        }
        if let Some(node) = &pod.node {
            put(&mut self.by_node, node.clone(), &key);
        }
        self.all.insert(key, pod);
        before
    }

    /// Drops a pod; returns what was kept.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<PodView>> {
        let pod = self.all.remove(key)?;
        match &pod.controller {
            Some(controller) => take(&mut self.by_controller, &controller.uid, key),
            None => take(&mut self.orphans, &key.namespace, key),
        }
        if let Some(node) = &pod.node {
            take(&mut self.by_node, node, key);
        }
        Some(pod)
    }

    /// The names of all pods.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.all.keys()
    }

    /// The pods of a namespace.
    pub(crate) fn in_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<PodView>> {
        let first = Key::new(namespace, "");
        self.all.range(first..).take_while(move |(key, _)| key.namespace == namespace).map(|(_, pod)| pod)
    }

    /// All pods.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<PodView>> {
        self.all.values()
    }

    fn of(&self, keys: Option<&BTreeSet<Key>>) -> Vec<Arc<PodView>> {
        keys.into_iter().flatten().filter_map(|key| self.all.get(key).cloned()).collect()
    }

    /// The pods that the owner with this UID controls.
    pub(crate) fn controlled(&self, uid: &str) -> Vec<Arc<PodView>> {
        self.of(self.by_controller.get(uid))
    }

    /// The pods of the namespace that the owner with this UID controls, and those that nobody controls.
    pub(crate) fn claimable(&self, uid: &str, namespace: &str) -> Vec<Arc<PodView>> {
        let mut pods = self.of(self.by_controller.get(uid));
        // An owner of another namespace is none.
        pods.retain(|pod| pod.namespace == namespace);
        pods.extend(self.of(self.orphans.get(namespace)));
        pods
    }

    /// The pods of a node.
    pub(crate) fn on(&self, node: &str) -> Vec<Arc<PodView>> {
        self.of(self.by_node.get(node))
    }

    /// The nodes that pods are bound to.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &String> {
        self.by_node.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use decide::view::Controller;

    fn pod(name: &str, owner: Option<&str>, node: Option<&str>) -> (Key, Arc<PodView>) {
        let controller = owner.map(|uid| Controller { kind: "DaemonSet".into(), name: "d".into(), uid: uid.into() });
        let view = PodView {
            namespace: "x".into(),
            name: name.into(),
            controller,
            node: node.map(Into::into),
            ..PodView::default()
        };
        (Key::new("x", name), Arc::new(view))
    }

    #[test]
    fn indexes_follow_changes() {
        let mut pods = Pods::default();
        for (key, view) in [pod("a", Some("u"), None), pod("b", None, Some("n")), pod("a", Some("u"), Some("n"))] {
            pods.put(key, view);
        }
        assert_eq!(pods.claimable("u", "x").len(), 2);
        assert_eq!(pods.on("n").len(), 2);
        let (key, view) = pod("b", Some("other"), Some("m"));
        pods.put(key.clone(), view);
        assert_eq!((pods.claimable("u", "x").len(), pods.on("n").len(), pods.on("m").len()), (1, 1, 1));
        pods.remove(&key);
        assert_eq!((pods.on("m").len(), pods.nodes().count()), (0, 1));
    }
}
