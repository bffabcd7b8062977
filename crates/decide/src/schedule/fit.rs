//! Whether one pod fits on one node, by the rules that look at nothing else.
//!
//! Invariants: rules are asked in Kubernetes' order, and the first that objects is the one that is told.
//!
//! Absent: other pods near by (`near`, `spread`).

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::PodSpec;

use super::Obstacle;
use super::cluster::Load;
use crate::view::{NODE_NAME_FIELD, NodeView, PodView, Wishes};

/// Resource that counts pods.
const PODS: &str = "pods";

/// Pods of a node that states no limit; the default of the kubelet.
const PODS_MAX_DEFAULT: i64 = 110;

/// What one pod asks of a node, in the form that the rules of the API read.
pub(super) struct Demands<'a> {
    pub(super) pod: &'a PodView,
    pub(super) wishes: &'a Wishes,
    constraints: Option<PodSpec>,
}

impl<'a> Demands<'a> {
    pub(super) fn new(pod: &'a PodView, wishes: &'a Wishes) -> Self {
        let constrained = !wishes.node_selector.is_empty() || wishes.affinity.is_some();
        let spec = || PodSpec {
            node_selector: Some(wishes.node_selector.clone()),
            affinity: wishes.affinity.clone(),
            ..PodSpec::default()
        };
        Self { pod, wishes, constraints: constrained.then(spec) }
    }

    /// What keeps the pod off a node; empty when it fits.
    pub(super) fn check(&self, node: &NodeView, load: &Load) -> Vec<Obstacle> {
        if node.unschedulable && !self.tolerates_cordon() {
            return vec![Obstacle::Unschedulable];
        }
        if !self.tolerates(node) {
            return vec![Obstacle::Taint];
        }
        if !self.allows(node) {
            return vec![Obstacle::Affinity];
        }
        if self.pod.host_ports.iter().any(|p| load.ports.iter().any(|taken| taken.clashes(p))) {
            return vec![Obstacle::Ports];
        }
        self.lacking(node, load)
    }

    /// True when node selector and required affinity allow a node.
    pub(super) fn allows(&self, node: &NodeView) -> bool {
        self.constraints.as_ref().is_none_or(|constraints| {
            api::affinity::matches_required_node_affinity(constraints, &node.skeleton()).unwrap_or_default()
        })
    }

    /// True when the taints of a node let the pod start there.
    pub(super) fn tolerates(&self, node: &NodeView) -> bool {
        api::taint::find_untolerated(&node.taints, &self.pod.tolerations, api::taint::blocks_scheduling).is_none()
    }

    fn tolerates_cordon(&self) -> bool {
        let taint = crate::node_health::unschedulable_taint();
        self.pod.tolerations.iter().any(|t| api::taint::tolerates(t, &taint))
    }

    fn lacking(&self, node: &NodeView, load: &Load) -> Vec<Obstacle> {
        let mut lacking = Vec::new();
        let pods_max = node.allocatable.0.get(PODS).copied().unwrap_or(PODS_MAX_DEFAULT);
        if i64::try_from(load.pods.len()).unwrap_or(i64::MAX) >= pods_max {
            lacking.push(Obstacle::TooManyPods);
        }
        for (name, wanted) in &self.pod.requests.0 {
            let all = node.allocatable.get(name);
            if *wanted > 0 && *wanted > all.saturating_sub(load.requests.get(name)) {
                lacking.push(Obstacle::Insufficient { resource: name.clone(), ever: *wanted > all });
            }
        }
        lacking
    }
}

/// The nodes that required node affinity names, as that of a daemon pod does.
#[derive(Debug, PartialEq)]
pub(super) enum Named<'a> {
    /// It names none: any node may do.
    Any,
    /// No other nodes will do.
    Only(BTreeSet<&'a str>),
    /// Its terms contradict themselves.
    None,
}

impl Named<'_> {
    /// True when the node of this name may do.
    pub(super) fn may_be(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(names) => names.contains(name),
            Self::None => false,
        }
    }
}

/// Reads which nodes the required node affinity names.
pub(super) fn named(wishes: &Wishes) -> Named<'_> {
    let required = wishes.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = required.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let Some(required) = required.filter(|r| !r.node_selector_terms.is_empty()) else { return Named::Any };
    let mut names = BTreeSet::new();
    for term in &required.node_selector_terms {
        let mut of_term: Option<BTreeSet<&str>> = None;
        for field in term.match_fields.iter().flatten() {
            if field.key == NODE_NAME_FIELD && field.operator == "In" {
                let values = field.values.iter().flatten().map(String::as_str).collect();
                of_term = Some(match of_term {
                    Some(earlier) => &earlier & &values,
                    None => values,
                });
            }
        }
        let Some(of_term) = of_term else { return Named::Any };
        names.extend(of_term);
    }
    if names.is_empty() { Named::None } else { Named::Only(names) }
}
