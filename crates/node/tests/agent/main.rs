//! The whole agent against the whole API server, over TLS; only the containers are hollow.

mod dead_man;
mod power;
mod pre_pull;
mod pressure;
mod reboot;
mod static_pods;
mod tunnel;

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Pod};
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Config};
use node::agent::Options;
use node::runtime::Runtime;
use node::runtime::hollow::{Hollow, HollowOptions};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What is waited for comes within this, or the test fails: no test depends on how fast it comes.
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    dir: tempfile::TempDir,
    url: String,
    client: Client,
    runtime: Arc<Hollow>,
    server: CancellationToken,
    agent: Option<(CancellationToken, JoinHandle<()>)>,
    change: fn(&mut Options),
}

impl World {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    /// The same with other options of the agent.
    async fn with(change: fn(&mut Options)) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let dir = tempfile::tempdir().unwrap();
        let config = server::Config::new(dir.path().join("data"), "127.0.0.1:0".parse().unwrap());
        let server = server::Server::start(config).await.unwrap();
        let (url, client) = (server.url().to_owned(), server.client("test"));
        let stop = CancellationToken::new();
        tokio::spawn(server.serve(stop.clone()));
        let runtime = Arc::new(Hollow::new(HollowOptions::default()));
        let mut world = Self { dir, url, client, runtime, server: stop, agent: None, change };
        world.start_agent().await;
        world
    }

    async fn start_agent(&mut self) {
        let (options, client) = self.agent_parts().await;
        self.run_agent(options, client);
    }

    /// What the agent is started with.
    async fn agent_parts(&self) -> (Options, Client) {
        (self.options(), Client::try_from(self.agent_config().await).unwrap())
    }

    /// How the agent reaches the server.
    async fn agent_config(&self) -> Config {
        let text = server::pki::node_kubeconfig(&self.dir.path().join("data"), "n-1", &self.url).unwrap();
        let config = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await.unwrap()
    }

    fn options(&self) -> Options {
        let data = self.dir.path().join("data");
        let mut options = Options::new("n-1", data, self.dir.path().join("run"), &self.url);
        options.pod_log_dir = self.dir.path().join("logs");
        options.labels.insert("topology.kubernetes.io/zone".to_owned(), "z-1".to_owned());
        (self.change)(&mut options);
        options
    }

    fn run_agent(&mut self, options: Options, clients: impl Into<node::agent::Clients> + Send + 'static) {
        let (stop, runtime) = (CancellationToken::new(), Arc::clone(&self.runtime));
        let token = stop.clone();
        let task = tokio::spawn(async move { node::agent::run(options, clients, runtime, token).await.unwrap() });
        self.agent = Some((stop, task));
    }

    async fn stop_agent(&mut self) {
        let (stop, task) = self.agent.take().unwrap();
        stop.cancel();
        task.await.unwrap();
    }

    async fn end(mut self) {
        self.stop_agent().await;
        self.server.cancel();
    }

    fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    async fn create(&self, name: &str, spec: Value) -> Pod {
        let mut spec = spec;
        spec["nodeName"] = json!("n-1");
        // No controller runs here that would publish the CA that comes with a token.
        spec["automountServiceAccountToken"] = json!(false);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap()
    }

    /// A pod that a controller of this kind owns.
    async fn create_owned(&self, name: &str, spec: Value, kind: &str) -> Pod {
        let owner = json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "1", "controller": true});
        let mut pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "ownerReferences": [owner]}});
        pod["spec"] = spec;
        pod["spec"]["nodeName"] = json!("n-1");
        pod["spec"]["automountServiceAccountToken"] = json!(false);
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap()
    }

    /// Waits until the pod looks like that.
    async fn pod(&self, name: &str, what: &str, test: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        wait(what, async || {
            let pod = self.pods().get_opt(name).await.unwrap();
            last = serde_json::to_value(&pod).unwrap();
            test(&last).then(|| last.clone())
        })
        .await
    }

    async fn event(&self, name: &str, reason: &str) -> Event {
        let events: Api<Event> = Api::default_namespaced(self.client.clone());
        wait(reason, async || {
            let list = events.list(&ListParams::default()).await.unwrap();
            let about = |e: &Event| e.involved_object.name.as_deref() == Some(name);
            list.items.into_iter().find(|e| about(e) && e.reason.as_deref() == Some(reason))
        })
        .await
    }

    /// Waits until an event with this message was told that often.
    async fn told(&self, message: &str, times: i32) {
        let events: Api<Event> = Api::default_namespaced(self.client.clone());
        wait(message, async || {
            let list = events.list(&ListParams::default()).await.unwrap();
            let told = |e: &Event| e.message.as_deref() == Some(message) && e.count >= Some(times);
            list.items.iter().any(told).then_some(())
        })
        .await;
    }

    async fn running(&self) -> Vec<String> {
        let list = self.runtime.list_containers().await.unwrap();
        list.into_iter().filter(|c| c.state == node::runtime::ContainerState::Running).map(|c| c.id.0).collect()
    }
}

