//! Rollouts that meet trouble on their way.

use std::collections::BTreeSet;

use super::super::*;
use super::fixture::{Cluster, moves, set, set_image};

fn rolling(max_unavailable: usize) -> String {
    format!(r#"{{"updateStrategy":{{"rollingUpdate":{{"maxUnavailable":{max_unavailable}}}}}}}"#)
}

fn changed(spec: &str, nodes: usize) -> Cluster {
    let mut cluster = Cluster::settled(set(spec), nodes);
    set_image(&mut cluster.set, "x:2");
    cluster
}

/// Plans and applies until nothing moves, with pods that start and never become ready; returns deletions and creations.
fn stuck(cluster: &mut Cluster) -> (usize, usize) {
    let (mut deleted, mut created) = (0, 0);
    for _ in 0..20 {
        let plan = cluster.plan();
        let moved = moves(&plan);
        if moved.is_empty() {
            return (deleted, created);
        }
        deleted += moved.iter().filter(|m| m.starts_with('-')).count();
        created += moved.iter().filter(|m| m.starts_with('+')).count();
        cluster.apply(&plan);
        let ready: BTreeSet<String> = cluster.pods.values().filter(|p| p.ready).map(|p| p.name.clone()).collect();
        cluster.nodes_work();
        cluster.pods.values_mut().for_each(|p| p.ready = ready.contains(&p.name));
    }
    panic!("moves for ever: {:?}", cluster.plan());
}

fn ready(cluster: &Cluster) -> BTreeSet<String> {
    cluster.pods.values().filter(|p| p.ready).map(|p| p.name.clone()).collect()
}

#[test]
fn new_pods_that_are_not_ready_stop_the_rollout() {
    let mut cluster = changed(&rolling(3), 5);
    assert_eq!(stuck(&mut cluster), (3, 3));
    assert_eq!(ready(&cluster).len(), 2);
}

#[test]
fn a_second_update_replaces_what_the_first_left_unready_and_no_more() {
    let mut cluster = changed(&rolling(2), 5);
    assert_eq!(stuck(&mut cluster), (2, 2));
    let healthy = ready(&cluster);
    set_image(&mut cluster.set, "x:3");
    assert_eq!(stuck(&mut cluster), (2, 2));
    assert_eq!(ready(&cluster), healthy, "three available ones are untouched");
}

#[test]
fn healthy_old_pods_are_saved_whatever_the_limit_is_lowered_to() {
    let mut cluster = changed(&rolling(10), 20);
    assert_eq!(stuck(&mut cluster), (10, 10));
    let healthy = ready(&cluster);
    for (i, limit) in [7, 0, 3, 9, 1].into_iter().enumerate() {
        let strategy = set(&rolling(limit)).spec.unwrap().update_strategy;
        cluster.set.spec.as_mut().unwrap().update_strategy = strategy;
        set_image(&mut cluster.set, &format!("x:{}", i + 3));
        assert_eq!(stuck(&mut cluster), (10, 10), "the ten that are unavailable, at limit {limit}");
        assert_eq!(ready(&cluster), healthy);
    }
    cluster.set.spec.as_mut().unwrap().update_strategy = set(&rolling(11)).spec.unwrap().update_strategy;
    set_image(&mut cluster.set, "x:99");
    assert_eq!(stuck(&mut cluster), (11, 11));
    assert_eq!(ready(&cluster).len(), 9, "one more may go");
}

#[test]
fn unready_old_pods_go_even_when_unready_new_ones_use_up_the_limit() {
    let mut cluster = changed(&rolling(10), 100);
    cluster.settle();
    let old_hash = cluster.revisions.values().find(|r| r.revision == 1).unwrap().metadata.labels.clone().unwrap();
    for (i, pod) in cluster.pods.values_mut().enumerate() {
        pod.ready = i < 10;
        if i < 12 {
            pod.labels.insert(HASH_LABEL.into(), old_hash[HASH_LABEL].clone());
        }
    }
    let doomed: Vec<String> = cluster.pods.keys().skip(10).take(2).map(|n| format!("-{n}")).collect();
    assert_eq!(moves(&cluster.plan()), doomed);
    assert_eq!(stuck(&mut cluster), (2, 2));
}

#[test]
fn all_old_pods_that_are_not_ready_go_at_once() {
    let mut cluster = changed(&rolling(3), 5);
    cluster.pods.values_mut().for_each(|p| p.ready = false);
    assert_eq!(moves(&cluster.plan()).len(), 5);
}

#[test]
fn a_change_of_the_strategy_alone_moves_nothing() {
    let mut cluster = Cluster::settled(set(r#"{"updateStrategy":{"type":"OnDelete"}}"#), 5);
    cluster.set.spec.as_mut().unwrap().update_strategy = set(&rolling(3)).spec.unwrap().update_strategy;
    assert_eq!(cluster.plan().actions, []);
}

#[test]
fn the_budget_follows_the_nodes_that_want_a_daemon() {
    let surge = |v: &str| format!(r#"{{"updateStrategy":{{"rollingUpdate":{{"maxUnavailable":0,"maxSurge":{v}}}}}}}"#);
    let unavailable = |v: &str| format!(r#"{{"updateStrategy":{{"rollingUpdate":{{"maxUnavailable":{v}}}}}}}"#);
    let cases = [
        (unavailable("0"), 0, (0, 0)),
        (unavailable("1"), 2, (0, 1)),
        (unavailable("0"), 2, (0, 1)),
        (surge("0"), 2, (0, 1)),
        (unavailable(r#""50%""#), 2, (0, 1)),
        (surge(r#""50%""#), 2, (1, 0)),
        (surge(r#""100%""#), 2, (2, 0)),
        (unavailable(r#""50%""#), 3, (0, 2)),
        (r#"{"updateStrategy":{"type":"RollingUpdate"}}"#.to_owned(), 3, (0, 1)),
    ];
    for (spec, nodes, expect) in cases {
        let budget = Budget::of(&set(&spec), nodes);
        assert_eq!((budget.surge_max, budget.unavailable_max), expect, "{spec} at {nodes}");
    }
}

#[test]
fn a_rollback_in_the_middle_restarts_only_what_was_updated() {
    let mut cluster = changed(&rolling(1), 3);
    assert_eq!(stuck(&mut cluster), (1, 1), "a bad image: its first pod never becomes ready");
    let healthy = ready(&cluster);
    set_image(&mut cluster.set, "x:1");
    cluster.settle();
    assert!(healthy.is_subset(&ready(&cluster)), "those that ran on are untouched");
    assert_eq!(cluster.made, 3 + 1 + 1);
    assert_eq!(cluster.revisions.values().map(|r| r.revision).max(), Some(3));
}
