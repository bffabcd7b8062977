//! Node classes: what pods are made of where, what restarts when classes change, and what does not.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;
use super::fixture::{Cluster, moves, set, set_image};
use api::rollout_policy::Phase;

/// A class for nodes with `size=VALUE`, that gives container `c` this much memory.
fn class(name: &str, size: &str, memory: &str) -> Value {
    json!({"name": name, "nodeSelector": {"matchLabels": {"size": size}},
        "patch": {"containers": [{"name": "c", "resources": {"limits": {"memory": memory}}}]}})
}

fn size(cluster: &mut Cluster, node: &str, size: &str) {
    cluster.nodes.get_mut(node).unwrap().labels.insert("size".into(), size.into());
}

/// Five nodes, the last two big, on which the set has rolled out under these classes.
fn settled(spec: &str, classes: &Value) -> Cluster {
    let mut cluster = Cluster::new(set(spec), 5);
    size(&mut cluster, "n-3", "big");
    size(&mut cluster, "n-4", "big");
    cluster.govern(json!({"nodeClasses": classes}));
    cluster.settle();
    cluster
}

fn uids(cluster: &Cluster) -> BTreeMap<String, String> {
    cluster.pods.values().map(|p| (p.node_or_target().unwrap().to_owned(), p.uid.clone())).collect()
}

/// The nodes whose pod is another one than before.
fn restarted(before: &BTreeMap<String, String>, cluster: &Cluster) -> Vec<String> {
    uids(cluster).into_iter().filter(|(node, uid)| before.get(node) != Some(uid)).map(|(node, _)| node).collect()
}

fn memory_of(cluster: &Cluster, node: &str) -> Option<String> {
    let pod = cluster.plan().pod(&cluster.set, node);
    let limits = pod.spec.unwrap().containers[0].resources.clone()?.limits?;
    limits.get("memory").map(|q| q.0.clone())
}

#[test]
fn pods_are_made_for_the_classes_of_their_node_in_order() {
    let all = json!({"name": "all", "nodeSelector": {}, "patch": {"containers": [{"name": "c",
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}], "args": ["-a"], "image": "x:all"}]}});
    let big = json!({"name": "big", "nodeSelector": {"matchLabels": {"size": "big"}}, "patch": {"containers": [{"name": "c",
        "env": [{"name": "B", "value": "2"}], "args": ["-b"], "resources": {"requests": {"cpu": "2"}}}]}});
    let cluster = settled("{}", &json!([all, big]));
    let made = |node: &str| serde_json::to_value(cluster.plan().pod(&cluster.set, node)).unwrap();
    let (plain, big) = (made("n-0"), made("n-4"));
    let container = |pod: &Value| pod["spec"]["containers"][0].clone();
    let want = json!({"name": "c", "image": "x:all", "args": ["-a"], "resources": {},
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]});
    assert_eq!(container(&plain), want);
    let container = container(&big);
    assert_eq!((&container["args"], &container["image"]), (&json!(["-b"]), &json!("x:all")));
    assert_eq!(container["resources"], json!({"requests": {"cpu": "2"}}));
    let mut env: Vec<Value> = container["env"].as_array().unwrap().clone();
    env.sort_by_key(|v| v["name"].to_string());
    assert_eq!(env, [json!({"name": "A", "value": "1"}), json!({"name": "B", "value": "2"})]);
    let label = |pod: &Value, name: &str| pod["metadata"]["labels"][name].clone();
    assert_eq!(label(&plain, HASH_LABEL), label(&big, HASH_LABEL), "one revision");
    assert_ne!(label(&plain, CLASS_LABEL), label(&big, CLASS_LABEL));
    assert!(cluster.pods.values().all(|p| p.labels.contains_key(CLASS_LABEL)));
}

#[test]
fn a_node_in_no_class_has_the_plain_template() {
    let cluster = settled("{}", &json!([class("big", "big", "2Gi")]));
    assert_eq!((memory_of(&cluster, "n-0"), memory_of(&cluster, "n-3")), (None, Some("2Gi".into())));
    let labelled: BTreeSet<&str> = cluster
        .pods
        .values()
        .filter(|p| p.labels.contains_key(CLASS_LABEL))
        .filter_map(|p| p.node.as_deref())
        .collect();
    assert_eq!(labelled, ["n-3", "n-4"].into());
    assert_eq!(cluster.phase(), Phase::Complete);
}

