//! Who owns what, over all kinds.
//!
//! Invariants: an object is known by its UID; of an object that neither owns, is owned nor goes, only the name is kept.
//!
//! Absent: what is done about it (`collector`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use api::kinds::Kind;
use decide::owners::{Holding, Owner};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::key::Key;

/// The UID of an object.
pub(crate) type Uid = Arc<str>;

/// An object as the collector knows it.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) kind: &'static Kind,
    pub(crate) key: Arc<Key>,
    pub(crate) holding: Holding,
}

/// A kind as a key of a map: group and plural.
type KindName = (&'static str, &'static str);

fn name_of(kind: &Kind) -> KindName {
    (kind.group, kind.plural)
}

/// Who owns what.
#[derive(Default)]
pub(crate) struct Graph {
    objects: HashMap<Uid, Object>,
    by_key: BTreeMap<(KindName, Arc<Key>), Uid>,
    dependents: HashMap<String, BTreeSet<Uid>>,
}

impl Graph {
    /// Notes an object; returns the UIDs to look at because of it.
    pub(crate) fn apply(&mut self, kind: &'static Kind, metadata: &ObjectMeta) -> Vec<Uid> {
        let holding = Holding::from(metadata);
        let uid = metadata.uid.as_deref().unwrap_or_default();
        // Most news of an object are about what it says, not about whose it is: a lease that is renewed, for instance.
        let known = self.objects.get(uid);
        if known.is_some_and(|o| name_of(o.kind) == name_of(kind) && o.key.names(metadata) && o.holding == holding) {
            return Vec::new();
        }
        let uid: Uid = uid.into();
        let key = Arc::new(Key::of(metadata));
        let mut wake = match self.by_key.get(&(name_of(kind), key.clone())) {
            Some(before) if *before != uid => self.gone(kind, &key),
            _ => Vec::new(),
        };
        let object = Object { kind, key: key.clone(), holding };
        let before = self.objects.get(&uid).map(|o| o.holding.clone());
        if before.as_ref() != Some(&object.holding) {
            for owner in before.iter().flat_map(|h| &h.owners) {
                self.unlink(&owner.uid, &uid);
                wake.extend(self.waiting(&owner.uid));
            }
            for owner in &object.holding.owners {
                self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
            }
            if object.holding.deleting
                || object.holding.owners.iter().any(|o| self.owner(&o.uid) != Some(Owner::Present))
            {
                wake.push(uid.clone());
            }
        }
        self.by_key.insert((name_of(kind), key), uid.clone());
        self.objects.insert(uid, object);
        wake
    }

    /// Forgets an object; returns the UIDs to look at because of it.
    pub(crate) fn gone(&mut self, kind: &'static Kind, key: &Key) -> Vec<Uid> {
        let Some(uid) = self.by_key.remove(&(name_of(kind), Arc::new(key.clone()))) else { return Vec::new() };
        let Some(object) = self.objects.remove(&uid) else { return Vec::new() };
        let mut wake: Vec<Uid> = self.dependents.get(&*uid).into_iter().flatten().cloned().collect();
        for owner in &object.holding.owners {
            self.unlink(&owner.uid, &uid);
            wake.extend(self.waiting(&owner.uid));
        }
        wake
    }

    /// Forgets all objects of a kind that a list did not name.
    pub(crate) fn listed(&mut self, kind: &'static Kind, names: &BTreeSet<Key>) -> Vec<Uid> {
        let first = ((name_of(kind)), Arc::new(Key::default()));
        let known = self.by_key.range(first..).take_while(|((name, _), _)| *name == name_of(kind));
        let lost: Vec<Arc<Key>> =
            known.filter(|((_, key), _)| !names.contains(key)).map(|((_, k), _)| k.clone()).collect();
        lost.iter().flat_map(|key| self.gone(kind, key)).collect()
    }

    fn unlink(&mut self, owner: &str, dependent: &Uid) {
        if let Some(uids) = self.dependents.get_mut(owner) {
            uids.remove(dependent);
            if uids.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }

    fn waiting(&self, uid: &str) -> Option<Uid> {
        let (uid, object) = self.objects.get_key_value(uid)?;
        object.holding.deleting.then(|| uid.clone())
    }

    pub(crate) fn get(&self, uid: &str) -> Option<&Object> {
        self.objects.get(uid)
    }

    /// Where an owner stands, if it is known.
    pub(crate) fn owner(&self, uid: &str) -> Option<Owner> {
        let waits = self.objects.get(uid)?.holding.waits_for_dependents();
        Some(if waits { Owner::Waiting } else { Owner::Present })
    }

    /// The dependents of an object, and whether each holds its deletion up.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<(Uid, Object, bool)> {
        let blocks = |object: &Object| {
            object.holding.owners.iter().any(|o| o.uid == uid && o.block_owner_deletion == Some(true))
        };
        let uids = self.dependents.get(uid).into_iter().flatten();
        uids.filter_map(|u| self.objects.get(u).map(|o| (u.clone(), o.clone(), blocks(o)))).collect()
    }

