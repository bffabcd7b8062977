//! Changes of pods: who is to look because of them.

use std::sync::Arc;

use api::selector::Labels;
use decide::view::{Controller, PodView, Wishes};
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;

use crate::hub::Hub;
use crate::key::Key;
use crate::limits::GATHER;
use crate::watch::Seen;
use crate::world::World;
use crate::{daemonset, disruption, readiness, replicaset, scheduler};

pub(super) fn seen(hub: &Hub, seen: Seen<Pod>) {
    match seen {
        Seen::Applied(pod) => {
            let view = Arc::new(PodView::from(pod.as_ref()));
            let key = Key::of(&pod.metadata);
            let before = hub.world().put_pod(key.clone(), view.clone());
            wake(hub, &key, before.as_deref(), Some(&view));
        }
        Seen::Gone(key) => gone(hub, &key),
        Seen::Listed(names, began) => {
            let lost: Vec<Key> = {
                let mut world = hub.world();
                world.written.listed(began);
                let World { nodes, pods, .. } = &mut *world;
                nodes.listed(began, pods.iter());
                world.pods.keys().filter(|k| !names.contains(k)).cloned().collect()
            };
            lost.iter().for_each(|key| gone(hub, key));
        }
    }
}

fn gone(hub: &Hub, key: &Key) {
    let before = {
        let mut world = hub.world();
        let Some(before) = world.remove_pod(key) else { return };
        world.parked.take(key);
        if let Some(owner) = &before.controller {
            let plural = if owner.kind == "DaemonSet" { daemonset::PLURAL } else { replicaset::PLURAL };
            world.written.pod_gone(&(plural, Key::new(&key.namespace, &owner.name)), key);
        }
        before
    };
    wake(hub, key, Some(&before), None);
}

/// Whom a change of a pod concerns: its controllers before and after, and whether it looks for one.
fn concerned<'a>(before: Option<&'a PodView>, after: Option<&'a PodView>) -> (Vec<&'a Controller>, bool) {
    let controller = |pod: Option<&'a PodView>| pod.and_then(|p| p.controller.as_ref());
    let (old, new) = (controller(before), controller(after));
    let mut owners: Vec<&Controller> = old.into_iter().collect();
    owners.extend(new.filter(|new| old != Some(new)));
    let known = |pod: &PodView| before.is_some_and(|b| b.controller.is_none() && b.labels == pod.labels);
    (owners, after.is_some_and(|pod| pod.controller.is_none() && !known(pod)))
}

fn wake(hub: &Hub, key: &Key, before: Option<&PodView>, after: Option<&PodView>) {
    let (owners, orphaned) = concerned(before, after);
    owners.into_iter().for_each(|owner| wake_controller(hub, &key.namespace, owner));
    if let Some(pod) = after.filter(|_| orphaned) {
        wake_adopters(hub, &key.namespace, pod);
    }
    wake_scheduler(hub, key, before, after);
    let node = |pod: Option<&PodView>| pod.and_then(|p| p.node.clone());
    let (left, reached) = (node(before), node(after));
    tell_scheduler(hub, before, after);
    disruption::pod_changed(hub, before, after);
    readiness::pod_changed(hub, before, after);
    if let Some(node) = reached.filter(|n| left.as_ref() != Some(n))
        && needs_look(&hub.world(), &node)
    {
        hub.nodes.add(node);
    }
}

fn wake_controller(hub: &Hub, namespace: &str, owner: &Controller) {
    let key = Key::new(namespace, &owner.name);
    match owner.kind.as_str() {
        "DaemonSet" => hub.daemon_sets.add_after(key, GATHER),
        "ReplicaSet" => hub.replica_sets.add(key),
        _ => {}
    }
}

/// Wakes the sets whose selector matches a pod that nobody controls.
fn wake_adopters(hub: &Hub, namespace: &str, pod: &PodView) {
    let world = hub.world();
    let matches = |selector| Labels::from_label_selector(selector).is_ok_and(|s| s.matches(&pod.labels));
    for set in World::in_namespace(&world.daemon_sets, namespace) {
        if matches(set.spec.as_ref().map(|s| &s.selector)) {
            hub.daemon_sets.add(Key::of(set.meta()));
        }
    }
    for set in World::in_namespace(&world.replica_sets, namespace) {
        if matches(set.spec.as_ref().map(|s| &s.selector)) {
            hub.replica_sets.add(Key::of(set.meta()));
        }
    }
}

