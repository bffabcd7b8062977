//! The controllers against the real API server, in one process, with nodes that only pretend.

mod attach;
mod classes;
mod fixture;
mod joining;
mod policies;
mod shadow;

use std::collections::BTreeSet;

use fixture::Cluster;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, PropagationPolicy};
use serde_json::{Value, json};

fn daemon_set(name: &str, more: Value) -> DaemonSet {
    let mut value = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "image": "x:1"}]}}},
    });
    for (path, change) in more.as_object().unwrap() {
        *value.pointer_mut(path).unwrap() = change.clone();
    }
    serde_json::from_value(value).unwrap()
}

async fn merge<K>(api: &Api<K>, name: &str, patch: Value)
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
}

fn nodes_of(pods: &[Pod]) -> BTreeSet<String> {
    pods.iter().filter_map(|p| p.spec.as_ref()?.node_name.clone()).collect()
}

fn is_rolled_out(set: &DaemonSet, count: i32) -> bool {
    let Some(status) = &set.status else { return false };
    status.observed_generation == set.metadata.generation
        && status.desired_number_scheduled == count
        && status.number_available.unwrap_or_default() == count
        && status.updated_number_scheduled.unwrap_or_default() == count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_set_from_creation_to_deletion() {
    let cluster = Cluster::start(3).await;
    let sets: Api<DaemonSet> = cluster.api();
    sets.create(&PostParams::default(), &daemon_set("d", json!({}))).await.unwrap();
    cluster.until("rolled out", async || is_rolled_out(&sets.get("d").await.unwrap(), 3)).await;
    let pods = cluster.pods("app=d").await;
    assert_eq!(nodes_of(&pods), cluster.nodes());
    let first: BTreeSet<_> = pods.iter().map(|p| p.metadata.uid.clone()).collect();

    merge(&sets, "d", json!({"spec": {"template": {"metadata": {"annotations": {"again": "1"}}}}})).await;
    cluster.until("rolled out again", async || is_rolled_out(&sets.get("d").await.unwrap(), 3)).await;
    let pods = cluster.pods("app=d").await;
    assert_eq!(nodes_of(&pods), cluster.nodes());
    assert!(pods.iter().all(|p| !first.contains(&p.metadata.uid)), "every pod was replaced");
    let revisions: Api<ControllerRevision> = cluster.api();
    let numbers = async || -> BTreeSet<i64> {
        revisions.list(&Default::default()).await.unwrap().items.iter().map(|r| r.revision).collect()
    };
    assert_eq!(numbers().await, [1, 2].into());

    merge(&sets, "d", json!({"spec": {"template": {"spec": {"nodeSelector": {"ssd": "true"}}}}})).await;
    cluster.until("no node wants it", async || cluster.pods("app=d").await.is_empty()).await;
    merge(&cluster.all::<Node>(), "n-1", json!({"metadata": {"labels": {"ssd": "true"}}})).await;
    cluster.until("one node wants it", async || is_rolled_out(&sets.get("d").await.unwrap(), 1)).await;
    assert_eq!(nodes_of(&cluster.pods("app=d").await), ["n-1".to_owned()].into());

    let events: Api<Event> = cluster.api();
    let said = async |reason: &str| {
        let all = events.list(&Default::default()).await.unwrap().items;
        all.iter().any(|e| e.reason.as_deref() == Some(reason) && e.involved_object.name.as_deref() == Some("d"))
    };
    cluster.until("events tell", async || said("SuccessfulCreate").await && said("SuccessfulDelete").await).await;

    sets.delete("d", &DeleteParams::background()).await.unwrap();
    cluster.until("all is gone", async || cluster.pods("app=d").await.is_empty() && numbers().await.is_empty()).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_are_left_and_taken_back_without_a_restart() {
    let cluster = Cluster::start(2).await;
    let sets: Api<DaemonSet> = cluster.api();
    sets.create(&PostParams::default(), &daemon_set("d", json!({}))).await.unwrap();
    cluster.until("rolled out", async || is_rolled_out(&sets.get("d").await.unwrap(), 2)).await;
    let uids = async || -> BTreeSet<_> { cluster.pods("app=d").await.iter().map(|p| p.metadata.uid.clone()).collect() };
    let before = uids().await;
    let orphan = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    sets.delete("d", &orphan).await.unwrap();
    cluster.until("the set is gone", async || sets.get_opt("d").await.unwrap().is_none()).await;
    let owners = async || -> usize {
        let pods = cluster.pods("app=d").await;
        pods.iter().map(|p| p.metadata.owner_references.iter().flatten().count()).sum()
    };
    assert_eq!((uids().await, owners().await), (before.clone(), 0));
    sets.create(&PostParams::default(), &daemon_set("d", json!({}))).await.unwrap();
    cluster.until("taken back", async || is_rolled_out(&sets.get("d").await.unwrap(), 2) && owners().await == 2).await;
    assert_eq!(uids().await, before);

    let foreground =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..DeleteParams::default() };
    sets.delete("d", &foreground).await.unwrap();
    cluster.until("the set is gone", async || sets.get_opt("d").await.unwrap().is_none()).await;
    assert!(cluster.pods("app=d").await.is_empty(), "dependents go first");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_drive_away_what_does_not_tolerate_them() {
    let cluster = Cluster::start(2).await;
    let sets: Api<DaemonSet> = cluster.api();
    sets.create(&PostParams::default(), &daemon_set("d", json!({}))).await.unwrap();
    cluster.until("rolled out", async || is_rolled_out(&sets.get("d").await.unwrap(), 2)).await;
    let nodes: Api<Node> = cluster.all();
    let keys = async |name: &str| -> Vec<String> {
        let node = nodes.get(name).await.unwrap();
        node.spec.and_then(|s| s.taints).unwrap_or_default().into_iter().map(|t| t.key).collect()
    };
    merge(&nodes, "n-0", json!({"spec": {"unschedulable": true}})).await;
    let cordon = ["node.kubernetes.io/unschedulable".to_owned()];
    cluster.until("the cordon taints", async || keys("n-0").await == cordon).await;
    merge(&nodes, "n-0", json!({"spec": {"unschedulable": null}})).await;
    cluster.until("the taint goes", async || keys("n-0").await.is_empty()).await;
    assert_eq!(cluster.pods("app=d").await.len(), 2, "daemons tolerate a cordon");

    merge(&nodes, "n-1", json!({"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}})).await;
    cluster.until("driven away", async || is_rolled_out(&sets.get("d").await.unwrap(), 1)).await;
    cluster.until("gone", async || nodes_of(&cluster.pods("app=d").await) == ["n-0".to_owned()].into()).await;
    merge(&nodes, "n-1", json!({"spec": {"taints": null}})).await;
    cluster.until("back", async || is_rolled_out(&sets.get("d").await.unwrap(), 2)).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_in_the_middle_of_a_rollout_is_harmless() {
    let mut cluster = Cluster::start(4).await;
    let sets: Api<DaemonSet> = cluster.api();
    let mut slow = daemon_set("d", json!({}));
    slow.spec.as_mut().unwrap().min_ready_seconds = Some(1);
    sets.create(&PostParams::default(), &slow).await.unwrap();
    cluster.until("rolled out", async || is_rolled_out(&sets.get("d").await.unwrap(), 4)).await;
    merge(&sets, "d", json!({"spec": {"template": {"metadata": {"annotations": {"again": "1"}}}}})).await;
    let updated =
        async || sets.get("d").await.unwrap().status.and_then(|s| s.updated_number_scheduled).unwrap_or_default();
    cluster.until("begun", async || (1..4).contains(&updated().await)).await;
    cluster.restart_controllers().await;
    cluster.until("rolled out", async || is_rolled_out(&sets.get("d").await.unwrap(), 4)).await;
    assert_eq!(cluster.pods("app=d").await.len(), 4, "no node has two");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_sets_scale_and_namespaces_end() {
    let cluster = Cluster::start(2).await;
    let namespaces: Api<Namespace> = cluster.all();
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "x"}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let sets: Api<ReplicaSet> = Api::namespaced(cluster.client(), "x");
    let set: ReplicaSet = serde_json::from_value(json!({
        "metadata": {"name": "r"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "r"}}, "template": {
            "metadata": {"labels": {"app": "r"}}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}}},
    }))
    .unwrap();
    sets.create(&PostParams::default(), &set).await.unwrap();
    let ready = async || sets.get("r").await.unwrap().status.and_then(|s| s.ready_replicas).unwrap_or_default();
    cluster.until("three are ready", async || ready().await == 3).await;
    merge(&sets, "r", json!({"spec": {"replicas": 1}})).await;
    cluster.until("one is ready", async || ready().await == 1).await;
    namespaces.delete("x", &DeleteParams::default()).await.unwrap();
    cluster.until("the namespace is gone", async || namespaces.get_opt("x").await.unwrap().is_none()).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_fit_nowhere_say_so_and_wait() {
    let cluster = Cluster::start(1).await;
    let pods: Api<Pod> = cluster.api();
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p"}, "spec": {"nodeSelector": {"gpu": "true"}, "containers": [{"name": "c", "image": "x:1"}]},
    }))
    .unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let why = async || {
        let conditions = pods.get("p").await.unwrap().status.and_then(|s| s.conditions).unwrap_or_default();
        conditions.into_iter().find(|c| c.type_ == "PodScheduled" && c.status == "False").and_then(|c| c.message)
    };
    let lead = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
    cluster.until("it says why", async || why().await.is_some_and(|w| w.starts_with(lead))).await;
    merge(&cluster.all::<Node>(), "n-0", json!({"metadata": {"labels": {"gpu": "true"}}})).await;
    cluster.until("bound", async || !nodes_of(&[pods.get("p").await.unwrap()]).is_empty()).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_node_makes_room_for_a_more_important_daemon() {
    let cluster = Cluster::start(2).await;
    let classes: Api<PriorityClass> = cluster.all();
    let class = json!({"metadata": {"name": "vital"}, "value": 1000});
    classes.create(&PostParams::default(), &serde_json::from_value(class).unwrap()).await.unwrap();
    let pods: Api<Pod> = cluster.api();
    let sleeper = json!({
        "metadata": {"name": "sleeper", "labels": {"app": "sleeper"}},
        "spec": {"nodeName": "n-1", "containers": [{"name": "c", "image": "x:1", "resources": {"requests": {"cpu": "4"}}}]},
    });
    pods.create(&PostParams::default(), &serde_json::from_value(sleeper).unwrap()).await.unwrap();
    cluster.until("the node is full", async || !cluster.pods("app=sleeper").await.is_empty()).await;
    let sets: Api<DaemonSet> = cluster.api();
    let container = json!([{"name": "c", "image": "x:1", "resources": {"requests": {"cpu": "1"}}}]);
    let set = daemon_set("d", json!({"/spec/template/spec": {"priorityClassName": "vital", "containers": container}}));
    sets.create(&PostParams::default(), &set).await.unwrap();
    cluster.until("rolled out", async || is_rolled_out(&sets.get("d").await.unwrap(), 2)).await;
    assert!(cluster.pods("app=sleeper").await.is_empty(), "it made room");
    let events: Api<Event> = cluster.api();
    let said = async |reason: &str, start: &str| {
        let all = events.list(&Default::default()).await.unwrap().items;
        let starts = |e: &Event| e.message.as_deref().is_some_and(|m| m.starts_with(start));
        all.iter().any(|e| e.reason.as_deref() == Some(reason) && starts(e))
    };
    let lead = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity].";
    cluster
        .until("events tell", async || {
            said("FailedScheduling", lead).await && said("Preempted", "Preempted by pod ").await
        })
        .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_need_others_wait_for_them() {
    let cluster = Cluster::start(2).await;
    let pods: Api<Pod> = cluster.api();
    let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}});
    let needy = json!({
        "metadata": {"name": "needy"},
        "spec": {"containers": [{"name": "c", "image": "x:1"}],
            "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}},
    });
    pods.create(&PostParams::default(), &serde_json::from_value(needy).unwrap()).await.unwrap();
    let why = async || {
        let conditions = pods.get("needy").await.unwrap().status.and_then(|s| s.conditions).unwrap_or_default();
        conditions.into_iter().find(|c| c.type_ == "PodScheduled" && c.status == "False").and_then(|c| c.message)
    };
    let lead = "0/2 nodes are available: 2 node(s) didn't match pod affinity rules.";
    cluster.until("it says why", async || why().await.is_some_and(|w| w.starts_with(lead))).await;
    let db = json!({
        "metadata": {"name": "db", "labels": {"app": "db"}},
        "spec": {"containers": [{"name": "c", "image": "x:1"}], "nodeSelector": {"kubernetes.io/hostname": "n-1"}},
    });
    pods.create(&PostParams::default(), &serde_json::from_value(db).unwrap()).await.unwrap();
    let beside = async || nodes_of(&[pods.get("needy").await.unwrap()]) == ["n-1".to_owned()].into();
    cluster.until("beside what it needs", beside).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budgets_are_reckoned() {
    let cluster = Cluster::start(2).await;
    let sets: Api<ReplicaSet> = cluster.api();
    let set = json!({
        "metadata": {"name": "r"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "r"}}, "template": {
            "metadata": {"labels": {"app": "r"}}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}}},
    });
    sets.create(&PostParams::default(), &serde_json::from_value(set).unwrap()).await.unwrap();
    let budgets: Api<PodDisruptionBudget> = cluster.api();
    let budget = json!({"metadata": {"name": "b"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "r"}}}});
    budgets.create(&PostParams::default(), &serde_json::from_value(budget).unwrap()).await.unwrap();
    let told = async || {
        let status = budgets.get("b").await.unwrap().status.unwrap_or_default();
        (status.expected_pods.unwrap_or_default(), status.disruptions_allowed.unwrap_or_default())
    };
    cluster.until("one may go", async || told().await == (3, 1)).await;
    merge(&sets, "r", json!({"spec": {"replicas": 5}})).await;
    cluster.until("five are expected", async || told().await == (5, 1)).await;
    cluster.stop().await;
}
