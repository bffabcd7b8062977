//! One daemon per node.

use super::super::*;
use super::fixture::{Cluster, at, moves, node, set};
use crate::limits::BURST_PODS;
use crate::view::Phase;

#[test]
fn every_node_gets_one_and_then_there_is_nothing_to_do() {
    let mut cluster = Cluster::new(set("{}"), 3);
    let plan = cluster.plan();
    assert_eq!(moves(&plan), ["+n-0", "+n-1", "+n-2"]);
    cluster.apply(&plan);
    assert_eq!(moves(&cluster.plan()), [""; 0], "pods that are not bound yet count");
    cluster.settle();
    assert_eq!(cluster.plan(), Plan { hash: plan.hash, reasons: cluster.plan().reasons, ..Plan::default() });
}

#[test]
fn pods_are_made_for_their_node() {
    let mut set = set("{}");
    set.metadata.annotations = Some([(GENERATION_ANNOTATION.to_owned(), "7".to_owned())].into());
    let pod = serde_json::to_value(new_pod(&set, "h", "n-0")).unwrap();
    let expect = serde_json::json!({
        "generateName": "d-", "namespace": "default",
        "labels": {"app": "d", "controller-revision-hash": "h", "pod-template-generation": "7"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "uid-d",
            "controller": true, "blockOwnerDeletion": true}],
    });
    assert_eq!(pod["metadata"], expect);
    let term = serde_json::json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n-0"]}]}]);
    assert_eq!(
        pod.pointer("/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms"),
        Some(&term)
    );
    assert_eq!(pod.pointer("/spec/nodeName"), None);
}

#[test]
fn the_oldest_bound_of_several_stays() {
    let mut cluster = Cluster::settled(set("{}"), 1);
    let first = cluster.pods.values().next().unwrap().clone();
    let mut unbound = PodView { name: "a-unbound".into(), uid: "u1".into(), node: None, ..first.clone() };
    unbound.created = Some(at(-100));
    let younger = PodView { name: "b-younger".into(), uid: "u2".into(), created: Some(at(50)), ..first.clone() };
    cluster.pods.insert(unbound.name.clone(), unbound);
    cluster.pods.insert(younger.name.clone(), younger);
    assert_eq!(moves(&cluster.plan()), ["-a-unbound", "-b-younger"]);
}

#[test]
fn a_node_that_wants_none_loses_its_daemon() {
    let mut cluster = Cluster::settled(set(r#"{"template":{"spec":{"nodeSelector":{"ssd":"true"}}}}"#), 2);
    assert_eq!(cluster.pods.len(), 0);
    cluster.nodes.get_mut("n-1").unwrap().labels.insert("ssd".into(), "true".into());
    cluster.settle();
    assert_eq!((cluster.pods_on("n-0").len(), cluster.pods_on("n-1").len()), (0, 1));
    cluster.nodes.get_mut("n-1").unwrap().labels.clear();
    let plan = cluster.plan();
    assert_eq!(moves(&plan).len(), 1);
    assert_eq!(plan.reasons["n-1"].to_string(), "excluded: the node selector asks for ssd=true; pod d-0001 ends");
    cluster.settle();
    assert_eq!(cluster.pods.len(), 0);
}

#[test]
fn failed_daemons_are_replaced_after_growing_pauses() {
    let mut cluster = Cluster::settled(set("{}"), 1);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        cluster.pod_on("n-0").phase = Phase::Failed;
        let start = cluster.now;
        let mut plan = cluster.plan();
        if moves(&plan).is_empty() {
            let until = plan.requeue_at.unwrap();
            assert!(plan.events.is_empty());
            assert!(plan.reasons["n-0"].to_string().contains("failed and will be replaced after"));
            cluster.now = until;
            plan = cluster.plan();
        }
        pauses.push(cluster.now.as_second() - start.as_second());
        assert_eq!(moves(&plan).len(), 1);
        assert_eq!(plan.events[0].reason, "FailedDaemonPod");
        assert!(plan.events[0].message.starts_with("Found failed daemon pod default/d-"), "{:?}", plan.events);
        assert!(plan.events[0].message.ends_with(" on node n-0, will try to kill it"), "{:?}", plan.events);
        cluster.apply(&plan);
        cluster.nodes_work();
        let plan = cluster.plan();
        cluster.apply(&plan);
        cluster.nodes_work();
    }
    assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900]);
    cluster.pass(3600);
    assert!(cluster.plan().backoff.is_empty(), "an old failure is forgotten");
}

