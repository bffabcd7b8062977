//! Policies that cannot work beside what else there is, and what their status says then.

use api::rollout_policy::RolloutPolicy;
use k8s_openapi::api::apps::v1::DaemonSet;
use serde_json::{Value, json};

use super::super::*;
use super::fixture::{at, node, set};

fn policy(name: &str, created: i64, spec: Value) -> RolloutPolicy {
    let mut value = json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "generation": 7, "creationTimestamp": at(created).to_string()},
        "spec": {"targets": {"names": ["d"]}},
    });
    value["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

/// Status, reason and message of the condition that `policy` gets beside `others`.
fn judged(policy: &RolloutPolicy, others: &[RolloutPolicy], sets: &[DaemonSet], labels: &[&str]) -> [String; 3] {
    let policies: Vec<&RolloutPolicy> = others.iter().chain([policy]).collect();
    let sets: Vec<&DaemonSet> = sets.iter().collect();
    let mut nodes: Vec<NodeView> = (0..3).map(|i| node(&format!("n-{i}"))).collect();
    nodes[1].labels = labels.iter().map(|label| ((*label).to_owned(), "yes".to_owned())).collect();
    let nodes: Vec<&NodeView> = nodes.iter().collect();
    let near = Neighbours { policies: &policies, sets: &sets, nodes: &nodes, namespace_nodes: None };
    let status = accept(policy, &near, at(50)).unwrap();
    let condition = status.conditions.iter().find(|c| c.type_ == "Accepted").unwrap();
    assert_eq!((condition.observed_generation, status.observed_generation), (Some(7), Some(7)));
    [condition.status.clone(), condition.reason.clone(), condition.message.clone()]
}

#[test]
fn what_stands_in_the_way_is_said() {
    let plain = || set("{}");
    let surge = |port: Value| {
        let strategy = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
        let container = json!({"name": "c", "image": "x:1", "ports": [port]});
        set(&json!({"updateStrategy": strategy, "template": {"spec": {"containers": [container]}}}).to_string())
    };
    let wave = |nodes: Value| json!({"waves": [{"name": "w", "nodes": nodes}]});
    let zones = json!({"waves": [{"name": "w", "topologyKey": "zone"}]});
    let on_delete = || set(r#"{"updateStrategy":{"type":"OnDelete"}}"#);
    let lab = wave(json!({"selector": {"matchLabels": {"lab": "yes"}}}));
    type Case<'a> = (Value, DaemonSet, &'a [&'a str], [&'a str; 3]);
    let fine = ["True", "Accepted", "it is for d"];
    let cases: Vec<Case<'_>> = vec![
        (json!({}), plain(), &[], fine),
        (
            json!({"targets": {"names": ["e"]}}),
            plain(),
            &[],
            ["True", "NoTarget", "it is for no DaemonSet that is there"],
        ),
        (
            json!({"windows": [{"schedule": "0 0 30 2 *", "durationSeconds": 60}]}),
            plain(),
            &[],
            [
                "False",
                "Invalid",
                "spec.windows[0]: it never comes due: no month that it names has such a day; until it is corrected its rollouts are paused",
            ],
        ),
        (json!({}), surge(json!({"containerPort": 80})), &[], fine),
        (
            json!({}),
            surge(json!({"containerPort": 80, "hostPort": 80})),
            &[],
            [
                "False",
                "SurgeWithHostPort",
                "DaemonSet d has maxSurge and a hostPort: the new pod of a node cannot start beside the old one",
            ],
        ),
        (lab.clone(), plain(), &["lab"], fine),
        (
            lab.clone(),
            plain(),
            &[],
            ["False", "WaveSelectsNoNode", "wave w selects no node of DaemonSet d: a rollout will stop there"],
        ),
        (
            lab.clone(),
            set(r#"{"template":{"spec":{"nodeSelector":{"gpu":"yes"}}}}"#),
            &["gpu"],
            ["False", "WaveSelectsNoNode", "wave w selects no node of DaemonSet d: a rollout will stop there"],
        ),
        (lab, set(r#"{"template":{"spec":{"nodeSelector":{"gpu":"yes"}}}}"#), &[], fine),
        (zones.clone(), plain(), &["zone"], fine),
        (
            zones.clone(),
            plain(),
            &[],
            [
                "False",
                "WaveLabelOnNoNode",
                "wave w goes by the label zone, which no node of DaemonSet d has: they all count as one",
            ],
        ),
        (
            wave(json!({"diverse": ["arch", "kernel"]})),
            plain(),
            &["arch"],
            [
                "False",
                "WaveLabelOnNoNode",
                "wave w goes by the label kernel, which no node of DaemonSet d has: they all count as one",
            ],
        ),
        (json!({"paused": true}), on_delete(), &[], fine),
        (
            zones,
            on_delete(),
            &["zone"],
            ["False", "OnDelete", "DaemonSet d has the strategy OnDelete: waves and windows do nothing there"],
        ),
    ];
    for (spec, set, labels, want) in cases {
        assert_eq!(judged(&policy("p", 1, spec.clone()), &[], &[set], labels), want, "{spec}");
    }
}

#[test]
fn since_when_nodes_wait_is_kept() {
    let required = |required: bool| json!({"nodeReadiness": {"required": required}});
    let since = |policy: &RolloutPolicy, second: i64| {
        let near = Neighbours { policies: &[policy], sets: &[], nodes: &[], namespace_nodes: None };
        let status = accept(policy, &near, at(second)).or(policy.status.clone()).unwrap();
        let found = status.conditions.iter().find(|c| c.type_ == crate::node_readiness::CONDITION);
        (found.map(|c| c.last_transition_time.0), status)
    };
    let mut subject = policy("p", 1, required(true));
    let (first, status) = since(&subject, 60);
    assert_eq!(first, Some(at(60)));
    subject.status = Some(status.clone());
    subject.spec.paused = true;
    subject.metadata.generation = Some(8);
    assert_eq!(since(&subject, 90).0, Some(at(60)), "other changes do not begin it anew");
    let off = RolloutPolicy { status: Some(status), ..policy("p", 1, required(false)) };
    let (none, status) = since(&off, 120);
    assert_eq!(none, None);
    let again = RolloutPolicy { status: Some(status), ..policy("p", 1, required(true)) };
    assert_eq!(since(&again, 150).0, Some(at(150)));
}

#[test]
fn of_two_policies_the_older_one_counts() {
    let selector = json!({"targets": {"selector": {}, "names": null}});
    let (old, new) = (policy("z", 1, json!({})), policy("a", 2, selector));
    let sets = [set("{}")];
    assert_eq!(judged(&old, std::slice::from_ref(&new), &sets, &[])[1], "Accepted");
    let conflict = "policy z is older and for DaemonSet d too: this one does nothing there";
    assert_eq!(judged(&new, std::slice::from_ref(&old), &sets, &[]), ["False", "Conflict", conflict]);
    let twin = policy("b", 1, json!({}));
    assert_eq!(judged(&twin, std::slice::from_ref(&old), &sets, &[])[1], "Accepted", "of equal age the first by name");
    assert_eq!(choose([&old, &new, &twin].into_iter(), "d", None).unwrap().metadata.name.as_deref(), Some("b"));
    let mut going = old.clone();
    going.metadata.deletion_timestamp = Some(at(3).into());
    assert_eq!(judged(&new, &[going], &sets, &[])[1], "Accepted", "one that is being deleted counts no more");
}

#[test]
fn what_is_remembered_of_others_is_dropped() {
    let mut policy = policy("p", 1, json!({}));
    let memory = |name: &str, uid: &str| json!({"name": name, "uid": uid});
    policy.status = serde_json::from_value(
        json!({"daemonSets": [memory("d", "uid-d"), memory("d2", "uid-d2"), memory("d", "older")]}),
    )
    .unwrap();
    let sets = [set("{}")];
    let sets: Vec<&DaemonSet> = sets.iter().collect();
    let policies = [&policy];
    let near = Neighbours { policies: &policies, sets: &sets, nodes: &[], namespace_nodes: None };
    let status = accept(&policy, &near, at(50)).unwrap();
    assert_eq!(status.daemon_sets.iter().map(|m| m.uid.as_str()).collect::<Vec<_>>(), ["uid-d"]);
    let told = RolloutPolicy { status: Some(status), ..policy.clone() };
    let policies = [&told];
    let near = Neighbours { policies: &policies, ..near };
    assert_eq!(accept(&told, &near, at(90)), None, "what is said already is not written again");
}