async fn wait<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

fn one(image: &str) -> Value {
    json!({"containers": [{"name": "c", "image": image}]})
}

#[tokio::test]
async fn registers_and_comes_back() {
    let world = World::new().await;
    let nodes: Api<Node> = Api::all(world.client.clone());
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), "kube-node-lease");
    let is_ready = |node: &Node| {
        let conditions = node.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
        conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
    };
    let get = async || nodes.get_opt("n-1").await.unwrap().filter(is_ready);
    let node = wait("a ready node", get).await;
    let labels = node.metadata.labels.clone().unwrap();
    assert_eq!(labels["kubernetes.io/hostname"], "n-1");
    assert_eq!(labels["topology.kubernetes.io/zone"], "z-1");
    let status = node.status.unwrap();
    assert_eq!(status.node_info.unwrap().kubelet_version, api::KUBERNETES_VERSION);
    assert_eq!(status.capacity.unwrap()["pods"].0, "110");
    let lease = wait("a lease", async || leases.get_opt("n-1").await.unwrap()).await;
    assert_eq!(lease.spec.unwrap().lease_duration_seconds, Some(40));
    nodes.delete("n-1", &DeleteParams::default()).await.unwrap();
    let again = wait("the node again", get).await;
    assert_ne!(again.metadata.uid, node.metadata.uid);
    world.end().await;
}

#[tokio::test]
async fn a_pod_runs_restarts_and_ends() {
    let world = World::new().await;
    let uid = world.create("p", one("busybox:1")).await.metadata.uid.unwrap();
    let pod = world.pod("p", "a ready pod", ready).await;
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(pod["status"]["podIP"], "10.42.0.2");
    let first = pod["status"]["containerStatuses"][0].clone();
    assert_eq!((&first["restartCount"], &first["imageID"]), (&json!(0), &json!("hollow:busybox:1")));
    for reason in ["Pulling", "Pulled", "Created", "Started"] {
        world.event("p", reason).await;
    }
    assert!(world.runtime.end_container(&uid, "c", 1));
    let pod =
        world.pod("p", "a restart", |p| ready(p) && p["status"]["containerStatuses"][0]["restartCount"] == 1).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 1);
    assert!(world.runtime.end_container(&uid, "c", 1));
    let waits = |p: &Value| {
        p["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff" && !ready(p)
    };
    let pod = world.pod("p", "a crash loop", waits).await;
    let message = format!("back-off 10s restarting failed container=c pod=p_default({uid})");
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"], message);
    world.event("p", "BackOff").await;
    world.pods().delete("p", &DeleteParams::default()).await.unwrap();
    world.pod("p", "no pod", Value::is_null).await;
    assert!(world.runtime.list_pod_sandboxes().await.unwrap().is_empty());
    world.end().await;
}

#[tokio::test]
async fn the_death_of_an_agent_is_harmless() {
    let mut world = World::new().await;
    world.create("stays", one("busybox:1")).await;
    world.create("goes", one("busybox:1")).await;
    let before = world.pod("stays", "a ready pod", ready).await;
    world.pod("goes", "a ready pod", ready).await;
    let running = world.running().await;
    world.stop_agent().await;
    assert_eq!(world.running().await, running);
    let now = DeleteParams { grace_period_seconds: Some(0), ..Default::default() };
    world.pods().delete("goes", &now).await.unwrap();
    assert_eq!(world.running().await, running);
    world.start_agent().await;
    wait("one sandbox", async || (world.runtime.list_pod_sandboxes().await.unwrap().len() == 1).then_some(())).await;
    let after = world.pod("stays", "still ready", ready).await;
    assert_eq!(after["status"], before["status"]);
    assert!(running.contains(&world.running().await[0]));
    world.end().await;
}

