//! A control plane in this process, with nodes that only pretend.

use std::collections::BTreeSet;
use std::time::Duration;

use control::{Options, Roster};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{Config as Watch, Event, watcher};
use kube::{Api, Client, Resource};
use serde_json::{Value, json};
use server::{Config, Server};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything may take. Never reached when all is well, so it costs nothing to be generous.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Cluster {
    server: Server,
    nodes: BTreeSet<String>,
    controllers: Vec<(CancellationToken, JoinHandle<Result<(), control::Error>>)>,
    kubelets: JoinHandle<()>,
    _data: tempfile::TempDir,
}

impl Cluster {
    pub(crate) async fn start(nodes: usize) -> Self {
        let mut cluster = Self::without_controllers(nodes).await;
        cluster.run(cluster.server.client("controllers"), Roster::default());
        cluster
    }

    pub(crate) async fn without_controllers(nodes: usize) -> Self {
        let data = tempfile::tempdir().unwrap();
        let config = Config::new(data.path().to_owned(), ([127, 0, 0, 1], 0).into());
        let server = Server::start(config).await.unwrap();
        let client = server.client("test");
        let names: BTreeSet<String> = (0..nodes).map(|i| format!("n-{i}")).collect();
        for name in &names {
            register(&client, name).await;
        }
        let kubelets = tokio::spawn(run_kubelets(client.clone(), names.clone()));
        Self { server, nodes: names, controllers: Vec::new(), kubelets, _data: data }
    }

    /// Runs some controllers with this client.
    pub(crate) fn run(&mut self, client: Client, roster: Roster) {
        let stop = CancellationToken::new();
        let options = Options { ca_pem: Some("certificate".to_owned()), roster, ..Options::default() };
        self.controllers.push((stop.clone(), tokio::spawn(control::run(client, options, stop))));
    }

    pub(crate) fn client(&self) -> Client {
        self.server.client("test")
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::default_namespaced(self.client())
    }

    pub(crate) fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client())
    }

    pub(crate) fn nodes(&self) -> BTreeSet<String> {
        self.nodes.clone()
    }

    pub(crate) async fn pods(&self, labels: &str) -> Vec<Pod> {
        self.api::<Pod>().list(&ListParams::default().labels(labels)).await.unwrap().items
    }

    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let wait = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            let pods = self.all::<Pod>().list(&ListParams::default()).await.unwrap().items;
            panic!("not in time: {what}; pods: {}", serde_json::to_string_pretty(&pods).unwrap());
        }
    }

    pub(crate) async fn stop_controllers(&mut self) {
        for (stop, task) in std::mem::take(&mut self.controllers) {
            stop.cancel();
            task.await.unwrap().unwrap();
        }
    }

    pub(crate) async fn restart_controllers(&mut self) {
        let (stop, task) = self.controllers.remove(0);
        self.run(self.server.client("controllers"), Roster::default());
        stop.cancel();
        task.await.unwrap().unwrap();
    }

    pub(crate) async fn stop(mut self) {
        self.stop_controllers().await;
        self.kubelets.abort();
    }
}

async fn register(client: &Client, name: &str) {
    let nodes: Api<Node> = Api::all(client.clone());
    let node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}});
    nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    let room = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
    let ready = json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
        "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let status = json!({"status": {"capacity": room, "allocatable": room, "conditions": [ready]}});
    nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let lease = json!({"metadata": {"name": name}, "spec": lease(name)});
    leases.create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await.unwrap();
}

fn lease(node: &str) -> Value {
    let renewed = k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(k8s_openapi::jiff::Timestamp::now());
    json!({"holderIdentity": node, "renewTime": renewed})
}

/// What kubelets do, without containers.
async fn run_kubelets(client: Client, nodes: BTreeSet<String>) {
    let renew = async {
        let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            for node in &nodes {
                let patch = json!({"spec": lease(node)});
                let _ = leases.patch(node, &PatchParams::default(), &Patch::Merge(&patch)).await;
            }
        }
    };
    tokio::join!(renew, run_pods(client.clone()));
}

async fn run_pods(client: Client) {
    let stream = watcher(Api::<Pod>::all(client.clone()), Watch::default());
    pin_mut!(stream);
    while let Some(event) = stream.next().await {
        if let Ok(Event::Apply(pod) | Event::InitApply(pod)) = event {
            run_pod(&client, &pod).await;
        }
    }
}

async fn run_pod(client: &Client, pod: &Pod) {
    let name = pod.metadata.name.clone().unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap());
    if pod.spec.as_ref().is_none_or(|s| s.node_name.is_none()) {
        return;
    }
    if pod.metadata.deletion_timestamp.is_some() {
        let _ = pods.delete(&name, &DeleteParams::default().grace_period(0)).await;
        return;
    }
    let is_bad = pod.spec.as_ref().is_some_and(|s| s.containers.iter().any(|c| c.image.as_deref() == Some("bad:1")));
    if !is_bad && pod.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Running") {
        let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(k8s_openapi::jiff::Timestamp::now());
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": now});
        let status = json!({"status": {"phase": "Running", "conditions": [ready]}});
        let _ = pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(&status)).await;
    }
}
