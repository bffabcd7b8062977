//! A shadow beside our own controllers, of which it has nothing to tell, and beside hands that do wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use decide::shadow::Look;
use http::Request;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::fixture::Cluster;
use super::{daemon_set, is_rolled_out, merge};

/// What a shadow told.
#[derive(Default)]
struct Told {
    differences: Vec<String>,
    made: usize,
    ended: usize,
    open: BTreeMap<String, usize>,
    methods: BTreeSet<String>,
}

struct Shadow {
    told: Arc<Mutex<Told>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), control::Error>>,
}

impl Shadow {
    fn start(cluster: &Cluster, patience: Duration) -> Self {
        let (told, stop) = (Arc::new(Mutex::new(Told::default())), CancellationToken::new());
        let (inner, seen) = (cluster.client(), told.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            seen.lock().unwrap().methods.insert(request.method().to_string());
            let inner = inner.clone();
            async move { inner.send(request).await }
        });
        let notes = told.clone();
        let tell = move |name: &str, look: &Look| {
            let mut told = notes.lock().unwrap();
            told.made += look.made;
            told.ended += look.ended;
            told.open.insert(name.to_owned(), look.open);
            told.differences.extend(look.differences.iter().map(|d| format!("{:?} {} / {}", d.kind, d.theirs, d.ours)));
        };
        let task = tokio::spawn(control::shadow(Client::new(service, "default"), patience, tell, stop.clone()));
        Self { told, stop, task }
    }

    /// Pods made and ended as ours would have, and what is not known to be right.
    fn counts(&self) -> (usize, usize, usize) {
        let told = self.told.lock().unwrap();
        (told.made, told.ended, told.open.values().sum())
    }

    async fn until_told(&self, cluster: &Cluster, start: &str) {
        let told = async || self.told.lock().unwrap().differences.iter().any(|d| d.starts_with(start));
        cluster.until(start, told).await;
    }

    async fn stop(self) -> Vec<String> {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        let told = self.told.lock().unwrap();
        assert_eq!(told.methods, ["GET".to_owned()].into(), "nothing is ever written");
        told.differences.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_controllers_do_as_ours_would() {
    let cluster = Cluster::start(4).await;
    // So long that only what is agreed on can ever be settled, however slow the machine is.
    let shadow = Shadow::start(&cluster, Duration::from_secs(3600));
    let sets: Api<DaemonSet> = cluster.api();
    sets.create(&PostParams::default(), &daemon_set("first", json!({}))).await.unwrap();
    cluster.until("it is seen", async || shadow.told.lock().unwrap().open.contains_key("default/first")).await;
    sets.create(&PostParams::default(), &daemon_set("d", json!({}))).await.unwrap();
    cluster.until("rolled out", async || is_rolled_out(&sets.get("d").await.unwrap(), 4)).await;
    cluster.until("the first is there", async || is_rolled_out(&sets.get("first").await.unwrap(), 4)).await;
    cluster.until("agreed", async || shadow.counts().2 == 0).await;
    let (made, ended, _) = shadow.counts();

    merge(&sets, "d", json!({"spec": {"template": {"metadata": {"annotations": {"again": "1"}}}}})).await;
    cluster.until("rolled out again", async || is_rolled_out(&sets.get("d").await.unwrap(), 4)).await;
    cluster.until("agreed again", async || shadow.counts() == (made + 4, ended + 4, 0)).await;

    merge(&sets, "d", json!({"spec": {"template": {"spec": {"nodeSelector": {"ssd": "true"}}}}})).await;
    cluster.until("no node wants it", async || cluster.pods("app=d").await.is_empty()).await;
    merge(&cluster.all::<Node>(), "n-1", json!({"metadata": {"labels": {"ssd": "true"}}})).await;
    cluster.until("one node wants it", async || is_rolled_out(&sets.get("d").await.unwrap(), 1)).await;
    cluster.until("agreed on that", async || shadow.counts() == (made + 5, ended + 8, 0)).await;

    sets.delete("d", &DeleteParams::background()).await.unwrap();
    cluster.until("all is gone", async || cluster.pods("app=d").await.is_empty()).await;
    cluster.until("agreed to the end", async || shadow.counts().2 == 0).await;
    assert_eq!(shadow.stop().await, [""; 0]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_hands_are_told_of() {
    let mut cluster = Cluster::start(2).await;
    let sets: Api<DaemonSet> = cluster.api();
    sets.create(&PostParams::default(), &daemon_set("d", json!({}))).await.unwrap();
    cluster.until("rolled out", async || is_rolled_out(&sets.get("d").await.unwrap(), 2)).await;
    let shadow = Shadow::start(&cluster, Duration::from_secs(1));
    cluster.until("it is seen", async || shadow.told.lock().unwrap().open.get("default/d") == Some(&0)).await;

    let pods: Api<Pod> = cluster.api();
    let first = cluster.pods("app=d").await.remove(0);
    pods.delete(first.metadata.name.as_deref().unwrap(), &DeleteParams::default()).await.unwrap();
    shadow.until_told(&cluster, "Deleted ended pod d-").await;
    cluster.until("it is replaced", async || is_rolled_out(&sets.get("d").await.unwrap(), 2)).await;

    cluster.stop_controllers().await;
    let mut more = serde_json::to_value(cluster.pods("app=d").await.remove(0)).unwrap();
    let (labels, owners) = (more["metadata"]["labels"].take(), more["metadata"]["ownerReferences"].take());
    let mut spec = more["spec"].take();
    spec.as_object_mut().unwrap().retain(|key, _| ["affinity", "containers", "nodeName"].contains(&key.as_str()));
    spec["containers"][0].as_object_mut().unwrap().retain(|key, _| ["name", "image"].contains(&key.as_str()));
    let more: Value = json!({"metadata": {"name": "more", "labels": labels, "ownerReferences": owners}, "spec": spec});
    pods.create(&PostParams::default(), &serde_json::from_value(more).unwrap()).await.unwrap();
    shadow.until_told(&cluster, "Created made pod more / would make none: another pod is there").await;
    shadow.until_told(&cluster, "NotDone has not / would end pod more").await;

    let status = json!({"status": {"numberReady": 9}});
    sets.patch_status("d", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    shadow.until_told(&cluster, "Status says numberReady 9 / would say 2").await;
    assert_eq!(shadow.stop().await.iter().filter(|d| d.starts_with("Deleted")).count(), 1);
    cluster.stop().await;
}
