//! Why the scheduler has not bound a daemon to its node, in words: which amount, port, taint or label is missing there.
//!
//! Invariants: the words follow from the same check that the scheduler makes.
//!
//! Absent: other pods that a pod wants near or far; of those the scheduler's own sentence tells.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::answer::{Cause, Words};
use super::exclusion::{affinity, taint_text};
use crate::schedule::{DEFAULT_SCHEDULER, Load, Obstacle, obstacles};
use crate::view::{NodeView, PodView, Wishes};

/// The words for a pod without a node. `neighbours` are the pods bound to the node that it is for, if they are known.
pub(super) fn words(pod: &PodView, node: &NodeView, neighbours: Option<&[Pod]>) -> Words {
    let Some(wishes) = pod.wishes.as_deref() else {
        return Words::plain(Cause::Unscheduled, "waits for the scheduler");
    };
    if wishes.gated {
        return Words::plain(Cause::Gated, "its scheduling gates are closed");
    }
    if !matches!(wishes.scheduler_name.as_str(), "" | DEFAULT_SCHEDULER) {
        let text = format!("waits for the scheduler {}", wishes.scheduler_name);
        return Words::plain(Cause::Unscheduled, text);
    }
    let mut words = neighbours.and_then(|n| checked(pod, node, n)).unwrap_or_else(|| told(wishes));
    if wishes.nominated.is_some() {
        words.message.push_str("; less important pods end to make room for it");
    }
    if let Some(said) = wishes.unschedulable.as_deref().filter(|said| !words.message.contains(*said)) {
        words.message.push_str(&format!("; the scheduler says: {said}"));
    }
    words
}

/// What the scheduler's sentence says without its counts, and without the nodes that the pod is not for.
fn told(wishes: &Wishes) -> Words {
    let Some(said) = wishes.unschedulable.as_deref() else {
        return Words::plain(Cause::Unscheduled, "waits for the scheduler");
    };
    let reasons = said.split_once("available: ").map_or(said, |(_, rest)| rest);
    let reasons = reasons.split_once(". ").map_or(reasons, |(reasons, _)| reasons).trim_end_matches('.');
    let other = Obstacle::OtherNode.to_string();
    let own: Vec<&str> = reasons
        .split(", ")
        .map(|reason| reason.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start())
        .filter(|reason| *reason != other)
        .collect();
    let about = if own.is_empty() { said.to_owned() } else { own.join(", ") };
    Words { cause: Cause::Unscheduled, about, message: format!("the scheduler says: {said}") }
}

fn checked(pod: &PodView, node: &NodeView, neighbours: &[Pod]) -> Option<Words> {
    let mut load = Load::default();
    for other in neighbours.iter().map(PodView::from).filter(|p| !p.phase.is_terminal() && p.uid != pod.uid) {
        load.add(&Arc::new(other));
    }
    let found = obstacles(pod, node, &load);
    let cause = cause(found.first()?);
    let about = found.iter().map(short).collect::<Vec<_>>().join(", ");
    let message = found.iter().map(|o| in_full(o, pod, node, &load)).collect::<Vec<_>>().join(", ");
    Some(Words { cause, about, message })
}

fn cause(obstacle: &Obstacle) -> Cause {
    match obstacle {
        Obstacle::Insufficient { .. } => Cause::Insufficient,
        Obstacle::TooManyPods => Cause::TooManyPods,
        Obstacle::Ports => Cause::Port,
        Obstacle::Taint | Obstacle::Unschedulable => Cause::Taint,
        Obstacle::Affinity => Cause::Affinity,
        _ => Cause::Unscheduled,
    }
}

fn short(obstacle: &Obstacle) -> String {
    match obstacle {
        Obstacle::Insufficient { resource, ever: false } => format!("too little {resource} is free"),
        Obstacle::Insufficient { resource, ever: true } => format!("the node has too little {resource}"),
        Obstacle::TooManyPods => "the node has as many pods as it takes".to_owned(),
        Obstacle::Ports => "a port is taken".to_owned(),
        Obstacle::Taint => "a taint is not tolerated".to_owned(),
        Obstacle::Unschedulable => "the node is cordoned".to_owned(),
        Obstacle::Affinity => "the pod's node selector or affinity do not match".to_owned(),
        other => other.to_string(),
    }
}

fn in_full(obstacle: &Obstacle, pod: &PodView, node: &NodeView, load: &Load) -> String {
    match obstacle {
        Obstacle::Insufficient { resource, ever } => {
            let [wanted, all, used] = [&pod.requests, &node.allocatable, &load.requests].map(|r| r.get(resource));
            let free = amount(resource, all.saturating_sub(used).max(0));
            let (wanted, all) = (amount(resource, wanted), amount(resource, all));
            match ever {
                true => format!("it asks for {wanted} {resource}, and the node has {all}"),
                false => format!("it asks for {wanted} {resource}, and {free} of {all} are free"),
            }
        }
        Obstacle::TooManyPods => format!("the node has {} pods and takes no more", load.pods.len()),
        Obstacle::Ports => ports(pod, load),
        Obstacle::Taint => {
            let blocks = api::taint::blocks_scheduling;
            let taint = api::taint::find_untolerated(&node.taints, &pod.tolerations, blocks);
            taint.map_or_else(|| short(obstacle), |t| format!("it does not tolerate the taint {}", taint_text(t)))
        }
        Obstacle::Affinity => {
            let required = pod.wishes.as_ref().and_then(|w| w.affinity.as_ref()?.node_affinity.as_ref());
            let required = required.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
            let terms = required.map(|r| affinity(r, node)).unwrap_or_default();
            format!("{}: {terms}", short(obstacle)).trim_end_matches(": ").to_owned()
        }
        other => short(other),
    }
}

/// Which port is taken by which pod. Pods of other namespaces are not named: not everybody may know of them.
fn ports(pod: &PodView, load: &Load) -> String {
    for wanted in &pod.host_ports {
        let taker = load.pods.values().find(|p| p.host_ports.iter().any(|taken| taken.clashes(wanted)));
        if let Some(taker) = taker {
            let port = format!("port {}/{}", wanted.port, wanted.protocol);
            return match taker.namespace == pod.namespace {
                true => format!("{port} is taken by pod {}", taker.name),
                false => format!("{port} is taken by a pod of another namespace"),
            };
        }
    }
    short(&Obstacle::Ports)
}

/// An amount as people write it: cpu in processors or thousandths, bytes in the largest unit that suits.
pub(super) fn amount(resource: &str, number: i64) -> String {
    if resource == "cpu" {
        return if number % 1000 == 0 { (number / 1000).to_string() } else { format!("{number}m") };
    }
    let in_bytes = matches!(resource, "memory" | "ephemeral-storage") || resource.starts_with("hugepages-");
    let units = [(1_i64 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
    match units.into_iter().find(|(size, _)| in_bytes && number >= *size) {
        None => number.to_string(),
        Some((size, unit)) => {
            let (whole, tenths) = (number / size, number % size * 10 / size);
            if tenths == 0 { format!("{whole}{unit}") } else { format!("{whole}.{tenths}{unit}") }
        }
    }
}
