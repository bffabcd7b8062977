//! Server-side apply and the account of managers, as a client sees them.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, CONFIG_MAPS, Cluster, PODS, config_map, pod};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

async fn apply(cluster: &Cluster, uri: &str, body: &Value) -> Answer {
    cluster.ask(Method::PATCH, uri, "application/json", "application/apply-patch+yaml", &body.to_string()).await
}

/// `manager/operation/subresource` of all entries.
fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    entries
        .map(|entry| format!("{}/{}/{}", text(entry, "manager"), text(entry, "operation"), text(entry, "subresource")))
        .collect()
}

fn deployment(replicas: i64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}})
}

#[tokio::test]
async fn an_apply_makes_changes_and_conflicts() {
    let cluster = Cluster::start().await;
    let uri = format!("{DEPLOYMENTS}/x?fieldManager=one");
    let dry = apply(&cluster, &format!("{uri}&dryRun=All"), &deployment(1)).await;
    assert_eq!((dry.code, cluster.get(&format!("{DEPLOYMENTS}/x")).await.code), (201, 404));
    let made = apply(&cluster, &uri, &deployment(1)).await;
    assert_eq!(made.code, 201, "{made:?}");
    assert_eq!(made.body["spec"]["revisionHistoryLimit"], 10, "defaults come after the merge");
    assert_eq!(managers(&made.body), ["one/Apply/"]);
    let again = apply(&cluster, &uri, &deployment(1)).await;
    assert_eq!((again.code, &again.body), (200, &made.body));

    let other = format!("{DEPLOYMENTS}/x?fieldManager=two");
    let refused = apply(&cluster, &other, &deployment(2)).await;
    assert_eq!(
        (refused.code, refused.message()),
        (409, "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas")
    );
    let forced = apply(&cluster, &format!("{other}&force=true"), &deployment(2)).await;
    assert_eq!((forced.code, &forced.body["spec"]["replicas"]), (200, &json!(2)));
    assert_eq!(forced.body["metadata"]["generation"], 2);
    assert_eq!(managers(&forced.body), ["one/Apply/", "two/Apply/"]);

    let stale =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x", "resourceVersion": "1"}});
    assert_eq!(apply(&cluster, &other, &stale).await.code, 409);
    let missing = apply(&cluster, &format!("{DEPLOYMENTS}/y/status?fieldManager=two"), &deployment(1)).await;
    assert_eq!(missing.code, 404);
    let renamed = apply(&cluster, &format!("{DEPLOYMENTS}/y?fieldManager=two"), &deployment(1)).await;
    assert_eq!(renamed.code, 400, "{renamed:?}");
}

#[tokio::test]
async fn applies_say_who_they_are_and_what_they_repeat() {
    let cluster = Cluster::start().await;
    let uri = format!("{CONFIG_MAPS}/x");
    let nameless = apply(&cluster, &uri, &config_map("x", "1")).await;
    assert_eq!((nameless.code, nameless.body["reason"].as_str()), (422, Some("Invalid")));
    let twice = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: '1'\n  a: '2'\n";
    let ask = |validation: &str| {
        let uri = format!("{uri}?fieldManager=me&fieldValidation={validation}");
        let cluster = &cluster;
        async move { cluster.ask(Method::PATCH, &uri, "application/json", "application/apply-patch+yaml", twice).await }
    };
    let strict = ask("Strict").await;
    assert_eq!(strict.code, 400, "{strict:?}");
    assert!(strict.message().starts_with("error strict decoding YAML: "), "{strict:?}");
    let warned = ask("Warn").await;
    assert_eq!((warned.code, warned.warnings.len(), &warned.body["data"]["a"]), (201, 1, &json!("2")));
    let unforced = cluster.patch(&format!("{uri}?force=true"), "merge", &json!({})).await;
    assert_eq!(unforced.code, 422);
}

#[tokio::test]
async fn every_write_is_accounted() {
    let cluster = Cluster::start().await;
    let made = cluster.post(&format!("{PODS}?fieldManager=maker"), &pod("p")).await;
    assert_eq!(managers(&made.body), ["maker/Update/"]);
    assert_eq!(made.body["metadata"]["managedFields"][0]["fieldsV1"]["f:status"], Value::Null);
    let running = json!({"status": {"phase": "Running"}});
    let patched = cluster.patch(&format!("{PODS}/p/status?fieldManager=kubelet"), "strategic-merge", &running).await;
    assert_eq!(managers(&patched.body), ["kubelet/Update/status", "maker/Update/"]);
    let same = cluster.patch(&format!("{PODS}/p/status?fieldManager=other"), "strategic-merge", &running).await;
    assert_eq!(same.revision(), patched.revision(), "nothing changed, nobody is named");

    let mut dropped = same.body.clone();
    dropped["metadata"]["managedFields"] = json!([{}]);
    let dropped = cluster.put(&format!("{PODS}/p"), &dropped).await;
    assert_eq!((dropped.code, managers(&dropped.body).len()), (200, 0), "{dropped:?}");
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let unaccounted = cluster.patch(&format!("{PODS}/p"), "merge", &label).await;
    assert_eq!(managers(&unaccounted.body).len(), 0, "no account until the first apply");
}

#[tokio::test]
async fn scales_pass_the_replicas_on() {
    let cluster = Cluster::start().await;
    apply(&cluster, &format!("{DEPLOYMENTS}/x?fieldManager=one"), &deployment(1)).await;
    let scale = json!({"spec": {"replicas": 3}});
    let scaled = cluster.patch(&format!("{DEPLOYMENTS}/x/scale?fieldManager=hpa"), "merge", &scale).await;
    assert_eq!((scaled.code, scaled.body["metadata"].get("managedFields")), (200, None), "{scaled:?}");
    let parent = cluster.get(&format!("{DEPLOYMENTS}/x")).await.body;
    assert_eq!(managers(&parent), ["one/Apply/", "hpa/Update/scale"]);
    let refused = apply(&cluster, &format!("{DEPLOYMENTS}/x?fieldManager=one"), &deployment(1)).await;
    assert_eq!(
        refused.message(),
        "Apply failed with 1 conflict: conflict with \"hpa\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
    let config = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "x"},
        "spec": {"replicas": 5}});
    let uri = format!("{DEPLOYMENTS}/x/scale?fieldManager=two");
    assert_eq!(apply(&cluster, &uri, &config).await.code, 409);
    let forced = apply(&cluster, &format!("{uri}&force=true"), &config).await;
    assert_eq!((forced.code, &forced.body["spec"]["replicas"]), (200, &json!(5)), "{forced:?}");
    let parent = cluster.get(&format!("{DEPLOYMENTS}/x")).await.body;
    assert_eq!(managers(&parent), ["one/Apply/", "two/Apply/scale"]);
}
