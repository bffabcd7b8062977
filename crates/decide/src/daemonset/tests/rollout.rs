//! RollingUpdate with and without surge, and OnDelete.

use std::collections::BTreeSet;

use super::super::*;
use super::fixture::{Cluster, moves, set, set_image};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

fn rolling(limits: &str) -> String {
    format!(r#"{{"updateStrategy":{{"type":"RollingUpdate","rollingUpdate":{limits}}}}}"#)
}

fn changed(spec: &str, nodes: usize) -> Cluster {
    let mut cluster = Cluster::settled(set(spec), nodes);
    set_image(&mut cluster.set, "x:2");
    cluster
}

#[test]
fn deletions_follow_max_unavailable() {
    let cases = [
        ("{}", 1),
        (r#"{"maxUnavailable":1}"#, 1),
        (r#"{"maxUnavailable":3}"#, 3),
        (r#"{"maxUnavailable":"10%"}"#, 1),
        (r#"{"maxUnavailable":"11%"}"#, 2),
        (r#"{"maxUnavailable":"100%"}"#, 10),
        (r#"{"maxUnavailable":0}"#, 1),
    ];
    for (limits, expect) in cases {
        let cluster = changed(&rolling(limits), 10);
        assert_eq!(moves(&cluster.plan()).len(), expect, "{limits}");
    }
}

#[test]
fn the_rollout_reaches_every_node_in_order_of_name() {
    let mut cluster = changed(&rolling(r#"{"maxUnavailable":2}"#), 5);
    let first = cluster.plan();
    assert_eq!(moves(&first), ["-d-0001", "-d-0002"]);
    assert_eq!(first.reasons["n-0"], Reason::Replaces { pod: "d-0001".into() });
    let used = Used { allowed: 2, nodes: vec!["n-0".into(), "n-1".into()], count: 2 };
    assert_eq!(used.to_string(), "2 is used up by n-0, n-1");
    let hold = Hold::Budget(used.into());
    assert_eq!(first.reasons["n-4"], Reason::Outdated { pod: "d-0005".into(), hold });
    cluster.settle();
    assert!(cluster.pods.values().all(|p| p.labels[HASH_LABEL] == first.hash));
    assert_eq!(cluster.pods.len(), 5);
}

#[test]
fn unavailable_old_daemons_are_replaced_first_and_for_free() {
    let mut cluster = changed(&rolling(r#"{"maxUnavailable":1}"#), 4);
    cluster.pod_on("n-2").ready = false;
    cluster.pod_on("n-3").ready = false;
    assert_eq!(moves(&cluster.plan()), ["-d-0003", "-d-0004"], "they use up the budget");
}

#[test]
fn an_unavailable_new_daemon_stops_the_rollout() {
    let mut cluster = changed(&rolling(r#"{"maxUnavailable":1}"#), 3);
    let plan = cluster.plan();
    cluster.apply(&plan);
    cluster.nodes_work();
    let plan = cluster.plan();
    assert_eq!(moves(&plan), ["+n-0"]);
    cluster.apply(&plan);
    for _ in 0..3 {
        assert_eq!(moves(&cluster.plan()), [""; 0], "the new daemon of n-0 is not ready");
        cluster.pass(100);
    }
    cluster.nodes_work();
    assert_eq!(moves(&cluster.plan()), ["-d-0002"]);
}

#[test]
fn min_ready_seconds_is_waited_for() {
    let spec = r#"{"minReadySeconds":30,"updateStrategy":{"rollingUpdate":{"maxUnavailable":1}}}"#;
    let mut cluster = Cluster::settled(set(spec), 2);
    cluster.pass(60);
    set_image(&mut cluster.set, "x:2");
    for _ in 0..2 {
        let plan = cluster.plan();
        cluster.apply(&plan);
        cluster.nodes_work();
    }
    let plan = cluster.plan();
    assert_eq!(moves(&plan), [""; 0]);
    assert_eq!(plan.reasons["n-0"], Reason::Settles { pod: "d-0003".into() });
    let due = plan.requeue_at.unwrap();
    assert_eq!(due.as_second(), cluster.now.as_second() + 30);
    cluster.now = due;
    assert_eq!(moves(&cluster.plan()), ["-d-0002"]);
}

#[test]
fn nodes_that_want_no_daemon_count_against_the_budget_only_while_theirs_is_missing() {
    let mut cluster = changed(&rolling(r#"{"maxUnavailable":1}"#), 3);
    let taint =
        k8s_openapi::api::core::v1::Taint { key: "a".into(), effect: "NoSchedule".into(), ..Default::default() };
    cluster.nodes.get_mut("n-0").unwrap().taints.push(taint);
    let plan = cluster.plan();
    assert_eq!(moves(&plan), ["-d-0001"], "a daemon that may stay is replaced like any other");
    assert!(matches!(plan.reasons["n-0"], Reason::Leaves { .. }));
}

#[test]
fn on_delete_waits_for_the_user() {
    let mut cluster = changed(r#"{"updateStrategy":{"type":"OnDelete"}}"#, 2);
    let plan = cluster.plan();
    assert_eq!(plan.reasons["n-1"], Reason::Outdated { pod: "d-0002".into(), hold: Hold::OnDelete });
    assert_eq!(moves(&plan), [""; 0]);
    assert_eq!(plan.status.as_ref().unwrap().updated_number_scheduled, None);
    cluster.apply(&plan);
    cluster.pods.remove("d-0001");
    let plan = cluster.plan();
    assert_eq!(moves(&plan), ["+n-0"]);
    cluster.settle();
    let status = cluster.set.status.unwrap();
    assert_eq!((status.updated_number_scheduled, status.number_ready), (Some(1), 2));
}

#[test]
fn surge_creates_before_it_deletes() {
    let mut cluster = changed(&rolling(r#"{"maxSurge":2,"maxUnavailable":0}"#), 4);
    let plan = cluster.plan();
    assert_eq!(moves(&plan), ["+n-0", "+n-1"]);
    cluster.apply(&plan);
    assert_eq!(moves(&cluster.plan()), [""; 0], "the new ones are not available yet");
    cluster.nodes_work();
    assert_eq!(moves(&cluster.plan()), ["-d-0001", "-d-0002", "+n-2", "+n-3"]);
    cluster.settle();
    let nodes: BTreeSet<_> = cluster.pods.values().map(|p| p.node.clone().unwrap()).collect();
    assert_eq!((nodes.len(), cluster.pods.len()), (4, 4));
}

#[test]
fn surge_replaces_unavailable_daemons_beyond_its_limit() {
    let mut cluster = changed(&rolling(r#"{"maxSurge":1,"maxUnavailable":0}"#), 3);
    cluster.pod_on("n-1").ready = false;
    cluster.pod_on("n-2").ready = false;
    assert_eq!(moves(&cluster.plan()), ["+n-0", "+n-1", "+n-2"]);
}

#[test]
fn surge_drops_the_old_daemon_that_is_no_longer_ready() {
    let mut cluster = changed(&rolling(r#"{"maxSurge":1,"maxUnavailable":0}"#), 2);
    let plan = cluster.plan();
    cluster.apply(&plan);
    cluster.pod_on("n-0").ready = false;
    assert_eq!(moves(&cluster.plan())[0], "-d-0001");
}

#[test]
fn surge_keeps_the_available_one_of_two_old_daemons() {
    let mut cluster = changed(&rolling(r#"{"maxSurge":1,"maxUnavailable":0}"#), 1);
    let plan = cluster.plan();
    cluster.apply(&plan);
    cluster.nodes_work();
    cluster.pod_on("n-0").ready = false;
    set_image(&mut cluster.set, "x:3");
    assert_eq!(moves(&cluster.plan()), ["-d-0001", "+n-0"], "the older is not available");
    cluster.pod_on("n-0").ready = true;
    assert_eq!(moves(&cluster.plan()), ["-d-0002", "+n-0"], "of two that are available the older stays");
}

#[test]
fn surge_keeps_a_node_alive_while_its_daemon_terminates() {
    let mut cluster = Cluster::settled(set(&rolling(r#"{"maxSurge":1,"maxUnavailable":0}"#)), 1);
    cluster.pod_on("n-0").deleting = Some(cluster.now);
    assert_eq!(moves(&cluster.plan()), ["+n-0"]);
}

#[test]
fn surge_leaves_unwanted_nodes_last() {
    let spec = r#"{"template":{"spec":{"tolerations":[{"key":"old","operator":"Exists"}]}},
        "updateStrategy":{"rollingUpdate":{"maxSurge":1,"maxUnavailable":0}}}"#;
    let mut cluster = Cluster::settled(set(spec), 2);
    let taint =
        k8s_openapi::api::core::v1::Taint { key: "old".into(), effect: "NoSchedule".into(), ..Default::default() };
    cluster.nodes.get_mut("n-0").unwrap().taints.push(taint);
    let template = &mut cluster.set.spec.as_mut().unwrap().template;
    template.spec.as_mut().unwrap().tolerations = None;
    assert_eq!(moves(&cluster.plan()), ["-d-0001", "+n-1"], "two are available and one is desired");
    cluster.pod_on("n-1").ready = false;
    assert_eq!(moves(&cluster.plan()), ["+n-1"], "the only available daemon stays");
}

#[test]
fn numbers_and_percentages() {
    let text = |t: &str| IntOrString::String(t.into());
    let cases = [
        (IntOrString::Int(3), 10, Some(3)),
        (IntOrString::Int(-1), 10, None),
        (text("25%"), 10, Some(3)),
        (text("0%"), 10, Some(0)),
        (text("100%"), 0, Some(0)),
        (text("5"), 10, None),
    ];
    for (value, total, expect) in cases {
        assert_eq!(scaled(&value, total), expect, "{value:?} of {total}");
    }
}
