//! Changes of nodes: who is to look because of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use decide::daemonset::Demands;
use decide::view::{Condition, NodeView};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use kube::Resource;

use super::on_policy;
use crate::hub::Hub;
use crate::key::Key;
use crate::watch::Seen;
use crate::world::World;
use crate::{policy, readiness, scheduler};

pub(super) fn seen(hub: &Hub, seen: Seen<Node>) {
    match seen {
        Seen::Applied(node) => {
            let view = Arc::new(NodeView::from(node.as_ref()));
            let before = hub.world().put_node(view.clone());
            changed(hub, before.as_deref(), &view);
        }
        Seen::Gone(key) => gone(hub, &key.name),
        Seen::Listed(names, _) => {
            let lost: Vec<String> = {
                let world = hub.world();
                let known = world.nodes.iter().map(|(name, _)| name);
                let mut lost: Vec<String> = known.filter(|n| !names.contains(&Key::new("", n))).cloned().collect();
                // Pods may be bound to nodes that were gone before this process began.
                lost.extend(world.pods.nodes().filter(|n| !names.contains(&Key::new("", n))).cloned());
                lost
            };
            lost.iter().for_each(|name| gone(hub, name));
        }
    }
}

fn changed(hub: &Hub, before: Option<&NodeView>, after: &NodeView) {
    turned(hub);
    let heartbeat = |node: &NodeView| node.conditions.get("Ready").and_then(|c| c.heartbeat);
    let reported = before.is_some_and(|b| heartbeat(b) < heartbeat(after));
    if reported {
        hub.world().nodes.hear(&after.name, Timestamp::now());
    }
    if before.map(essence) == Some(essence(after)) {
        return;
    }
    hub.nodes.add(after.name.clone());
    readiness::node_changed(hub, after);
    scheduler::node_changed(hub, before, &after.name);
    wake_sets(hub, before, Some(after));
    if before.is_none_or(|b| b.labels != after.labels) {
        on_policy::all(hub);
    }
}

/// Looks at all nodes when the last healthy one is lost or the first comes back.
fn turned(hub: &Hub) {
    let names = hub.world().nodes.turned(Timestamp::now());
    names.into_iter().for_each(|name| hub.nodes.add(name));
}

/// A node without what changes all the time.
fn essence(node: &NodeView) -> NodeView {
    let lasting = |c: &Condition| Condition { heartbeat: None, ..c.clone() };
    NodeView {
        resource_version: String::new(),
        conditions: node.conditions.iter().map(|(kind, c)| (kind.clone(), lasting(c))).collect(),
        images: BTreeMap::new(),
        ..node.clone()
    }
}

fn gone(hub: &Hub, name: &str) {
    let before = hub.world().remove_node(name);
    hub.nodes.add(name.to_owned());
    turned(hub);
    scheduler::pods_changed(hub);
    wake_sets(hub, before.as_deref(), None);
    on_policy::all(hub);
}

/// Wakes the DaemonSets whose answer about a node differs.
fn wake_sets(hub: &Hub, before: Option<&NodeView>, after: Option<&NodeView>) {
    let world = hub.world();
    for set in world.daemon_sets.values() {
        let nodes = world.namespace_nodes(set.metadata.namespace.as_deref().unwrap_or_default());
        let demands = Demands::of(set, nodes.as_ref());
        if demands.heed(before, after) || (governed(&world, set) && concerns_policies(&demands, before, after)) {
            hub.daemon_sets.add(Key::of(set.meta()));
        }
    }
}

fn governed(world: &World, set: &DaemonSet) -> bool {
    !world.policies.is_empty() && policy::of(world, set).is_some()
}

/// True when a policy may answer otherwise for a node now: its labels are others, or it is ready or not.
fn concerns_policies(demands: &Demands<'_>, before: Option<&NodeView>, after: Option<&NodeView>) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return false };
    let ready = |node: &NodeView| node.conditions.get("Ready").map(|c| c.status.clone());
    (before.labels != after.labels || ready(before) != ready(after)) && demands.place(after).may_start()
}

/// Notes that a node renewed its lease.
pub(super) fn heard(hub: &Hub, name: &str) {
    let mut world = hub.world();
    let silent_before = world.nodes.heard(name).at.is_none();
    world.nodes.hear(name, Timestamp::now());
    drop(world);
    if silent_before {
        hub.nodes.add(name.to_owned());
    }
}
