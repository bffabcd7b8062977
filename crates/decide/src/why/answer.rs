//! The reason of one node in words, and reasons of many nodes by cause.
//!
//! Invariants: causes come in the order of states, then those with more nodes first; the same answers give the same groups.
//!
//! Absent: how a reason is found.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::limits::CAUSE_NODES_NAMED;

/// `apiVersion` of what is told of a DaemonSet's nodes.
pub const API_VERSION: &str = "everynode.dev/v1alpha1";
/// `kind` of the same.
pub const KIND: &str = "DaemonSetReasons";

/// What a node does about a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum State {
    /// The daemon runs and is available.
    Runs,
    /// The node wants a daemon and has none that is available.
    Waits,
    /// The node wants none.
    Excluded,
}

/// Why a node is in its state, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Cause {
    /// The daemon is available.
    Available,
    /// The daemon is available although none would start here now.
    Stays,
    /// The daemon is ready, not yet for `minReadySeconds`.
    Settling,
    /// The daemon is on its way and nothing is wrong with it yet.
    Starting,
    /// The image cannot be had.
    ImagePull,
    /// A container ends again and again.
    CrashLoop,
    /// A container has ended.
    Ended,
    /// What a container is to be configured with is not there.
    Config,
    /// A volume cannot be had.
    Volume,
    /// A container cannot be started.
    StartFailed,
    /// A probe fails.
    Probe,
    /// The node does not answer or is not ready.
    NodeNotReady,
    /// The node lacks an amount that the daemon asks for.
    Insufficient,
    /// The node has as many pods as it takes.
    TooManyPods,
    /// A port of the node is taken.
    Port,
    /// The daemon's pod does not tolerate a taint that the DaemonSet does: it is older.
    Taint,
    /// The daemon's own selector or affinity do not match.
    Affinity,
    /// Scheduling gates are closed.
    Gated,
    /// The scheduler has not placed the daemon.
    Unscheduled,
    /// The daemon is created now.
    Creating,
    /// The daemon is created after those of other nodes.
    Postponed,
    /// The old daemon ends, a new one follows.
    Replacing,
    /// The daemon failed and is replaced after a pause.
    Failed,
    /// The template names another node.
    NodeName,
    /// The node lacks a label of the node selector.
    NodeSelector,
    /// The node does not match the required affinity.
    NodeAffinity,
    /// The node has a taint that is not tolerated.
    NodeTaint,
    /// The namespace is for other nodes.
    Namespace,
    /// The DaemonSet itself: it is going, or cannot be carried out.
    DaemonSet,
}

/// A cause with its words.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Words {
    pub(super) cause: Cause,
    /// The same for all nodes that share the trouble.
    pub(super) about: String,
    /// All that is known.
    pub(super) message: String,
}

impl Words {
    /// Words that say the same of all nodes.
    pub(super) fn plain(cause: Cause, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { cause, about: text.clone(), message: text }
    }
}

/// Why one node runs a daemon, waits for one or has none.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Name of the node.
    pub node: String,
    /// What it does.
    pub state: State,
    /// Why, in one word.
    pub cause: Cause,
    /// Why, in words that nodes with the same trouble share.
    pub about: String,
    /// Why, in words, with all that is known.
    pub message: String,
    /// The pod that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Whether the pod is of the newest revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated: Option<bool>,
    /// What its update waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<String>,
}

/// Nodes that share a cause.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// What they do.
    pub state: State,
    /// Why, in one word.
    pub cause: Cause,
    /// Why, in words.
    pub about: String,
    /// How many nodes.
    pub nodes: usize,
    /// The first of them by name, no more than [`CAUSE_NODES_NAMED`].
    pub examples: Vec<String>,
}

/// What holds updates up, and how many nodes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// What their update waits for.
    pub about: String,
    /// How many nodes.
    pub nodes: usize,
}

/// How many nodes are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// All nodes that were asked for.
    pub nodes: usize,
    /// Those that run a daemon.
    pub runs: usize,
    /// Those that wait for one.
    pub waits: usize,
    /// Those that want none.
    pub excluded: usize,
    /// Those with a daemon of the newest revision, not counting excluded ones.
    pub updated: usize,
    /// Those with an older daemon, not counting excluded ones.
    pub outdated: usize,
}

/// The reasons of a DaemonSet's nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Namespace of the DaemonSet.
    pub namespace: String,
    /// Name of the DaemonSet.
    pub name: String,
    /// UID of the DaemonSet.
    pub uid: String,
    /// Hash of its newest revision; empty when none is known.
    pub revision: String,
    /// How many nodes are in which state.
    pub counts: Counts,
    /// Nodes by cause.
    pub causes: Vec<Group>,
    /// What updates wait for.
    pub held: Vec<Held>,
    /// Every node that was asked for, by name.
    pub nodes: Vec<Answer>,
}

impl Report {
    pub(super) fn of(names: (&str, &str, &str), revision: String, nodes: Vec<Answer>) -> Self {
        let (namespace, name, uid) = names;
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            revision,
            counts: count(&nodes),
            causes: group(&nodes),
            held: held(&nodes),
            nodes,
        }
    }

    /// The report as an object of the API; with each node, or with counts only.
    #[must_use]
    pub fn document(&self, with_nodes: bool) -> Value {
        let mut document = json!({
            "kind": KIND,
            "apiVersion": API_VERSION,
            "metadata": {"name": self.name, "namespace": self.namespace, "uid": self.uid},
            "revision": self.revision,
            "counts": self.counts,
            "causes": self.causes,
            "held": self.held,
        });
        if with_nodes {
            document["nodes"] = json!(self.nodes);
        }
        document
    }
}

fn count(nodes: &[Answer]) -> Counts {
    let mut counts = Counts { nodes: nodes.len(), ..Counts::default() };
    for node in nodes {
        match node.state {
            State::Runs => counts.runs += 1,
            State::Waits => counts.waits += 1,
            State::Excluded => {
                counts.excluded += 1;
                continue;
            }
        }
        match node.updated {
            Some(true) => counts.updated += 1,
            Some(false) => counts.outdated += 1,
            None => {}
        }
    }
    counts
}

fn group(nodes: &[Answer]) -> Vec<Group> {
    let mut groups: BTreeMap<(State, Cause, &str), Group> = BTreeMap::new();
    for node in nodes {
        let group = groups.entry((node.state, node.cause, &node.about)).or_insert_with(|| Group {
            state: node.state,
            cause: node.cause,
            about: node.about.clone(),
            nodes: 0,
            examples: Vec::new(),
        });
        group.nodes += 1;
        if group.examples.len() < CAUSE_NODES_NAMED {
            group.examples.push(node.node.clone());
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|g| (g.state, std::cmp::Reverse(g.nodes)));
    groups
}

fn held(nodes: &[Answer]) -> Vec<Held> {
    let mut held: BTreeMap<&str, usize> = BTreeMap::new();
    for about in nodes.iter().filter_map(|n| n.update.as_deref()) {
        *held.entry(about).or_default() += 1;
    }
    held.into_iter().map(|(about, nodes)| Held { about: about.to_owned(), nodes }).collect()
}
