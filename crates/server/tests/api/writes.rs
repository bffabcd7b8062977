//! Creating, replacing, patching, binding.

use http::Method;
use serde_json::json;

use crate::support::{CONFIG_MAPS, Cluster, PODS, config_map, pod};

#[tokio::test]
async fn create_fills_in_and_refuses() {
    let cluster = Cluster::start().await;
    let made = cluster.post(CONFIG_MAPS, &config_map("x", "1")).await;
    assert_eq!(made.code, 201, "{made:?}");
    for field in ["uid", "creationTimestamp", "resourceVersion", "namespace"] {
        assert!(made.body["metadata"][field].is_string(), "{field} in {:?}", made.body);
    }
    assert_eq!(cluster.get(&format!("{CONFIG_MAPS}/x")).await.body, made.body);

    for (uri, body, code, message) in [
        (CONFIG_MAPS, config_map("x", "2"), 409, "configmaps \"x\" already exists"),
        ("/api/v1/namespaces/nope/configmaps", config_map("x", "1"), 404, "namespaces \"nope\" not found"),
        (
            "/api/v1/namespaces/default/widgets",
            config_map("x", "1"),
            404,
            "the server could not find the requested resource",
        ),
        (
            "/api/v1/namespaces/kube-system/configmaps",
            json!({"metadata": {"name": "y", "namespace": "default"}}),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
    ] {
        let answer = cluster.post(uri, &body).await;
        assert_eq!((answer.code, answer.message()), (code, message), "{uri}");
    }
}

#[tokio::test]
async fn generated_names_differ_and_dry_runs_leave_nothing() {
    let cluster = Cluster::start().await;
    let body = json!({"metadata": {"generateName": "x-"}});
    let (one, two) = (cluster.post(CONFIG_MAPS, &body).await, cluster.post(CONFIG_MAPS, &body).await);
    assert_ne!(one.body["metadata"]["name"], two.body["metadata"]["name"]);
    let dry = cluster.post(&format!("{CONFIG_MAPS}?dryRun=All"), &config_map("dry", "1")).await;
    assert_eq!((dry.code, &dry.body["metadata"]["name"]), (201, &json!("dry")));
    assert_eq!(cluster.get(&format!("{CONFIG_MAPS}/dry")).await.code, 404);
}

#[tokio::test]
async fn unknown_fields_warn_or_are_refused() {
    let cluster = Cluster::start().await;
    let body = json!({"metadata": {"name": "x"}, "dada": {}});
    let warned = cluster.post(&format!("{CONFIG_MAPS}?fieldValidation=Warn"), &body).await;
    assert_eq!(warned.warnings, ["299 - \"unknown field \\\"dada\\\"\""]);
    let strict = cluster.post(&format!("{CONFIG_MAPS}?fieldValidation=Strict"), &body).await;
    assert_eq!(strict.code, 400);
    assert!(strict.message().contains("strict decoding error: unknown field \"dada\""), "{strict:?}");
}

#[tokio::test]
async fn updates_hold_to_revisions_and_uids() {
    let cluster = Cluster::start().await;
    let uri = format!("{CONFIG_MAPS}/x");
    assert_eq!(cluster.put(&uri, &config_map("x", "1")).await.code, 404);
    let made = cluster.post(CONFIG_MAPS, &config_map("x", "1")).await;

    let same = cluster.put(&uri, &made.body).await;
    assert_eq!(same.revision(), made.revision(), "an update that changes nothing is not written");

    let changed = cluster.put(&uri, &config_map("x", "2")).await;
    assert_eq!(changed.body["metadata"]["uid"], made.body["metadata"]["uid"]);
    assert_ne!(changed.revision(), made.revision());

    let stale = cluster.put(&uri, &made.body).await;
    assert_eq!(stale.code, 409);
    assert_eq!(
        stale.message(),
        "Operation cannot be fulfilled on configmaps \"x\": the object has been modified; please apply your changes to \
         the latest version and try again"
    );
    let mut other = config_map("x", "3");
    other["metadata"]["uid"] = "other".into();
    assert_eq!(cluster.put(&uri, &other).await.code, 409);
    let renamed = cluster.put(&uri, &config_map("y", "1")).await;
    assert_eq!(renamed.message(), "the name of the object (y) does not match the name on the URL (x)");
}

#[tokio::test]
async fn patches_of_each_kind() {
    let cluster = Cluster::start().await;
    cluster.post(CONFIG_MAPS, &config_map("x", "1")).await;
    let uri = format!("{CONFIG_MAPS}/x");
    for (how, patch, want) in [
        ("merge", json!({"data": {"b": "2"}}), json!({"a": "1", "b": "2"})),
        ("strategic-merge", json!({"data": {"a": null}}), json!({"b": "2"})),
        ("json", json!([{"op": "replace", "path": "/data/b", "value": "3"}]), json!({"b": "3"})),
    ] {
        let answer = cluster.patch(&uri, how, &patch).await;
        assert_eq!((answer.code, &answer.body["data"]), (200, &want), "{how}: {answer:?}");
    }
    let before = cluster.get(&uri).await.revision();
    assert_eq!(cluster.patch(&uri, "merge", &json!({"data": {"b": "3"}})).await.revision(), before);
    assert_eq!(cluster.patch(&uri, "strange", &json!({})).await.code, 415);
    let stale = json!({"metadata": {"resourceVersion": "1"}, "data": {"b": "4"}});
    assert_eq!(cluster.patch(&uri, "merge", &stale).await.code, 409);
}

#[tokio::test]
async fn bodies_that_can_not_be_read() {
    let cluster = Cluster::start().await;
    for (media, body, code) in [
        ("application/cbor", "x", 415),
        ("application/vnd.kubernetes.protobuf", "k8s\0\u{12}\u{7f}", 400),
        ("application/vnd.kubernetes.protobuf", "k8s\0\u{12}\u{5}\n\u{3}\n\u{1}p", 201),
        ("application/json", "{", 400),
    ] {
        let answer = cluster.ask(Method::POST, CONFIG_MAPS, "application/json", media, body).await;
        assert_eq!(answer.code, code, "{media} {answer:?}");
    }
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: w}\ndata: {a: \"1\"}\n";
    let answer = cluster.ask(Method::POST, CONFIG_MAPS, "application/json", "application/yaml", yaml).await;
    assert_eq!((answer.code, &answer.body["data"]["a"]), (201, &json!("1")), "{answer:?}");
    let large = config_map("z", &"x".repeat(4 << 20));
    assert_eq!(cluster.post(CONFIG_MAPS, &large).await.code, 413);
}

#[tokio::test]
async fn a_pod_gets_its_node_once() {
    let cluster = Cluster::start().await;
    let made = cluster.post(PODS, &pod("p")).await;
    assert_eq!(made.code, 201, "{made:?}");
    assert_eq!(made.body["spec"]["serviceAccountName"], "default");
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n-1"}});
    assert_eq!(cluster.post(&format!("{PODS}/p/binding"), &binding).await.code, 201);
    let bound = cluster.get(&format!("{PODS}/p")).await;
    assert_eq!(bound.body["spec"]["nodeName"], "n-1");
    assert_eq!(bound.body["status"]["conditions"][0]["type"], "PodScheduled");
    let again = cluster.post("/api/v1/namespaces/default/bindings", &binding).await;
    assert_eq!(
        again.message(),
        "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n-1\""
    );
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let cluster = Cluster::start().await;
    let daemon_sets = "/apis/apps/v1/namespaces/default/daemonsets";
    let template = json!({"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let body = json!({"metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": template}});
    let made = cluster.post(daemon_sets, &body).await;
    assert_eq!((made.code, &made.body["metadata"]["generation"]), (201, &json!(1)), "{made:?}");
    let uri = format!("{daemon_sets}/d");
    let both = json!({"spec": {"minReadySeconds": 5}, "status": {"numberReady": 3}});
    let status = cluster.patch(&format!("{uri}/status"), "merge", &both).await;
    assert_eq!((&status.body["status"]["numberReady"], status.body["spec"].get("minReadySeconds")), (&json!(3), None));
    let spec = cluster.patch(&uri, "merge", &both).await;
    assert_eq!(spec.body["spec"]["minReadySeconds"], 5);
    assert_eq!(spec.body["metadata"]["generation"], 2);
    let zero = json!({"status": {"numberReady": 0}});
    assert_eq!(cluster.patch(&uri, "merge", &zero).await.body["status"]["numberReady"], 3);
}

#[tokio::test]
async fn a_scale_is_a_view_of_replicas() {
    let cluster = Cluster::start().await;
    let replica_sets = "/apis/apps/v1/namespaces/default/replicasets";
    let template = json!({"metadata": {"labels": {"app": "r"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let body = json!({"metadata": {"name": "r"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "r"}}, "template": template}});
    assert_eq!(cluster.post(replica_sets, &body).await.code, 201);
    let uri = format!("{replica_sets}/r/scale");
    let scale = cluster.get(&uri).await;
    assert_eq!((&scale.body["kind"], &scale.body["spec"]["replicas"]), (&json!("Scale"), &json!(3)));
    assert_eq!(scale.body["status"]["selector"], "app=r");
    let patched = cluster.patch(&uri, "merge", &json!({"spec": {"replicas": 5}})).await;
    assert_eq!((patched.code, &patched.body["spec"]["replicas"]), (200, &json!(5)), "{patched:?}");
    assert_eq!(cluster.put(&uri, &scale.body).await.code, 409, "it is of an older revision");
    let mut negative = patched.body.clone();
    negative["spec"]["replicas"] = json!(-1);
    assert_eq!(cluster.put(&uri, &negative).await.code, 422);
    assert_eq!(cluster.get(&format!("{replica_sets}/r")).await.body["spec"]["replicas"], 5);
}
