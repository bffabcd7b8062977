//! Whether a policy can work, beside what else there is: the condition `Accepted` of its status. Since when nodes wait for
//! its daemons: the condition `NodesWait`.
//!
//! Invariants: what a policy cannot do is said in words, with the object that is in the way; entries of DaemonSets that
//! the policy is not for any more are dropped.
//!
//! Absent: rules that the policy alone breaks (`api::rollout_policy`), what is done then (`course`).

use std::collections::BTreeMap;

use api::rollout_policy::{RolloutPolicy, Status, validate};
use api::selector::Labels;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};

use super::course::api_time;
use super::{Budget, Classes, Demands, choose};
use crate::node_readiness;
use crate::view::{HostPort, NodeView};

/// Type of the condition.
const ACCEPTED: &str = "Accepted";

/// What a policy is looked at beside.
#[derive(Debug, Clone, Copy)]
pub struct Neighbours<'a> {
    /// All policies of the namespace.
    pub policies: &'a [&'a RolloutPolicy],
    /// All DaemonSets of the namespace.
    pub sets: &'a [&'a DaemonSet],
    /// All nodes.
    pub nodes: &'a [&'a NodeView],
    /// The nodes that the namespace is for; none means all.
    pub namespace_nodes: Option<&'a Labels>,
}

/// The status that a policy deserves, if it is not the one that it has.
#[must_use]
pub fn accept(policy: &RolloutPolicy, near: &Neighbours<'_>, now: Timestamp) -> Option<Status> {
    let targets: Vec<&DaemonSet> =
        near.sets.iter().copied().filter(|s| policy.targets(name(s), s.metadata.labels.as_ref())).collect();
    let stored = policy.status.clone().unwrap_or_default();
    let (status, reason, message) = match fault(policy, near, &targets) {
        Some((reason, message)) => ("False", reason, message),
        None if targets.is_empty() => ("True", "NoTarget", "it is for no DaemonSet that is there".to_owned()),
        None => ("True", "Accepted", format!("it is for {}", names(&targets))),
    };
    let mut new = stored.clone();
    new.observed_generation = policy.metadata.generation;
    new.daemon_sets.retain(|memory| {
        let same = |s: &&&DaemonSet| name(s) == memory.name && s.metadata.uid.as_deref() == Some(&memory.uid);
        targets.iter().find(same).is_some_and(|s| is_chosen(policy, near, s))
    });
    new.conditions.retain(|c| c.type_ != ACCEPTED && c.type_ != node_readiness::CONDITION);
    let mut say = |kind: &str, status: &str, reason: &str, message: String| {
        let before = stored.conditions.iter().find(|c| c.type_ == kind);
        let since = before.filter(|c| c.status == status).map(|c| c.last_transition_time.clone());
        new.conditions.push(Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: policy.metadata.generation,
            last_transition_time: since.unwrap_or_else(|| api_time(now)),
        });
    };
    say(ACCEPTED, status, reason, message);
    if policy.spec.node_readiness.as_ref().is_some_and(|readiness| readiness.required) {
        let message = "nodes that joined since then wait for the daemons".to_owned();
        say(node_readiness::CONDITION, "True", "Required", message);
    }
    (new != stored).then_some(new)
}

fn name(set: &DaemonSet) -> &str {
    set.metadata.name.as_deref().unwrap_or_default()
}

fn is_chosen(policy: &RolloutPolicy, near: &Neighbours<'_>, set: &DaemonSet) -> bool {
    let chosen = choose(near.policies.iter().copied(), name(set), set.metadata.labels.as_ref());
    chosen.is_some_and(|c| c.metadata.uid == policy.metadata.uid)
}

/// DaemonSets named in one sentence: as many as can be read at a glance.
const SHOWN: usize = 5;