/// Wakes the scheduler for a pod without a node, unless nothing changed but what the scheduler itself said of it.
fn wake_scheduler(hub: &Hub, key: &Key, before: Option<&PodView>, after: Option<&PodView>) {
    let wishes = |pod: Option<&PodView>| {
        pod.and_then(|p| p.wishes.as_deref()).map(|w| Wishes { unschedulable: None, ..w.clone() })
    };
    let Some(wanted) = wishes(after) else { return };
    let same = before.map(|p| &p.uid) == after.map(|p| &p.uid) && wishes(before).as_ref() == Some(&wanted);
    if !same {
        hub.pods.add(key.clone());
    }
}

/// Tells the scheduler what may help pods that fit nowhere: a node that is less full, or pods that are elsewhere.
fn tell_scheduler(hub: &Hub, before: Option<&PodView>, after: Option<&PodView>) {
    let counted = |pod: Option<&PodView>| pod.filter(|p| !p.phase.is_terminal()).and_then(|p| p.node.clone());
    let room = |pod: Option<&PodView>| pod.and_then(|p| p.wishes.as_ref()?.nominated.clone());
    let (left, reached) = (counted(before), counted(after));
    let shrunk = || before.map(|p| &p.requests) != after.map(|p| &p.requests);
    if let Some(node) = &left
        && (reached.as_ref() != Some(node) || shrunk())
    {
        scheduler::load_changed(hub, node);
    }
    if let Some(node) = room(before)
        && room(after).as_ref() != Some(&node)
        && reached.as_ref() != Some(&node)
    {
        scheduler::load_changed(hub, &node);
    }
    let same = |b: &PodView, a: &PodView| b.labels == a.labels && b.deleting.is_some() == a.deleting.is_some();
    let shown = before.zip(after).is_some_and(|(before, after)| !same(before, after));
    if left != reached || (reached.is_some() && shown) {
        scheduler::pods_changed(hub);
    }
}

/// True when a pod that reaches a node may have to leave it: the node drives pods away, or is not there.
fn needs_look(world: &World, node: &str) -> bool {
    world.nodes.get(node).is_none_or(|n| n.taints.iter().any(|t| t.effect == api::taint::NO_EXECUTE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(owner: Option<&str>, app: &str) -> PodView {
        let controller = owner.map(|name| Controller { kind: "DaemonSet".into(), name: name.into(), uid: name.into() });
        let labels = [("app".to_owned(), app.to_owned())].into();
        PodView { controller, labels, ..PodView::default() }
    }

    #[test]
    fn pods_wake_their_controllers_and_orphans_those_who_may_adopt_them() {
        type Case<'a> = (&'a str, Option<PodView>, Option<PodView>, &'a [&'a str], bool);
        let cases: &[Case<'_>] = &[
            ("an owned one comes", None, Some(pod(Some("d"), "x")), &["d"], false),
            ("an orphan comes", None, Some(pod(None, "x")), &[], true),
            ("an owned one changes", Some(pod(Some("d"), "x")), Some(pod(Some("d"), "y")), &["d"], false),
            ("an orphan keeps its labels", Some(pod(None, "x")), Some(pod(None, "x")), &[], false),
            ("an orphan gets other labels", Some(pod(None, "x")), Some(pod(None, "y")), &[], true),
            ("another takes it", Some(pod(Some("d"), "x")), Some(pod(Some("e"), "x")), &["d", "e"], false),
            ("it is adopted", Some(pod(None, "x")), Some(pod(Some("d"), "x")), &["d"], false),
            ("it is released", Some(pod(Some("d"), "x")), Some(pod(None, "x")), &["d"], true),
            ("an owned one goes", Some(pod(Some("d"), "x")), None, &["d"], false),
            ("an orphan goes", Some(pod(None, "x")), None, &[], false),
        ];
        for (what, before, after, expect, orphaned) in cases {
            let (owners, orphan) = concerned(before.as_ref(), after.as_ref());
            let names: Vec<&str> = owners.iter().map(|o| o.name.as_str()).collect();
            assert_eq!((names.as_slice(), orphan), (*expect, *orphaned), "{what}");
        }
    }

    #[tokio::test]
    async fn a_list_takes_back_what_was_placed_and_never_seen() {
        let (hub, _) = crate::testing::hub(|_, _| (200, serde_json::json!({})));
        let placed = Arc::new(PodView { uid: "u".into(), ..pod(Some("d"), "x") });
        hub.world().nodes.assume(&placed, "n");
        let began = tokio::time::Instant::now() + std::time::Duration::from_nanos(1);
        seen(&hub, Seen::Listed([].into(), began));
        assert!(!hub.world().nodes.is_assumed("u"));
    }
}