#[test]
fn a_change_of_a_class_restarts_its_nodes_alone_and_within_the_budget() {
    let mut cluster = settled("{}", &json!([class("big", "big", "2Gi"), class("small", "small", "1Mi")]));
    let (before, hash) = (uids(&cluster), cluster.plan().hash);
    cluster.govern(json!({"nodeClasses": [class("big", "big", "3Gi"), class("small", "small", "1Mi")]}));
    let plan = cluster.plan();
    assert_eq!(moves(&plan), ["-d-0004"], "one at a time");
    let waits = plan.reasons["n-4"].to_string();
    let words =
        "runs: pod d-0005 is of other node classes, its node is in class big now: maxUnavailable 1 is used up by n-3";
    assert_eq!(waits, words);
    cluster.apply(&plan);
    assert_eq!(cluster.phase(), Phase::Rolling);
    assert_eq!(cluster.set.status.as_ref().unwrap().updated_number_scheduled, Some(3), "kubectl waits for it");
    cluster.settle();
    assert_eq!(restarted(&before, &cluster), ["n-3", "n-4"]);
    assert_eq!((cluster.plan().hash, cluster.revisions.len()), (hash, 1), "no revision came of it");
    assert_eq!(memory_of(&cluster, "n-4"), Some("3Gi".into()));
    assert_eq!(cluster.phase(), Phase::Complete);
}

#[test]
fn what_changes_nothing_on_a_node_restarts_nothing_there() {
    let big = || class("big", "big", "2Gi");
    let same = [
        json!([class("renamed", "big", "2Gi")]),
        json!([class("other", "none", "9Gi"), big()]),
        json!([{"name": "big", "nodeSelector": {"matchExpressions": [{"key": "size", "operator": "In", "values": ["big"]}]},
            "patch": {"containers": [{"resources": {"limits": {"memory": "2Gi"}}, "name": "c"}]}}]),
    ];
    for classes in same {
        let mut cluster = settled("{}", &json!([big()]));
        cluster.govern(json!({"nodeClasses": classes}));
        let plan = cluster.plan();
        assert!(plan.actions.is_empty() && plan.status.is_none(), "{classes}: {:?}", plan.actions);
    }
}

#[test]
fn a_node_that_moves_to_another_class_gets_another_pod_in_its_turn() {
    let mut cluster = settled("{}", &json!([class("big", "big", "2Gi")]));
    let before = uids(&cluster);
    size(&mut cluster, "n-0", "big");
    size(&mut cluster, "n-1", "small");
    size(&mut cluster, "n-3", "small");
    assert_eq!(moves(&cluster.plan()), ["-d-0001"]);
    cluster.settle();
    assert_eq!(restarted(&before, &cluster), ["n-0", "n-3"], "n-1 is in no class, as before");
    assert_eq!((memory_of(&cluster, "n-0"), memory_of(&cluster, "n-3")), (Some("2Gi".into()), None));
}

#[test]
fn with_surge_the_new_pod_comes_first() {
    let surge = r#"{"updateStrategy":{"rollingUpdate":{"maxSurge":1,"maxUnavailable":0}}}"#;
    let mut cluster = settled(surge, &json!([class("big", "big", "2Gi")]));
    cluster.govern(json!({"nodeClasses": [class("big", "big", "3Gi")]}));
    assert_eq!(moves(&cluster.plan()), ["+n-3"]);
    cluster.settle();
    assert_eq!(cluster.pods.len(), 5);
}

