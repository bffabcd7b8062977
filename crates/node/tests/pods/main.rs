//! Pods as people write them, on real containers: the API server, the agent and the embedded runtime in one process.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod, Secret};
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Config};
use node::runtime::embedded::{Embedded, Images, Joining, Options, PodNetwork, Rootfs};
use node::runtime::{ImageError, ImageInfo, RegistryAuth, Runtime as _};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What is waited for comes within this, or the test fails: no test depends on how fast it comes.
const PATIENCE: Duration = Duration::from_secs(90);

/// One image, whatever its name: busybox.
#[derive(Clone)]
struct Busybox(PathBuf);

fn info(reference: &str) -> ImageInfo {
    let tags = vec![reference.to_owned()];
    let id = "sha256:busybox".to_owned();
    ImageInfo { id, tags, digests: Vec::new(), size: 1, user: String::new(), pinned: true }
}

impl Images for Busybox {
    fn rootfs(&self, _: &str) -> Result<Option<Rootfs>, ImageError> {
        let path = "PATH=/bin".split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        Ok(Some(Rootfs { lower_dirs: vec![self.0.clone()], env: path.into_iter().collect(), ..Rootfs::default() }))
    }

    fn pin(&self, _: &str, _: &str) -> Result<(), ImageError> {
        Ok(())
    }

    fn unpin(&self, _: &str) -> Result<(), ImageError> {
        Ok(())
    }

    fn retain_pins(&self, _: &str, _: &BTreeSet<String>) -> Result<(), ImageError> {
        Ok(())
    }

    async fn image_status(&self, reference: &str) -> Result<Option<ImageInfo>, ImageError> {
        Ok(Some(info(reference)))
    }

    async fn pull_image(&self, reference: &str, _: Option<RegistryAuth>) -> Result<ImageInfo, ImageError> {
        Ok(info(reference))
    }

    async fn list_images(&self) -> Result<Vec<ImageInfo>, ImageError> {
        Ok(Vec::new())
    }
}

/// Nobody is attached to anything.
#[derive(Clone)]
struct NoNetwork;

impl PodNetwork for NoNetwork {
    async fn attach(&self, _: &Joining) -> Result<Vec<IpAddr>, String> {
        Ok(vec!["10.1.2.3".parse().unwrap()])
    }

    async fn detach(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    async fn retain(&self, _: &BTreeSet<String>) -> Result<(), String> {
        Ok(())
    }
}

struct World {
    dir: tempfile::TempDir,
    url: String,
    client: Client,
    server: CancellationToken,
    agent: Option<(CancellationToken, JoinHandle<()>)>,
    runtime: Option<Arc<Embedded<Busybox, NoNetwork>>>,
    options: Options,
}

fn shim_program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples/shim");
    assert!(path.exists(), "{} is missing: `cargo build -p node --examples`", path.display());
    path
}

