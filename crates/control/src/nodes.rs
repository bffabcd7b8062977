//! The controllers that look at nodes: carry out `decide::node_health`, evict, and clear up after nodes that are gone,
//! whichever of the three run.
//!
//! Invariants: a node is judged by when this process last heard of it, by its own clock; its pods are deleted by name
//! and UID.
//!
//! Absent: any decision.

use std::collections::BTreeSet;
use std::sync::Arc;

use decide::node_health::{Eviction, REPORTED, Verdict, evict, old_labels};
use decide::view::{NodeView, PodView};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Sync;
use crate::disrupt::{condition, delete, finish, patch_status};
use crate::hub::{Hub, lock, until};
use crate::key::Key;
use crate::limits::LOST_NODE_GRACE;
use crate::record::{About, Event};
use crate::roster::Controller;
use crate::wire::{self, Patch};

const SOURCE: &str = "node-controller";
const EVICTION_SOURCE: &str = "taint-eviction-controller";

/// Looks at one node.
pub(crate) async fn sync(hub: Arc<Hub>, name: String) -> Sync {
    let now = Timestamp::now();
    let (judged, pods) = {
        let mut world = hub.world();
        let node = world.nodes.get(&name).cloned();
        let judges = hub.runs(Controller::NodeLifecycle);
        (node.map(|node| (judges.then(|| world.nodes.judge(&node, now)), node)), world.pods.on(&name))
    };
    let Some((verdict, node)) = judged else {
        return if hub.runs(Controller::PodGc) { clear_up(&hub, &name, &pods).await } else { Ok(()) };
    };
    lock(&hub.missing).remove(&name);
    if let Some(verdict) = verdict {
        if let Some(at) = verdict.look_again {
            hub.nodes.add_after(name.clone(), until(at));
        }
        if verdict.lost {
            lose(&hub, &node, &pods, now).await?;
        }
        repair(&hub, &node, &verdict).await?;
    }
    if hub.runs(Controller::TaintEviction) { evict_pods(&hub, &node, &pods, now).await } else { Ok(()) }
}

/// Sets taints and old labels right.
async fn repair(hub: &Hub, node: &NodeView, verdict: &Verdict) -> Sync {
    let mut patch = json!({"metadata": {"uid": node.uid}});
    let missing = old_labels(node);
    if missing.is_empty() && verdict.taints.is_none() {
        return Ok(());
    }
    if !missing.is_empty() {
        patch["metadata"]["labels"] = json!(missing);
    }
    if let Some(taints) = &verdict.taints {
        patch["metadata"]["resourceVersion"] = json!(node.resource_version);
        patch["spec"] = json!({"taints": taints});
    }
    wire::patch(&hub.client, wire::nodes(), &Key::new("", &node.name), "", Patch::Merge, &patch).await?;
    Ok(())
}

