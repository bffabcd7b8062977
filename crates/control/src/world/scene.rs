//! The cluster as the scheduler sees it.
//!
//! Invariants: reads what informers keep; nothing is looked up elsewhere.
//!
//! Absent: services, whose selectors Kubernetes spreads pods by too when they state no spreading of their own.

use std::collections::BTreeMap;

use api::selector::Labels;
use decide::replicaset;
use decide::schedule::{Allowance, Cluster, Load};
use decide::view::{NodeView, PodView};

use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::World;
use crate::disruption;
use crate::key::Key;

impl Cluster for World {
    fn count(&self) -> usize {
        self.nodes.count()
    }

    fn one(&self, name: &str) -> Option<(&NodeView, &Load)> {
        self.nodes.one(name)
    }

    fn all(&self) -> impl Iterator<Item = (&NodeView, &Load)> {
        self.nodes.all()
    }

    fn asking(&self) -> impl Iterator<Item = (&NodeView, &Load)> {
        self.nodes.asking()
    }

    fn namespace(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(name)?.metadata.labels.as_ref()
    }

    fn allowances(&self) -> Vec<Allowance> {
        self.budgets.values().map(|budget| allowance(budget)).collect()
    }

    fn siblings(&self, pod: &PodView) -> Option<Labels> {
        let owner = pod.controller.as_ref().filter(|c| c.kind == replicaset::KIND)?;
        let set = self.replica_sets.get(&Key::new(&pod.namespace, &owner.name))?;
        Labels::from_label_selector(set.spec.as_ref().map(|s| &s.selector)).ok()
    }
}

fn allowance(budget: &PodDisruptionBudget) -> Allowance {
    let status = budget.status.as_ref();
    Allowance {
        namespace: budget.metadata.namespace.clone().unwrap_or_default(),
        selector: disruption::selector(budget),
        left: i64::from(status.and_then(|s| s.disruptions_allowed).unwrap_or_default()),
        disrupted: status.and_then(|s| s.disrupted_pods.as_ref()).into_iter().flat_map(|p| p.keys().cloned()).collect(),
    }
}
