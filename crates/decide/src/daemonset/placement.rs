//! Where a DaemonSet may run: for one node, whether a pod may start there and whether one that runs there may stay.
//!
//! Invariants: whoever may start may stay. A node that is merely cordoned, under pressure or unhealthy excludes no
//! daemon, by the tolerations that every daemon pod has; a node that waits for its daemons excludes none of them.
//!
//! Absent: resources and ports; that check belongs to the scheduler.

use std::collections::BTreeMap;
use std::fmt;

use api::affinity::NodeTerms;
use api::selector::Labels;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{PodSpec, Taint, Toleration};

use crate::node_readiness;
use crate::view::NodeView;

/// Why a node is excluded.
#[derive(Debug, Clone, PartialEq)]
pub enum Exclusion {
    /// The template names another node.
    NodeName(String),
    /// The node lacks this label of the node selector.
    NodeSelector(String, String),
    /// The required node affinity does not match.
    NodeAffinity,
    /// The node has a taint that the pods do not tolerate.
    Taint(Box<Taint>),
    /// The namespace is for other nodes: its node selector.
    Namespace(String),
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeName(name) => write!(f, "the template names node {name}"),
            Self::NodeSelector(key, value) => write!(f, "the node selector asks for {key}={value}"),
            Self::NodeAffinity => write!(f, "the required node affinity does not match"),
            Self::Namespace(selector) => write!(f, "the namespace is for nodes with {selector}"),
            Self::Taint(taint) => {
                write!(f, "the taint {}", taint.key)?;
                if let Some(value) = taint.value.as_deref().filter(|v| !v.is_empty()) {
                    write!(f, "={value}")?;
                }
                write!(f, ":{} is not tolerated", taint.effect)
            }
        }
    }
}

/// What a DaemonSet may do on one node.
#[derive(Debug, Clone, PartialEq)]
pub enum Placement {
    /// A pod may start, and stay.
    Run,
    /// A pod that is there may stay; none may start.
    Stay(Exclusion),
    /// No pod may be there.
    Exclude(Exclusion),
}

impl Placement {
    /// True when a pod may start.
    #[must_use]
    pub fn may_start(&self) -> bool {
        matches!(self, Self::Run)
    }

    /// True when a pod that is there may stay.
    #[must_use]
    pub fn may_stay(&self) -> bool {
        !matches!(self, Self::Exclude(_))
    }
}

/// A [`Placement`] without the why, which most of those who ask need not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// As [`Placement::Run`].
    Run,
    /// As [`Placement::Stay`].
    Stay,
    /// As [`Placement::Exclude`].
    Exclude,
}

impl Access {
    /// True when a pod may start.
    #[must_use]
    pub fn may_start(self) -> bool {
        self == Self::Run
    }

    /// True when a pod that is there may stay.
    #[must_use]
    pub fn may_stay(self) -> bool {
        self != Self::Exclude
    }
}

/// Why a node is excluded, as long as whatever says so is there.
enum Why<'w> {
    NodeName(&'w str),
    NodeSelector(&'w str, &'w str),
    NodeAffinity,
    Taint(&'w Taint),
    Namespace(&'w Labels),
}

impl From<Why<'_>> for Exclusion {
    fn from(why: Why<'_>) -> Self {
        match why {
            Why::NodeName(name) => Self::NodeName(name.to_owned()),
            Why::NodeSelector(key, value) => Self::NodeSelector(key.to_owned(), value.to_owned()),
            Why::NodeAffinity => Self::NodeAffinity,
            Why::Taint(taint) => Self::Taint(Box::new(taint.clone())),
            Why::Namespace(nodes) => Self::Namespace(nodes.to_string()),
        }
    }
}

/// The part of a DaemonSet that decides where it runs, read once per plan.
#[derive(Debug)]
pub struct Demands<'a> {
    node_name: Option<&'a str>,
    node_selector: Option<&'a BTreeMap<String, String>>,
    affinity: Option<NodeTerms>,
    tolerations: Vec<Toleration>,
    namespace_nodes: Option<&'a Labels>,
}

/// The annotation of a namespace with the labels of the nodes that it is for.
pub const NAMESPACE_NODES: &str = "scheduler.alpha.kubernetes.io/node-selector";

/// The nodes that a namespace with these annotations is for; none means all. A selector that cannot be read selects no
/// node, so that nothing runs where it should not.
#[must_use]
pub fn namespace_nodes(annotations: Option<&BTreeMap<String, String>>) -> Option<Labels> {
    let text = annotations?.get(NAMESPACE_NODES)?;
    Some(Labels::parse(text).unwrap_or_else(|_| Labels::nothing()))
}

