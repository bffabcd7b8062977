//! Nodes that wait for their daemons: carries out `decide::node_readiness`.
//!
//! Invariants: taints are written on the version of the node that they were decided on; without a policy that requires a
//! daemon, and without a node that waits, nothing is looked through.
//!
//! Absent: any decision.

use std::sync::Arc;

use decide::daemonset::Demands;
use decide::node_readiness::{CONDITION, READY_ANNOTATION, Required, Step, is_held, step, taints};
use decide::view::{NodeView, PodView};
use jiff::Timestamp;
use serde_json::json;

use crate::Sync;
use crate::hub::Hub;
use crate::key::Key;
use crate::policy::{self, Governing};
use crate::record::{About, Event};
use crate::wire::{self, Patch};
use crate::world::World;

const SOURCE: &str = "node-readiness-controller";

/// Looks at one node.
pub(crate) async fn sync(hub: Arc<Hub>, name: String) -> Sync {
    let (node, required) = {
        let world = hub.world();
        let Some(node) = world.nodes.get(&name).cloned() else { return Ok(()) };
        let required = required(&world, &node);
        (node, required)
    };
    let step = step(&node, &required);
    let mut metadata = json!({"uid": node.uid, "resourceVersion": node.resource_version});
    let (reason, message) = match &step {
        Step::Keep => return Ok(()),
        Step::Hold(daemons) => ("WaitsForDaemons", format!("Node {name} waits for {}", daemons.join(", "))),
        Step::Release => {
            metadata["annotations"] =
                json!({READY_ANNOTATION: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()});
            ("DaemonsReady", format!("Node {name} waits for no daemon any more"))
        }
    };
    let taints = taints(&node, &step);
    let mut patch = json!({"metadata": metadata});
    if taints != node.taints {
        patch["spec"] = json!({"taints": taints});
    }
    let key = Key::new("", &name);
    match wire::patch(&hub.client, wire::nodes(), &key, "", Patch::Merge, &patch).await {
        Err(error) if wire::is_gone(&error) => return Ok(()),
        other => other.map(|_| ())?,
    }
    let about = About { api_version: "v1", kind: "Node", key, uid: node.uid.clone() };
    hub.recorder.record(Event { source: SOURCE, about, warning: false, reason, message });
    Ok(())
}

fn requires(governing: &Governing) -> bool {
    governing.object.spec.node_readiness.as_ref().is_some_and(|r| r.required)
}

/// True when some policy makes new nodes wait.
pub(crate) fn is_wanted(world: &World) -> bool {
    world.policies.values().any(|governing| requires(governing))
}

/// The daemons that a node has to wait for.
fn required(world: &World, node: &NodeView) -> Vec<Required> {
    if !is_wanted(world) {
        return Vec::new();
    }
    let pods = world.pods.on(&node.name);
    let mut all = Vec::new();
    for (key, set) in &world.daemon_sets {
        let Some(governing) = policy::of(world, set).filter(|governing| requires(governing)) else { continue };
        let nodes = world.namespace_nodes(&key.namespace);
        // What was not said yet holds from the moment at which it is: the policy is looked at first.
        let Some(since) = since(&governing) else { continue };
        if set.metadata.deletion_timestamp.is_some() || !Demands::of(set, nodes.as_ref()).place(node).may_start() {
            continue;
        }
        let uid = set.metadata.uid.as_deref();
        let is_ready = |pod: &Arc<PodView>| {
            pod.ready && pod.deleting.is_none() && pod.controller.as_ref().map(|c| c.uid.as_str()) == uid
        };
        all.push(Required { name: key.to_string(), since, ready: pods.iter().any(is_ready) });
    }
    all
}

/// Since when nodes wait for the daemons of a policy.
fn since(governing: &Governing) -> Option<Timestamp> {
    let conditions = &governing.object.status.as_ref()?.conditions;
    conditions.iter().find(|c| c.type_ == CONDITION).map(|c| c.last_transition_time.0)
}

/// Looks at all nodes that wait or may have to.
pub(crate) fn wake_all(hub: &Hub) {
    let names: Vec<String> = {
        let world = hub.world();
        let wanted = is_wanted(&world);
        let concerned = |node: &NodeView| is_held(node) || (wanted && !node.daemons_were_ready);
        world.nodes.iter().filter(|(_, node)| concerned(node)).map(|(name, _)| name.clone()).collect()
    };
    names.into_iter().for_each(|name| hub.readiness.add(name));
}

/// Looks at a node that is another one now.
pub(crate) fn node_changed(hub: &Hub, node: &NodeView) {
    if is_held(node) || (!node.daemons_were_ready && is_wanted(&hub.world())) {
        hub.readiness.add(node.name.clone());
    }
}

/// Looks at the node of a daemon that became ready, if it may wait for it.
pub(crate) fn pod_changed(hub: &Hub, before: Option<&PodView>, after: Option<&PodView>) {
    let is_new = |pod: &&PodView| before.is_none_or(|b| !b.ready || b.node != pod.node);
    let Some(pod) = after.filter(|p| p.ready && p.controller.is_some()).filter(is_new) else { return };
    let Some(name) = &pod.node else { return };
    let waits = {
        let world = hub.world();
        let held = |node: &Arc<NodeView>| is_held(node) || (!node.daemons_were_ready && is_wanted(&world));
        world.nodes.get(name).is_some_and(held)
    };
    if waits {
        hub.readiness.add(name.clone());
    }
}