fn names(sets: &[&DaemonSet]) -> String {
    let some: Vec<&str> = sets.iter().take(SHOWN).map(|s| name(s)).collect();
    match sets.len().saturating_sub(SHOWN) {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}

fn fault(policy: &RolloutPolicy, near: &Neighbours<'_>, targets: &[&DaemonSet]) -> Option<(&'static str, String)> {
    if let Some(error) = &policy.unreadable {
        return Some(("Invalid", format!("{error}; until it is corrected its rollouts are paused")));
    }
    if let Some(fault) = validate(&policy.spec).first() {
        let message = format!("{}: {}; until it is corrected its rollouts are paused", fault.field, fault.message);
        return Some(("Invalid", message));
    }
    for set in targets {
        let chosen = choose(near.policies.iter().copied(), name(set), set.metadata.labels.as_ref());
        if let Some(other) = chosen.filter(|other| other.metadata.uid != policy.metadata.uid) {
            let other = other.metadata.name.as_deref().unwrap_or_default();
            return Some((
                "Conflict",
                format!("policy {other} is older and for DaemonSet {} too: this one does nothing there", name(set)),
            ));
        }
    }
    let surging = targets.iter().find(|set| surges_on_ports(set));
    if let Some(set) = surging {
        let message = format!(
            "DaemonSet {} has maxSurge and a hostPort: the new pod of a node cannot start beside the old one",
            name(set)
        );
        return Some(("SurgeWithHostPort", message));
    }
    let faults = on_delete(policy, targets).or_else(|| void_wave(policy, near, targets));
    faults.or_else(|| useless_class(policy, targets))
}

/// A class that makes no valid template of a DaemonSet: its nodes are treated as if they were in no class.
fn useless_class(policy: &RolloutPolicy, targets: &[&DaemonSet]) -> Option<(&'static str, String)> {
    let classes = Classes::read(&policy.spec);
    targets.iter().find_map(|set| {
        let (class, error) = classes.fault(set)?;
        let message = format!("node class {class} can't be applied to DaemonSet {}: {error}", name(set));
        Some(("NodeClassUnusable", message))
    })
}

/// True when two pods of the DaemonSet are to run on one node at a time, and cannot.
#[must_use]
pub fn surges_on_ports(set: &DaemonSet) -> bool {
    let pod = set.spec.as_ref().and_then(|s| s.template.spec.as_ref());
    Budget::of(set, 1).allows_surge && pod.is_some_and(|pod| !HostPort::of(pod).is_empty())
}

fn void_wave(policy: &RolloutPolicy, near: &Neighbours<'_>, targets: &[&DaemonSet]) -> Option<(&'static str, String)> {
    for set in targets {
        let demands = Demands::of(set, near.namespace_nodes);
        let wanting: Vec<&NodeView> = near.nodes.iter().copied().filter(|n| demands.place(n).may_start()).collect();
        for wave in policy.spec.waves.iter().filter(|_| !wanting.is_empty()) {
            let nodes = wave.nodes.as_ref();
            if let Some(selector) = nodes.and_then(|n| n.selector.as_ref())
                && !wanting.iter().any(|node| fits(selector, &node.labels))
            {
                let message =
                    format!("wave {} selects no node of DaemonSet {}: a rollout will stop there", wave.name, name(set));
                return Some(("WaveSelectsNoNode", message));
            }
            let keys = nodes.and_then(|n| n.diverse.as_ref()).into_iter().flatten().chain(&wave.topology_key);
            if let Some(key) = keys.into_iter().find(|key| !wanting.iter().any(|node| node.labels.contains_key(*key))) {
                let message = format!(
                    "wave {} goes by the label {key}, which no node of DaemonSet {} has: they all count as one",
                    wave.name,
                    name(set)
                );
                return Some(("WaveLabelOnNoNode", message));
            }
        }
    }
    None
}

/// A DaemonSet that nobody updates but who deletes its pods has no order and no time of updates.
fn on_delete(policy: &RolloutPolicy, targets: &[&DaemonSet]) -> Option<(&'static str, String)> {
    if policy.spec.waves.is_empty() && policy.spec.windows.is_empty() {
        return None;
    }
    let set = targets.iter().find(|set| !Budget::of(set, 1).rolling)?;
    let name = name(set);
    Some(("OnDelete", format!("DaemonSet {name} has the strategy OnDelete: waves and windows do nothing there")))
}

fn fits(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    Labels::from_label_selector(Some(selector)).is_ok_and(|s| s.matches(labels))
}
