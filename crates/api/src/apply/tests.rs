//! Applies and other writes as tables: what comes of them, and who manages what.

use serde_json::{Value, json};

use super::*;
use crate::decode::{self, FieldValidation};
use crate::kinds::{self, Kind};
use crate::status::Status;
use crate::{defaults, prepare};

const NOW: &str = "2026-01-01T00:00:00Z";
const LATER: &str = "2026-01-02T00:00:00Z";

fn kind(name: &str) -> &'static Kind {
    let api_version = if matches!(name, "Deployment" | "DaemonSet") { "apps/v1" } else { "v1" };
    kinds::by_kind(api_version, name).expect("a kind")
}

fn by(manager: &'static str) -> Writer<'static> {
    Writer { manager, subresource: "", now: NOW }
}

/// What an object becomes when the server stores it.
fn finished(kind: &'static Kind, mut object: Value) -> Value {
    decode::normalize(kind, &mut object, FieldValidation::Ignore).expect("an object");
    defaults::apply(kind, &mut object);
    object
}

fn applied(live: Option<&Value>, config: &Value, manager: &'static str, force: bool) -> Result<Value, Status> {
    let kind = kind(config["kind"].as_str().expect("a kind"));
    let mut object = finished(kind, apply(kind, live, config, &by(manager), force)?);
    if live.is_none() {
        prepare::create(kind, &mut object);
    }
    Ok(object)
}

fn updated(live: &Value, mut new: Value, writer: &Writer<'_>) -> Value {
    record(kind(live["kind"].as_str().expect("a kind")), Some(live), &mut new, writer);
    new
}

fn made(object: Value, manager: &'static str) -> Value {
    let kind = kind(object["kind"].as_str().expect("a kind"));
    let mut object = finished(kind, object);
    record(kind, None, &mut object, &by(manager));
    object
}

/// `manager/operation/subresource` and fields of all entries.
fn account(object: &Value) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let named = entries.map(|entry| {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        let name = format!("{}/{}/{}", text("manager"), text("operation"), text("subresource"));
        (name, entry["fieldsV1"].clone())
    });
    Value::Object(named.collect())
}

fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "a"}, "data": data})
}

fn deployment(replicas: Option<i64>, image: &str) -> Value {
    let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x", "namespace": "a"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": image}]}}}});
    if let Some(replicas) = replicas {
        object["spec"]["replicas"] = replicas.into();
    }
    object
}

#[test]
fn creates_are_accounted_as_kubernetes_does() {
    let object = made(
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "x", "labels": {"a": "b"}},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}],
                    "volumes": [{"name": "v", "hostPath": {"path": "/v"}}]}}}}),
        "kubectl-create",
    );
    assert_eq!(
        account(&object),
        json!({"kubectl-create/Update/": {
            "f:metadata": {
                "f:annotations": {".": {}, "f:deprecated.daemonset.template.generation": {}},
                "f:labels": {".": {}, "f:a": {}}},
            "f:spec": {
                "f:revisionHistoryLimit": {},
                "f:selector": {},
                "f:template": {
                    "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                    "f:spec": {
                        "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:imagePullPolicy": {},
                            "f:name": {}, "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}":
                                {".": {}, "f:containerPort": {}, "f:protocol": {}}},
                            "f:resources": {}, "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {}}},
                        "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:schedulerName": {}, "f:securityContext": {},
                        "f:terminationGracePeriodSeconds": {},
                        "f:volumes": {".": {}, "k:{\"name\":\"v\"}": {".": {},
                            "f:hostPath": {".": {}, "f:path": {}, "f:type": {}}, "f:name": {}}}}},
                "f:updateStrategy": {
                    "f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}},
                    "f:type": {}}}}})
    );
}

#[test]
fn an_apply_makes_an_object_and_then_nothing_more() {
    let config = config_map(json!({"a": "1"}));
    let one = applied(None, &config, "me", false).expect("an object");
    assert_eq!(one["data"], json!({"a": "1"}));
    assert_eq!(account(&one), json!({"me/Apply/": {"f:data": {"f:a": {}}}}));
    let mut two =
        apply(kind("ConfigMap"), Some(&one), &config, &Writer { now: LATER, ..by("me") }, false).expect("one");
    two = finished(kind("ConfigMap"), two);
    assert_eq!(one, two);
}

#[test]
fn fields_go_when_their_last_applier_leaves_them() {
    let both = config_map(json!({"a": "1", "b": "2"}));
    let one = applied(None, &both, "me", false).expect("an object");
    let two = applied(Some(&one), &config_map(json!({"a": "1"})), "other", false).expect("an agreement");
    let three = applied(Some(&two), &config_map(json!({"c": "3"})), "me", false).expect("an object");
    assert_eq!(three["data"], json!({"a": "1", "c": "3"}), "b goes, a is another's too");
    assert_eq!(account(&three), json!({"me/Apply/": {"f:data": {"f:c": {}}}, "other/Apply/": {"f:data": {"f:a": {}}}}));
    let four = applied(Some(&three), &config_map(json!({})), "me", false).expect("an object");
    let five = applied(Some(&four), &config_map(json!({})), "other", false).expect("an object");
    assert_eq!(five.get("data"), None);
}

