//! Rules of the kinds that run pods.

use super::super::tests::{create_errors, update_errors};
use super::*;
use crate::{defaults, kinds};

fn daemon_set(spec: Value) -> Value {
    let mut obj = json!({"metadata": {"name": "d", "namespace": "n"}, "spec": {"selector": {"matchLabels": {"app": "a"}},
        "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        obj["spec"][key] = value.clone();
    }
    defaults::apply(kinds::by_kind("apps/v1", "DaemonSet").expect("DaemonSet"), &mut obj);
    obj
}

#[test]
fn daemon_sets() {
    fn check(spec: Value, expect: &[&str]) {
        assert_eq!(create_errors("apps/v1", "DaemonSet", daemon_set(spec)), expect);
    }
    let rolling = |unavailable: Value, surge: Value| json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}}});
    let at = "spec.updateStrategy.rollingUpdate.";
    check(json!({}), &[]);
    check(
        json!({"selector": {"matchLabels": {"app": "other"}}}),
        &["spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`"],
    );
    check(json!({"selector": {}}), &["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"]);
    check(
        json!({"selector": null, "template": {}}),
        &[
            "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
            "spec.template.spec.containers: Required value",
        ],
    );
    check(rolling(json!(0), json!(1)), &[]);
    check(
        rolling(json!(0), json!(0)),
        &[&format!("{at}maxUnavailable: Required value: cannot be 0 when maxSurge is 0")],
    );
    check(
        rolling(json!(1), json!(1)),
        &[&format!("{at}maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero")],
    );
    check(
        rolling(json!("200%"), json!(0)),
        &[&format!("{at}maxUnavailable: Invalid value: \"200%\": must not be greater than 100%")],
    );
    check(
        rolling(json!(-1), json!(0)),
        &[&format!("{at}maxUnavailable: Invalid value: -1: must be greater than or equal to 0")],
    );
    check(rolling(json!("x"), json!(1)), &[&format!("{at}maxUnavailable: Invalid value: \"x\": {}", percent("x")[0])]);
    check(
        json!({"updateStrategy": {"type": "Odd"}}),
        &["spec.updateStrategy: Unsupported value: {\"RollingUpdate\":null,\"Type\":\"Odd\"}: supported values: \
           \"RollingUpdate\", \"OnDelete\""],
    );
    let template = json!({"template": {"metadata": {"labels": {"app": "a"}}, "spec": {"restartPolicy": "Never",
        "activeDeadlineSeconds": 5, "containers": [{"name": "c", "image": "i:1"}]}}});
    check(
        template,
        &[
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported",
        ],
    );
}

#[test]
fn immutable_fields() {
    let new = daemon_set(json!({"selector": {"matchLabels": {"app": "b"}},
        "template": {"metadata": {"labels": {"app": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}));
    let expect = "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable";
    assert_eq!(update_errors("apps/v1", "DaemonSet", new, daemon_set(json!({}))), [expect]);
    let revision = |data: Value| json!({"metadata": {"name": "r", "namespace": "n"}, "data": data, "revision": 1});
    let errors = update_errors("apps/v1", "ControllerRevision", revision(json!({"a": 1})), revision(json!({"a": 2})));
    assert_eq!(errors, ["data: Invalid value: {\"a\":1}: field is immutable"]);
    assert_eq!(
        create_errors("apps/v1", "ControllerRevision", revision(Value::Null)),
        ["data: Required value: data is mandatory"]
    );
}

#[test]
fn statuses() {
    fn check(kind: &str, new: Value, old: Value, expect: &[&str]) {
        let mut errors = Errors::new();
        update_status(kind, &json!({"status": new}), &json!({"status": old}), &mut errors);
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors, expect);
    }
    check("DaemonSet", json!({"numberReady": 3}), json!({}), &[]);
    check(
        "DaemonSet",
        json!({"numberReady": -1}),
        json!({"collisionCount": 2}),
        &[
            "status.numberReady: Invalid value: -1: must be greater than or equal to 0",
            "status.collisionCount: Invalid value: 0: cannot be decremented",
        ],
    );
    check(
        "ReplicaSet",
        json!({"replicas": 1, "readyReplicas": 2}),
        json!({}),
        &["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"],
    );
}
