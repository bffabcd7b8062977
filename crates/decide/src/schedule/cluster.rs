//! What the scheduler sees: nodes with what is on them, namespaces, budgets.
//!
//! Invariants: a load counts each pod once, by UID.
//!
//! Absent: where it comes from; whoever watches keeps it.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::selector::Labels;

use crate::resources::{HostPort, Resources, Usual};
use crate::view::{NodeView, PodView};

/// What the pods of one node take of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Load {
    /// The pods, by UID.
    pub pods: BTreeMap<String, Arc<PodView>>,
    /// Pods for which room is being made here, by UID; not counted in the sums.
    pub nominated: BTreeMap<String, Arc<PodView>>,
    /// What the pods ask for.
    pub requests: Resources,
    /// What the pods are reckoned to use.
    pub usual: Usual,
    /// The ports they take.
    pub ports: Vec<HostPort>,
    /// How many of them ask something of other pods.
    pub asking: usize,
}

impl Load {
    /// Adds a pod; once is enough.
    pub fn add(&mut self, pod: &Arc<PodView>) {
        if self.pods.insert(pod.uid.clone(), pod.clone()).is_some() {
            return;
        }
        self.requests.add(&pod.requests);
        self.usual.add(pod.usual);
        self.ports.extend(pod.host_ports.iter().cloned());
        self.asking += usize::from(pod.terms.is_some());
    }

    /// Takes a pod away that was added.
    pub fn remove(&mut self, uid: &str) {
        let Some(pod) = self.pods.remove(uid) else { return };
        self.requests.subtract(&pod.requests);
        self.usual.subtract(pod.usual);
        for port in &pod.host_ports {
            if let Some(index) = self.ports.iter().position(|p| p == port) {
                self.ports.swap_remove(index);
            }
        }
        self.asking = self.asking.saturating_sub(usize::from(pod.terms.is_some()));
    }

    /// True when nothing is here and nothing is expected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.nominated.is_empty()
    }
}

/// How many more pods of a kind may be disturbed.
#[derive(Debug, Clone, PartialEq)]
pub struct Allowance {
    /// Namespace.
    pub namespace: String,
    /// The pods.
    pub selector: Labels,
    /// `status.disruptionsAllowed`.
    pub left: i64,
    /// Pods that are counted already.
    pub disrupted: Vec<String>,
}

/// What the scheduler sees. Nodes come in order of name.
pub trait Cluster {
    /// Number of nodes.
    fn count(&self) -> usize;
    /// One node.
    fn one(&self, name: &str) -> Option<(&NodeView, &Load)>;
    /// All nodes.
    fn all(&self) -> impl Iterator<Item = (&NodeView, &Load)>;
    /// The nodes with pods that ask something of other pods.
    fn asking(&self) -> impl Iterator<Item = (&NodeView, &Load)> {
        self.all().filter(|(_, load)| load.asking > 0)
    }
    /// The labels of a namespace.
    fn namespace(&self, name: &str) -> Option<&BTreeMap<String, String>>;
    /// The disruption budgets of all namespaces.
    fn allowances(&self) -> Vec<Allowance>;
    /// The pods among which one that states no spreading is spread: those of its ReplicaSet.
    fn siblings(&self, pod: &PodView) -> Option<Labels>;
}
