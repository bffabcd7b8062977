//! Topology spread: how evenly pods like this one lie over the values of a label of nodes.
//!
//! Invariants: only nodes with all the labels of the constraints count; pods that are going do not.
//!
//! Absent: `matchLabelKeys`, which the API server folds into the selector.

use std::collections::BTreeMap;

use api::selector::Labels;

use super::Obstacle;
use super::cluster::{Cluster, Load};
use super::fit::Demands;
use crate::terms::Spread;
use crate::view::{NodeView, PodView};

/// The label by which each node is a domain of its own.
const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// The hard constraints of a pod, with how many pods there are in each domain.
#[derive(Debug, Clone, Default)]
pub(super) struct Domains {
    counts: Vec<BTreeMap<String, i64>>,
}

fn hard<'a>(demands: &'a Demands<'_>) -> impl Iterator<Item = &'a Spread> {
    demands.wishes.spread.iter().filter(|s| s.hard)
}

fn has_all<'a>(node: &NodeView, mut constraints: impl Iterator<Item = &'a Spread>) -> bool {
    constraints.all(|c| node.labels.contains_key(&c.topology_key))
}

/// True when `node` counts for a constraint.
fn counts(demands: &Demands<'_>, constraint: &Spread, node: &NodeView) -> bool {
    (!constraint.honours_affinity || demands.allows(node)) && (!constraint.honours_taints || demands.tolerates(node))
}

/// True when `other` is one of the pods that count.
fn is_counted(selector: &Labels, pod: &PodView, other: &PodView) -> bool {
    other.deleting.is_none() && other.namespace == pod.namespace && selector.matches(&other.labels)
}

fn number(selector: &Labels, pod: &PodView, load: &Load) -> i64 {
    if selector.is_empty() {
        return 0;
    }
    let number = load.pods.values().filter(|other| is_counted(selector, pod, other)).count();
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Domains {
    /// Counts the pods in each domain.
    pub(super) fn look(demands: &Demands<'_>, cluster: &impl Cluster) -> Self {
        let mut domains = Self { counts: hard(demands).map(|_| BTreeMap::new()).collect() };
        if domains.counts.is_empty() {
            return domains;
        }
        for (node, load) in cluster.all().filter(|(node, _)| has_all(node, hard(demands))) {
            for (constraint, counts_of) in hard(demands).zip(&mut domains.counts) {
                if counts(demands, constraint, node) {
                    let value = node.labels.get(&constraint.topology_key).cloned().unwrap_or_default();
                    *counts_of.entry(value).or_default() += number(&constraint.selector, demands.pod, load);
                }
            }
        }
        domains
    }

    /// Takes a pod that comes (1) or goes (-1) into account.
    pub(super) fn change(&mut self, demands: &Demands<'_>, other: &PodView, node: &NodeView, by: i64) {
        if !has_all(node, hard(demands)) {
            return;
        }
        for (constraint, counts_of) in hard(demands).zip(&mut self.counts) {
            // One that is going was not counted, so it cannot be counted out.
            let counted = is_counted(&constraint.selector, demands.pod, other) && !constraint.selector.is_empty();
            if counted && counts(demands, constraint, node) {
                let value = node.labels.get(&constraint.topology_key).cloned().unwrap_or_default();
                *counts_of.entry(value).or_default() += by;
            }
        }
    }

    /// What keeps the pod off a node.
    pub(super) fn check(&self, demands: &Demands<'_>, node: &NodeView) -> Option<Obstacle> {
        for (constraint, counts_of) in hard(demands).zip(&self.counts) {
            let Some(value) = node.labels.get(&constraint.topology_key) else { return Some(Obstacle::NoDomain) };
            let few = counts_of.len() < constraint.domains_min;
            let least = if few { 0 } else { counts_of.values().min().copied().unwrap_or_default() };
            let own = i64::from(constraint.selector.matches(&demands.pod.labels));
            let here = counts_of.get(value).copied().unwrap_or_default();
            if here + own - least > constraint.skew_max {
                return Some(Obstacle::Skew);
            }
        }
        None
    }
}

/// The soft constraints of a pod; without any of its own those that Kubernetes gives the pods of a ReplicaSet.
fn soft(demands: &Demands<'_>, cluster: &impl Cluster) -> (Vec<Spread>, bool) {
    if !demands.wishes.spread.is_empty() {
        return (demands.wishes.spread.iter().filter(|s| !s.hard).cloned().collect(), true);
    }
    let Some(selector) = cluster.siblings(demands.pod).filter(|s| !s.is_empty()) else { return (Vec::new(), false) };
    let default = |key: &str, skew_max| Spread {
        hard: false,
        skew_max,
        topology_key: key.to_owned(),
        selector: selector.clone(),
        domains_min: 1,
        honours_affinity: true,
        honours_taints: false,
    };
    (vec![default(HOSTNAME, 3), default(ZONE, 5)], false)
}

/// How crowded each of the nodes in `fitting` is with pods like this one; `None` for nodes that lack a label, and an
/// empty answer when there are no soft constraints.
pub(super) fn crowds(
    demands: &Demands<'_>,
    cluster: &impl Cluster,
    fitting: &[(&NodeView, &Load)],
) -> Vec<Option<i64>> {
    let (constraints, all_labels) = soft(demands, cluster);
    if constraints.is_empty() {
        return Vec::new();
    }
    let scored = |node: &NodeView| !all_labels || has_all(node, constraints.iter());
    let mut domains: Vec<BTreeMap<String, i64>> = constraints.iter().map(|_| BTreeMap::new()).collect();
    let of = |node: &NodeView, c: &Spread| node.labels.get(&c.topology_key).cloned().unwrap_or_default();
    for (node, _) in fitting.iter().filter(|(node, _)| scored(node)) {
        for (constraint, domain) in constraints.iter().zip(&mut domains).filter(|(c, _)| c.topology_key != HOSTNAME) {
            domain.entry(of(node, constraint)).or_default();
        }
    }
    let ignored = fitting.iter().filter(|(node, _)| !scored(node)).count();
    let weights: Vec<f64> = constraints
        .iter()
        .zip(&domains)
        .map(|(c, domain)| {
            let size = if c.topology_key == HOSTNAME { fitting.len() - ignored } else { domain.len() };
            ((size + 2) as f64).ln()
        })
        .collect();
    if constraints.iter().any(|c| c.topology_key != HOSTNAME) {
        for (node, load) in cluster.all().filter(|(node, _)| scored(node)) {
            for (constraint, domain) in constraints.iter().zip(&mut domains) {
                if let Some(sum) = domain.get_mut(&of(node, constraint))
                    && counts(demands, constraint, node)
                {
                    *sum += number(&constraint.selector, demands.pod, load);
                }
            }
        }
    }
    let crowd = |(node, load): &(&NodeView, &Load)| {
        scored(node).then(|| {
            let mut score = 0.0;
            for ((constraint, domain), weight) in constraints.iter().zip(&domains).zip(&weights) {
                let Some(value) = node.labels.get(&constraint.topology_key) else { continue };
                let pods = if constraint.topology_key == HOSTNAME {
                    number(&constraint.selector, demands.pod, load)
                } else {
                    domain.get(value).copied().unwrap_or_default()
                };
                score += pods as f64 * weight + (constraint.skew_max - 1) as f64;
            }
            score.round() as i64
        })
    };
    fitting.iter().map(crowd).collect()
}
