//! Kinds that are served in two forms and stored in one.

use serde_json::{Value, json};

use crate::support::Cluster;

const CORE_EVENTS: &str = "/api/v1/namespaces/default/events";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

#[tokio::test]
async fn events_of_both_groups_are_the_same_objects() {
    let cluster = Cluster::start().await;
    let newer = json!({"metadata": {"name": "newer"}, "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
        "note": "n", "reason": "Why", "type": "Normal", "action": "a", "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "c.d/e", "reportingInstance": "i"});
    let made = cluster.post(EVENTS, &newer).await;
    assert_eq!((made.code, &made.body["apiVersion"]), (201, &json!("events.k8s.io/v1")), "{made:?}");
    let core = json!({"metadata": {"name": "older"}, "involvedObject": {"kind": "Node", "name": "q", "namespace": "default"},
        "message": "m", "source": {"component": "s"}, "count": 3, "firstTimestamp": "2026-01-01T00:00:00Z"});
    assert_eq!(cluster.post(CORE_EVENTS, &core).await.code, 201);

    let read = cluster.get(&format!("{CORE_EVENTS}/newer")).await.body;
    assert_eq!((&read["apiVersion"], &read["kind"]), (&json!("v1"), &json!("Event")));
    assert_eq!((&read["message"], &read["involvedObject"]["name"]), (&json!("n"), &json!("p")));
    assert_eq!((&read["reportingComponent"], &read["firstTimestamp"]), (&json!("c.d/e"), &Value::Null));
    assert!(read.get("note").is_none(), "{read}");

    let list = cluster.get(EVENTS).await;
    assert_eq!((&list.body["apiVersion"], list.names().len()), (&json!("events.k8s.io/v1"), 2), "{list:?}");
    let older = &list.body["items"][1];
    assert_eq!((&older["note"], &older["deprecatedCount"]), (&json!("m"), &json!(3)));
    assert_eq!((&older["deprecatedSource"], &older["regarding"]["name"]), (&json!({"component": "s"}), &json!("q")));

    for (uri, names) in [
        (format!("{EVENTS}?fieldSelector=regarding.name%3Dq"), vec!["older"]),
        (format!("{EVENTS}?fieldSelector=reportingController%3Dc.d/e"), vec!["newer"]),
        (format!("{CORE_EVENTS}?fieldSelector=involvedObject.kind%3DPod,source%3Dc.d/e"), vec!["newer"]),
        (format!("{CORE_EVENTS}?fieldSelector=source%3Ds"), vec!["older"]),
    ] {
        assert_eq!(cluster.get(&uri).await.names(), names, "{uri}");
    }
    let refused = cluster.get(&format!("{EVENTS}?fieldSelector=involvedObject.name%3Dq")).await;
    assert_eq!((refused.code, refused.message()), (400, "field label not supported: involvedObject.name"));
}

#[tokio::test]
async fn an_event_is_changed_through_either_group() {
    let cluster = Cluster::start().await;
    let core = json!({"metadata": {"name": "x"}, "involvedObject": {"namespace": "default"}, "message": "m"});
    assert_eq!(cluster.post(CORE_EVENTS, &core).await.code, 201);
    let uri = format!("{EVENTS}/x");
    let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}});
    let patched = cluster.patch(&uri, "merge", &series).await;
    assert_eq!((patched.code, &patched.body["note"]), (200, &json!("m")), "{patched:?}");
    assert_eq!(cluster.get(&format!("{CORE_EVENTS}/x")).await.body["series"]["count"], 2);
    let refused = cluster.patch(&uri, "merge", &json!({"note": "other"})).await;
    assert_eq!(refused.code, 422);
    assert!(refused.message().contains("message: Invalid value: \"other\": field is immutable"), "{refused:?}");
    let again = cluster.patch(&uri, "merge", &series).await;
    assert_eq!(again.revision(), patched.revision(), "what does not change is not written");
    let deleted = cluster.delete(&uri, None).await;
    assert_eq!((deleted.code, cluster.get(&format!("{CORE_EVENTS}/x")).await.code), (200, 404));
}

#[tokio::test]
async fn autoscalers_of_both_versions_are_the_same_objects() {
    let cluster = Cluster::start().await;
    let older = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let newer = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let spec = json!({"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 3, "targetCPUUtilizationPercentage": 5});
    let made = cluster.post(older, &json!({"metadata": {"name": "x"}, "spec": spec})).await;
    assert_eq!((made.code, &made.body["spec"]["minReplicas"]), (201, &json!(1)), "{made:?}");
    let read = cluster.get(&format!("{newer}/x")).await.body;
    assert_eq!(read["apiVersion"], "autoscaling/v2");
    assert_eq!(read["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 5);
    let patch = json!({"spec": {"metrics": [{"type": "Pods", "pods": {"metric": {"name": "hits"},
        "target": {"type": "AverageValue", "averageValue": "1k"}}}]}});
    assert_eq!(cluster.patch(&format!("{newer}/x"), "merge", &patch).await.code, 200);
    let read = cluster.get(&format!("{older}/x")).await.body;
    assert!(read["spec"].get("targetCPUUtilizationPercentage").is_none(), "{read}");
    assert!(read["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"].is_string(), "{read}");
}
