//! The pods of a DaemonSet by node.
//!
//! Invariants: nodes in order of name; the pods of a node with the one that counts first: bound before unbound, then the
//! oldest, then by name.
//!
//! Absent: ended pods whose deletion has been asked for; they are nobody's business any more.

use std::collections::BTreeMap;

use super::Scene;
use crate::view::PodView;

/// The pods of a DaemonSet by node.
pub(super) struct NodePods<'a>(BTreeMap<&'a str, Vec<&'a PodView>>);

/// The pods of one node that a rollout looks at.
#[derive(Debug, PartialEq)]
pub(super) enum Pair<'a> {
    /// At most one of the current revision and one of an older one.
    Tidy { new: Option<&'a PodView>, old: Option<&'a PodView> },
    /// More than that: to be thinned out first.
    Excess,
}

impl<'a> NodePods<'a> {
    pub(super) fn group(pods: &[&'a PodView]) -> Self {
        let mut nodes: BTreeMap<&'a str, Vec<&'a PodView>> = BTreeMap::new();
        for pod in pods {
            if pod.phase.is_terminal() && pod.deleting.is_some() {
                continue;
            }
            if let Some(node) = pod.node_or_target() {
                nodes.entry(node).or_default().push(pod);
            }
        }
        for pods in nodes.values_mut() {
            pods.sort_by(|a, b| (a.node.is_none(), a.created, &a.name).cmp(&(b.node.is_none(), b.created, &b.name)));
        }
        Self(nodes)
    }

    pub(super) fn on(&self, node: &str) -> &[&'a PodView] {
        self.0.get(node).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a str, &[&'a PodView])> {
        self.0.iter().map(|(node, pods)| (*node, pods.as_slice()))
    }
}

/// Tells the current and the old pod among those of one node that stay (`doomed` says which do not).
pub(super) fn pair<'a>(scene: &Scene<'_>, pods: &[&'a PodView], doomed: impl Fn(&PodView) -> bool) -> Pair<'a> {
    let (mut new, mut old) = (None, None);
    for pod in pods.iter().filter(|p| !doomed(p)) {
        let place = if scene.is_current(pod) { &mut new } else { &mut old };
        if place.replace(*pod).is_some() {
            return Pair::Excess;
        }
    }
    Pair::Tidy { new, old }
}
