//! Scaling, ranks, claims, status.

use super::*;
use std::collections::BTreeMap;

use crate::view::{Controller, Phase};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn set(replicas: i32) -> ReplicaSet {
    let value = serde_json::json!({
        "metadata": {"name": "r", "namespace": "default", "uid": "uid-r", "generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "r"}},
            "template": {"metadata": {"labels": {"app": "r"}}, "spec": {"containers": [{"name": "c"}]}}},
    });
    serde_json::from_value(value).unwrap()
}

fn pod(name: &str) -> PodView {
    PodView {
        name: name.into(),
        uid: format!("uid-{name}"),
        labels: [("app".to_owned(), "r".to_owned())].into(),
        controller: Some(Controller { kind: KIND.into(), name: "r".into(), uid: "uid-r".into() }),
        node: Some("n-0".into()),
        phase: Phase::Running,
        ready: true,
        ready_changed: Some(at(0)),
        created: Some(at(0)),
        ..PodView::default()
    }
}

fn actions(replicas: i32, pods: &[PodView]) -> Vec<String> {
    let short = |action: &Action| match action {
        Action::AdoptPod(name, _) => format!("adopt {name}"),
        Action::ReleasePod(name, _) => format!("release {name}"),
        Action::DeletePod(name, _) => format!("-{name}"),
        Action::CreatePod => "+".to_owned(),
    };
    plan(&set(replicas), &pods.iter().collect::<Vec<_>>(), &[], at(100)).actions.iter().map(short).collect()
}

#[test]
fn counts_up_and_down() {
    let cases: &[(i32, usize, &[&str])] =
        &[(2, 0, &["+", "+"]), (2, 2, &[]), (1, 3, &["-p0", "-p1"]), (0, 1, &["-p0"])];
    for (replicas, pods, expect) in cases {
        let pods: Vec<PodView> = (0..*pods).map(|i| pod(&format!("p{i}"))).collect();
        assert_eq!(actions(*replicas, &pods), *expect, "{replicas} of {}", pods.len());
    }
}

#[test]
fn the_least_useful_go_first() {
    let pods = [
        pod("a-ready"),
        PodView { ready: false, ..pod("b-unready") },
        PodView { phase: Phase::Pending, ready: false, ..pod("c-pending") },
        PodView { node: None, phase: Phase::Pending, ready: false, ..pod("d-unbound") },
        PodView { ready_changed: Some(at(90)), ..pod("e-ready-late") },
    ];
    assert_eq!(actions(0, &pods), ["-d-unbound", "-c-pending", "-b-unready", "-e-ready-late", "-a-ready"]);
}

#[test]
fn going_and_ended_pods_are_replaced() {
    let going = PodView { deleting: Some(at(0)), ..pod("a") };
    let ended = PodView { phase: Phase::Failed, ..pod("b") };
    assert_eq!(actions(2, &[going, ended]), ["+", "+"]);
}

#[test]
fn orphans_are_adopted_and_strangers_released() {
    let orphan = PodView { controller: None, ..pod("a") };
    let stranger = PodView { labels: BTreeMap::new(), ..pod("b") };
    assert_eq!(actions(1, &[orphan, stranger]), ["adopt a", "release b"]);
}

#[test]
fn status_counts() {
    let pods = [pod("a"), PodView { ready: false, ..pod("b") }, PodView { deleting: Some(at(0)), ..pod("c") }];
    let pods: Vec<&PodView> = pods.iter().collect();
    let plan = plan(&set(2), &pods, &[], at(100));
    let status = plan.status.unwrap();
    assert_eq!((status.replicas, status.ready_replicas, status.available_replicas), (2, Some(1), Some(1)));
    assert_eq!((status.fully_labeled_replicas, status.terminating_replicas), (Some(2), Some(1)));
}

/// The order in which the pods go when all but none are wanted.
fn order(pods: &[PodView], related: &[PodView]) -> Vec<String> {
    let (pods, related): (Vec<&PodView>, Vec<&PodView>) = (pods.iter().collect(), related.iter().collect());
    let plan = plan(&set(0), &pods, &related, at(100_000));
    let name = |a: &Action| match a {
        Action::DeletePod(name, _) => name.clone(),
        other => panic!("{other:?}"),
    };
    plan.actions.iter().map(name).collect()
}

#[test]
fn each_rule_decides_before_the_next() {
    let base = |name: &str| PodView { created: Some(at(50_000)), ready_changed: Some(at(50_000)), ..pod(name) };
    let cases: &[(&str, PodView, PodView)] = &[
        ("unbound", PodView { node: None, deletion_cost: 9, ..base("z") }, PodView { ready: false, ..base("a") }),
        ("pending", PodView { phase: Phase::Pending, ..base("z") }, PodView { ready: false, ..base("a") }),
        ("unknown", PodView { phase: Phase::Unknown, ..base("z") }, PodView { ready: false, ..base("a") }),
        ("unready", PodView { ready: false, deletion_cost: 9, ..base("z") }, base("a")),
        (
            "cheaper",
            PodView { deletion_cost: -5, ..base("z") },
            PodView { ready_changed: Some(at(99_999)), ..base("a") },
        ),
        (
            "ready lately",
            PodView { ready_changed: Some(at(99_000)), ..base("z") },
            PodView { restarts: (9, 0), ..base("a") },
        ),
        ("restarted", PodView { restarts: (1, 0), ..base("z") }, PodView { restarts: (0, 9), ..base("a") }),
        ("sidecar restarted", PodView { restarts: (1, 2), ..base("z") }, PodView { restarts: (1, 1), ..base("a") }),
        ("younger", PodView { created: Some(at(99_999)), ..base("z") }, base("a")),
        ("without a birthday", PodView { created: None, ..base("z") }, base("a")),
        ("about as old, by UID", base("y"), PodView { created: Some(at(49_999)), ..base("z") }),
    ];
    for (what, first, second) in cases {
        let expect = [first.name.clone(), second.name.clone()];
        assert_eq!(order(&[second.clone(), first.clone()], &[]), expect, "{what}");
        assert_eq!(order(&[first.clone(), second.clone()], &[]), expect, "{what}, the other way round");
    }
}