/// Notes that nobody knows how a node is.
async fn lose(hub: &Hub, node: &NodeView, pods: &[Arc<PodView>], now: Timestamp) -> Sync {
    let condition = |kind: &&str| {
        let known = node.conditions.get(*kind).map(|c| c.status.as_str());
        let (reason, message) = match known {
            None | Some("") => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
        };
        json!({"type": kind, "status": "Unknown", "reason": reason, "message": message, "lastTransitionTime": Time(now)})
    };
    let unknown: Vec<Value> = REPORTED
        .iter()
        .filter(|kind| node.conditions.get(**kind).is_none_or(|c| c.status != "Unknown"))
        .map(condition)
        .collect();
    let patch = json!({"metadata": {"uid": node.uid}, "status": {"conditions": unknown}});
    let key = Key::new("", &node.name);
    wire::patch(&hub.client, wire::nodes(), &key, "status", Patch::Strategic, &patch).await?;
    let about = About { api_version: "v1", kind: "Node", key, uid: node.uid.clone() };
    let message = format!("Node {} status is now: NodeNotReady", node.name);
    hub.recorder.record(Event { source: SOURCE, about, warning: false, reason: "NodeNotReady", message });
    for pod in pods.iter().filter(|p| p.ready) {
        let condition = json!({"type": "Ready", "status": "False", "lastTransitionTime": Time(now)});
        let patch = json!({"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}});
        let key = Key::new(&pod.namespace, &pod.name);
        match wire::patch(&hub.client, wire::pods(), &key, "status", Patch::Strategic, &patch).await {
            Err(error) if wire::is_gone(&error) || wire::code(&error) == 409 => {}
            other => other.map(|_| ())?,
        }
        let about = About { api_version: "v1", kind: "Pod", key, uid: pod.uid.clone() };
        let message = "Node is not ready".to_owned();
        hub.recorder.record(Event { source: SOURCE, about, warning: true, reason: "NodeNotReady", message });
    }
    Ok(())
}

/// Deletes the pods that a node's NoExecute taints drive away.
async fn evict_pods(hub: &Hub, node: &NodeView, pods: &[Arc<PodView>], now: Timestamp) -> Sync {
    let mut leaving = BTreeSet::new();
    let mut going = Vec::new();
    let mut staying = BTreeSet::new();
    for pod in pods.iter().filter(|p| p.deleting.is_none() && !p.phase.is_terminal()) {
        match evict(pod, &node.taints, node.created.unwrap_or(now), now) {
            Eviction::Stay => drop(staying.insert(Key::new(&pod.namespace, &pod.name))),
            Eviction::StayUntil(at) => {
                leaving.insert(Key::new(&pod.namespace, &pod.name));
                hub.nodes.add_after(node.name.clone(), until(at));
            }
            Eviction::Go => going.push(pod),
        }
    }
    let before = if leaving.is_empty() {
        lock(&hub.leaving).remove(&node.name)
    } else {
        lock(&hub.leaving).insert(node.name.clone(), leaving)
    };
    for pod in pods.iter().filter(|p| staying.contains(&Key::new(&p.namespace, &p.name))) {
        let key = Key::new(&pod.namespace, &pod.name);
        if before.as_ref().is_some_and(|b| b.contains(&key)) {
            tell_of_eviction(hub, pod, "Cancelling deletion of Pod");
        }
    }
    for pod in going {
        tell_of_eviction(hub, pod, "Marking for deletion Pod");
        let why = condition(pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint");
        patch_status(hub, pod, &json!({"conditions": [why]})).await?;
        delete(hub, pod, None).await?;
    }
    Ok(())
}

fn tell_of_eviction(hub: &Hub, pod: &PodView, what: &str) {
    let key = Key::new(&pod.namespace, &pod.name);
    let message = format!("{what} {key}");
    let about = About { api_version: "v1", kind: "Pod", key, uid: pod.uid.clone() };
    let (source, reason) = (EVICTION_SOURCE, "TaintManagerEviction");
    hub.recorder.record(Event { source, about, warning: false, reason, message });
}

/// Deletes the pods of a node that is gone, once it has been gone for a while: nobody is left to end them.
async fn clear_up(hub: &Hub, name: &str, pods: &[Arc<PodView>]) -> Sync {
    if pods.is_empty() {
        lock(&hub.missing).remove(name);
        return Ok(());
    }
    let since = *lock(&hub.missing).entry(name.to_owned()).or_insert_with(Instant::now);
    let rest = LOST_NODE_GRACE.saturating_sub(since.elapsed());
    if !rest.is_zero() {
        hub.nodes.add_after(name.to_owned(), rest);
        return Ok(());
    }
    if wire::look(&hub.client, wire::nodes(), &Key::new("", name)).await?.is_some() {
        return Ok(());
    }
    lock(&hub.leaving).remove(name);
    for pod in pods {
        finish(hub, pod, Some(condition(pod, "DeletionByPodGC", "PodGC: node no longer exists"))).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