impl<'a> Demands<'a> {
    /// Reads the demands of a DaemonSet in a namespace that is for these nodes.
    #[must_use]
    pub fn of(set: &'a DaemonSet, namespace_nodes: Option<&'a Labels>) -> Self {
        let spec = set.spec.as_ref().and_then(|s| s.template.spec.as_ref());
        let affinity = spec.and_then(|s| s.affinity.as_ref()).and_then(|a| a.node_affinity.as_ref());
        Self {
            node_name: spec.and_then(|s| s.node_name.as_deref()).filter(|n| !n.is_empty()),
            node_selector: spec.and_then(|s| s.node_selector.as_ref()),
            affinity: affinity
                .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())
                .map(NodeTerms::read),
            tolerations: spec.map(tolerations).unwrap_or_default(),
            namespace_nodes,
        }
    }

    /// True when a change of a node changes what the DaemonSet does there. `None` is a node that is not there.
    #[must_use]
    pub fn heed(&self, before: Option<&NodeView>, after: Option<&NodeView>) -> bool {
        let (old, new) = (before.map(|n| self.place(n)), after.map(|n| self.place(n)));
        let wanted = |p: &Option<Placement>| p.as_ref().is_some_and(Placement::may_stay);
        old != new && (wanted(&old) || wanted(&new))
    }

    /// True when no DaemonSet does anything else on a node after a change than before.
    #[must_use]
    pub fn sees_the_same(before: &NodeView, after: &NodeView) -> bool {
        before.name == after.name && before.labels == after.labels && before.taints == after.taints
    }

    /// What the DaemonSet may do on `node`.
    #[must_use]
    pub fn place(&self, node: &NodeView) -> Placement {
        match self.judge(node) {
            Ok(()) => Placement::Run,
            Err((Access::Exclude, why)) => Placement::Exclude(why.into()),
            Err((_, why)) => Placement::Stay(why.into()),
        }
    }

    /// What the DaemonSet may do on `node`, without the why.
    #[must_use]
    pub fn access(&self, node: &NodeView) -> Access {
        self.judge(node).map_or_else(|(access, _)| access, |()| Access::Run)
    }

    fn judge<'w>(&'w self, node: &'w NodeView) -> Result<(), (Access, Why<'w>)> {
        let exclude = |why| Err((Access::Exclude, why));
        if let Some(name) = self.node_name.filter(|n| *n != node.name) {
            return exclude(Why::NodeName(name));
        }
        for (key, value) in self.node_selector.into_iter().flatten() {
            if node.labels.get(key) != Some(value) {
                return exclude(Why::NodeSelector(key, value));
            }
        }
        if self.affinity.as_ref().is_some_and(|terms| !terms.matches(&node.name, &node.labels)) {
            return exclude(Why::NodeAffinity);
        }
        let untolerated = |effects: &[&str]| {
            let counts = |t: &&Taint| effects.contains(&t.effect.as_str()) && !node_readiness::is_taint(t);
            let taints = node.taints.iter().filter(counts);
            taints.into_iter().find(|t| !self.tolerations.iter().any(|s| api::taint::tolerates(s, t)))
        };
        if let Some(taint) = untolerated(&["NoExecute"]) {
            return exclude(Why::Taint(taint));
        }
        if let Some(taint) = untolerated(&["NoSchedule"]) {
            return Err((Access::Stay, Why::Taint(taint)));
        }
        if let Some(nodes) = self.namespace_nodes.filter(|nodes| !nodes.matches(&node.labels)) {
            return exclude(Why::Namespace(nodes));
        }
        Ok(())
    }
}

/// Taints that every daemon pod tolerates, and their effect: trouble with a node must not drive its daemons away.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// The taint of a node without network, tolerated only by daemons that use the node's own.
const NETWORK_UNAVAILABLE: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// The tolerations of a daemon pod: the user's own and those that every daemon has.
#[must_use]
pub fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut list = spec.tolerations.clone().unwrap_or_default();
    let network = spec.host_network.unwrap_or_default().then_some(NETWORK_UNAVAILABLE);
    for (key, effect) in TOLERATED.into_iter().chain(network) {
        let wanted = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        let same = |t: &Toleration| {
            let value = t.value.as_deref().unwrap_or_default();
            t.key == wanted.key && t.operator == wanted.operator && t.effect == wanted.effect && value.is_empty()
        };
        if list.iter().any(same) {
            list.iter_mut().filter(|t| same(t)).for_each(|t| *t = wanted.clone());
        } else {
            list.push(wanted);
        }
    }
    list
}
