//! Pod affinity and anti-affinity: which nodes are near the pods that a pod wants near or far, and near pods that want
//! this one far.
//!
//! Invariants: nodes are near each other when the term's topology label has the same value; pods of nodes without the
//! label are near nothing; a pod that needs only pods like itself may be the first of them.
//!
//! Absent: resources, which may still be lacking.

use std::collections::BTreeMap;

use super::Obstacle;
use super::cluster::Cluster;
use crate::terms::{Term, Terms};
use crate::view::{NodeView, PodView};

/// Counts by topology key and value.
type Counts = BTreeMap<(String, String), i64>;

/// The weight of the needs of pods that are there already. Kubernetes' default.
const NEED_WEIGHT: i64 = 1;

/// Which pods are where, as far as one pod's affinity and that of the others about it is concerned.
#[derive(Debug, Clone, Default)]
pub(super) struct Near {
    needed: Counts,
    shunned: Counts,
    /// Pods that shun this one.
    shunning: Counts,
}

fn count(counts: &mut Counts, node: &NodeView, key: &str, by: i64) {
    if let Some(value) = node.labels.get(key) {
        let at = (key.to_owned(), value.clone());
        let number = counts.entry(at.clone()).or_default();
        *number += by;
        if *number == 0 {
            counts.remove(&at);
        }
    }
}

fn has(counts: &Counts, node: &NodeView, key: &str) -> bool {
    let value = node.labels.get(key);
    value.is_some_and(|v| counts.get(&(key.to_owned(), v.clone())).is_some_and(|n| *n > 0))
}

fn means(cluster: &impl Cluster, term: &Term, pod: &PodView) -> bool {
    term.means(pod, cluster.namespace(&pod.namespace))
}

/// True when `pod` is meant by all of the terms, of which there must be one.
fn means_all(cluster: &impl Cluster, terms: &[Term], pod: &PodView) -> bool {
    !terms.is_empty() && terms.iter().all(|t| means(cluster, t, pod))
}

impl Near {
    /// Looks where the others are. Without terms of its own, a pod looks only at nodes with pods that have some.
    pub(super) fn look(pod: &PodView, cluster: &impl Cluster) -> Self {
        let mut near = Self::default();
        let own = pod.terms.as_deref().is_some_and(|t| !t.needs.is_empty() || !t.shuns.is_empty());
        if own {
            for (node, load) in cluster.all() {
                load.pods.values().for_each(|other| near.change(pod, cluster, other, node, 1));
            }
        } else {
            for (node, load) in cluster.asking() {
                load.pods.values().for_each(|other| near.change(pod, cluster, other, node, 1));
            }
        }
        near
    }

    /// Takes `other`, which comes (1) or goes (-1), into account.
    pub(super) fn change(&mut self, pod: &PodView, cluster: &impl Cluster, other: &PodView, node: &NodeView, by: i64) {
        if let Some(terms) = pod.terms.as_deref() {
            if means_all(cluster, &terms.needs, other) {
                terms.needs.iter().for_each(|t| count(&mut self.needed, node, &t.topology_key, by));
            }
            for term in terms.shuns.iter().filter(|t| means(cluster, t, other)) {
                count(&mut self.shunned, node, &term.topology_key, by);
            }
        }
        if let Some(terms) = other.terms.as_deref() {
            for term in terms.shuns.iter().filter(|t| means(cluster, t, pod)) {
                count(&mut self.shunning, node, &term.topology_key, by);
            }
        }
    }

    /// What keeps the pod off a node.
    pub(super) fn check(&self, pod: &PodView, cluster: &impl Cluster, node: &NodeView) -> Option<Obstacle> {
        let none = Terms::default();
        let terms = pod.terms.as_deref().unwrap_or(&none);
        if !terms.needs.is_empty() {
            if terms.needs.iter().any(|t| !node.labels.contains_key(&t.topology_key)) {
                return Some(Obstacle::Needed);
            }
            let all = terms.needs.iter().all(|t| has(&self.needed, node, &t.topology_key));
            let first = self.needed.is_empty() && means_all(cluster, &terms.needs, pod);
            if !all && !first {
                return Some(Obstacle::Needed);
            }
        }
        if terms.shuns.iter().any(|t| has(&self.shunned, node, &t.topology_key)) {
            return Some(Obstacle::Shunned);
        }
        let shunning = !self.shunning.is_empty() && node.labels.keys().any(|key| has(&self.shunning, node, key));
        shunning.then_some(Obstacle::Shunning)
    }
}

/// What preferences of this pod and of others about it speak for each topology; empty when there are none.
pub(super) fn preferences(pod: &PodView, cluster: &impl Cluster) -> Counts {
    let mut counts = Counts::new();
    let own = pod.terms.as_deref().filter(|t| !t.likes.is_empty() || !t.dislikes.is_empty());
    let mut weigh = |node: &NodeView, other: &PodView| {
        if let Some(terms) = own {
            for (weight, term) in terms.likes.iter().filter(|(_, t)| means(cluster, t, other)) {
                count(&mut counts, node, &term.topology_key, *weight);
            }
            for (weight, term) in terms.dislikes.iter().filter(|(_, t)| means(cluster, t, other)) {
                count(&mut counts, node, &term.topology_key, -weight);
            }
        }
        let Some(terms) = other.terms.as_deref() else { return };
        for term in terms.needs.iter().filter(|t| means(cluster, t, pod)) {
            count(&mut counts, node, &term.topology_key, NEED_WEIGHT);
        }
        for (weight, term) in terms.likes.iter().filter(|(_, t)| means(cluster, t, pod)) {
            count(&mut counts, node, &term.topology_key, *weight);
        }
        for (weight, term) in terms.dislikes.iter().filter(|(_, t)| means(cluster, t, pod)) {
            count(&mut counts, node, &term.topology_key, -weight);
        }
    };
    if own.is_some() {
        cluster.all().for_each(|(node, load)| load.pods.values().for_each(|other| weigh(node, other)));
    } else {
        cluster.asking().for_each(|(node, load)| load.pods.values().for_each(|other| weigh(node, other)));
    }
    counts
}

/// What `preferences` speak for one node.
pub(super) fn preference(preferences: &Counts, node: &NodeView) -> i64 {
    preferences.iter().filter(|((key, value), _)| node.labels.get(key) == Some(value)).map(|(_, n)| n).sum()
}