#[tokio::test]
async fn what_is_missing_is_waited_for() {
    let world = World::new().await;
    world.create("image", one("r.io/non-existent:1")).await;
    let reason = |p: &Value| p["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].clone();
    world.pod("image", "ErrImagePull", |p| reason(p) == "ErrImagePull").await;
    world.pod("image", "ImagePullBackOff", |p| reason(p) == "ImagePullBackOff").await;
    let spec = json!({
        "volumes": [{"name": "v", "configMap": {"name": "cm"}}],
        "containers": [{"name": "c", "image": "busybox:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            "env": [{"name": "E", "valueFrom": {"configMapKeyRef": {"name": "other", "key": "k"}}}]}]});
    let uid = world.create("map", spec).await.metadata.uid.unwrap();
    let event = world.event("map", "FailedMount").await;
    let text = "MountVolume.SetUp failed for volume \"v\" : configmap \"cm\" not found";
    assert_eq!(event.message.as_deref(), Some(text));
    let maps: Api<ConfigMap> = Api::default_namespaced(world.client.clone());
    let map = |name: &str| ConfigMap {
        metadata: kube::api::ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
        data: Some([("k".to_owned(), "1".to_owned())].into()),
        ..Default::default()
    };
    // Tried again after 1, 2, 4, 8 s: who comes right after the fourth try, and is seen soon, was not asked for.
    let soon = Duration::from_secs(4);
    world.told(text, 4).await;
    let begun = Instant::now();
    maps.create(&PostParams::default(), &map("cm")).await.unwrap();
    let pod = world.pod("map", "a config error", |p| reason(p) == "CreateContainerConfigError").await;
    let message = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"];
    assert_eq!(message, "configmap \"other\" not found");
    assert!(begun.elapsed() < soon, "{:?}", begun.elapsed());
    world.told("Error: configmap \"other\" not found", 4).await;
    let begun = Instant::now();
    maps.create(&PostParams::default(), &map("other")).await.unwrap();
    world.pod("map", "a ready pod", ready).await;
    assert!(begun.elapsed() < soon, "{:?}", begun.elapsed());
    let file = world.dir.path().join("data/nodes/n-1/pods").join(uid).join("volumes/kubernetes.io~configmap/v/k");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "1");
    // A watch tells of changes, so that nobody waits for the minute in which the server is asked anyway.
    for text in ["2", "3"] {
        let change = Patch::Merge(json!({"data": {"k": text}}));
        maps.patch("cm", &PatchParams::default(), &change).await.unwrap();
        let seen = wait("the change", async || std::fs::read_to_string(&file).ok().filter(|now| now == text));
        tokio::time::timeout(PATIENCE / 2, seen).await.unwrap();
    }
    world
        .create(
            "nfs",
            json!({"volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}],
        "containers": [{"name": "c", "image": "busybox:1"}]}),
        )
        .await;
    let event = world.event("nfs", "FailedMount").await;
    assert!(event.message.unwrap().contains("spec.volumes[0].nfs is not supported"));
    world.end().await;
}

#[tokio::test]
async fn init_containers_probes_and_a_lost_sandbox() {
    let world = World::new().await;
    let spec = json!({
        "initContainers": [{"name": "i", "image": "busybox:1"}, {"name": "s", "image": "busybox:1", "restartPolicy": "Always"}],
        "containers": [{"name": "c", "image": "busybox:1",
            "startupProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1},
            "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1}}]});
    let uid = world.create("p", spec).await.metadata.uid.unwrap();
    let runs = |p: &Value| p["status"]["initContainerStatuses"][0]["state"]["running"].is_object();
    let pod = world.pod("p", "an init container", runs).await;
    assert_eq!((&pod["status"]["phase"], ready(&pod)), (&json!("Pending"), false));
    assert!(world.runtime.end_container(&uid, "i", 0));
    world.pod("p", "a ready pod", ready).await;
    world.runtime.lose_sandbox(&uid);
    world.event("p", "SandboxChanged").await;
    let again = |p: &Value| runs(p) && p["status"]["initContainerStatuses"][0]["restartCount"] == 1;
    world.pod("p", "the init container again", again).await;
    assert!(world.runtime.end_container(&uid, "i", 0));
    let pod = world.pod("p", "a ready pod", ready).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 1);
    world
        .create(
            "sick",
            json!({"containers": [{"name": "c", "image": "busybox:1",
        "livenessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}}]}),
        )
        .await;
    world.event("sick", "Unhealthy").await;
    let killed = world.event("sick", "Killing").await;
    assert_eq!(killed.message.as_deref(), Some("Container c failed liveness probe, will be restarted"));
    world.pod("sick", "a restart", |p| p["status"]["containerStatuses"][0]["restartCount"].as_i64() > Some(0)).await;
    world.end().await;
}

#[tokio::test]
async fn logs_come_through_the_tunnel() {
    let world = World::new().await;
    let uid = world.create("p", one("busybox:1")).await.metadata.uid.unwrap();
    world.pod("p", "a ready pod", ready).await;
    let dir = world.dir.path().join(format!("logs/default_p_{uid}/c"));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("0.log"), "2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stderr F two\n")
        .unwrap();
    let logs = |params: LogParams| {
        let pods = world.pods();
        async move { wait("logs", async || pods.logs("p", &params).await.ok()).await }
    };
    assert_eq!(logs(LogParams::default()).await, "one\ntwo\n");
    assert_eq!(
        logs(LogParams { tail_lines: Some(1), timestamps: true, ..Default::default() }).await,
        "2026-01-01T00:00:02Z two\n"
    );
    let previous = world.pods().logs("p", &LogParams { previous: true, ..Default::default() }).await.unwrap_err();
    assert!(previous.to_string().contains("previous terminated container \"c\" in pod \"p\" not found"), "{previous}");
    world.end().await;
}

#[tokio::test]
async fn others_conditions_stay() {
    let world = World::new().await;
    let spec = json!({"readinessGates": [{"conditionType": "x.io/gate"}],
        "containers": [{"name": "c", "image": "busybox:1"}]});
    world.create("p", spec).await;
    let message = "corresponding condition of pod readiness gate \"x.io/gate\" does not exist.";
    let says = |p: &Value| {
        let list = p["status"]["conditions"].as_array().cloned().unwrap_or_default();
        list.iter().any(|c| c["type"] == "Ready" && c["message"] == message)
    };
    world.pod("p", "the gate", says).await;
    let patch = json!({"status": {"conditions": [{"type": "x.io/gate", "status": "True"}]}});
    world.pods().patch_status("p", &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    let pod = world.pod("p", "a ready pod", ready).await;
    let list = pod["status"]["conditions"].as_array().cloned().unwrap();
    assert!(list.iter().any(|c| c["type"] == "x.io/gate"));
    assert!(list.iter().all(|c| c["type"] != "Ready" || c["message"].is_null()));
    world.end().await;
}

#[tokio::test]
async fn without_a_server_what_ran_runs_on() {
    let mut world = World::new().await;
    let uid = world.create("p", one("busybox:1")).await.metadata.uid.unwrap();
    world.pod("p", "a ready pod", ready).await;
    world.create("q", one("busybox:1")).await;
    world.pod("q", "a ready pod", ready).await;
    let before = world.running().await;
    world.stop_agent().await;
    assert!(world.runtime.end_container(&uid, "c", 1));
    // Nobody listens there any more.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = std::mem::replace(&mut world.url, format!("https://{nobody}"));
    world.start_agent().await;
    let kept = before.clone();
    let restarted = async || {
        let now = world.running().await;
        (now.len() == 2 && now != kept).then_some(now)
    };
    let now = wait("what crashed runs again, by what the earlier agent kept", restarted).await;
    assert!(now.iter().any(|id| before.contains(id)), "the other one was not touched");
    world.stop_agent().await;
    world.url = url;
    world.start_agent().await;
    world.pod("p", "the restart told", |p| ready(p) && p["status"]["containerStatuses"][0]["restartCount"] == 1).await;
    assert_eq!(world.running().await, now);
    world.end().await;
}

#[tokio::test]
async fn a_full_node() {
    const PODS: usize = 110;
    let world = World::new().await;
    let names: Vec<String> = (0..PODS).map(|n| format!("p-{n}")).collect();
    futures::future::join_all(names.iter().map(|name| world.create(name, one("busybox:1")))).await;
    let all = async || {
        let list = world.pods().list(&ListParams::default()).await.unwrap().items;
        let ready = list.iter().filter(|p| ready(&serde_json::to_value(p).unwrap())).count();
        (ready == PODS).then_some(())
    };
    wait("all pods ready", all).await;
    assert_eq!(world.running().await.len(), PODS);
    world.pods().delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    wait("no pod", async || world.pods().list(&ListParams::default()).await.unwrap().items.is_empty().then_some(()))
        .await;
    wait("no sandbox", async || world.runtime.list_pod_sandboxes().await.unwrap().is_empty().then_some(())).await;
    world.end().await;
}
