//! Images that nodes pull before their daemon is replaced.

use serde_json::json;

use super::fixture::*;
use crate::daemonset::{Action, Hold, Plan, Reason};

/// A settled set of `x:1` under a policy, with nodes that pull, of which the image is changed.
fn cluster(nodes: usize, strategy: &str, pre_pull: serde_json::Value) -> Cluster {
    let mut cluster = Cluster::new(set(strategy), nodes);
    cluster.nodes.values_mut().for_each(|node| node.pre_pulls = true);
    cluster.govern(json!({"prePull": pre_pull, "progressDeadlineSeconds": 600}));
    cluster.settle();
    set_image(&mut cluster.set, "x:2");
    cluster
}

const ONE: &str = r#"{"updateStrategy": {"rollingUpdate": {"maxUnavailable": 1}}}"#;

/// The pods whose nodes are asked, with what for; and those where it ends.
fn asks(plan: &Plan) -> Vec<String> {
    let short = |action: &Action| match action {
        Action::PrePull(t, images) => Some(format!("{} {}", t.name, images.as_deref().unwrap_or("-"))),
        _ => None,
    };
    plan.actions.iter().filter_map(short).collect()
}

fn pulled(cluster: &mut Cluster, node: &str) {
    cluster.pod_on(node).pre_pull.as_mut().unwrap().done = true;
}

#[test]
fn the_old_daemon_stays_until_the_image_is_there() {
    let mut cluster = cluster(4, ONE, json!({}));
    let plan = cluster.round();
    assert_eq!((asks(&plan), moves(&plan)), (vec!["d-0001 x:2".into(), "d-0002 x:2".into()], vec![]));
    for _ in 0..5 {
        let plan = cluster.round();
        assert_eq!((asks(&plan), moves(&plan)), (vec![], vec![]), "it waits and asks nobody again");
    }
    let plan = cluster.plan();
    let reason =
        |node: &str, pod: &str, hold| assert_eq!(plan.reasons[node], Reason::Outdated { pod: pod.into(), hold });
    reason("n-0", "d-0001", Hold::PrePull(None));
    reason("n-3", "d-0004", Hold::PulledElsewhere);
    pulled(&mut cluster, "n-1");
    assert_eq!(moves(&cluster.round()), ["-d-0002"], "whoever has it is next");
    let plan = cluster.round();
    assert_eq!((asks(&plan), moves(&plan)), (vec!["d-0003 x:2".into()], vec!["+n-1".into()]));
}

#[test]
fn who_is_asked_and_who_is_not() {
    type Change = fn(&mut Cluster);
    let cases: [(&str, Change, bool); 9] = [
        ("a node that pulls", |_| (), true),
        ("a node that says nothing of it", |c| c.nodes.values_mut().for_each(|n| n.pre_pulls = false), false),
        ("a node that has the image", |c| list(c, "docker.io/library/x:2"), false),
        ("a node that has another", |c| list(c, "docker.io/library/x:20"), true),
        ("an image that moves", |c| (list(c, "docker.io/library/x:latest"), set_image(&mut c.set, "x")).1, true),
        ("an image that nobody pulls", |c| container(c).image_pull_policy = Some("Never".into()), false),
        ("a daemon that is sick", |c| c.pod_on("n-0").ready = false, false),
        ("a policy that does not ask", |c| c.policy.as_mut().unwrap().spec.pre_pull = None, false),
        ("no policy", |c| c.policy = None, false),
    ];
    for (what, change, asked) in cases {
        let mut cluster = cluster(1, ONE, json!({}));
        change(&mut cluster);
        let plan = cluster.plan();
        assert_eq!((!asks(&plan).is_empty(), moves(&plan).is_empty()), (asked, asked), "{what}: {:?}", plan.actions);
    }
}