#[test]
fn crowded_nodes_give_up_first_and_relatives_crowd_too() {
    let on = |name: &str, node: &str| PodView { node: Some(node.into()), ..pod(name) };
    let pods = [on("a", "n-0"), on("b", "n-1"), on("c", "n-1")];
    assert_eq!(order(&pods, &[]), ["b", "c", "a"]);
    assert_eq!(order(&pods, &[on("r", "n-0"), on("s", "n-0")]), ["a", "b", "c"]);
    let going = PodView { deleting: Some(at(0)), ..on("r", "n-0") };
    assert_eq!(order(&pods, &[going.clone(), going]), ["b", "c", "a"], "what goes does not crowd");
}

#[test]
fn one_plan_is_bounded() {
    let created = plan(&set(1200), &[], &[], at(0)).actions.len();
    assert_eq!(created, BURST_REPLICAS);
    let many: Vec<PodView> = (0..1200).map(|i| pod(&format!("p{i}"))).collect();
    assert_eq!(order(&many, &[]).len(), BURST_REPLICAS);
}

#[test]
fn a_set_that_is_being_deleted_only_counts() {
    let mut going = set(3);
    going.metadata.deletion_timestamp = Some(at(0).into());
    let pods = [PodView { controller: None, ..pod("orphan") }, pod("own")];
    let plan = plan(&going, &pods.iter().collect::<Vec<_>>(), &[], at(100));
    assert_eq!(plan.actions, [], "it neither creates nor adopts");
    assert_eq!(plan.status.unwrap().replicas, 1);
}

#[test]
fn pods_of_others_are_left_to_them() {
    let other = Controller { kind: KIND.into(), name: "s".into(), uid: "uid-s".into() };
    let foreign = PodView { controller: Some(other), ..pod("a") };
    let going = PodView { controller: None, deleting: Some(at(0)), ..pod("b") };
    assert_eq!(actions(1, &[foreign, going]), ["+"]);
}

#[test]
fn availability_is_looked_at_when_it_is_due() {
    let mut set = set(3);
    set.spec.as_mut().unwrap().min_ready_seconds = Some(30);
    let ready = |name: &str, since| PodView { ready_changed: Some(at(since)), ..pod(name) };
    let pods = [ready("a", 0), ready("b", 80), ready("c", 90)];
    let plan = plan(&set, &pods.iter().collect::<Vec<_>>(), &[], at(100));
    let status = plan.status.unwrap();
    assert_eq!((status.ready_replicas, status.available_replicas), (Some(3), Some(1)));
    assert_eq!(plan.requeue_at, Some(at(110)));
}

#[test]
fn labels_of_the_template_are_counted_beyond_the_selector() {
    let mut set = set(2);
    let labels = [("app".to_owned(), "r".to_owned()), ("tier".to_owned(), "x".to_owned())];
    set.spec.as_mut().unwrap().template.as_mut().unwrap().metadata.as_mut().unwrap().labels =
        Some(labels.clone().into());
    let full = PodView { labels: labels.into(), ..pod("a") };
    let plan = plan(&set, &[&full, &pod("b")], &[], at(100));
    assert_eq!(plan.status.unwrap().fully_labeled_replicas, Some(1));
}

#[test]
fn failures_become_a_condition_until_they_end() {
    let create = plan(&set(1), &[], &[], at(0));
    let failed = outcome(&set(1), &create, Some("quota"), at(5)).unwrap();
    let condition = failed.conditions.as_ref().unwrap()[0].clone();
    assert_eq!((condition.type_.as_str(), condition.status.as_str()), ("ReplicaFailure", "True"));
    assert_eq!((condition.reason.as_deref(), condition.message.as_deref()), (Some("FailedCreate"), Some("quota")));
    let mut known = set(1);
    known.status = Some(failed);
    let again = plan(&known, &[], &[], at(9));
    assert_eq!(outcome(&known, &again, Some("another"), at(9)), None, "once is enough");
    let healed = outcome(&known, &again, None, at(9)).unwrap();
    assert_eq!(healed.conditions, None);
    let surplus = [pod("a")];
    let delete = plan(&set(0), &surplus.iter().collect::<Vec<_>>(), &[], at(0));
    let failed = outcome(&set(0), &delete, Some("no"), at(0)).unwrap();
    assert_eq!(failed.conditions.unwrap()[0].reason.as_deref(), Some("FailedDelete"));
    let mut settled = set(0);
    settled.status = outcome(&settled, &plan(&settled, &[], &[], at(0)), None, at(0));
    assert_eq!(outcome(&settled, &plan(&settled, &[], &[], at(0)), None, at(0)), None);
}
