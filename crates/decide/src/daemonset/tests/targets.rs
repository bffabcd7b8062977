//! The node that a pod is for, and what of a pod tells its revision.

use serde_json::{Value, json};

use super::super::*;
use super::fixture::{Cluster, at, set};
use crate::view::Phase;

fn pod(spec: Value) -> PodView {
    let object: k8s_openapi::api::core::v1::Pod =
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap();
    PodView::from(&object)
}

#[test]
fn a_pod_is_for_the_node_it_has_or_names() {
    let spec = |terms: Value| {
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        json!({"containers": [], "affinity": {"nodeAffinity": required}})
    };
    let named = |values: Value| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": values}]});
    let mut bound = spec(json!([named(json!(["n-2"]))]));
    bound["nodeName"] = json!("n-1");
    let labels = json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]});
    let cases = [
        (bound, Some("n-1")),
        (spec(json!([named(json!(["n-1"]))])), Some("n-1")),
        (spec(json!([labels, named(json!(["n-1"]))])), Some("n-1")),
        (spec(json!([named(json!(["n-1", "n-2"]))])), None),
        (spec(json!([labels])), None),
        (spec(json!([])), None),
        (json!({"containers": []}), None),
    ];
    for (spec, expect) in cases {
        assert_eq!(pod(spec.clone()).node_or_target(), expect, "{spec}");
    }
}

#[test]
fn the_name_of_the_node_replaces_other_terms_and_nothing_else() {
    let terms = |terms: Value| json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
    let own = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n-7"]}]}]);
    let labels = json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]});
    let preferred = json!([{"weight": 1, "preference": labels}]);
    let cases = [
        (Value::Null, json!({"nodeAffinity": terms(own.clone())})),
        (json!({}), json!({"nodeAffinity": terms(own.clone())})),
        (json!({"nodeAffinity": {}}), json!({"nodeAffinity": terms(own.clone())})),
        (json!({"nodeAffinity": terms(json!([]))}), json!({"nodeAffinity": terms(own.clone())})),
        (json!({"nodeAffinity": terms(json!([labels, labels]))}), json!({"nodeAffinity": terms(own.clone())})),
        (
            json!({"podAffinity": {}, "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}),
            json!({"podAffinity": {}, "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": preferred,
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": own}}}),
        ),
    ];
    for (before, after) in cases {
        let set = set(&json!({"template": {"spec": {"affinity": before}}}).to_string());
        let made = serde_json::to_value(new_pod(&set, "h", "n-7").spec.unwrap().affinity).unwrap();
        assert_eq!(made, after, "{before}");
    }
}

#[test]
fn a_pod_is_current_by_hash_or_by_generation() {
    let cluster = Cluster::settled(set("{}"), 1);
    let hash = cluster.plan().hash;
    type Case<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>, bool);
    let cases: &[Case<'_>] = &[
        (Some("4"), Some(&hash), Some("4"), true),
        (Some("other"), Some(&hash), Some("4"), true),
        (None, Some(&hash), None, true),
        (Some("4"), Some("other"), Some("4"), true),
        (Some("4"), None, Some("4"), true),
        (Some("3"), Some("other"), Some("4"), false),
        (None, Some("other"), None, false),
        (None, None, Some("4"), false),
        (Some("x"), None, Some("x"), false),
    ];
    for (label, hash, stated, expect) in cases {
        let mut cluster = cluster.clone();
        let annotation = stated.map(|text| [(GENERATION_ANNOTATION.to_owned(), text.to_owned())].into());
        cluster.set.metadata.annotations = annotation;
        let pod = cluster.pod_on("n-0");
        let labels = [(GENERATION_LABEL, label), (HASH_LABEL, hash)];
        pod.labels = [("app".to_owned(), "d".to_owned())].into();
        pod.labels.extend(labels.iter().filter_map(|(k, v)| v.map(|v| ((*k).to_owned(), v.to_owned()))));
        assert_eq!(cluster.plan().actions.is_empty(), *expect, "{label:?} {hash:?} {stated:?}");
    }
}

#[test]
fn ended_pods_that_go_are_nobodys_but_keep_their_revision() {
    let mut cluster = Cluster::settled(set(r#"{"revisionHistoryLimit":0,"updateStrategy":{"type":"OnDelete"}}"#), 1);
    let ended = cluster.pod_on("n-0");
    ended.phase = Phase::Succeeded;
    ended.deleting = Some(at(0));
    super::fixture::set_image(&mut cluster.set, "x:2");
    let plan = cluster.plan();
    assert_eq!(super::fixture::moves(&plan), ["+n-0"], "its node is free");
    assert_eq!(plan.status.as_ref().unwrap().current_number_scheduled, 0);
    cluster.apply(&plan);
    assert!(!cluster.plan().actions.iter().any(|a| matches!(a, Action::DeleteRevision(_))), "it still has the old one");
}
