//! The counts of the status.

use super::super::*;
use super::fixture::{Cluster, set, set_image};
use k8s_openapi::api::core::v1::Taint;

fn counts(status: &DaemonSetStatus) -> [i32; 7] {
    [
        status.desired_number_scheduled,
        status.current_number_scheduled,
        status.number_ready,
        status.updated_number_scheduled.unwrap_or_default(),
        status.number_available.unwrap_or_default(),
        status.number_unavailable.unwrap_or_default(),
        status.number_misscheduled,
    ]
}

#[test]
fn counts_follow_the_snapshot() {
    let mut cluster = Cluster::new(set("{}"), 3);
    let plan = cluster.plan();
    assert_eq!(counts(plan.status.as_ref().unwrap()), [3, 0, 0, 0, 0, 3, 0], "before the plan is carried out");
    assert_eq!(plan.status.as_ref().unwrap().observed_generation, Some(1));
    cluster.apply(&plan);
    let plan = cluster.plan();
    assert_eq!(counts(plan.status.as_ref().unwrap()), [3, 3, 0, 3, 0, 3, 0]);
    cluster.settle();
    assert_eq!(counts(cluster.set.status.as_ref().unwrap()), [3, 3, 3, 3, 3, 0, 0]);
    assert_eq!(cluster.plan().status, None, "nothing to store when nothing changed");
    set_image(&mut cluster.set, "x:2");
    let plan = cluster.plan();
    assert_eq!(counts(plan.status.as_ref().unwrap()), [3, 3, 3, 0, 3, 0, 0]);
    assert_eq!(plan.status.unwrap().observed_generation, Some(2));
}

#[test]
fn a_daemon_where_none_would_start_is_misscheduled() {
    let mut cluster = Cluster::settled(set("{}"), 2);
    let taint = Taint { key: "a".into(), effect: "NoSchedule".into(), ..Taint::default() };
    cluster.nodes.get_mut("n-0").unwrap().taints.push(taint);
    assert_eq!(counts(cluster.plan().status.as_ref().unwrap()), [1, 1, 1, 1, 1, 0, 1]);
}

#[test]
fn a_change_of_generation_alone_is_stored() {
    let mut cluster = Cluster::settled(set("{}"), 1);
    cluster.set.metadata.generation = Some(9);
    assert_eq!(cluster.plan().status.unwrap().observed_generation, Some(9));
}

#[test]
fn pods_of_the_counted_generation_are_current_whatever_their_hash() {
    let mut cluster = Cluster::settled(set("{}"), 1);
    cluster.set.metadata.annotations = Some([(GENERATION_ANNOTATION.to_owned(), "4".to_owned())].into());
    let pod = cluster.pod_on("n-0");
    pod.labels.insert(HASH_LABEL.into(), "older".into());
    pod.labels.insert(GENERATION_LABEL.into(), "4".into());
    assert!(cluster.plan().actions.is_empty());
}

#[test]
fn only_progress_may_wait() {
    let mut cluster = Cluster::new(set("{}"), 3);
    let may_wait = |cluster: &Cluster| cluster.plan().status_may_wait;
    assert!(!may_wait(&cluster), "the first status");
    let plan = cluster.plan();
    cluster.apply(&plan);
    assert!(may_wait(&cluster), "pods have been created");
    cluster.nodes_work();
    cluster.pod_on("n-2").ready = false;
    assert!(may_wait(&cluster), "two of three are available");
    cluster.pod_on("n-2").ready = true;
    assert!(!may_wait(&cluster), "all are");
    cluster.settle();
    assert!(!may_wait(&cluster), "nothing to store");
    set_image(&mut cluster.set, "x:2");
    assert!(!may_wait(&cluster), "the user waits to see that it was observed");
    cluster.settle();
    cluster.nodes.remove("n-2");
    assert!(!may_wait(&cluster), "fewer are wanted");
    cluster.govern(serde_json::json!({"paused": true}));
    set_image(&mut cluster.set, "x:3");
    cluster.settle();
    cluster.pod_on("n-1").ready = false;
    assert!(may_wait(&cluster), "one is available");
    cluster.pod_on("n-1").ready = true;
    cluster.govern(serde_json::json!({}));
    assert!(!may_wait(&cluster), "the user waits to see that it goes on");
}
