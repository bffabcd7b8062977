//! Failed, ended and surplus daemons on one node, under both strategies.

use super::super::*;
use super::fixture::{Cluster, moves, set};
use crate::view::Phase;

const STRATEGIES: [&str; 3] = [
    r#"{"updateStrategy":{"type":"OnDelete"}}"#,
    r#"{"updateStrategy":{"rollingUpdate":{"maxUnavailable":1}}}"#,
    r#"{"updateStrategy":{"rollingUpdate":{"maxUnavailable":0,"maxSurge":1}}}"#,
];

/// A node with this many daemons more of each kind than none.
fn one_node(spec: &str, failed: usize, running: usize) -> Cluster {
    let mut cluster = Cluster::settled(set(spec), 1);
    let first = cluster.pods.values().next().unwrap().clone();
    cluster.pods.clear();
    for (i, phase) in
        (0..failed).map(|i| (i, Phase::Failed)).chain((failed..failed + running).map(|i| (i, Phase::Running)))
    {
        let ready = phase == Phase::Running;
        let (name, uid) = (format!("p-{i}"), format!("u-{i}"));
        cluster.pods.insert(name.clone(), PodView { name, uid, phase, ready, ..first.clone() });
    }
    cluster
}

#[test]
fn failed_ones_are_killed_and_all_but_the_oldest_of_the_others() {
    let cases: &[(usize, usize, &[&str], usize)] = &[
        (0, 1, &[], 0),
        (0, 0, &["+n-0"], 0),
        (1, 0, &["-p-0"], 1),
        (1, 3, &["-p-0", "-p-2", "-p-3"], 1),
        (0, 3, &["-p-1", "-p-2"], 0),
    ];
    for spec in &STRATEGIES[..2] {
        for (failed, running, expect, events) in cases {
            let plan = one_node(spec, *failed, *running).plan();
            assert_eq!(moves(&plan), *expect, "{spec}: {failed} failed, {running} run");
            assert_eq!(plan.events.len(), *events, "{spec}: {failed} failed, {running} run");
        }
    }
}

#[test]
fn with_surge_the_place_of_a_failed_one_is_filled_in_the_same_plan() {
    assert_eq!(moves(&one_node(STRATEGIES[2], 1, 0).plan()), ["-p-0", "+n-0"]);
    assert_eq!(moves(&one_node(STRATEGIES[2], 1, 1).plan()), ["-p-0"]);
}

#[test]
fn the_pause_starts_anew_when_the_user_changed_the_set() {
    let mut cluster = one_node(STRATEGIES[0], 1, 0);
    let plan = cluster.plan();
    cluster.backoff = plan.backoff;
    assert_eq!(moves(&cluster.plan()), [""; 0], "it pauses");
    cluster.set.status.as_mut().unwrap().observed_generation = Some(2);
    let plan = cluster.plan();
    assert_eq!(moves(&plan), ["-p-0"]);
    assert_eq!(plan.backoff["n-0"].pause_s, 1);
}

#[test]
fn pauses_of_one_node_do_not_hold_up_another() {
    let mut cluster = Cluster::settled(set("{}"), 2);
    cluster.pod_on("n-0").phase = Phase::Failed;
    cluster.backoff = cluster.plan().backoff;
    cluster.pod_on("n-1").phase = Phase::Failed;
    assert_eq!(moves(&cluster.plan()), ["-d-0002"]);
}

#[test]
fn no_nodes_and_no_matching_nodes_need_nothing() {
    assert_eq!(moves(&Cluster::new(set("{}"), 0).plan()), [""; 0]);
    let specs = [
        r#"{"template":{"spec":{"nodeSelector":{"ssd":"true"}}}}"#,
        r#"{"template":{"spec":{"nodeName":"n-9"}}}"#,
        r#"{"template":{"spec":{"nodeName":"n-1","nodeSelector":{"ssd":"true"}}}}"#,
    ];
    for spec in specs {
        assert_eq!(moves(&Cluster::new(set(spec), 3).plan()), [""; 0], "{spec}");
    }
}

#[test]
fn name_and_selector_must_both_match() {
    let spec = r#"{"template":{"spec":{"nodeName":"n-1","nodeSelector":{"ssd":"true"}}}}"#;
    let mut cluster = Cluster::new(set(spec), 3);
    for name in ["n-0", "n-1"] {
        cluster.nodes.get_mut(name).unwrap().labels.insert("ssd".into(), "true".into());
    }
    assert_eq!(moves(&cluster.plan()), ["+n-1"]);
}

#[test]
fn existing_pods_are_taken_as_they_are() {
    let mut cluster = Cluster::settled(set(r#"{"template":{"spec":{"nodeSelector":{"ssd":"true"}}}}"#), 4);
    for name in ["n-0", "n-1"] {
        cluster.nodes.get_mut(name).unwrap().labels.insert("ssd".into(), "true".into());
    }
    cluster.settle();
    let daemon = cluster.pod_on("n-0").clone();
    let mut put = |name: &str, node: &str, app: &str| {
        let labels = [("app".to_owned(), app.to_owned())].into();
        let uid = format!("uid-{name}");
        let pod = PodView { name: name.into(), uid, node: Some(node.into()), labels, ..daemon.clone() };
        cluster.pods.insert(name.into(), PodView { labels: merged(&daemon.labels, pod.labels.clone()), ..pod });
    };
    put("second", "n-1", "d");
    put("unwanted", "n-3", "d");
    let mut foreign = daemon.clone();
    foreign.name = "foreign".into();
    foreign.uid = "foreign".into();
    foreign.controller = Some(crate::view::Controller { kind: "DaemonSet".into(), name: "e".into(), uid: "e".into() });
    cluster.pods.insert("foreign".into(), foreign);
    assert_eq!(moves(&cluster.plan()), ["-second", "-unwanted"]);
}

fn merged(
    below: &std::collections::BTreeMap<String, String>,
    above: std::collections::BTreeMap<String, String>,
) -> std::collections::BTreeMap<String, String> {
    below.clone().into_iter().chain(above).collect()
}
