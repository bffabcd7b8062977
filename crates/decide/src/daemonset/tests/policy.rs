//! Rollouts under a policy: what uses the budget up, pause and freeze.

use api::rollout_policy::Phase;
use serde_json::json;

use super::super::*;
use super::fixture::{Cluster, moves, node, set, set_image};

pub(super) fn rolling(max_unavailable: usize) -> String {
    format!(r#"{{"updateStrategy":{{"rollingUpdate":{{"maxUnavailable":{max_unavailable}}}}}}}"#)
}

/// A cluster on which the first image has rolled out under a policy.
pub(super) fn governed(spec: &str, nodes: usize, policy: serde_json::Value) -> Cluster {
    let mut cluster = Cluster::new(set(spec), nodes);
    cluster.govern(json!({}));
    cluster.settle();
    assert_eq!(cluster.phase(), Phase::Complete);
    cluster.govern(policy);
    cluster.pass(100);
    cluster
}

pub(super) fn changed(spec: &str, nodes: usize, policy: serde_json::Value) -> Cluster {
    let mut cluster = governed(spec, nodes, policy);
    set_image(&mut cluster.set, "x:2");
    cluster
}

#[test]
fn nodes_that_were_down_before_hold_nothing_up() {
    let mut cluster = governed(&rolling(1), 4, json!({}));
    cluster.node_ready("n-1", false);
    cluster.node_ready("n-2", false);
    cluster.pass(10);
    set_image(&mut cluster.set, "x:2");
    for _ in 0..20 {
        let plan = cluster.round();
        assert!(!moves(&plan).iter().any(|m| m == "-d-0002" || m == "-d-0003"), "what cannot end is not ended");
    }
    assert_eq!(cluster.updated(), ["n-0", "n-3"]);
    assert_eq!(cluster.phase(), Phase::Complete, "the rest is excused");
    assert_eq!(cluster.memory().unwrap().excused_node_count, 2);
    let waits = Reason::Outdated { pod: "d-0002".into(), hold: Hold::Excused(Excuse::NodeNotReady) };
    assert_eq!(cluster.plan().reasons["n-1"], waits);
    cluster.node_ready("n-1", true);
    cluster.settle();
    assert_eq!(cluster.updated(), ["n-0", "n-1", "n-3"], "updated when it comes back");
    assert_eq!(cluster.memory().unwrap().excused_node_count, 1);
}

#[test]
fn without_a_policy_such_nodes_use_the_budget_up() {
    let mut cluster = Cluster::settled(set(&rolling(1)), 3);
    cluster.node_ready("n-1", false);
    set_image(&mut cluster.set, "x:2");
    for _ in 0..20 {
        cluster.round();
    }
    assert_eq!(cluster.updated(), [""; 0]);
}

#[test]
fn a_node_that_is_lost_after_its_update_uses_the_budget_up() {
    let mut cluster = changed(&rolling(1), 4, json!({}));
    while cluster.updated() != ["n-0"] {
        cluster.round();
    }
    cluster.pass(5);
    cluster.node_ready("n-0", false);
    for _ in 0..20 {
        assert_eq!(moves(&cluster.round()), [""; 0], "the revision may have done that");
    }
    assert_eq!(cluster.memory().unwrap().excused_node_count, 0);
}

#[test]
fn a_daemon_that_was_sick_before_its_update_does_not_use_the_budget_up() {
    let mut cluster = governed(&rolling(1), 4, json!({}));
    cluster.pod_on("n-3").ready = false;
    set_image(&mut cluster.set, "x:2");
    let plan = cluster.plan();
    assert_eq!(moves(&plan), ["-d-0001", "-d-0004"], "the sick one goes beside another");
    cluster.apply(&plan);
    assert_eq!(cluster.memory().unwrap().excused_nodes[0].node, "n-3");
    cluster.nodes_work();
    for _ in 0..10 {
        let plan = cluster.plan();
        cluster.apply(&plan);
        cluster.nodes_work();
        cluster.pass(2);
        if let Some(pod) = cluster.pods.values_mut().find(|p| p.node_or_target() == Some("n-3")) {
            pod.ready = false;
        }
    }
    assert_eq!(cluster.updated().len(), 4);
    assert_eq!((cluster.phase(), cluster.memory().unwrap().excused_node_count), (Phase::Complete, 1));
    cluster.pod_on("n-3").ready = true;
    cluster.settle();
    assert_eq!(cluster.memory().unwrap().excused_node_count, 0, "it is well again");
}

#[test]
fn a_daemon_that_a_bad_revision_left_unready_excuses_no_node() {
    let mut cluster = changed(&rolling(2), 6, json!({}));
    let bad = cluster.plan().hash;
    cluster.bad.insert(bad);
    for _ in 0..10 {
        cluster.round();
    }
    assert_eq!(cluster.updated(), ["n-0", "n-1"]);
    set_image(&mut cluster.set, "x:3");
    let plan = cluster.plan();
    assert_eq!(moves(&plan).len(), 2, "only those that are missing anyway");
    assert_eq!(cluster.plan().memory.unwrap().excused_node_count, 0);
}

#[test]
fn sick_daemons_are_replaced_as_far_as_memory_goes() {
    let mut cluster = governed(&rolling(1), 60, json!({}));
    cluster.pods.values_mut().for_each(|p| p.ready = false);
    set_image(&mut cluster.set, "x:2");
    let plan = cluster.plan();
    assert_eq!(moves(&plan).len(), api::rollout_policy::NODES_NAMED_MAX);
    let memory = plan.memory.unwrap();
    let named: Vec<String> = memory.excused_nodes.iter().map(|n| n.node.clone()).collect();
    let on = |target: &Target| cluster.pods[&target.name].node.clone().unwrap();
    let deleted = plan.actions.iter().filter_map(|a| match a {
        Action::DeletePod(target) => Some(on(target)),
        _ => None,
    });
    assert!(deleted.into_iter().all(|node| named.contains(&node)), "each of them is remembered");
    assert_eq!(memory.excused_node_count, 60);
}

#[test]
fn a_paused_rollout_stops_and_gives_new_nodes_the_last_good_revision() {
    let mut cluster = changed(&rolling(1), 3, json!({}));
    while cluster.updated() != ["n-0"] {
        cluster.round();
    }
    let good = cluster.pods["d-0002"].labels[HASH_LABEL].clone();
    cluster.govern(json!({"paused": true}));
    cluster.nodes.insert("m".into(), node("m"));
    let plan = cluster.plan();
    assert_eq!(moves(&plan), ["+m"]);
    cluster.settle();
    assert_eq!(cluster.phase(), Phase::Paused);
    assert_eq!(cluster.pod_on("m").labels[HASH_LABEL], good);
    assert_eq!(plan.pod(&cluster.set, "m").spec.unwrap().containers[0].image.as_deref(), Some("x:1"));
    assert_eq!(cluster.updated(), ["n-0"]);
    let held = Reason::Outdated { pod: "d-0002".into(), hold: Hold::Paused };
    assert_eq!(cluster.plan().reasons["n-1"], held);
    cluster.govern(json!({}));
    cluster.settle();
    assert_eq!((cluster.updated().len(), cluster.phase()), (4, Phase::Complete));
}

#[test]
fn a_pause_of_the_first_rollout_has_no_other_revision_to_give() {
    let mut cluster = Cluster::new(set("{}"), 2);
    cluster.govern(json!({"paused": true}));
    cluster.settle();
    assert_eq!(cluster.updated().len(), 2);
}

#[test]
fn the_last_good_revision_is_kept_whatever_the_history_limit_is() {
    let mut cluster = changed(r#"{"revisionHistoryLimit":0}"#, 1, json!({}));
    let good = cluster.pods["d-0001"].labels[HASH_LABEL].clone();
    let bad = cluster.plan().hash;
    cluster.bad.insert(bad);
    for _ in 0..6 {
        cluster.round();
    }
    assert_eq!(cluster.updated(), ["n-0"]);
    let hashes: Vec<&String> =
        cluster.revisions.values().map(|r| &r.metadata.labels.as_ref().unwrap()[HASH_LABEL]).collect();
    assert!(hashes.contains(&&good), "{hashes:?}");
}

#[test]
fn nothing_changes_while_frozen() {
    let mut cluster = changed(&rolling(3), 3, json!({"frozen": true}));
    cluster.nodes.insert("m".into(), node("m"));
    cluster.pods.get_mut("d-0001").unwrap().phase = crate::view::Phase::Failed;
    cluster.pods.get_mut("d-0002").unwrap().labels.remove("app");
    let taint = k8s_openapi::api::core::v1::Taint { key: "a".into(), effect: "NoExecute".into(), ..Default::default() };
    cluster.nodes.get_mut("n-2").unwrap().taints.push(taint);
    for _ in 0..5 {
        assert_eq!(cluster.round().actions, []);
    }
    assert_eq!(cluster.phase(), Phase::Frozen);
    let status = cluster.set.status.clone().unwrap();
    assert_eq!(
        (status.desired_number_scheduled, status.observed_generation),
        (3, Some(2)),
        "the status tells the truth"
    );
    cluster.govern(json!({}));
    cluster.nodes.get_mut("n-2").unwrap().taints.clear();
    cluster.settle();
    assert_eq!(cluster.updated().len(), 4);
}

#[test]
fn a_policy_that_cannot_work_holds_rollouts_back() {
    let mut cluster = changed("{}", 2, json!({"windows": [{"schedule": "0 0 30 2 *", "durationSeconds": 60}]}));
    for _ in 0..5 {
        cluster.round();
    }
    assert_eq!((cluster.updated().len(), cluster.phase()), (0, Phase::Paused));
    assert!(cluster.memory().unwrap().message.as_deref().unwrap().starts_with("spec.windows[0]: "));
}

#[test]
fn without_the_policy_the_rollout_goes_on_as_kubernetes_does() {
    let mut cluster = changed("{}", 3, json!({"paused": true}));
    for _ in 0..5 {
        cluster.round();
    }
    assert_eq!(cluster.updated().len(), 0);
    cluster.policy = None;
    cluster.settle();
    assert_eq!(cluster.updated().len(), 3);
}

#[test]
fn surge_obeys_pause_and_leaves_nodes_that_are_down_alone() {
    let surge = r#"{"updateStrategy":{"rollingUpdate":{"maxSurge":1,"maxUnavailable":0}}}"#;
    let mut cluster = governed(surge, 3, json!({}));
    cluster.node_ready("n-1", false);
    cluster.pass(10);
    set_image(&mut cluster.set, "x:2");
    cluster.settle();
    assert_eq!((cluster.updated(), cluster.phase()), (vec!["n-0".into(), "n-2".into()], Phase::Complete));
    set_image(&mut cluster.set, "x:3");
    cluster.govern(json!({"paused": true}));
    for _ in 0..5 {
        assert_eq!(moves(&cluster.round()), [""; 0]);
    }
}

#[test]
fn a_revision_that_ran_nowhere_is_not_good() {
    let mut cluster = Cluster::new(set("{}"), 0);
    cluster.govern(json!({}));
    cluster.settle();
    assert_eq!((cluster.phase(), cluster.memory().unwrap().last_good_revision.clone()), (Phase::Complete, None));
    cluster.nodes.insert("m".into(), node("m"));
    cluster.node_ready("m", false);
    cluster.round();
    cluster.round();
    assert_eq!(cluster.memory().unwrap().last_good_revision, None, "its only node is excused");
    cluster.node_ready("m", true);
    cluster.settle();
    assert!(cluster.memory().unwrap().last_good_revision.is_some());
}