fn unpack(dir: &Path) {
    for sub in ["bin", "etc", "tmp"] {
        std::fs::create_dir_all(dir.join(sub)).unwrap();
    }
    std::fs::copy("/usr/bin/busybox", dir.join("bin/busybox")).unwrap();
    for tool in ["sh", "sleep", "cat", "echo", "ls", "id", "true", "false", "touch", "test", "head", "trap", "hostname"]
    {
        symlink("busybox", dir.join("bin").join(tool)).unwrap();
    }
    std::fs::write(dir.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").unwrap();
    std::fs::write(dir.join("etc/group"), "root:x:0:\n").unwrap();
}

impl World {
    /// None with a message when the machine can't run containers.
    async fn new(name: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: running containers needs root");
            return None;
        }
        drop(rustls::crypto::ring::default_provider().install_default());
        let dir = tempfile::Builder::new().prefix("everynode-pods-").tempdir().unwrap();
        unpack(&dir.path().join("image"));
        let data = dir.path().join("data");
        let config = server::Config::new(data.clone(), "127.0.0.1:0".parse().unwrap());
        let server = server::Server::start(config).await.unwrap();
        let (url, client) = (server.url().to_owned(), server.client("test"));
        let stop = CancellationToken::new();
        tokio::spawn(server.serve(stop.clone()));
        let mut options = Options::new(shim_program(), &format!("pods{}{name}", std::process::id()), "n-1", &data);
        options.shim_args = Vec::new();
        options.run_dir = dir.path().join("run");
        options.log_links = dir.path().join("links");
        let mut world = Self { dir, url, client, server: stop, agent: None, runtime: None, options };
        world.start_agent().await;
        Some(world)
    }

    async fn start_agent(&mut self) {
        let data = self.dir.path().join("data");
        let text = server::pki::node_kubeconfig(&data, "n-1", &self.url).unwrap();
        let config = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        let config = Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        let images = Busybox(self.dir.path().join("image"));
        let runtime = Arc::new(Embedded::open(self.options.clone(), images, NoNetwork).await.unwrap());
        let mut options = node::agent::Options::new("n-1", data, self.dir.path().join("run"), &self.url);
        options.pod_log_dir = self.dir.path().join("logs");
        options.node_ip = Some("127.0.0.1".parse().unwrap());
        let stop = CancellationToken::new();
        let (token, own) = (stop.clone(), Arc::clone(&runtime));
        let task = tokio::spawn(async move { node::agent::run(options, client, own, token).await.unwrap() });
        self.agent = Some((stop, task));
        self.runtime = Some(runtime);
    }

    async fn stop_agent(&mut self) {
        let (stop, task) = self.agent.take().unwrap();
        stop.cancel();
        task.await.unwrap();
        self.runtime = None;
    }

    /// Deletes all pods and sees that nothing is left.
    async fn end(mut self) {
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
        runtime.clear().await.unwrap();
        self.server.cancel();
    }

    fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    async fn create(&self, name: &str, mut spec: Value) {
        spec["nodeName"] = json!("n-1");
        spec["terminationGracePeriodSeconds"] = json!(1);
        spec["automountServiceAccountToken"] = json!(false);
        let meta = json!({"name": name, "labels": {"app": "x"}});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec});
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    async fn pod(&self, name: &str, what: &str, test: impl Fn(&Value) -> bool) -> Value {
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
    async fn log(&self, name: &str, container: &str, needle: &str) -> String {
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

fn phase(phase: &'static str) -> impl Fn(&Value) -> bool {
    move |pod| pod["status"]["phase"] == phase
}

fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

fn script(name: &str, text: &str) -> Value {
    json!({"name": name, "image": "busybox:1", "command": ["sh", "-c", text]})
}

fn data(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[tokio::test]
async fn what_a_container_sees() {
    let Some(world) = World::new("sees").await else { return };
    let maps: Api<ConfigMap> = Api::default_namespaced(world.client.clone());
    let map = json!({"metadata": {"name": "cm"}, "data": data(&[("k", "from-map"), ("file", "text")])});
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    let secrets: Api<Secret> = Api::default_namespaced(world.client.clone());
    let secret = json!({"metadata": {"name": "s"}, "stringData": data(&[("password", "hidden")])});
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    std::fs::write(world.dir.path().join("on-host"), "host text").unwrap();
    let text = "echo env $NAME $K $P $ALL_k; echo arg $1; cat /cm/file /s/password /down/labels /sub /host/on-host; echo; \
        id -u; id -G; cat /etc/hosts; ls -ld /s; touch /ro/x || echo read-only; echo -n bye > /dev/termination-log; \
        echo done; exit 3";
    let mut container = script("c", text);
    container["command"].as_array_mut().unwrap().extend([json!("sh"), json!("$(NAME)-$(NOT)")]);
    container["env"] = json!([
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "K", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}},
        {"name": "P", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}}]);
    container["envFrom"] = json!([{"prefix": "ALL_", "configMapRef": {"name": "cm"}}]);
    container["volumeMounts"] = json!([
        {"name": "cm", "mountPath": "/cm"}, {"name": "s", "mountPath": "/s"}, {"name": "down", "mountPath": "/down"},
        {"name": "cm", "mountPath": "/sub", "subPath": "k"}, {"name": "host", "mountPath": "/host"},
        {"name": "empty", "mountPath": "/ro", "readOnly": true}]);
    container["securityContext"] = json!({"runAsUser": 1234});
    let host = world.dir.path().display().to_string();
    world
        .create(
            "p",
            json!({"restartPolicy": "Never", "containers": [container], "hostname": "box",
            "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["alias"]}],
            "securityContext": {"fsGroup": 4321},
            "volumes": [
                {"name": "cm", "configMap": {"name": "cm"}}, {"name": "s", "secret": {"secretName": "s"}},
                {"name": "down", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                {"name": "host", "hostPath": {"path": host}}, {"name": "empty", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]}),
        )
        .await;
    let pod = world.pod("p", "failed", phase("Failed")).await;
    let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["reason"], &ended["message"]), (&json!(3), &json!("Error"), &json!("bye")));
    let log = world.log("p", "c", "done").await;
    for line in [
        "env p from-map hidden from-map\n",
        "arg p-$(NOT)\n",
        "texthiddenapp=\"x\"from-maphost text\n",
        "\n1234\n",
        "4321",
        "10.1.2.3\tbox\n",
        "1.2.3.4\talias\n",
        "read-only\n",
    ] {
        assert!(log.contains(line), "{line:?} is not in {log}");
    }
    world.end().await;
}