#[test]
fn who_no_policy_waits_for_is_told_so() {
    type Change = fn(&mut Cluster);
    let cases: [(&str, Change); 2] = [
        ("a policy that no longer asks", |c| c.policy.as_mut().unwrap().spec.pre_pull = None),
        ("no policy", |c| c.policy = None),
    ];
    for (what, change) in cases {
        let mut cluster = cluster(4, ONE, json!({}));
        cluster.round();
        assert_eq!(cluster.pods.values().filter(|pod| pod.pre_pull.is_some()).count(), 2);
        // Nothing is replaced, which would end the requests too.
        cluster.set.spec.as_mut().unwrap().update_strategy =
            serde_json::from_value(json!({"type": "OnDelete"})).unwrap();
        change(&mut cluster);
        assert_eq!(asks(&cluster.round()), ["d-0001 -", "d-0002 -"], "{what}");
        assert!(cluster.pods.values().all(|pod| pod.pre_pull.is_none()), "{what}");
        assert_eq!(asks(&cluster.round()), Vec::<String>::new(), "{what}");
    }
}

fn list(cluster: &mut Cluster, image: &str) {
    cluster.nodes.values_mut().for_each(|node| node.images.extend([(image.to_owned(), 1)]));
}

fn container(cluster: &mut Cluster) -> &mut k8s_openapi::api::core::v1::Container {
    &mut cluster.set.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0]
}

#[test]
fn a_bad_image_takes_no_daemon_down_and_meets_the_deadline() {
    let mut cluster = cluster(30, ONE, json!({}));
    cluster.policy.as_mut().unwrap().spec.failure = serde_json::from_value(json!({"action": "Rollback"})).unwrap();
    let before: Vec<String> = cluster.pods.keys().cloned().collect();
    let mut asked = 0;
    for _ in 0..400 {
        for request in cluster.pods.values_mut().filter_map(|pod| pod.pre_pull.as_mut()) {
            request.trouble = Some("no such tag".into());
        }
        let plan = cluster.round();
        asked += asks(&plan).iter().filter(|ask| ask.ends_with("x:2")).count();
        assert_eq!(moves(&plan), Vec::<String>::new());
    }
    assert_eq!(cluster.pods.keys().cloned().collect::<Vec<_>>(), before);
    assert!((4..=12).contains(&asked), "{asked} nodes tried it before the deadline");
    let message = cluster.events.iter().find(|e| e.reason == "RolloutFailed").unwrap().message.clone();
    assert!(message.contains("no node was updated for 600 s: n-0 can't pull the new images: no such tag"), "{message}");
    // Back to the image that runs, and nobody pulls the other one any more.
    assert!(cluster.events.iter().any(|e| e.reason == "RolloutRolledBack"));
    assert!(cluster.pods.values().all(|pod| pod.pre_pull.is_none()));
}

#[test]
fn one_node_that_can_not_pull_holds_nobody_up() {
    let mut cluster = cluster(5, ONE, json!({}));
    for _ in 0..200 {
        for pod in cluster.pods.values_mut().filter(|pod| pod.node.as_deref() != Some("n-0")) {
            pod.pre_pull.iter_mut().for_each(|request| request.done = true);
        }
        cluster.round();
    }
    assert_eq!(cluster.updated(), ["n-1", "n-2", "n-3", "n-4"]);
    assert!(cluster.pod_on("n-0").deleting.is_none());
}

#[test]
fn with_a_timeout_it_goes_on_without_the_image() {
    let mut cluster = cluster(1, ONE, json!({"timeoutSeconds": 60}));
    cluster.round();
    let due = cluster.now.checked_add(jiff::SignedDuration::from_secs(58)).unwrap();
    let plan = cluster.plan();
    assert_eq!((moves(&plan), plan.requeue_at), (vec![], Some(due)));
    cluster.pass(58);
    assert_eq!(moves(&cluster.plan()), ["-d-0001"]);
}

#[test]
fn another_image_is_asked_for_anew() {
    let mut cluster = cluster(1, ONE, json!({}));
    cluster.round();
    pulled(&mut cluster, "n-0");
    set_image(&mut cluster.set, "x:3");
    let plan = cluster.plan();
    assert_eq!((asks(&plan), moves(&plan)), (vec!["d-0001 x:3".into()], vec![]));
}

#[test]
fn with_surge_nobody_is_asked() {
    let surge = r#"{"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}}"#;
    let mut cluster = cluster(2, surge, json!({}));
    let plan = cluster.round();
    assert_eq!((asks(&plan), moves(&plan)), (vec![], vec!["+n-0".into()]));
}
