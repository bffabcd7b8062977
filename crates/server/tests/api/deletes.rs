//! Deleting.

use serde_json::json;

use crate::support::{CONFIG_MAPS, Cluster, PODS, config_map, pod};

#[tokio::test]
async fn objects_go_and_finalizers_hold_them() {
    let cluster = Cluster::start().await;
    let uri = format!("{CONFIG_MAPS}/x");
    let made = cluster.post(CONFIG_MAPS, &config_map("x", "1")).await;
    let other = json!({"preconditions": {"uid": "other"}});
    assert_eq!(cluster.delete(&uri, Some(&other)).await.code, 409);
    let gone = cluster.delete(&uri, None).await;
    assert_eq!(gone.body["status"], "Success");
    assert_eq!(gone.body["details"]["uid"], made.body["metadata"]["uid"]);
    assert_eq!(cluster.delete(&uri, None).await.message(), "configmaps \"x\" not found");

    let mut held = config_map("x", "1");
    held["metadata"]["finalizers"] = json!(["example.com/x"]);
    cluster.post(CONFIG_MAPS, &held).await;
    let marked = cluster.delete(&uri, None).await;
    assert!(marked.body["metadata"]["deletionTimestamp"].is_string(), "{marked:?}");
    assert_eq!(cluster.get(&uri).await.code, 200);
    cluster.patch(&uri, "merge", &json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(cluster.get(&uri).await.code, 404);
}

#[tokio::test]
async fn pods_on_nodes_end_gracefully() {
    let cluster = Cluster::start().await;
    cluster.post(PODS, &pod("loose")).await;
    cluster.delete(&format!("{PODS}/loose"), None).await;
    assert_eq!(cluster.get(&format!("{PODS}/loose")).await.code, 404);

    let mut placed = pod("placed");
    placed["spec"]["nodeName"] = "n-1".into();
    cluster.post(PODS, &placed).await;
    let uri = format!("{PODS}/placed");
    let marked = cluster.delete(&uri, None).await;
    assert_eq!(marked.body["metadata"]["deletionGracePeriodSeconds"], 30);
    let again = cluster.delete(&uri, None).await;
    assert_eq!(again.revision(), marked.revision());
    assert_eq!(cluster.delete(&uri, Some(&json!({"gracePeriodSeconds": 0}))).await.code, 200);
    assert_eq!(cluster.get(&uri).await.code, 404);
}

#[tokio::test]
async fn collections_go_by_selector() {
    let cluster = Cluster::start().await;
    for (name, value) in [("a", "1"), ("b", "2"), ("c", "1")] {
        cluster.post(CONFIG_MAPS, &config_map(name, value)).await;
    }
    let deleted = cluster.delete(&format!("{CONFIG_MAPS}?labelSelector=value%3D1"), None).await;
    assert_eq!(deleted.names(), ["a", "c"]);
    assert_eq!(cluster.get(CONFIG_MAPS).await.names(), ["b"]);
}

#[tokio::test]
async fn namespaces_wait_for_their_content() {
    let cluster = Cluster::start().await;
    let refused = cluster.delete("/api/v1/namespaces/default", None).await;
    assert_eq!(refused.message(), "namespaces \"default\" is forbidden: this namespace may not be deleted");
    cluster.post("/api/v1/namespaces", &json!({"metadata": {"name": "a"}})).await;
    let marked = cluster.delete("/api/v1/namespaces/a", None).await;
    assert_eq!(marked.body["status"]["phase"], "Terminating");
    let late = cluster.post("/api/v1/namespaces/a/configmaps", &config_map("x", "1")).await;
    assert_eq!(
        late.message(),
        "configmaps \"x\" is forbidden: unable to create new content in namespace a because it is being terminated"
    );
    let mut finalized = marked.body.clone();
    finalized["spec"]["finalizers"] = json!([]);
    assert_eq!(cluster.put("/api/v1/namespaces/a/finalize", &finalized).await.code, 200);
    assert_eq!(cluster.get("/api/v1/namespaces/a").await.code, 404);
}

#[tokio::test]
async fn eviction_honours_budgets() {
    let cluster = Cluster::start().await;
    let mut running = pod("p");
    running["metadata"]["labels"] = json!({"app": "p"});
    running["spec"]["nodeName"] = "n-1".into();
    cluster.post(PODS, &running).await;
    cluster.patch(&format!("{PODS}/p/status"), "merge", &json!({"status": {"phase": "Running"}})).await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget =
        json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "p"}}}});
    cluster.post(budgets, &budget).await;
    let eviction = json!({"metadata": {"name": "p"}});
    let held = cluster.post(&format!("{PODS}/p/eviction"), &eviction).await;
    assert_eq!((held.code, held.message()), (429, "Cannot evict pod as it would violate the pod's disruption budget."));
    cluster.delete(&format!("{budgets}/b"), None).await;
    assert_eq!(cluster.post(&format!("{PODS}/p/eviction"), &eviction).await.code, 201);
    assert!(cluster.get(&format!("{PODS}/p")).await.body["metadata"]["deletionTimestamp"].is_string());
}
