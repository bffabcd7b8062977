//! The API server, the agent and a runtime in one process, in a directory of their own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DeleteParams, ListParams, LogParams, PostParams};
use kube::{Api, Client, Config};
use node::runtime::Runtime;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What is waited for comes within this, or the test fails: no test depends on how fast it comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// Most processes of a pod: a runtime's own first step has a dozen threads.
pub(crate) const PIDS_MAX: u64 = 60;
/// What the image has of busybox.
pub(crate) const TOOLS: [&str; 16] = [
    "mkdir", "pwd", "sh", "sleep", "cat", "echo", "ls", "id", "true", "false", "touch", "test", "head", "trap",
    "hostname", "nc",
];

/// A runtime on this machine.
pub(crate) trait Machine: Sized {
    type Runtime: Runtime;
    /// What `containerID` begins with.
    fn name() -> &'static str;
    /// None with a message when this machine can't have it.
    async fn new(dir: &Path, name: &str) -> Option<Self>;
    /// Opens it, as an agent that starts does.
    async fn open(&self) -> Arc<Self::Runtime>;
    /// Sees that nothing is left.
    async fn clear(&self, runtime: &Self::Runtime);
}

pub(crate) struct World<M: Machine> {
    pub(crate) dir: tempfile::TempDir,
    url: String,
    pub(crate) client: Client,
    server: CancellationToken,
    agent: Option<(CancellationToken, JoinHandle<()>)>,
    pub(crate) runtime: Option<Arc<M::Runtime>>,
    pub(crate) machine: M,
}

impl<M: Machine> World<M> {
    /// None with a message when the machine can't run containers.
    pub(crate) async fn new(name: &str) -> Option<Self> {
        Self::with(name, |_| {}).await
    }

    /// As [`World::new`], on a machine that is changed first.
    pub(crate) async fn with(name: &str, change: impl FnOnce(&mut M)) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: running containers needs root");
            return None;
        }
        drop(rustls::crypto::ring::default_provider().install_default());
        let dir = tempfile::Builder::new().prefix("everynode-pods-").tempdir().unwrap();
        let data = dir.path().join("data");
        let config = server::Config::new(data.clone(), "127.0.0.1:0".parse().unwrap());
        let server = server::Server::start(config).await.unwrap();
        let (url, client) = (server.url().to_owned(), server.client("test"));
        let stop = CancellationToken::new();
        tokio::spawn(server.serve(stop.clone()));
        let mut machine = M::new(dir.path(), name).await?;
        change(&mut machine);
        let mut world = Self { dir, url, client, server: stop, agent: None, runtime: None, machine };
        world.start_agent().await;
        Some(world)
    }

    pub(crate) async fn start_agent(&mut self) {
        let data = self.dir.path().join("data");
        let text = server::pki::node_kubeconfig(&data, "n-1", &self.url).unwrap();
        let config = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        let config = Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        let runtime = self.machine.open().await;
        let mut options = node::agent::Options::new("n-1", data, self.dir.path().join("run"), &self.url);
        options.pod_log_dir = self.dir.path().join("logs");
        options.pod_pids_max = Some(PIDS_MAX);
        options.node_ip = Some("127.0.0.1".parse().unwrap());
        let stop = CancellationToken::new();
        let (token, own) = (stop.clone(), Arc::clone(&runtime));
        let task = tokio::spawn(async move { node::agent::run(options, client, own, token).await.unwrap() });
        self.agent = Some((stop, task));
        self.runtime = Some(runtime);
    }

    pub(crate) async fn stop_agent(&mut self) {
        let (stop, task) = self.agent.take().unwrap();
        stop.cancel();
        task.await.unwrap();
        self.runtime = None;
    }

    /// Deletes all pods and sees that nothing is left.
    pub(crate) async fn end(mut self) {
        let all = self.pods().list(&ListParams::default()).await.unwrap().items;
        for pod in &all {
            let name = pod.metadata.name.as_deref().unwrap();
            self.pods().delete(name, &DeleteParams::default().grace_period(1)).await.unwrap();
        }
        for pod in &all {
            self.pod(pod.metadata.name.as_deref().unwrap(), "gone", Value::is_null).await;
        }
        let runtime = self.runtime.clone().unwrap();
        // A pod that has ended leaves the API server at once; the node follows.
        let pod_dirs = self.dir.path().join("data/nodes/n-1/pods");
        let end = tokio::time::Instant::now() + PATIENCE;
        while std::fs::read_dir(&pod_dirs).unwrap().count() > 0 {
            assert!(tokio::time::Instant::now() < end, "something stays in {}", pod_dirs.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(runtime.list_pod_sandboxes().await.unwrap().is_empty());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let data = self.dir.path().join("data").display().to_string();
        assert!(!mounts.contains(&data), "{mounts}");
        self.stop_agent().await;
        self.machine.clear(&runtime).await;
        self.server.cancel();
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    pub(crate) async fn create(&self, name: &str, mut spec: Value) {
        spec["nodeName"] = json!("n-1");
        spec["terminationGracePeriodSeconds"] = json!(1);
        spec["automountServiceAccountToken"] = json!(false);
        let meta = json!({"name": name, "labels": {"app": "x"}});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec});
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    pub(crate) async fn pod(&self, name: &str, what: &str, test: impl Fn(&Value) -> bool) -> Value {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let pod = serde_json::to_value(self.pods().get_opt(name).await.unwrap()).unwrap();
            if test(&pod) {
                return pod;
            }
            if tokio::time::Instant::now() > end {
                let events: Api<Event> = Api::default_namespaced(self.client.clone());
                let events = events.list(&ListParams::default()).await.unwrap();
                let texts: Vec<_> = events.items.iter().map(|e| e.message.clone().unwrap_or_default()).collect();
                panic!("{name} never: {what}: {:#} {texts:#?}", pod["status"]);
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// What the container wrote, once it has written `needle`.
    pub(crate) async fn log(&self, name: &str, container: &str, needle: &str) -> String {
        let params = LogParams { container: Some(container.to_owned()), ..Default::default() };
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let text = self.pods().logs(name, &params).await;
            match text {
                Ok(text) if text.contains(needle) => return text,
                other => assert!(tokio::time::Instant::now() < end, "no {needle:?} in {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