#[test]
fn succeeded_daemons_are_replaced_at_once() {
    let mut cluster = Cluster::settled(set("{}"), 1);
    cluster.pod_on("n-0").phase = Phase::Succeeded;
    let plan = cluster.plan();
    assert_eq!(moves(&plan), ["-d-0001"]);
    assert_eq!((plan.events[0].reason, plan.events[0].warning), ("SucceededDaemonPod", false));
    cluster.settle();
    assert_eq!(cluster.pods_on("n-0").len(), 1);
}

#[test]
fn a_terminating_daemon_is_waited_for() {
    let mut cluster = Cluster::settled(set("{}"), 1);
    cluster.pod_on("n-0").deleting = Some(cluster.now);
    assert_eq!(moves(&cluster.plan()), [""; 0]);
    cluster.pod_on("n-0").phase = Phase::Failed;
    assert_eq!(moves(&cluster.plan()), ["+n-0"], "one that has ended is not");
}

#[test]
fn unbound_pods_of_nodes_that_are_gone_are_deleted() {
    let mut cluster = Cluster::new(set("{}"), 2);
    let plan = cluster.plan();
    cluster.apply(&plan);
    cluster.nodes.remove("n-1");
    assert_eq!(moves(&cluster.plan()), ["-d-0002"]);
    cluster.pod_on("n-1").node = Some("n-1".into());
    assert_eq!(moves(&cluster.plan()), [""; 0], "bound pods are for whoever clears up after nodes");
}

#[test]
fn one_plan_is_bounded() {
    let nodes = BURST_PODS + 10;
    let mut cluster = Cluster::new(set("{}"), nodes);
    let plan = cluster.plan();
    assert_eq!(moves(&plan).len(), BURST_PODS);
    assert_eq!(plan.reasons.values().filter(|r| **r == Reason::Postponed).count(), 10);
    cluster.settle();
    assert_eq!(cluster.pods.len(), nodes);
    cluster.nodes.values_mut().for_each(|n| n.taints = vec![taint()]);
    assert_eq!(moves(&cluster.plan()).len(), BURST_PODS);
}

fn taint() -> k8s_openapi::api::core::v1::Taint {
    k8s_openapi::api::core::v1::Taint { key: "a".into(), effect: "NoExecute".into(), ..Default::default() }
}

#[test]
fn pods_are_adopted_and_released_by_label() {
    let mut cluster = Cluster::settled(set("{}"), 2);
    let owned = cluster.pods.values().next().unwrap().clone();
    cluster.nodes.insert("n-2".into(), node("n-2"));
    let orphan = PodView {
        name: "orphan".into(),
        uid: "u".into(),
        controller: None,
        node: Some("n-2".into()),
        target: None,
        ..owned.clone()
    };
    cluster.pods.insert("orphan".into(), orphan);
    let plan = cluster.plan();
    assert_eq!(plan.actions, [Action::AdoptPod(Target { name: "orphan".into(), uid: "u".into() })]);
    cluster.apply(&plan);
    cluster.pods.get_mut(&owned.name).unwrap().labels.remove("app");
    let plan = cluster.plan();
    assert_eq!(plan.actions[0], Action::ReleasePod(Target { name: owned.name.clone(), uid: owned.uid.clone() }));
    assert_eq!(moves(&plan), ["+n-0"]);
    let other = crate::view::Controller { kind: "ReplicaSet".into(), name: "d".into(), uid: "other".into() };
    cluster.pods.get_mut("orphan").unwrap().controller = Some(other);
    assert_eq!(moves(&cluster.plan()), ["+n-0", "+n-2"], "pods of others do not count");
}

#[test]
fn a_set_that_is_being_deleted_is_left_alone() {
    let mut cluster = Cluster::new(set("{}"), 2);
    cluster.set.metadata.deletion_timestamp = Some(at(0).into());
    assert_eq!(cluster.plan(), Plan::default());
}

#[test]
fn a_selector_for_everything_is_refused() {
    let mut cluster = Cluster::new(set("{}"), 2);
    cluster.set.spec.as_mut().unwrap().selector = Default::default();
    let plan = cluster.plan();
    assert_eq!((plan.actions.len(), plan.events[0].reason), (0, "SelectingAll"));
}
