//! Verdicts on revisions: stop, and back to the last good one.

use api::rollout_policy::Phase;
use k8s_openapi::api::apps::v1::DaemonSetCondition;
use serde_json::json;

use super::super::*;
use super::fixture::{Cluster, moves, set, set_image};

fn changed(nodes: usize, policy: serde_json::Value) -> Cluster {
    let mut cluster = Cluster::new(set(r#"{"updateStrategy":{"rollingUpdate":{"maxUnavailable":2}}}"#), nodes);
    cluster.govern(policy);
    cluster.settle();
    cluster.pass(100);
    set_image(&mut cluster.set, "x:2");
    cluster
}

fn condemn(cluster: &mut Cluster) -> String {
    let bad = cluster.plan().hash;
    cluster.bad.insert(bad.clone());
    bad
}

fn condition(cluster: &Cluster, kind: &str) -> DaemonSetCondition {
    let conditions = cluster.set.status.clone().unwrap().conditions.unwrap();
    conditions.into_iter().find(|c| c.type_ == kind).unwrap()
}

fn says(cluster: &Cluster, kind: &str) -> (String, String) {
    let found = condition(cluster, kind);
    (found.status, found.reason.unwrap())
}

#[test]
fn daemons_that_are_unready_too_long_stop_the_rollout() {
    let mut cluster = changed(6, json!({"failure": {"maxFailedNodes": 1, "maxUnreadySeconds": 60}}));
    let bad = condemn(&mut cluster);
    for _ in 0..10 {
        cluster.round();
    }
    assert_eq!((cluster.updated().len(), cluster.phase()), (2, Phase::Rolling));
    let due = cluster.plan().requeue_at.unwrap();
    assert!(due <= cluster.now.checked_add(jiff::SignedDuration::from_secs(60)).unwrap(), "it is looked at in time");
    cluster.pass(60);
    cluster.round();
    cluster.round();
    assert_eq!(cluster.phase(), Phase::Failed);
    let memory = cluster.memory().unwrap().clone();
    assert_eq!((memory.cause.as_deref(), memory.failed_node_count), (Some("UnreadyTooLong"), 2));
    assert_eq!(says(&cluster, "Degraded"), ("True".into(), "UnreadyTooLong".into()));
    assert_eq!(says(&cluster, "Progressing"), ("False".into(), "UnreadyTooLong".into()));
    assert_eq!(cluster.events.iter().filter(|e| e.reason == "RolloutFailed").count(), 1);
    cluster.bad.clear();
    for _ in 0..10 {
        cluster.round();
    }
    assert_eq!((cluster.updated().len(), cluster.phase()), (2, Phase::Failed), "a verdict stands");
    cluster.memory_mut().overridden = true;
    cluster.settle();
    assert_eq!((cluster.updated().len(), cluster.phase()), (6, Phase::Complete), "until the user overrides it");
    assert_eq!(cluster.memory().unwrap().last_good_revision.as_deref(), Some(bad.as_str()));
    assert_eq!(says(&cluster, "Degraded").0, "False");
}

#[test]
fn restarts_and_lost_nodes_count() {
    let policy = json!({"failure": {"maxFailedNodes": "40%", "maxRestarts": 3}});
    let mut cluster = changed(5, policy);
    while cluster.updated().len() < 3 {
        cluster.round();
    }
    cluster.pod_on("n-0").restarts = (4, 0);
    cluster.pod_on("n-1").restarts = (3, 0);
    cluster.round();
    assert_eq!(cluster.memory().unwrap().failed_node_count, 1, "3 are allowed");
    cluster.pod_on("n-0").restarts = (0, 0);
    cluster.round();
    assert_eq!(cluster.memory().unwrap().failed_node_count, 1, "what failed once has failed");
    cluster.pod_on("n-1").restarts = (0, 9);
    cluster.pass(5);
    cluster.node_ready("n-2", false);
    cluster.round();
    assert_eq!(cluster.phase(), Phase::Failed, "3 of 5 failed, 2 may");
    let message = cluster.memory().unwrap().message.clone().unwrap();
    assert_eq!(message, "3 of 5 nodes failed, 2 may: n-0 (TooManyRestarts), n-1 (TooManyRestarts), n-2 (NodeLost)");
}

#[test]
fn a_node_that_took_its_pod_back_has_failed() {
    let mut cluster = changed(5, json!({"deadMan": {"afterSeconds": 60}}));
    let note = |cluster: &Cluster, node: &str| {
        let annotations = cluster.plan().pod(&cluster.set, node).metadata.annotations.unwrap_or_default();
        annotations.get(crate::dead_man::AFTER).cloned()
    };
    assert_eq!(note(&cluster, "n-0").as_deref(), Some("60"));
    let bad = cluster.plan().hash;
    while cluster.updated().len() < 2 {
        cluster.round();
    }
    let node = cluster.updated()[0].clone();
    cluster.pass(5);
    cluster.node_ready(&node, false);
    cluster.round();
    assert_eq!(cluster.memory().unwrap().cause.as_deref(), Some("NodeLost"), "no limits are needed for a verdict");
    cluster.node_ready(&node, true);
    let pod = cluster.pod_on(&node);
    (pod.phase, pod.ready, pod.cut_off) = (crate::view::Phase::Failed, false, true);
    cluster.round();
    let memory = cluster.memory().unwrap().clone();
    assert_eq!((memory.phase, memory.failed_nodes[0].reason.as_str()), (Phase::Failed, "DeadManSwitch"));
    cluster.settle();
    assert!(!cluster.updated().contains(&node), "it has the last good revision again");
    let hash = cluster.pod_on(&node).labels[HASH_LABEL].clone();
    assert_ne!(hash, bad);

    // Neither the annotation nor the policy is part of the revision.
    let hash = cluster.plan().hash;
    cluster.govern(json!({"deadMan": {"afterSeconds": 90}}));
    assert_eq!((cluster.plan().hash, note(&cluster, "n-0").as_deref()), (hash, Some("90")));
    cluster.govern(json!({"deadMan": {"afterSeconds": 3}}));
    assert_eq!(note(&cluster, "n-0"), None, "a policy that cannot work does nothing");
}

#[test]
fn a_bad_revision_is_rolled_back_once() {
    let mut cluster =
        changed(6, json!({"failure": {"maxFailedNodes": 0, "maxUnreadySeconds": 30, "action": "Rollback"}}));
    let good = cluster.memory().unwrap().revision.clone();
    let bad = condemn(&mut cluster);
    for _ in 0..40 {
        cluster.round();
        if cluster.set.metadata.generation == Some(3) {
            break;
        }
    }
    assert_eq!(cluster.plan().hash, good, "the template is the old one again");
    cluster.settle();
    assert_eq!((cluster.updated().len(), cluster.phase()), (6, Phase::Complete));
    assert_eq!(cluster.memory().unwrap().rolled_back_from.as_deref(), Some(bad.as_str()));
    assert_eq!(says(&cluster, "Degraded"), ("True".into(), "RolledBack".into()));
    assert_eq!(says(&cluster, "Progressing"), ("True".into(), "Complete".into()));
    set_image(&mut cluster.set, "x:2");
    for _ in 0..5 {
        cluster.round();
    }
    assert_eq!(cluster.phase(), Phase::Failed, "whoever writes it again is not fought");
    assert_eq!((cluster.updated().len(), cluster.set.metadata.generation), (0, Some(4)));
    cluster.bad.clear();
    set_image(&mut cluster.set, "x:3");
    cluster.settle();
    assert_eq!((cluster.updated().len(), says(&cluster, "Degraded").0), (6, "False".into()));
}

#[test]
fn a_crash_between_verdict_and_rollback_is_made_up_for() {
    let mut cluster = changed(3, json!({"failure": {"maxUnreadySeconds": 30, "action": "Rollback"}}));
    condemn(&mut cluster);
    while !cluster.plan().actions.iter().any(|a| matches!(a, Action::RestoreTemplate(_))) {
        cluster.round();
    }
    let mut plan = cluster.plan();
    plan.actions.clear();
    cluster.apply(&plan);
    assert_eq!(cluster.phase(), Phase::Failed);
    assert!(cluster.plan().actions.iter().any(|a| matches!(a, Action::RestoreTemplate(_))));
}

#[test]
fn nobody_is_rolled_back_while_paused_or_without_a_good_revision() {
    let failure = json!({"maxUnreadySeconds": 30, "action": "Rollback"});
    let mut cluster = changed(3, json!({"failure": failure}));
    condemn(&mut cluster);
    for _ in 0..4 {
        cluster.round();
    }
    cluster.govern(json!({"failure": failure, "paused": true}));
    for _ in 0..40 {
        cluster.round();
    }
    assert_eq!((cluster.phase(), cluster.set.metadata.generation), (Phase::Failed, Some(2)));
    let mut first = Cluster::new(set("{}"), 2);
    first.govern(json!({"failure": failure}));
    condemn(&mut first);
    for _ in 0..40 {
        first.round();
    }
    assert_eq!((first.phase(), first.set.metadata.generation), (Phase::Failed, Some(1)));
}

#[test]
fn a_rollout_that_gets_no_further_fails_at_its_deadline() {
    let mut cluster = changed(4, json!({"progressDeadlineSeconds": 120}));
    condemn(&mut cluster);
    for _ in 0..10 {
        cluster.round();
    }
    assert_eq!(cluster.phase(), Phase::Rolling);
    cluster.now = cluster.plan().requeue_at.unwrap();
    cluster.round();
    assert_eq!(cluster.phase(), Phase::Failed);
    let memory = cluster.memory().unwrap();
    assert_eq!(memory.cause.as_deref(), Some("ProgressDeadlineExceeded"));
    assert_eq!(memory.message.as_deref(), Some("no node was updated for 120 s: n-0, n-1 not available"));
}

#[test]
fn a_late_first_rollout_that_arrives_is_complete() {
    let mut cluster = Cluster::new(set("{}"), 2);
    cluster.govern(json!({"progressDeadlineSeconds": 20}));
    condemn(&mut cluster);
    for _ in 0..20 {
        cluster.round();
    }
    assert_eq!(cluster.phase(), Phase::Failed);
    cluster.bad.clear();
    cluster.settle();
    assert_eq!(cluster.phase(), Phase::Complete);
}

#[test]
fn conditions_are_of_daemon_sets_under_a_policy() {
    let mut cluster = Cluster::new(set(r#"{"updateStrategy":{"rollingUpdate":{"maxUnavailable":1}}}"#), 3);
    cluster.settle();
    assert_eq!(cluster.set.status.as_ref().unwrap().conditions, None, "a plain DaemonSet is as in Kubernetes");
    cluster.govern(json!({}));
    cluster.settle();
    assert_eq!(says(&cluster, "Available").0, "True");
    assert_eq!(says(&cluster, "Progressing"), ("True".into(), "Complete".into()));
    assert_eq!(says(&cluster, "Degraded").0, "False");
    let before = condition(&cluster, "Available");
    cluster.pass(5000);
    set_image(&mut cluster.set, "x:2");
    condemn(&mut cluster);
    for _ in 0..5 {
        cluster.round();
    }
    assert_eq!(says(&cluster, "Progressing"), ("True".into(), "RollingOut".into()));
    assert_eq!(condition(&cluster, "Available"), before, "the time of a condition is that of its change");
    cluster.node_ready("n-1", false);
    cluster.round();
    assert_eq!(says(&cluster, "Available"), ("False".into(), "MinimumNodesUnavailable".into()));
    cluster.policy = None;
    cluster.round();
    assert_eq!(cluster.set.status.as_ref().unwrap().conditions, None, "they go with the policy");
    let others = r#"{"updateStrategy":{"type":"OnDelete"}}"#;
    assert_eq!(Cluster::settled(set(others), 2).set.status.unwrap().conditions, None);
}

#[test]
fn conditions_of_others_stay() {
    let mut cluster = Cluster::settled(set("{}"), 1);
    let other = DaemonSetCondition { type_: "Blessed".into(), status: "True".into(), ..DaemonSetCondition::default() };
    cluster.set.status.as_mut().unwrap().conditions = Some(vec![other.clone()]);
    assert_eq!(cluster.plan().status, None);
    cluster.govern(json!({}));
    let kinds: Vec<String> = cluster.plan().status.unwrap().conditions.unwrap().into_iter().map(|c| c.type_).collect();
    assert_eq!(kinds, ["Blessed", "Available", "Progressing", "Degraded"], "beside ours");
    cluster.settle();
    cluster.policy = None;
    cluster.settle();
    assert_eq!(cluster.set.status.as_ref().unwrap().conditions, Some(vec![other]));
    assert_eq!(moves(&cluster.plan()), [""; 0]);
}
