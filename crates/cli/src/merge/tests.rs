//! Three-way patches, case by case.

use serde_json::{Value, json};

use super::*;

const DAEMON_SET: Option<&str> = Some("io.k8s.api.apps.v1.DaemonSet");

fn check(name: &str, original: Value, modified: Value, current: Value, want: Value) {
    let got = three_way(DAEMON_SET, Some(&original), &modified, &current);
    assert_eq!(got, want, "{name}");
}

fn pod(spec: Value) -> Value {
    json!({"spec": {"template": {"spec": spec}}})
}

#[test]
fn objects() {
    let a = json!({"metadata": {"labels": {"a": "1"}}});
    check(
        "nothing",
        a.clone(),
        a.clone(),
        json!({"metadata": {"labels": {"a": "1", "b": "2"}, "uid": "x"}}),
        json!({}),
    );
    check(
        "changed and added",
        a.clone(),
        json!({"metadata": {"labels": {"a": "2", "c": "3"}}}),
        a.clone(),
        json!({"metadata": {"labels": {"a": "2", "c": "3"}}}),
    );
    check(
        "no longer written",
        json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
        a.clone(),
        json!({"metadata": {"labels": {"a": "1", "b": "2", "c": "3"}}}),
        json!({"metadata": {"labels": {"b": null}}}),
    );
    check(
        "changed by others",
        a.clone(),
        a.clone(),
        json!({"metadata": {"labels": {"a": "9"}}}),
        json!({"metadata": {"labels": {"a": "1"}}}),
    );
    check(
        "another type",
        json!({}),
        json!({"spec": {"a": {"b": 1}}}),
        json!({"spec": {"a": 1}}),
        json!({"spec": {"a": {"b": 1}}}),
    );
    check(
        "null is sent, as kubectl sends it",
        json!({}),
        json!({"metadata": {"creationTimestamp": null}}),
        json!({"metadata": {}}),
        json!({"metadata": {"creationTimestamp": null}}),
    );
}

#[test]
fn containers_merge_by_name() {
    let one = |image: &str| json!({"containers": [{"name": "c", "image": image}]});
    let defaulted =
        pod(json!({"containers": [{"name": "c", "image": "a", "imagePullPolicy": "Always"}, {"name": "injected"}]}));
    check("defaults and others' containers stay", pod(one("a")), pod(one("a")), defaulted.clone(), json!({}));
    check(
        "an image",
        pod(one("a")),
        pod(one("b")),
        defaulted,
        pod(json!({
            "$setElementOrder/containers": [{"name": "c"}],
            "containers": [{"name": "c", "image": "b"}],
        })),
    );
    let two = json!({"containers": [{"name": "c", "image": "a"}, {"name": "d", "image": "e"}]});
    check(
        "a container no longer written",
        pod(two.clone()),
        pod(one("a")),
        pod(two.clone()),
        pod(json!({
            "$setElementOrder/containers": [{"name": "c"}],
            "containers": [{"$patch": "delete", "name": "d"}],
        })),
    );
    check(
        "another order",
        pod(two.clone()),
        pod(json!({"containers": [{"name": "d", "image": "e"}, {"name": "c", "image": "a"}]})),
        pod(two),
        pod(json!({"$setElementOrder/containers": [{"name": "d"}, {"name": "c"}]})),
    );
}

#[test]
fn lists_without_a_key_are_replaced_or_merged_as_the_type_says() {
    check(
        "args are one value",
        json!({}),
        pod(json!({"containers": [{"name": "c", "args": ["b"]}]})),
        pod(json!({"containers": [{"name": "c", "args": ["a", "b"]}]})),
        pod(json!({"$setElementOrder/containers": [{"name": "c"}], "containers": [{"name": "c", "args": ["b"]}]})),
    );
    check(
        "tolerations are one value",
        json!({}),
        pod(json!({"tolerations": [{"operator": "Exists"}]})),
        pod(json!({"tolerations": [{"operator": "Exists"}]})),
        json!({}),
    );
    check(
        "finalizers merge",
        json!({"metadata": {"finalizers": ["a", "b"]}}),
        json!({"metadata": {"finalizers": ["b", "c"]}}),
        json!({"metadata": {"finalizers": ["a", "b", "x"]}}),
        json!({"metadata": {
            "$setElementOrder/finalizers": ["b", "c"],
            "$deleteFromPrimitiveList/finalizers": ["a"],
            "finalizers": ["c"],
        }}),
    );
}

#[test]
fn volumes_retain_only_what_is_written() {
    check(
        "another source",
        pod(json!({"volumes": [{"name": "v", "emptyDir": {}}]})),
        pod(json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]})),
        pod(json!({"volumes": [{"name": "v", "emptyDir": {}}]})),
        pod(json!({
            "$setElementOrder/volumes": [{"name": "v"}],
            "volumes": [{"$retainKeys": ["hostPath", "name"], "emptyDir": null, "hostPath": {"path": "/x"}, "name": "v"}],
        })),
    );
}

#[test]
fn kinds_without_a_schema_get_a_merge_patch() {
    let modified = json!({"spec": {"list": [{"name": "a"}], "keep": 1}});
    let current = json!({"spec": {"list": [{"name": "b"}], "keep": 1, "own": 2}});
    let original = json!({"spec": {"old": true, "keep": 1}});
    let got = three_way(None, Some(&original), &modified, &current);
    assert_eq!(got, json!({"spec": {"list": [{"name": "a"}], "old": null}}));
}

#[test]
fn first_apply_of_an_object_that_stands_removes_nothing() {
    let got = three_way(DAEMON_SET, None, &json!({"spec": {"a": 1}}), &json!({"spec": {"a": 2, "b": 3}}));
    assert_eq!(got, json!({"spec": {"a": 1}}));
}

#[test]
fn a_budgets_selector_is_sent_each_time() {
    let budget = json!({"spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"a": "b"}}}});
    let got = three_way(Some("io.k8s.api.policy.v1.PodDisruptionBudget"), Some(&budget), &budget, &budget);
    assert_eq!(got, json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}));
}

#[test]
fn a_key_may_stand_twice() {
    let ports = json!([{"containerPort": 1, "protocol": "TCP", "name": "t"}, {"containerPort": 2}, {"containerPort": 1, "protocol": "UDP", "name": "u"}]);
    let object = pod(json!({"containers": [{"name": "c", "ports": ports}]}));
    check("ports of two protocols", object.clone(), object.clone(), object, json!({}));
}
