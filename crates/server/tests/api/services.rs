//! Addresses and ports of Services, limit ranges, and the parts of pods that have a path of their own.

use serde_json::{Value, json};

use crate::support::{Answer, Cluster, PODS, pod};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";

fn service(name: &str, spec: Value) -> Value {
    let mut body = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        body["spec"][field] = value.clone();
    }
    body
}

fn address(answer: &Answer) -> String {
    answer.body["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn services_get_addresses_that_nobody_else_has() {
    let cluster = Cluster::start().await;
    let one = cluster.post(SERVICES, &service("one", json!({}))).await;
    assert!(one.code == 201 && address(&one).starts_with("10."), "{one:?}");
    assert_eq!(one.body["spec"]["clusterIPs"], json!([address(&one)]));
    assert_eq!(one.body["spec"]["ipFamilies"], json!(["IPv4"]));
    let kept = cluster.get(&format!("{ADDRESSES}/{}", address(&one))).await;
    assert_eq!(kept.body["spec"]["parentRef"]["name"], "one", "{kept:?}");

    let same = cluster.post(SERVICES, &service("two", json!({"clusterIP": address(&one)}))).await;
    let why = format!(
        "Service \"two\" is invalid: spec.clusterIPs: Invalid value: [\"{0}\"]: failed to allocate IP {0}: provided IP is already allocated",
        address(&one)
    );
    assert_eq!((same.code, same.message()), (422, why.as_str()));
    let outside = cluster.post(SERVICES, &service("two", json!({"clusterIP": "192.168.0.1"}))).await;
    assert!(outside.message().ends_with("The range of valid IPs is 10.96.0.0/12"), "{outside:?}");
    for spec in [json!({"clusterIP": "None"}), json!({"type": "ExternalName", "externalName": "a.b"})] {
        let bare = cluster.post(&format!("{SERVICES}?dryRun=All"), &service("bare", spec)).await;
        assert!(bare.code == 201 && !address(&bare).contains('.'), "{bare:?}");
    }

    let deleted = cluster.delete(&format!("{SERVICES}/one"), None).await;
    assert_eq!((deleted.code, &deleted.body["kind"]), (200, &json!("Service")));
    assert_eq!(cluster.get(&format!("{ADDRESSES}/{}", address(&one))).await.code, 404);
    let again = cluster.post(SERVICES, &service("two", json!({"clusterIP": address(&one)}))).await;
    assert_eq!((again.code, address(&again)), (201, address(&one)));
}

#[tokio::test]
async fn what_fails_or_is_tried_takes_nothing() {
    let cluster = Cluster::start().await;
    let before = cluster.get(ADDRESSES).await.names();
    let dry = cluster.post(&format!("{SERVICES}?dryRun=All"), &service("dry", json!({"type": "NodePort"}))).await;
    assert!(address(&dry).starts_with("10.") && dry.body["spec"]["ports"][0]["nodePort"].is_u64(), "{dry:?}");
    let taken = json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 40000}]});
    let refused = cluster.post(SERVICES, &service("x", taken)).await;
    let why = "Service \"x\" is invalid: spec.ports[0].nodePort: Invalid value: 40000: provided port is not in the valid range. \
               The range of valid ports is 30000-32767";
    assert_eq!((refused.code, refused.message()), (422, why));
    cluster.post(SERVICES, &service("x", json!({}))).await;
    let conflict = cluster.post(SERVICES, &service("x", json!({}))).await;
    assert_eq!(conflict.code, 409);
    assert_eq!(cluster.get(ADDRESSES).await.names().len(), before.len() + 1);
}

