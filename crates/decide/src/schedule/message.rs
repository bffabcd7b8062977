//! The sentence that says why no node fits, in Kubernetes' words.
//!
//! Invariants: reasons are counted and sorted as text, so the same cluster gives the same sentence.
//!
//! Absent: how the obstacles were found.

use std::collections::BTreeMap;
use std::fmt;

/// What keeps a pod off one node, or keeps others from making room for it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// The node is cordoned.
    Unschedulable,
    /// A taint is not tolerated.
    Taint,
    /// Node selector or affinity do not match.
    Affinity,
    /// A host port is taken.
    Ports,
    /// As many pods as the node takes are there.
    TooManyPods,
    /// Too little of this resource is free.
    Insufficient {
        /// Name of the resource.
        resource: String,
        /// True when the node would not have enough of it if it were empty.
        ever: bool,
    },
    /// The node lacks the label of a spread constraint.
    NoDomain,
    /// There are too many pods like this one.
    Skew,
    /// Pods that this one needs are not near.
    Needed,
    /// Pods that this one shuns are near.
    Shunned,
    /// Pods that shun this one are near.
    Shunning,
    /// The pod names another node.
    OtherNode,
    /// No pod on the node is less important.
    NoVictims,
    /// Ending other pods would not help.
    NotHelpful,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unschedulable => "node(s) were unschedulable",
            Self::Taint => "node(s) had untolerated taint(s)",
            Self::Affinity => "node(s) didn't match Pod's node affinity/selector",
            Self::Ports => "node(s) didn't have free ports for the requested pod ports",
            Self::TooManyPods => "Too many pods",
            Self::Insufficient { resource, .. } => return write!(f, "Insufficient {resource}"),
            Self::NoDomain => "node(s) didn't match pod topology spread constraints (missing required label)",
            Self::Skew => "node(s) didn't match pod topology spread constraints",
            Self::Needed => "node(s) didn't match pod affinity rules",
            Self::Shunned => "node(s) didn't match pod anti-affinity rules",
            Self::Shunning => "node(s) didn't satisfy existing pods anti-affinity rules",
            Self::OtherNode => "node(s) didn't satisfy plugin(s) [NodeAffinity]",
            Self::NoVictims => "No preemption victims found for incoming pod",
            Self::NotHelpful => "Preemption is not helpful for scheduling",
        })
    }
}

impl Obstacle {
    /// True when ending other pods on the node could help.
    pub(super) fn is_load(&self) -> bool {
        match self {
            Self::Insufficient { ever, .. } => !ever,
            other => matches!(other, Self::Ports | Self::TooManyPods | Self::Skew | Self::Shunned | Self::Shunning),
        }
    }

    /// True when pods elsewhere may be what is in the way.
    pub(super) fn is_near(&self) -> bool {
        matches!(self, Self::Skew | Self::Needed | Self::Shunned | Self::Shunning)
    }
}

/// The sentence for nodes that are out for these reasons, and `others` that are out for one more.
pub(super) fn sentence<'a>(
    total: usize,
    obstacles: impl Iterator<Item = &'a Obstacle>,
    others: (usize, Obstacle),
) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for obstacle in obstacles {
        *counts.entry(obstacle.to_string()).or_default() += 1;
    }
    *counts.entry(others.1.to_string()).or_default() += others.0;
    let mut reasons: Vec<String> =
        counts.into_iter().filter(|(_, n)| *n > 0).map(|(reason, n)| format!("{n} {reason}")).collect();
    reasons.sort();
    format!("0/{total} nodes are available: {}.", reasons.join(", "))
}