#[test]
fn items_go_with_what_their_applier_set_of_them() {
    let with = |containers: Value| {
        let mut config = deployment(None, "i");
        config["spec"]["template"]["spec"]["containers"] = containers;
        config
    };
    let two = json!([{"name": "c", "image": "i", "env": [{"name": "e", "value": "1"}]}, {"name": "d", "image": "j"}]);
    let live = applied(None, &with(two), "me", false).expect("an object");
    let one = json!([{"name": "c", "image": "i"}]);
    let live = applied(Some(&live), &with(one), "me", false).expect("an object");
    let containers = live["spec"]["template"]["spec"]["containers"].as_array().expect("a list");
    assert_eq!(containers.len(), 1, "{containers:?}");
    assert_eq!((containers[0].get("env"), &containers[0]["imagePullPolicy"]), (None, &json!("Always")));
}

#[test]
fn conflicts_name_managers_and_fields() {
    let live = made(deployment(Some(3), "i"), "kubectl-create");
    let refused = applied(Some(&live), &deployment(Some(4), "i"), "me", false).expect_err("a conflict");
    assert_eq!(
        refused.body,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Conflict",
            "message": "Apply failed with 1 conflict: conflict with \"kubectl-create\" using apps/v1: .spec.replicas",
            "details": {"causes": [{"reason": "FieldManagerConflict", "field": ".spec.replicas",
                "message": "conflict with \"kubectl-create\" using apps/v1"}]}, "code": 409})
    );
    let live = applied(Some(&live), &deployment(Some(3), "i"), "first", false).expect("an agreement");
    let refused = applied(Some(&live), &deployment(Some(4), "j"), "me", false).expect_err("conflicts");
    assert_eq!(
        refused.message(),
        "Apply failed with 4 conflicts: conflicts with \"first\":\n- .spec.replicas\n\
         - .spec.template.spec.containers[name=\"c\"].image\n\
         conflicts with \"kubectl-create\" using apps/v1:\n- .spec.replicas\n\
         - .spec.template.spec.containers[name=\"c\"].image"
    );
    let forced = applied(Some(&live), &deployment(Some(4), "j"), "me", true).expect("force");
    assert_eq!(forced["spec"]["replicas"], 4);
    let account = account(&forced);
    assert!(account["first/Apply/"]["f:spec"].get("f:replicas").is_none(), "{account}");
    assert_eq!(account["me/Apply/"]["f:spec"]["f:replicas"], json!({}));
}

#[test]
fn updates_take_what_they_change_and_nothing_else() {
    let live = made(config_map(json!({"a": "1", "b": "2"})), "first");
    let changed = config_map(json!({"a": "9", "b": "2", "c": "3"}));
    let writer = Writer { now: LATER, ..by("second") };
    let live = updated(&live, finished(kind("ConfigMap"), changed), &writer);
    let want = json!({"first/Update/": {"f:data": {".": {}, "f:b": {}}},
        "second/Update/": {"f:data": {"f:a": {}, "f:c": {}}}});
    assert_eq!(account(&live), want);
    let mut same = live.clone();
    same["metadata"]["managedFields"].take();
    assert_eq!(updated(&live, same, &Writer { now: "2026-01-03T00:00:00Z", ..writer }), live, "no change, no entry");
    let removed = updated(&live, finished(kind("ConfigMap"), config_map(json!({"b": "2"}))), &by("third"));
    assert_eq!(account(&removed), json!({"first/Update/": {"f:data": {".": {}, "f:b": {}}}}));
}

#[test]
fn parts_of_an_object_have_their_own_entries() {
    let live = made(deployment(Some(3), "i"), "me");
    let mut new = live.clone();
    new["status"] = json!({"replicas": 3, "conditions": [{"type": "Available", "status": "True"}]});
    new["spec"]["replicas"] = 9.into();
    let new = updated(&live, new, &Writer { subresource: "status", ..by("controller") });
    assert_eq!(
        account(&new)["controller/Update/status"],
        json!({"f:status": {"f:conditions": {".": {}, "k:{\"type\":\"Available\"}":
            {".": {}, "f:status": {}, "f:type": {}}}, "f:replicas": {}}}),
        "what the status cannot change is nobody's"
    );
    assert_eq!(account(&new)["me/Update/"]["f:spec"]["f:replicas"], json!({}));

    let mut scale = json!({"metadata": {"name": "x"}, "spec": {"replicas": 3}});
    to_scale(kind("Deployment"), &new, &mut scale);
    let mut scaled = json!({"metadata": {"name": "x"}, "spec": {"replicas": 5}});
    record(&kinds::SCALE, Some(&scale), &mut scaled, &Writer { subresource: "scale", ..by("hpa") });
    let mut parent = new.clone();
    from_scale(kind("Deployment"), &scaled, &mut parent);
    assert_eq!(account(&parent)["hpa/Update/scale"], json!({"f:spec": {"f:replicas": {}}}));
    assert!(account(&parent)["me/Update/"]["f:spec"].get("f:replicas").is_none());
    let mut same = new.clone();
    from_scale(kind("Deployment"), &scale, &mut same);
    assert_eq!(account(&same), account(&new), "a scale that changes nothing takes nothing");
}

