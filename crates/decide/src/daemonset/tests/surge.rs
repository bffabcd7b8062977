//! Surge: an old daemon and a new one side by side.

use k8s_openapi::api::core::v1::Taint;

use super::super::*;
use super::fixture::{Cluster, at, moves, set, set_image};

fn surging(max: usize, min_ready: i32) -> String {
    format!(
        r#"{{"minReadySeconds":{min_ready},"updateStrategy":{{"rollingUpdate":{{"maxUnavailable":0,"maxSurge":{max}}}}}}}"#
    )
}

/// One node whose set was changed, with the old pod and a new one beside it.
fn pair(min_ready: i32, old_ready: bool, new_ready_for: Option<i64>) -> Cluster {
    let mut cluster = Cluster::settled(set(&surging(1, min_ready)), 1);
    set_image(&mut cluster.set, "x:2");
    let plan = cluster.plan();
    cluster.apply(&plan);
    assert_eq!(moves(&plan), ["+n-0"]);
    cluster.now = at(10_000);
    let now = cluster.now;
    let old = cluster.pods.get_mut("d-0001").unwrap();
    old.ready = old_ready;
    let new = cluster.pods.get_mut("d-0002").unwrap();
    new.node = Some("n-0".into());
    new.phase = crate::view::Phase::Running;
    if let Some(seconds) = new_ready_for {
        new.ready = true;
        new.ready_changed = Some(now.checked_sub(jiff::SignedDuration::from_secs(seconds)).unwrap());
    }
    cluster
}

#[test]
fn the_old_one_stays_just_as_long_as_it_is_needed() {
    let cases: &[(&str, Cluster, &[&str])] = &[
        ("the new one is not ready", pair(0, true, None), &[]),
        ("the new one is ready", pair(0, true, Some(0)), &["-d-0001"]),
        ("neither is ready", pair(0, false, None), &["-d-0001"]),
        ("the new one is ready, not for long enough", pair(30, true, Some(20)), &[]),
        ("the new one is ready for long enough", pair(30, true, Some(30)), &["-d-0001"]),
        ("the old one is not ready, the new not for long enough", pair(30, false, Some(20)), &["-d-0001"]),
    ];
    for (what, cluster, expect) in cases {
        assert_eq!(moves(&cluster.plan()), *expect, "{what}");
    }
}

#[test]
fn one_of_each_is_kept_of_many() {
    let mut cluster = pair(0, true, None);
    let (old, new) = (cluster.pods["d-0001"].clone(), cluster.pods["d-0002"].clone());
    for (name, like) in [("e-old", &old), ("e-new", &new)] {
        let twin = PodView { name: name.into(), uid: name.into(), created: Some(at(20_000)), ..like.clone() };
        cluster.pods.insert(name.into(), twin);
    }
    assert_eq!(moves(&cluster.plan()), ["-e-new", "-e-old"]);
}

#[test]
fn a_node_whose_old_pod_was_deleted_gets_a_new_one_beyond_the_limit() {
    let mut cluster = Cluster::settled(set(&surging(1, 0)), 2);
    set_image(&mut cluster.set, "x:2");
    let plan = cluster.plan();
    assert_eq!(moves(&plan), ["+n-0"]);
    assert_eq!(plan.reasons["n-0"], Reason::Overlaps { pod: "d-0001".into(), successor: None });
    let used = Used { allowed: 1, nodes: vec!["n-0".into()], count: 1 };
    let hold = Hold::Surge(used.into());
    assert_eq!(plan.reasons["n-1"], Reason::Outdated { pod: "d-0002".into(), hold });
    cluster.apply(&plan);
    let successor = Some("d-0003".into());
    assert_eq!(cluster.plan().reasons["n-0"], Reason::Overlaps { pod: "d-0001".into(), successor });
    cluster.pods.remove("d-0002");
    assert_eq!(moves(&cluster.plan()), ["+n-1"], "the limit is for nodes that lose nothing");
}

#[test]
fn all_unready_old_pods_are_surged_at_once_and_readiness_is_waited_for() {
    let mut cluster = Cluster::settled(set(&surging(3, 50)), 5);
    cluster.now = at(10_000);
    set_image(&mut cluster.set, "x:2");
    cluster.pods.values_mut().for_each(|p| p.ready = false);
    let plan = cluster.plan();
    assert_eq!(moves(&plan).iter().filter(|m| m.starts_with('+')).count(), 5);
    cluster.apply(&plan);
    let plan = cluster.plan();
    assert_eq!(moves(&plan).iter().filter(|m| m.starts_with('-')).count(), 5, "unready old ones are in the way");
    cluster.apply(&plan);
    cluster.nodes_work();
    assert_eq!(moves(&cluster.plan()), [""; 0]);
}

#[test]
fn a_tainted_node_is_left_while_the_others_are_updated_one_by_one() {
    let spec = r#"{"template":{"spec":{"tolerations":[{"key":"cp","operator":"Exists"}]}},
        "updateStrategy":{"rollingUpdate":{"maxUnavailable":0,"maxSurge":1}}}"#;
    let mut cluster = Cluster::settled(set(spec), 5);
    let taint = Taint { key: "cp".into(), effect: "NoSchedule".into(), ..Taint::default() };
    cluster.nodes.get_mut("n-0").unwrap().taints.push(taint);
    let template = &mut cluster.set.spec.as_mut().unwrap().template;
    template.spec.as_mut().unwrap().tolerations = None;
    *cluster.set.metadata.generation.as_mut().unwrap() += 1;
    let mut steps = Vec::new();
    for _ in 0..20 {
        let plan = cluster.plan();
        let made = moves(&plan);
        if made.is_empty() {
            break;
        }
        steps.push((
            made.iter().filter(|m| m.starts_with('+')).count(),
            made.iter().filter(|m| m.starts_with('-')).count(),
        ));
        cluster.apply(&plan);
        cluster.nodes_work();
    }
    assert_eq!(steps, [(1, 1), (1, 1), (1, 1), (1, 1), (0, 1)]);
    assert_eq!((cluster.pods_on("n-0").len(), cluster.pods.len()), (0, 4));
}
