//! Pods that files of the node ask for.

use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::DeleteParams;
use node::runtime::Runtime as _;
use node::runtime::hollow::{Hollow, HollowOptions};
use serde_json::Value;

use crate::{World, one, ready, wait};

const WEB: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, labels: {app: web}}\nspec:\n  containers: [{name: c, image: 'busybox:1'}]\n";

async fn world() -> (World, PathBuf) {
    let world = World::with(|options| {
        let directory = options.data_dir.join("static");
        std::fs::create_dir_all(&directory).unwrap();
        options.pod_manifest_path = Some(directory);
    })
    .await;
    let directory = world.dir.path().join("data/static");
    (world, directory)
}

impl World {
    async fn sandboxes(&self) -> Vec<String> {
        self.runtime.list_pod_sandboxes().await.unwrap().into_iter().map(|sandbox| sandbox.config.uid).collect()
    }
}

#[tokio::test]
async fn files_make_pods_and_the_server_shows_them() {
    let (mut world, directory) = world().await;
    std::fs::write(directory.join("bad.yaml"), "kind: [").unwrap();
    std::fs::write(directory.join(".hidden.yaml"), WEB.replace("web", "hidden")).unwrap();
    std::fs::write(directory.join("web.yaml"), WEB).unwrap();
    let mirror = world.pod("web-n-1", "a mirror", ready).await;
    let [uid] = &world.sandboxes().await[..] else { panic!("one pod") };
    let notes = &mirror["metadata"]["annotations"];
    for (name, expect) in [("config.hash", uid.as_str()), ("config.mirror", uid), ("config.source", "file")] {
        assert_eq!(notes[format!("kubernetes.io/{name}")], expect);
    }
    let node = Api::<Node>::all(world.client.clone()).get("n-1").await.unwrap();
    assert_eq!(mirror["metadata"]["ownerReferences"][0]["uid"], node.metadata.uid.unwrap());
    assert_ne!(mirror["metadata"]["uid"], *uid);
    let event = world.event("n-1", "StaticPodFile").await;
    assert!(event.message.as_deref().unwrap().contains("static/bad.yaml: it can't be read: yaml: line"), "{event:?}");

    // The image is not the pod.
    let running = world.running().await;
    let version = |pod: &Value| pod["metadata"]["uid"].clone();
    world.pods().delete("web-n-1", &DeleteParams::default()).await.unwrap();
    let again = world.pod("web-n-1", "another mirror", |pod| ready(pod) && version(pod) != version(&mirror)).await;
    world.stop_agent().await;
    world.start_agent().await;
    // A pod of the API server shows that the new agent is at work.
    world.create("other", one("busybox:1")).await;
    world.pod("other", "a ready pod", ready).await;
    world.pods().delete("other", &DeleteParams::default()).await.unwrap();
    world.pod("other", "no pod", Value::is_null).await;
    assert_eq!(world.running().await, running);
    assert_eq!(version(&world.pod("web-n-1", "the same mirror", ready).await), version(&again));

    std::fs::write(directory.join("web.yaml"), WEB.replace("busybox:1", "busybox:2")).unwrap();
    let image = |pod: &Value| pod["spec"]["containers"][0]["image"] == "busybox:2";
    let changed = world.pod("web-n-1", "the new pod", |pod| ready(pod) && image(pod)).await;
    assert_eq!(
        world.sandboxes().await,
        [changed["metadata"]["annotations"]["kubernetes.io/config.hash"].as_str().unwrap()]
    );
    let running = world.running().await;
    std::fs::write(directory.join("web.yaml"), "kind: {").unwrap();
    let told = async || {
        let events: Api<k8s_openapi::api::core::v1::Event> = Api::default_namespaced(world.client.clone());
        let list = events.list(&kube::api::ListParams::default()).await.unwrap().items;
        list.into_iter()
            .find(|e| e.message.as_deref().is_some_and(|m| m.contains("web.yaml") && m.ends_with("runs on")))
    };
    wait("a bad file is told", told).await;
    assert_eq!(world.running().await, running, "and stops nothing");
    std::fs::remove_file(directory.join("web.yaml")).unwrap();
    world.pod("web-n-1", "no mirror", Value::is_null).await;
    assert_eq!(world.sandboxes().await, Vec::<String>::new());
    world.end().await;
}

#[tokio::test]
async fn files_make_pods_without_a_server() {
    let (mut world, directory) = world().await;
    world.stop_agent().await;
    std::fs::write(
        directory.join("web.json"),
        r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {"containers": [{"name": "c", "image": "busybox:1"}]}}"#,
    )
    .unwrap();
    std::fs::write(
        directory.join("once.yaml"),
        WEB.replace("name: web", "name: once").replace("spec:", "spec:\n  restartPolicy: Never"),
    )
    .unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = std::mem::replace(&mut world.url, format!("https://{nobody}"));
    world.start_agent().await;
    wait("both run", async || (world.running().await.len() == 2).then_some(())).await;
    let mut once = String::new();
    for sandbox in world.runtime.list_pod_sandboxes().await.unwrap() {
        if sandbox.config.name == "once-n-1" {
            once = sandbox.config.uid;
        }
    }
    assert!(world.runtime.end_container(&once, "c", 0));
    let file = world.dir.path().join(format!("data/nodes/n-1/pods/{once}/pod.json"));
    wait("its end is kept", async || std::fs::read_to_string(&file).unwrap().contains("\"Succeeded\"").then_some(()))
        .await;
    world.stop_agent().await;

    // After a boot: what had ended does not begin again, and a file that went meanwhile begins nothing.
    world.runtime = Arc::new(Hollow::new(HollowOptions::default()));
    world.start_agent().await;
    wait("the other one runs", async || (world.running().await.len() == 1).then_some(())).await;
    world.stop_agent().await;
    std::fs::remove_file(directory.join("web.json")).unwrap();
    world.url = url;
    world.start_agent().await;
    world.pod("once-n-1", "its end told", |pod| pod["status"]["phase"] == "Succeeded").await;
    wait("nothing runs", async || world.running().await.is_empty().then_some(())).await;
    assert_eq!(world.pods().get_opt("web-n-1").await.unwrap(), None);
    world.end().await;
}