#[tokio::test]
async fn types_of_services_change() {
    let cluster = Cluster::start().await;
    let uri = format!("{SERVICES}/x");
    let made = cluster.post(SERVICES, &service("x", json!({"type": "NodePort"}))).await;
    let port = made.body["spec"]["ports"][0]["nodePort"].as_u64().expect("a port");
    assert!((30_000..=32_767).contains(&port));
    let taken = json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": port}]});
    let refused = cluster.post(SERVICES, &service("y", taken)).await;
    assert!(refused.message().ends_with("provided port is already allocated"), "{refused:?}");

    let plain = cluster.patch(&uri, "merge", &json!({"spec": {"type": "ClusterIP"}})).await;
    assert_eq!((plain.code, address(&plain)), (200, address(&made)));
    assert!(plain.body["spec"]["ports"][0].get("nodePort").is_none(), "{plain:?}");
    let free = json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": port}]});
    assert_eq!(cluster.post(SERVICES, &service("y", free)).await.code, 201);

    let moved =
        cluster.patch(&uri, "merge", &json!({"spec": {"clusterIP": "10.96.7.7", "clusterIPs": ["10.96.7.7"]}})).await;
    assert_eq!(moved.code, 422, "an address stays: {moved:?}");
    let named = json!({"spec": {"type": "ExternalName", "externalName": "a.b", "clusterIP": null, "clusterIPs": null}});
    assert_eq!(cluster.patch(&uri, "merge", &named).await.code, 200);
    assert_eq!(cluster.get(&format!("{ADDRESSES}/{}", address(&made))).await.code, 404);
    let back = json!({"spec": {"type": "ClusterIP", "externalName": null}});
    let back = cluster.patch(&uri, "merge", &back).await;
    assert!(back.code == 200 && address(&back).starts_with("10."), "{back:?}");
}

#[tokio::test]
async fn the_server_has_a_service_of_its_own() {
    let cluster = Cluster::start().await;
    let own = cluster.get(&format!("{SERVICES}/kubernetes")).await;
    assert_eq!((own.code, address(&own)), (200, "10.96.0.1".to_owned()));
    let slice = cluster.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes").await;
    assert_eq!(slice.body["endpoints"][0]["addresses"], json!(["127.0.0.1"]));
    let endpoints = cluster.get("/api/v1/namespaces/default/endpoints/kubernetes").await;
    assert_eq!(endpoints.body["subsets"][0]["ports"], slice.body["ports"]);
    let range = cluster.get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes").await;
    assert_eq!(
        (&range.body["spec"]["cidrs"], &range.body["status"]["conditions"][0]["status"]),
        (&json!(["10.96.0.0/12"]), &json!("True"))
    );
    for (kind, name) in [("flowschemas", "catch-all"), ("prioritylevelconfigurations", "exempt")] {
        assert_eq!(cluster.get(&format!("/apis/flowcontrol.apiserver.k8s.io/v1/{kind}/{name}")).await.code, 200);
    }
}