#[tokio::test]
async fn pods_live_on_without_their_agent() {
    let Some(mut world) = World::new("live").await else { return };
    let mut a =
        script("a", "echo a > /shared/a; echo up; trap 'echo down; exit 0' TERM; while true; do sleep 0.1; done");
    a["volumeMounts"] = json!([{"name": "v", "mountPath": "/shared"}]);
    a["readinessProbe"] = json!({"exec": {"command": ["test", "-e", "/shared/b"]}, "periodSeconds": 1});
    let mut b = script("b", "while ! test -e /shared/a; do sleep 0.1; done; echo b > /shared/b; sleep 1000");
    b["volumeMounts"] = json!([{"name": "v", "mountPath": "/shared"}]);
    let mut i = script("i", "test ! -e /shared/a && echo first");
    i["volumeMounts"] = json!([{"name": "v", "mountPath": "/shared"}]);
    let volumes = json!([{"name": "v", "emptyDir": {}}]);
    world.create("p", json!({"initContainers": [i], "containers": [a, b], "volumes": volumes})).await;
    let before = world.pod("p", "ready", ready).await;
    assert_eq!(world.log("p", "i", "first").await, "first\n");
    let pids = async |world: &World| {
        let list = world.runtime.as_ref().unwrap().list_containers().await.unwrap();
        list.iter().filter_map(|c| c.pid).collect::<Vec<_>>()
    };
    let running = pids(&world).await;
    assert_eq!(running.len(), 2);
    world.stop_agent().await;
    world.start_agent().await;
    world.log("p", "a", "up").await;
    assert_eq!(pids(&world).await, running);
    let after = world.pod("p", "still ready", ready).await;
    assert_eq!(after["status"], before["status"]);
    world.end().await;
}

#[tokio::test]
async fn failures_are_told() {
    let Some(world) = World::new("fail").await else { return };
    let restarts = |p: &Value| p["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(0);
    world.create("crash", json!({"containers": [script("c", "echo run; exit 7")]})).await;
    let looping = |p: &Value| {
        p["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff" && restarts(p) == 1
    };
    let pod = world.pod("crash", "a crash loop", looping).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 7);
    let previous = LogParams { previous: true, ..Default::default() };
    assert_eq!(world.pods().logs("crash", &previous).await.unwrap(), "run\n");
    let none = json!({"name": "c", "image": "busybox:1", "command": ["/no/such/program"]});
    world.create("none", json!({"containers": [none]})).await;
    let told = |p: &Value| {
        let state = &p["status"]["containerStatuses"][0];
        let texts = [&state["state"]["waiting"]["message"], &state["lastState"]["terminated"]["message"]];
        texts.iter().any(|t| t.as_str().is_some_and(|t| t.contains("/no/such/program")))
    };
    world.pod("none", "a clear message", told).await;
    let mut sick = script("c", "touch /tmp/well; sleep 1000");
    sick["livenessProbe"] = json!({"exec": {"command": ["test", "-e", "/tmp/well"]}, "periodSeconds": 1, "failureThreshold": 1, "initialDelaySeconds": 1});
    sick["lifecycle"] = json!({"postStart": {"exec": {"command": ["sh", "-c", "sleep 0.5; echo hook > /tmp/hook"]}},
        "preStop": {"exec": {"command": ["touch", "/tmp/stop"]}}});
    world.create("sick", json!({"containers": [sick]})).await;
    world.pod("sick", "ready", ready).await;
    let labels = Patch::Merge(json!({"metadata": {"labels": {"app": "y"}}}));
    world.pods().patch("sick", &PatchParams::default(), &labels).await.unwrap();
    assert_eq!(restarts(&world.pod("sick", "ready", ready).await), 0);
    world.end().await;
}
