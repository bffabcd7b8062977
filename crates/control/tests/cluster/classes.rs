//! Node classes on the real API server.

use api::rollout_policy::RolloutPolicy;
use decide::daemonset::{CLASS_LABEL, HASH_LABEL};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::fixture::Cluster;
use super::{daemon_set, is_rolled_out, merge};

fn classes(memory: &str) -> Value {
    json!([{"name": "big", "nodeSelector": {"matchLabels": {"size": "big"}},
        "patch": {"containers": [{"name": "c", "resources": {"limits": {"memory": memory}}}]}}])
}

async fn pod_on(cluster: &Cluster, node: &str) -> Option<Pod> {
    let mut pods = cluster.pods("app=d").await;
    pods.retain(|p| p.spec.as_ref().is_some_and(|s| s.node_name.as_deref() == Some(node)));
    pods.pop()
}

/// The memory that the pod of a node may use.
async fn memory(cluster: &Cluster, node: &str) -> Option<String> {
    let resources = pod_on(cluster, node).await?.spec?.containers.remove(0).resources?;
    Some(resources.limits?.get("memory")?.0.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_get_pods_of_their_class_and_others_when_it_changes() {
    let cluster = Cluster::start(3).await;
    let (sets, policies): (Api<DaemonSet>, Api<RolloutPolicy>) = (cluster.api(), cluster.api());
    let nodes: Api<Node> = cluster.all();
    merge(&nodes, "n-0", json!({"metadata": {"labels": {"size": "big"}}})).await;
    cluster.until("policies are served", async || policies.list(&Default::default()).await.is_ok()).await;
    let policy =
        json!({"metadata": {"name": "p"}, "spec": {"targets": {"names": ["d"]}, "nodeClasses": classes("1Gi")}});
    policies.create(&PostParams::default(), &serde_json::from_value(policy).unwrap()).await.unwrap();
    sets.create(&PostParams::default(), &daemon_set("d", json!({}))).await.unwrap();
    let done = async || is_rolled_out(&sets.get("d").await.unwrap(), 3);
    cluster.until("rolled out", done).await;
    assert_eq!((memory(&cluster, "n-0").await, memory(&cluster, "n-1").await), (Some("1Gi".into()), None));
    let uid = async |node: &str| pod_on(&cluster, node).await.and_then(|p| p.metadata.uid);
    let (first, plain) = (uid("n-0").await, uid("n-2").await);

    merge(&nodes, "n-1", json!({"metadata": {"labels": {"size": "big"}}})).await;
    cluster.until("n-1 is big", async || memory(&cluster, "n-1").await.as_deref() == Some("1Gi")).await;
    assert_eq!(uid("n-0").await, first, "it was big before");
    merge(&policies, "p", json!({"spec": {"nodeClasses": classes("2Gi")}})).await;
    let bigger = async || {
        memory(&cluster, "n-0").await.as_deref() == Some("2Gi")
            && memory(&cluster, "n-1").await.as_deref() == Some("2Gi")
    };
    cluster.until("both are bigger", bigger).await;
    cluster.until("done", done).await;
    assert_eq!(uid("n-2").await, plain, "the class is not its own");
    assert_eq!(cluster.api::<ControllerRevision>().list(&Default::default()).await.unwrap().items.len(), 1);
    let labels = async |node: &str| pod_on(&cluster, node).await.unwrap().metadata.labels.unwrap();
    let (big, plain) = (labels("n-0").await, labels("n-2").await);
    assert_eq!(big[HASH_LABEL], plain[HASH_LABEL]);
    assert_eq!((big.contains_key(CLASS_LABEL), plain.contains_key(CLASS_LABEL)), (true, false));

    let wrong = json!([{"name": "big", "nodeSelector": {"matchLabels": {"size": "big"}},
        "patch": {"containers": [{"name": "other", "image": "x:9"}]}}]);
    merge(&policies, "p", json!({"spec": {"nodeClasses": wrong}})).await;
    let flagged = async || {
        let status = policies.get("p").await.unwrap().status.unwrap_or_default();
        status.conditions.iter().any(|c| c.reason == "NodeClassUnusable" && c.message.contains("no container other"))
    };
    cluster.until("it is flagged", flagged).await;
    assert_eq!(memory(&cluster, "n-0").await.as_deref(), Some("2Gi"), "and restarts nothing");
    cluster.stop().await;
}