#[test]
fn pause_freeze_and_windows_hold_classes_back_and_so_does_on_delete() {
    let later = json!([{"schedule": "0 3 * * *", "durationSeconds": 60}]);
    let holds = [
        (json!({"paused": true}), "the rollout is paused"),
        (json!({"frozen": true}), "the policy is frozen"),
        (json!({"windows": later}), "the next window opens at 1970-01-13T03:00:00Z"),
    ];
    for (more, words) in holds {
        let mut cluster = settled("{}", &json!([class("big", "big", "2Gi")]));
        let mut spec = json!({"nodeClasses": [class("big", "big", "3Gi")]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        cluster.govern(spec);
        let plan = cluster.plan();
        assert_eq!(moves(&plan), [""; 0], "{words}");
        assert!(plan.reasons["n-3"].to_string().ends_with(words), "{}", plan.reasons["n-3"]);
    }
    let mut cluster = settled(r#"{"updateStrategy":{"type":"OnDelete"}}"#, &json!([class("big", "big", "2Gi")]));
    cluster.govern(json!({"nodeClasses": [class("big", "big", "3Gi")]}));
    assert_eq!(moves(&cluster.plan()), [""; 0]);
}

#[test]
fn a_patch_that_makes_no_template_is_flagged_and_restarts_nothing() {
    let patch = |container: Value| {
        json!([{"name": "big", "nodeSelector": {"matchLabels": {"size": "big"}},
        "patch": {"containers": [container]}}])
    };
    let cases = [
        (json!({"name": "other", "image": "x:2"}), "the template has no container other in containers"),
        (json!({"name": "c", "resources": {"limits": {"memory": "many"}}}), "quantities must match"),
        (
            json!({"name": "c", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}),
            "must be less than or equal",
        ),
        (json!({"name": "c", "env": [{"name": "A", "valueFrom": {"nothing": {}}}]}), "valueFrom"),
    ];
    for (container, words) in cases {
        let mut cluster = settled("{}", &json!([class("big", "big", "2Gi")]));
        cluster.govern(json!({"nodeClasses": patch(container.clone())}));
        assert!(cluster.plan().actions.is_empty(), "{container}");
        cluster.pods.retain(|_, p| p.node.as_deref() != Some("n-3"));
        let plan = cluster.plan();
        assert_eq!(moves(&plan), ["+n-3"]);
        let made = plan.pod(&cluster.set, "n-3");
        assert!(!made.metadata.labels.unwrap().contains_key(CLASS_LABEL), "the plain template, until it is corrected");
        let policy = cluster.policy.clone().unwrap();
        let near = Neighbours { policies: &[&policy], sets: &[&cluster.set], nodes: &[], namespace_nodes: None };
        let status = accept(&policy, &near, cluster.now).unwrap();
        let found = &status.conditions[0];
        assert_eq!((found.status.as_str(), found.reason.as_str()), ("False", "NodeClassUnusable"));
        assert!(found.message.contains("node class big") && found.message.contains(words), "{}", found.message);
        cluster.govern(json!({"nodeClasses": [class("big", "big", "2Gi")]}));
        cluster.settle();
        assert!(cluster.pods.values().filter(|p| p.labels.contains_key(CLASS_LABEL)).count() == 2, "corrected");
    }
}

#[test]
fn a_policy_that_is_gone_or_broken_restarts_nothing() {
    let mut cluster = settled("{}", &json!([class("big", "big", "2Gi")]));
    cluster.policy = None;
    assert!(cluster.plan().actions.is_empty());
    let mut cluster = settled("{}", &json!([class("big", "big", "2Gi")]));
    cluster.govern(json!({"nodeClasses": [], "windows": [{"schedule": "x", "durationSeconds": 60}]}));
    assert!(cluster.plan().actions.is_empty());
    let mut cluster = settled("{}", &json!([class("big", "big", "2Gi")]));
    cluster.govern(json!({"nodeClasses": []}));
    let before = uids(&cluster);
    cluster.settle();
    assert_eq!(restarted(&before, &cluster), ["n-3", "n-4"], "no classes is a wish too");
}

#[test]
fn a_revision_goes_by_waves_with_the_classes_of_each_node_and_back() {
    let mut cluster = settled("{}", &json!([class("big", "big", "2Gi")]));
    let waves = json!([{"name": "w", "nodes": {"selector": {"matchLabels": {"size": "big"}}}, "gate": "Manual"}]);
    cluster.govern(json!({"waves": waves, "nodeClasses": [class("big", "big", "2Gi")]}));
    cluster.settle();
    let first = cluster.set.spec.as_ref().unwrap().template.clone();
    set_image(&mut cluster.set, "x:2");
    cluster.settle();
    assert_eq!((cluster.updated(), cluster.phase()), (vec!["n-3".into(), "n-4".into()], Phase::WaitingForPromotion));
    assert!(cluster.pods_on("n-3")[0].labels.contains_key(CLASS_LABEL));
    let before = uids(&cluster);
    cluster.set.spec.as_mut().unwrap().template = first;
    cluster.settle();
    assert_eq!(restarted(&before, &cluster), ["n-3", "n-4"], "undo restarts what was updated");
    assert_eq!((cluster.plan().actions.len(), cluster.phase()), (0, Phase::Complete));
}

#[test]
fn a_bad_revision_goes_back_with_the_classes_of_each_node() {
    let mut cluster = settled("{}", &json!([class("big", "big", "2Gi")]));
    let failure = json!({"maxUnreadySeconds": 5, "action": "Rollback"});
    cluster.govern(json!({"failure": failure, "nodeClasses": [class("big", "big", "2Gi")]}));
    cluster.settle();
    let good = cluster.plan().hash;
    set_image(&mut cluster.set, "bad");
    let bad = cluster.plan().hash;
    cluster.bad.insert(bad);
    cluster.settle();
    assert_eq!(cluster.plan().hash, good);
    for (node, wants) in [("n-0", false), ("n-4", true)] {
        let [pod] = cluster.pods_on(node)[..] else { panic!("one pod on {node}") };
        assert_eq!((&pod.labels[HASH_LABEL], pod.labels.contains_key(CLASS_LABEL)), (&good, wants));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Classes(Vec<u8>),
    Size(u8, u8),
    Image(u8),
    Rounds(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        prop::collection::vec(0..4_u8, 0..3).prop_map(Step::Classes),
        (0..5_u8, 0..3_u8).prop_map(|(node, size)| Step::Size(node, size)),
        (0..3_u8).prop_map(Step::Image),
        (1..6_u8).prop_map(Step::Rounds),
    ]
}

/// What a pod is to be like: its template and its classes.
fn wish(cluster: &Cluster, node: &str) -> (String, Option<String>) {
    let made = cluster.plan().pod(&cluster.set, node);
    let labels = made.metadata.labels.unwrap();
    (labels[HASH_LABEL].clone(), labels.get(CLASS_LABEL).cloned())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn classes_converge_within_the_budget_and_restart_only_what_differs(steps in prop::collection::vec(step(), 1..12)) {
        let mut cluster = settled("{}", &json!([class("big", "big", "1Gi")]));
        for step in steps {
            match step {
                Step::Classes(memory) => {
                    let sizes = ["big", "small", "big"];
                    let classes: Vec<Value> = memory.iter().enumerate()
                        .map(|(i, m)| class(&format!("c-{i}"), sizes[i], &format!("{}Gi", m + 1))).collect();
                    cluster.govern(json!({"nodeClasses": []}));
                    cluster.policy.as_mut().unwrap().spec.node_classes = serde_json::from_value(json!(classes)).unwrap();
                }
                Step::Size(node, s) => size(&mut cluster, &format!("n-{node}"), ["big", "small", "none"][usize::from(s)]),
                Step::Image(image) => set_image(&mut cluster.set, &format!("x:{image}")),
                Step::Rounds(rounds) => for _ in 0..rounds {
                    let plan = cluster.round();
                    let ended = plan.actions.iter().filter(|a| matches!(a, Action::DeletePod(_))).count();
                    let missing = 5 - cluster.pods.values().filter(|p| p.ready && p.deleting.is_none()).count();
                    prop_assert!(ended <= 1 && missing <= 1, "{ended} {missing}");
                },
            }
        }
        let is_right = |cluster: &Cluster, node: &str| {
            let [pod] = cluster.pods_on(node)[..] else { return false };
            (pod.labels[HASH_LABEL].clone(), pod.labels.get(CLASS_LABEL).cloned()) == wish(cluster, node)
        };
        let nodes: Vec<String> = cluster.nodes.keys().cloned().collect();
        let right: Vec<String> = nodes.iter().filter(|n| is_right(&cluster, n)).cloned().collect();
        let before = uids(&cluster);
        cluster.settle();
        let again = restarted(&before, &cluster);
        prop_assert!(!again.iter().any(|n| right.contains(n)), "{again:?} were right: {right:?}");
        prop_assert!(nodes.iter().all(|n| is_right(&cluster, n)));
        prop_assert!(cluster.plan().actions.is_empty());
    }
}
