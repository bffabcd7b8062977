//! What the controllers know of the cluster: one copy, as small as decisions allow, kept by the informers.
//!
//! Invariants: changed by informers only, except for what the scheduler assumes and what was written; held under one
//! lock, never across an await.
//!
//! Absent: whole pods and nodes (views are kept), managed fields, owners of objects (`graph`).

mod fleets;
mod nodes;
mod parked;
mod pods;
mod scene;
mod written;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::selector::Labels;
use decide::daemonset::{self, Backoff, Demands};
use decide::view::{NodeView, PodView};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, ReplicaSet};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Resource;
use tokio::time::Instant;

pub(crate) use fleets::{Fleets, Taken};
pub(crate) use nodes::Nodes;
pub(crate) use parked::Parked;
pub(crate) use pods::Pods;
pub(crate) use written::{Set, Written};

use crate::key::Key;
use crate::policy::Governing;

/// What the controllers know of the cluster.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) nodes: Nodes,
    pub(crate) pods: Pods,
    pub(crate) daemon_sets: BTreeMap<Key, Arc<DaemonSet>>,
    pub(crate) replica_sets: BTreeMap<Key, Arc<ReplicaSet>>,
    pub(crate) revisions: BTreeMap<Key, Arc<ControllerRevision>>,
    pub(crate) namespaces: BTreeMap<String, Arc<Namespace>>,
    pub(crate) budgets: BTreeMap<Key, Arc<PodDisruptionBudget>>,
    pub(crate) policies: BTreeMap<Key, Arc<Governing>>,
    pub(crate) written: Written,
    pub(crate) fleets: Fleets,
    /// Pods that fit nowhere.
    pub(crate) parked: Parked,
    /// When the status of a DaemonSet was stored last, by UID of the set.
    pub(crate) told: HashMap<String, Instant>,
    /// Failed pods of DaemonSets by UID of the set, unless their fleet knows of them.
    pub(crate) backoff: HashMap<String, BTreeMap<String, Backoff>>,
}

impl World {
    /// True when all writes made for a set have come back.
    pub(crate) fn has_seen_writes(&mut self, set: &Set) -> bool {
        let (pods, sets, replica_sets, revisions, policies) =
            (&self.pods, &self.daemon_sets, &self.replica_sets, &self.revisions, &self.policies);
        self.written.is_seen(
            set,
            |key| pods.get(key).map(|p| (p.uid.clone(), p.deleting.is_some(), version(Some(&p.resource_version)))),
            |plural, key| {
                let metadata = match plural {
                    "daemonsets" => sets.get(key).map(|s| s.meta()),
                    "replicasets" => replica_sets.get(key).map(|s| s.meta()),
                    api::rollout_policy::PLURAL => policies.get(key).map(|p| &p.object.metadata),
                    _ => revisions.get(key).map(|s| s.meta()),
                };
                metadata.map(|m| version(m.resource_version.as_ref()))
            },
        )
    }

    /// Keeps a pod; returns what was kept before.
    pub(crate) fn put_pod(&mut self, key: Key, pod: Arc<PodView>) -> Option<Arc<PodView>> {
        let before = self.pods.put(key.clone(), pod.clone());
        self.nodes.pod_changed(before.as_ref(), Some(&pod));
        self.fleets.pod_changed(&key, before.as_deref(), Some(&pod));
        before
    }

    /// Drops a pod; returns what was kept.
    pub(crate) fn remove_pod(&mut self, key: &Key) -> Option<Arc<PodView>> {
        let before = self.pods.remove(key)?;
        self.nodes.pod_changed(Some(&before), None);
        self.fleets.pod_changed(key, Some(&before), None);
        Some(before)
    }

    /// Keeps a node; returns what was kept before.
    pub(crate) fn put_node(&mut self, node: Arc<NodeView>) -> Option<Arc<NodeView>> {
        let before = self.nodes.put(node.clone());
        if before.as_ref().is_none_or(|before| !Demands::sees_the_same(before, &node)) {
            self.fleets.node_changed(&node.name);
        }
        before
    }

    /// Drops a node; returns what was kept.
    pub(crate) fn remove_node(&mut self, name: &str) -> Option<Arc<NodeView>> {
        let before = self.nodes.remove(name);
        if before.is_some() {
            self.fleets.node_changed(name);
        }
        before
    }

    /// The fleet of a DaemonSet, by its UID and namespace, with what it is to be told. It is to be kept again soon.
    pub(crate) fn take_fleet(&mut self, uid: &str, namespace: &str) -> Taken {
        self.fleets.take((uid, namespace), &self.nodes, &self.pods, &mut self.backoff)
    }

    /// The nodes that a namespace is for; none means all.
    pub(crate) fn namespace_nodes(&self, namespace: &str) -> Option<Labels> {
        daemonset::namespace_nodes(self.namespaces.get(namespace)?.metadata.annotations.as_ref())
    }

    /// The objects of one namespace in a map by key.
    pub(crate) fn in_namespace<'a, T>(
        map: &'a BTreeMap<Key, Arc<T>>,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<T>> {
        let first = Key::new(namespace, "");
        map.range(first..).take_while(move |(key, _)| key.namespace == namespace).map(|(_, object)| object)
    }
}

/// A resource version as a number; 0 when it is not one.
pub(crate) fn version(text: Option<&String>) -> u64 {
    text.and_then(|v| v.parse().ok()).unwrap_or_default()
}
