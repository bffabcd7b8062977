//! A machine that boots while its API server is away.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::PostParams;
use node::runtime::Runtime as _;
use node::runtime::hollow::{Hollow, HollowOptions};
use serde_json::json;

use crate::{World, one, ready, wait};

#[tokio::test]
async fn a_boot_without_a_server_starts_what_ran_and_the_server_has_the_last_word() {
    let mut world = World::new().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(world.client.clone());
    let map = json!({"metadata": {"name": "cm"}, "data": {"k": "1"}});
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    let secrets: Api<Secret> = Api::default_namespaced(world.client.clone());
    let secret = json!({"metadata": {"name": "sec"}, "stringData": {"k": "s3cr3t"}});
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    let made_of = json!({
        "volumes": [{"name": "v", "configMap": {"name": "cm"}}, {"name": "o", "configMap": {"name": "none", "optional": true}}],
        "containers": [{"name": "c", "image": "busybox:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "k"}}}]}]});
    let made = world.create_owned("made", made_of, "DaemonSet").await.metadata.uid.unwrap();
    let plain = world.create("plain", one("busybox:1")).await.metadata.uid.unwrap();
    let forged = world.create("forged", one("busybox:1")).await.metadata.uid.unwrap();
    let goes = world.create("goes", one("busybox:1")).await.metadata.uid.unwrap();
    let once = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1"}]});
    let done = world.create("done", once).await.metadata.uid.unwrap();
    for name in ["made", "plain", "forged", "goes", "done"] {
        world.pod(name, "a ready pod", ready).await;
    }
    assert!(world.runtime.end_container(&done, "c", 0));
    world.pod("done", "its end", |p| p["status"]["phase"] == "Succeeded").await;
    let node_dir = world.dir.path().join("data/nodes/n-1");
    let file = |uid: &str| node_dir.join("pods").join(uid).join("pod.json");
    let text = async |uid: &str, part: &str| {
        let path = file(uid);
        wait(part, async || std::fs::read_to_string(&path).ok().filter(|text| text.contains(part))).await
    };
    text(&done, "\"phase\":\"Succeeded\"").await;
    let good = text(&forged, "busybox:1").await;
    world.stop_agent().await;
    std::fs::write(file(&forged), good.replace("busybox:1", "busybox:2")).unwrap();
    let now = kube::api::DeleteParams { grace_period_seconds: Some(0), ..Default::default() };
    world.pods().delete("goes", &now).await.unwrap();

    // Nothing runs after a boot, and nobody listens where the server was.
    world.runtime = Arc::new(Hollow::new(HollowOptions::default()));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = std::mem::replace(&mut world.url, format!("https://{nobody}"));
    world.start_agent().await;
    let three = async || Some(world.running().await).filter(|running| running.len() == 3);
    let running = wait("what ran runs again", three).await;
    let runtime = Arc::clone(&world.runtime);
    let uids = async || {
        let list = runtime.list_pod_sandboxes().await.unwrap();
        let mut uids: Vec<String> = list.into_iter().map(|sandbox| sandbox.config.uid).collect();
        uids.sort();
        uids
    };
    let mut expect = [made.clone(), plain.clone(), goes.clone()];
    expect.sort();
    assert_eq!(uids().await, expect, "neither what had ended nor what was tampered with");
    world.stop_agent().await;

    world.url = url;
    world.start_agent().await;
    for name in ["made", "plain", "forged"] {
        world.pod(name, "ready again", ready).await;
    }
    let mut expect = [made, plain, forged];
    expect.sort();
    wait("what the server no longer has ends", async || (uids().await == expect).then_some(())).await;
    let kept = world.running().await.into_iter().filter(|id| running.contains(id)).count();
    assert_eq!(kept, 2, "what came back without the server was not started again");
    assert_eq!(world.pod("done", "it stays ended", |_| true).await["status"]["phase"], "Succeeded");
    world.end().await;
}