#[test]
fn clients_may_drop_or_edit_the_account() {
    let live = made(config_map(json!({"a": "1"})), "first");
    let mut new = live.clone();
    for (sent, want) in [
        (json!([]), json!({})),
        (json!([{}]), json!({})),
        (json!([{"operation": "odd"}]), account(&live)),
        (
            json!([{"manager": "z", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {"f:a": {}}}}]),
            json!({"z/Apply/": {"f:data": {"f:a": {}}}}),
        ),
    ] {
        new["metadata"]["managedFields"] = sent.clone();
        let mut sent_object = new.clone();
        decode::normalize(kind("ConfigMap"), &mut sent_object, FieldValidation::Ignore).expect("an object");
        assert_eq!(account(&updated(&live, sent_object, &by("me"))), want, "{sent}");
    }
    let bare = finished(kind("ConfigMap"), config_map(json!({"a": "1"})));
    let changed = finished(kind("ConfigMap"), config_map(json!({"a": "2"})));
    assert_eq!(account(&updated(&bare, changed, &by("me"))), json!({}), "no account, until the first apply");
    let applied = applied(Some(&bare), &config_map(json!({"b": "1"})), "me", false).expect("an object");
    let want =
        json!({"before-first-apply/Update/": {"f:data": {".": {}, "f:a": {}}}, "me/Apply/": {"f:data": {"f:b": {}}}});
    assert_eq!(account(&applied), want);
}

#[test]
fn old_updaters_become_one() {
    let mut live = made(config_map(json!({"k00": "0"})), "m00");
    let names: Vec<String> = (1..14).map(|number| format!("m{number:02}")).collect();
    for (number, name) in names.iter().enumerate() {
        let mut new = live.clone();
        new["data"][format!("k{:02}", number + 1)] = "0".into();
        let now = format!("2026-02-{:02}T00:00:00Z", number + 1);
        record(kind("ConfigMap"), Some(&live), &mut new, &Writer { manager: name, subresource: "", now: &now });
        live = new;
    }
    let account = account(&live);
    assert_eq!(account.as_object().map(serde_json::Map::len), Some(10), "{account}");
    let oldest = json!({"f:data": {".": {}, "f:k00": {}, "f:k01": {}, "f:k02": {}, "f:k03": {}, "f:k04": {}}});
    assert_eq!(account["ancient-changes/Update/"], oldest);
}

#[test]
fn kubectl_takes_over_what_it_applied_before() {
    let config = deployment(Some(3), "i");
    let mut first = config.clone();
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    first["metadata"]["annotations"] = json!({annotation: config.to_string()});
    let live = made(first, "kubectl-client-side-apply");
    let new = deployment(Some(4), "i");
    let refused = applied(Some(&live), &new, "other", false).expect_err("a conflict");
    assert_eq!(refused.reason(), "Conflict");
    let object = applied(Some(&live), &new, "kubectl", false).expect("kubectl may");
    assert_eq!(object["metadata"]["annotations"][annotation], json!(format!("{new}\n")));
    let mut scaled = live.clone();
    scaled["spec"]["replicas"] = 7.into();
    let scaled = updated(&live, scaled, &by("someone"));
    let refused = applied(Some(&scaled), &new, "kubectl", false).expect_err("a conflict");
    assert!(refused.message().contains("\"someone\""), "{refused}");
}

#[test]
fn refused_configurations() {
    let typed = "failed to create typed patch object (a/x; apps/v1, Kind=Deployment): ";
    for (change, code, message) in [
        (json!({"apiVersion": "v1"}), 400, "invalid object type: /v1, Kind=Deployment".to_owned()),
        (json!({"metadata": {"managedFields": []}}), 400, "metadata.managedFields must be nil".to_owned()),
        (json!({"spec": {"repicas": 1}}), 500, format!("{typed}.spec.repicas: field not declared in schema")),
    ] {
        let mut config = deployment(None, "i");
        json_patch::merge(&mut config, &change);
        let refused = apply(kind("Deployment"), None, &config, &by("me"), false).expect_err("a refusal");
        assert_eq!((refused.code, refused.message()), (code, message.as_str()));
    }
}

#[test]
fn times_alone_are_no_change() {
    let old = made(config_map(json!({"a": "1"})), "me");
    let mut new = old.clone();
    new["metadata"]["managedFields"][0]["time"] = LATER.into();
    keep_times(&mut new, &old);
    assert_eq!(new, old);
    new["metadata"]["managedFields"][0]["time"] = LATER.into();
    new["data"]["a"] = "2".into();
    keep_times(&mut new, &old);
    assert_eq!(new["metadata"]["managedFields"][0]["time"], LATER);
}