#[tokio::test]
async fn limit_ranges_fill_in_and_refuse() {
    let cluster = Cluster::start().await;
    let range = json!({"metadata": {"name": "r"}, "spec": {"limits": [{"type": "Container",
        "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "1"}}]}});
    assert_eq!(cluster.post("/api/v1/namespaces/default/limitranges", &range).await.code, 201);
    let made = cluster.post(PODS, &pod("a")).await;
    let filled = json!({"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}});
    assert_eq!(made.body["spec"]["containers"][0]["resources"], filled, "{made:?}");
    let mut large = pod("b");
    large["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "2"}});
    let refused = cluster.post(PODS, &large).await;
    let why = "pods \"b\" is forbidden: maximum cpu usage per Container is 1, but limit is 2";
    assert_eq!((refused.code, refused.message()), (403, why));
}

#[tokio::test]
async fn debugging_containers_and_resources_of_pods() {
    let cluster = Cluster::start().await;
    let mut body = pod("a");
    body["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
    assert_eq!(cluster.post(PODS, &body).await.code, 201);
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "i:1"}]}});
    let added = cluster.patch(&format!("{PODS}/a/ephemeralcontainers"), "strategic-merge", &debug).await;
    assert_eq!(
        (added.code, &added.body["spec"]["ephemeralContainers"][0]["name"]),
        (200, &json!("debug")),
        "{added:?}"
    );
    let name = &body["spec"]["containers"][0]["name"];
    let more = json!({"spec": {"containers": [{"name": name, "resources": {"requests": {"cpu": "2"}}}]}});
    let resized = cluster.patch(&format!("{PODS}/a/resize"), "strategic-merge", &more).await;
    assert_eq!(
        (resized.code, &resized.body["spec"]["containers"][0]["resources"]["requests"]["cpu"]),
        (200, &json!("2")),
        "{resized:?}"
    );
    assert_eq!(resized.body["spec"]["ephemeralContainers"][0]["name"], "debug");
    let refused = cluster.patch(&format!("{PODS}/a"), "strategic-merge", &more).await;
    assert_eq!(refused.code, 200, "as it is already: {refused:?}");
}

#[tokio::test]
async fn an_eviction_takes_a_disruption_from_its_budget() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        let mut body = pod(name);
        body["metadata"]["labels"] = json!({"app": "x"});
        body["spec"]["nodeName"] = "n".into();
        cluster.post(PODS, &body).await;
        let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        cluster.patch(&format!("{PODS}/{name}/status"), "merge", &ready).await;
    }
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"metadata": {"name": "b"}, "spec": {"selector": {"matchLabels": {"app": "x"}}}});
    cluster.post(budgets, &budget).await;
    let evict = async |name: &str| {
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        cluster.post(&format!("{PODS}/{name}/eviction"), &body).await
    };
    assert_eq!(evict("a").await.code, 429, "nobody has looked at the budget yet");
    let seen =
        json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 1, "desiredHealthy": 1, "currentHealthy": 2}});
    cluster.patch(&format!("{budgets}/b/status"), "merge", &seen).await;
    assert_eq!(evict("a").await.code, 201);
    let gone = cluster.get(&format!("{PODS}/a")).await.body;
    assert!(gone["metadata"]["deletionTimestamp"].is_string(), "{gone}");
    assert_eq!(gone["status"]["conditions"][1]["reason"], "EvictionByEvictionAPI");
    let left = cluster.get(&format!("{budgets}/b")).await.body;
    assert!(left["status"]["disruptionsAllowed"] == 0 && left["status"]["disruptedPods"]["a"].is_string(), "{left}");
    let held = evict("b").await;
    assert_eq!((held.code, held.message()), (429, "Cannot evict pod as it would violate the pod's disruption budget."));
    let other = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "c"}});
    let wrong = cluster.post(&format!("{PODS}/b/eviction"), &other).await;
    assert_eq!((wrong.code, wrong.message()), (400, "name in URL does not match name in Eviction object"));
}

#[tokio::test]
async fn classes_are_looked_up_and_given() {
    let cluster = Cluster::start().await;
    let mut body = pod("a");
    body["spec"]["runtimeClassName"] = "none".into();
    let refused = cluster.post(PODS, &body).await;
    let why = "pods \"a\" is forbidden: pod rejected: RuntimeClass \"none\" not found";
    assert_eq!((refused.code, refused.message()), (403, why));
    let class = |name: &str, mark: &str| {
        json!({"metadata": {"name": name, "annotations": {mark: "true"}},
        "provisioner": "p", "spec": {"controller": "a.b/c"}})
    };
    let marked = class("given", "storageclass.kubernetes.io/is-default-class");
    cluster.post("/apis/storage.k8s.io/v1/storageclasses", &marked).await;
    let marked = class("given", "ingressclass.kubernetes.io/is-default-class");
    cluster.post("/apis/networking.k8s.io/v1/ingressclasses", &marked).await;
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    let made = cluster.post("/api/v1/namespaces/default/persistentvolumeclaims", &claim).await;
    assert_eq!(made.body["spec"]["storageClassName"], "given", "{made:?}");
    let ingress = json!({"metadata": {"name": "i"}, "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 1}}}}});
    let made = cluster.post("/apis/networking.k8s.io/v1/namespaces/default/ingresses", &ingress).await;
    assert_eq!(made.body["spec"]["ingressClassName"], "given", "{made:?}");
    let default = |name: &str| json!({"metadata": {"name": name}, "value": 1, "globalDefault": true});
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    assert_eq!(cluster.post(classes, &default("one")).await.code, 201);
    let second = cluster.post(classes, &default("two")).await;
    assert!(
        second.message().ends_with("PriorityClass one is already marked as default. Only one default can exist"),
        "{second:?}"
    );
}