    /// The UID of the object of this name.
    pub(crate) fn uid(&self, kind: &'static Kind, key: &Key) -> Option<Uid> {
        self.by_key.get(&(name_of(kind), Arc::new(key.clone()))).cloned()
    }

    /// True when an object of this name is known.
    pub(crate) fn has(&self, kind: &'static Kind, key: &Key) -> bool {
        self.by_key.contains_key(&(name_of(kind), Arc::new(key.clone())))
    }

    /// The number of objects of a kind in a namespace.
    pub(crate) fn count(&self, kind: &'static Kind, namespace: &str) -> usize {
        let first = (name_of(kind), Arc::new(Key::new(namespace, "")));
        let known = self.by_key.range(first..);
        known.take_while(|((name, key), _)| *name == name_of(kind) && key.namespace == namespace).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};

    fn metadata(name: &str, owners: &[&str], finalizers: &[&str]) -> ObjectMeta {
        let owner = |uid: &&str| OwnerReference {
            uid: (*uid).into(),
            block_owner_deletion: Some(true),
            ..OwnerReference::default()
        };
        ObjectMeta {
            name: Some(name.into()),
            namespace: Some("x".into()),
            uid: Some(format!("uid-{name}")),
            owner_references: Some(owners.iter().map(owner).collect()),
            finalizers: Some(finalizers.iter().map(|f| (*f).into()).collect()),
            deletion_timestamp: (!finalizers.is_empty()).then_some(Time(jiff::Timestamp::UNIX_EPOCH)),
            ..ObjectMeta::default()
        }
    }

    fn woken(uids: &[Uid]) -> Vec<&str> {
        uids.iter().map(AsRef::as_ref).collect()
    }

    #[test]
    fn only_what_may_need_something_is_looked_at() {
        let mut graph = Graph::default();
        let (sets, pods) = (wire::daemon_sets(), wire::pods());
        assert_eq!(woken(&graph.apply(pods, &metadata("early", &["uid-d"], &[]))), ["uid-early"], "owner unknown");
        assert_eq!(woken(&graph.apply(sets, &metadata("d", &[], &[]))), [""; 0]);
        assert_eq!(woken(&graph.apply(pods, &metadata("p", &["uid-d"], &[]))), [""; 0], "owner there");
        assert_eq!(graph.dependents("uid-d").len(), 2);
        assert_eq!(woken(&graph.gone(sets, &Key::new("x", "d"))), ["uid-early", "uid-p"]);
        assert_eq!((graph.count(pods, "x"), graph.count(pods, "y"), graph.count(sets, "x")), (2, 0, 0));
    }

    #[test]
    fn an_owner_that_waits_is_looked_at_when_a_dependent_goes() {
        let mut graph = Graph::default();
        graph.apply(wire::daemon_sets(), &metadata("d", &[], &[]));
        graph.apply(wire::pods(), &metadata("p", &["uid-d"], &[]));
        let wake = graph.apply(wire::daemon_sets(), &metadata("d", &[], &["foregroundDeletion"]));
        assert_eq!(woken(&wake), ["uid-d"]);
        assert_eq!(graph.owner("uid-d"), Some(Owner::Waiting));
        assert_eq!(woken(&graph.gone(wire::pods(), &Key::new("x", "p"))), ["uid-d"]);
    }

    #[test]
    fn a_list_drops_what_it_does_not_name() {
        let mut graph = Graph::default();
        graph.apply(wire::pods(), &metadata("a", &[], &[]));
        graph.apply(wire::pods(), &metadata("b", &[], &[]));
        graph.apply(wire::config_maps(), &metadata("a", &[], &[]));
        graph.listed(wire::pods(), &[Key::new("x", "b")].into());
        assert!(!graph.has(wire::pods(), &Key::new("x", "a")) && graph.has(wire::pods(), &Key::new("x", "b")));
        assert!(graph.has(wire::config_maps(), &Key::new("x", "a")));
    }

    #[test]
    fn a_new_object_of_an_old_name_owns_nothing() {
        let mut graph = Graph::default();
        graph.apply(wire::daemon_sets(), &metadata("d", &[], &[]));
        graph.apply(wire::pods(), &metadata("p", &["uid-d"], &[]));
        let mut again = metadata("d", &[], &[]);
        again.uid = Some("uid-2".into());
        assert_eq!(woken(&graph.apply(wire::daemon_sets(), &again)), ["uid-p"]);
    }
}
