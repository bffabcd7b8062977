//! Some controllers here and others elsewhere, with the rights of a DaemonSet controller, on a server without policies.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use api::rollout_policy::{RolloutPolicy, definition};
use control::Roster;
use http::{HeaderValue, Request};
use k8s_openapi::api::apps::v1::{DaemonSet, ReplicaSet};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::Client;
use kube::api::{DeleteParams, PostParams};
use kube::client::Body;
use serde_json::{Value, json};

use super::fixture::Cluster;
use super::{daemon_set, is_rolled_out};

/// The paths that were asked for.
type Paths = Arc<Mutex<BTreeSet<String>>>;

/// A client whose requests are noted, and made as this user if one is named.
fn client(cluster: &Cluster, user: Option<&'static str>) -> (Client, Paths) {
    let (inner, paths) = (cluster.client(), Paths::default());
    let seen = paths.clone();
    let service = tower::service_fn(move |mut request: Request<Body>| {
        seen.lock().unwrap().insert(request.uri().path().to_owned());
        if let Some(user) = user {
            request.headers_mut().insert("impersonate-user", HeaderValue::from_static(user));
        }
        let inner = inner.clone();
        async move { inner.send(request).await }
    });
    (Client::new(service, "default"), paths)
}

fn roster(text: &str) -> Roster {
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_named_runs_and_only_what_it_reads_is_followed() {
    let mut cluster = Cluster::without_controllers(2).await;
    let (named, paths) = client(&cluster, None);
    cluster.run(named, roster("daemonset"));
    // No pod is admitted without the account that it runs as, and no node is ready until somebody says so.
    let (accounts, _) = client(&cluster, None);
    cluster.run(accounts, roster("serviceaccount,nodelifecycle"));
    let sets: Api<DaemonSet> = cluster.api();
    let replicas: ReplicaSet = serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": {"replicas": 1,
        "selector": {"matchLabels": {"app": "r"}}, "template": {"metadata": {"labels": {"app": "r"}},
            "spec": {"containers": [{"name": "c", "image": "x:1"}]}}}}))
    .unwrap();
    cluster.api::<ReplicaSet>().create(&PostParams::default(), &replicas).await.unwrap();
    sets.create(&PostParams::default(), &daemon_set("d", json!({}))).await.unwrap();
    cluster.until("pods are made", async || cluster.pods("app=d").await.len() == 2).await;
    let is_bound = |p: &k8s_openapi::api::core::v1::Pod| p.spec.as_ref().is_some_and(|s| s.node_name.is_some());
    assert!(!cluster.pods("app=d").await.iter().any(is_bound), "nobody schedules");
    let lists = |paths: &Paths| -> BTreeSet<String> {
        let paths = paths.lock().unwrap();
        let lists = paths.iter().filter(|path| !path.contains("/namespaces/"));
        lists.filter_map(|path| path.rsplit('/').next().map(str::to_owned)).collect()
    };
    let want = ["controllerrevisions", "daemonsets", "namespaces", "nodes", "pods", "rolloutpolicies"];
    assert_eq!(lists(&paths), want.map(str::to_owned).into());

    let (rest, _) = client(&cluster, None);
    cluster.run(rest, roster("*,-daemonset,-serviceaccount,-nodelifecycle"));
    cluster.until("rolled out", async || is_rolled_out(&sets.get("d").await.unwrap(), 2)).await;
    cluster.until("the others run", async || cluster.pods("app=r").await.iter().any(is_bound)).await;
    cluster.stop().await;
}

/// What Kubernetes lets its DaemonSet controller do, and nothing else.
fn rights() -> Value {
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    json!([
        rule("apps", &["daemonsets"], &["get", "list", "watch"]),
        rule("apps", &["daemonsets/status", "daemonsets/finalizers"], &["update"]),
        rule("", &["nodes"], &["list", "watch"]),
        rule("", &["pods"], &["list", "watch", "create", "patch", "delete"]),
        rule("", &["pods/binding"], &["create"]),
        rule("apps", &["controllerrevisions"], &["create", "delete", "get", "list", "patch", "update", "watch"]),
        rule("", &["events"], &["create", "patch", "update"]),
    ])
}

async fn grant(cluster: &Cluster, name: &str, rules: &Value) {
    let (roles, bindings): (Api<ClusterRole>, Api<ClusterRoleBinding>) = (cluster.all(), cluster.all());
    let role = serde_json::from_value(json!({"metadata": {"name": name}, "rules": rules})).unwrap();
    roles.create(&PostParams::default(), &role).await.unwrap();
    let binding = json!({"metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "attached"}]});
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
}

fn policy() -> RolloutPolicy {
    serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"targets": {"names": ["d"]}}})).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_of_a_daemon_set_controller_are_enough_and_more_are_noticed() {
    let mut cluster = Cluster::without_controllers(2).await;
    let (attached, _) = client(&cluster, Some("attached"));
    cluster.run(attached, roster("daemonset"));
    let (rest, _) = client(&cluster, None);
    cluster.run(rest, roster("*,-daemonset"));
    let sets: Api<DaemonSet> = cluster.api();
    sets.create(&PostParams::default(), &daemon_set("d", json!({}))).await.unwrap();
    // Until now it may do nothing, and goes on trying.
    grant(&cluster, "attached", &rights()).await;
    cluster.until("rolled out", async || is_rolled_out(&sets.get("d").await.unwrap(), 2)).await;

    let policies: Api<RolloutPolicy> = cluster.api();
    cluster.until("policies are served", async || policies.list(&Default::default()).await.is_ok()).await;
    policies.create(&PostParams::default(), &policy()).await.unwrap();
    let more = json!([{"apiGroups": ["everynode.dev"], "resources": ["rolloutpolicies", "rolloutpolicies/status"],
        "verbs": ["list", "watch", "update"]}]);
    grant(&cluster, "attached-policies", &more).await;
    let remembers = async || !policies.get("p").await.unwrap().status.unwrap_or_default().daemon_sets.is_empty();
    cluster.until("the policy is followed", remembers).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_policies_will_do_and_policies_that_come_are_noticed() {
    let mut cluster = Cluster::without_controllers(2).await;
    let definitions: Api<CustomResourceDefinition> = cluster.all();
    let name = "rolloutpolicies.everynode.dev";
    cluster.until("defined", async || definitions.get_opt(name).await.unwrap().is_some()).await;
    definitions.delete(name, &DeleteParams::default()).await.unwrap();
    let policies: Api<RolloutPolicy> = cluster.api();
    cluster.until("policies are unknown", async || policies.list(&Default::default()).await.is_err()).await;
    let (all, _) = client(&cluster, None);
    cluster.run(all, Roster::default());
    let sets: Api<DaemonSet> = cluster.api();
    sets.create(&PostParams::default(), &daemon_set("d", json!({}))).await.unwrap();
    cluster.until("rolled out", async || is_rolled_out(&sets.get("d").await.unwrap(), 2)).await;

    let again = serde_json::from_value(definition()).unwrap();
    definitions.create(&PostParams::default(), &again).await.unwrap();
    cluster.until("policies are served", async || policies.list(&Default::default()).await.is_ok()).await;
    policies.create(&PostParams::default(), &policy()).await.unwrap();
    let remembers = async || !policies.get("p").await.unwrap().status.unwrap_or_default().daemon_sets.is_empty();
    cluster.until("the policy is followed", remembers).await;
    cluster.stop().await;
}
