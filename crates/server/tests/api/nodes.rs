//! What agents may read and write: their node, the pods bound to it, and what those name.

use crate::access::as_member;
use crate::support::{Answer, CONFIG_MAPS, Cluster, PODS, config_map, pod};
use http::Method;
use serde_json::{Value, json};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const NODES: &str = "/api/v1/nodes";

async fn as_node(cluster: &Cluster, node: &str, method: Method, uri: &str, body: Option<&Value>) -> Answer {
    as_member(cluster, &format!("system:node:{node}"), "system:nodes", method, uri, body).await
}

/// Two nodes; n-1 runs a pod that reads the secret and the config map called `mine`.
async fn start() -> (Cluster, Value) {
    let cluster = Cluster::start().await;
    for name in ["n-1", "n-2"] {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        assert_eq!(as_node(&cluster, name, Method::POST, NODES, Some(&node)).await.code, 201);
    }
    for name in ["mine", "other"] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
        assert_eq!(cluster.post(SECRETS, &secret).await.code, 201);
        assert_eq!(cluster.post(CONFIG_MAPS, &config_map(name, "x")).await.code, 201);
    }
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    cluster.post("/api/v1/namespaces/default/serviceaccounts", &account).await;
    let mut bound = pod("p");
    bound["spec"]["nodeName"] = "n-1".into();
    bound["spec"]["volumes"] = json!([{"name": "s", "secret": {"secretName": "mine"}}]);
    bound["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "mine"}}]);
    let made = cluster.post(PODS, &bound).await;
    assert_eq!(made.code, 201, "{made:?}");
    (cluster, made.body)
}

#[tokio::test]
async fn a_node_reads_what_its_pods_name() {
    let (cluster, _) = start().await;
    for (node, uri, code) in [
        ("n-1", format!("{SECRETS}/mine"), 200),
        ("n-1", format!("{SECRETS}/other"), 403),
        ("n-2", format!("{SECRETS}/mine"), 403),
        ("n-1", SECRETS.to_owned(), 403),
        ("n-1", format!("{CONFIG_MAPS}/mine"), 200),
        ("n-1", format!("{CONFIG_MAPS}/other"), 403),
        ("n-1", format!("{CONFIG_MAPS}?fieldSelector=metadata.name%3Dmine"), 200),
        ("n-1", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn-1".to_owned(), 200),
        ("n-2", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn-1".to_owned(), 403),
        ("n-1", "/api/v1/pods".to_owned(), 403),
        ("n-1", format!("{PODS}/p"), 200),
        ("n-2", format!("{PODS}/p"), 403),
        ("n-1", format!("{NODES}/n-1"), 200),
        ("n-1", format!("{NODES}/n-2"), 403),
        ("n-1", NODES.to_owned(), 403),
        ("n-1", format!("{NODES}?fieldSelector=metadata.name%3Dn-1"), 200),
    ] {
        let answer = as_node(&cluster, node, Method::GET, &uri, None).await;
        assert_eq!(answer.code, code, "{node} {uri} {answer:?}");
    }
    let refused = as_node(&cluster, "n-2", Method::GET, &format!("{SECRETS}/mine"), None).await;
    assert_eq!(
        refused.message(),
        "secrets \"mine\" is forbidden: User \"system:node:n-2\" cannot get resource \"secrets\" in API group \"\" in \
         the namespace \"default\": no relationship found between node 'n-2' and this object"
    );
}

#[tokio::test]
async fn a_node_writes_its_own() {
    let (cluster, made) = start().await;
    let status = format!("{PODS}/p/status");
    for (node, code) in [("n-2", 403), ("n-1", 200)] {
        let answer = as_node(&cluster, node, Method::PUT, &status, Some(&made)).await;
        assert_eq!(answer.code, code, "{node} {answer:?}");
    }
    let uri = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let request = |uid: &Value| {
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"boundObjectRef":
            {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid}}})
    };
    let bound = request(&made["metadata"]["uid"]);
    let unbound = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    for (node, body, code) in
        [("n-1", &bound, 201), ("n-2", &bound, 403), ("n-1", &unbound, 403), ("n-1", &request(&Value::Null), 403)]
    {
        let answer = as_node(&cluster, node, Method::POST, uri, Some(body)).await;
        assert_eq!(answer.code, code, "{node} {body} {answer:?}");
    }
    for (node, code) in [("n-2", 403), ("n-1", 200)] {
        let answer = as_node(&cluster, node, Method::DELETE, &format!("{PODS}/p"), None).await;
        assert_eq!(answer.code, code, "{node} {answer:?}");
    }
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    for (name, code) in [("n-2", 403), ("n-1", 201)] {
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}});
        assert_eq!(as_node(&cluster, "n-1", Method::POST, leases, Some(&lease)).await.code, code, "{name}");
    }
}
