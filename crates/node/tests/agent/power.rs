//! A machine that goes down.

use std::sync::Mutex;
use std::time::Duration;

use decide::node_shutdown::Periods;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use node::runtime::Runtime as _;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{World, one, ready, wait};

/// Says that the machine goes down; a new one for each boot.
static POWER_OFF: Mutex<Option<CancellationToken>> = Mutex::new(None);

#[tokio::test]
async fn pods_end_in_order_and_begin_again_after_the_boot() {
    let mut world = World::with(|options| {
        options.shutdown_periods = Periods { whole: Duration::from_secs(30), critical: Duration::from_secs(10) };
        *POWER_OFF.lock().unwrap() = Some(options.power_off.clone());
    })
    .await;
    let spec = |class: Option<&str>| {
        let mut spec = one("busybox:1");
        spec["priorityClassName"] = json!(class);
        spec
    };
    let mut uids: Vec<Vec<String>> = Vec::new();
    for (kind, class) in [("ReplicaSet", None), ("DaemonSet", None), ("DaemonSet", Some("system-node-critical"))] {
        let mut wave = Vec::new();
        for number in 0..2 {
            let name = format!("w{}-{number}", uids.len());
            wave.push(world.create_owned(&name, spec(class), kind).await.metadata.uid.unwrap());
            world.pod(&name, "a ready pod", ready).await;
        }
        uids.push(wave);
    }
    POWER_OFF.lock().unwrap().take().unwrap().cancel();
    let nodes: Api<Node> = Api::all(world.client.clone());
    wait("the node says so", async || {
        let conditions = nodes.get_opt("n-1").await.unwrap()?.status?.conditions?;
        let says = |c: &k8s_openapi::api::core::v1::NodeCondition| {
            c.type_ == "Ready" && c.status == "False" && c.message.as_deref() == Some("node is shutting down")
        };
        conditions.iter().any(says).then_some(())
    })
    .await;
    // The agent ends by itself when all have ended.
    let (_, task) = world.agent.take().unwrap();
    tokio::time::timeout(crate::PATIENCE, task).await.unwrap().unwrap();
    assert!(world.running().await.is_empty());
    let sandboxes = world.runtime.list_pod_sandboxes().await.unwrap();
    let containers = world.runtime.list_containers().await.unwrap();
    let ended = |uid: &String| -> Timestamp {
        let sandbox = sandboxes.iter().find(|sandbox| sandbox.config.uid == *uid).unwrap();
        containers.iter().find(|container| container.sandbox == sandbox.id).unwrap().finished_at.unwrap()
    };
    let ends: Vec<Vec<Timestamp>> = uids.iter().map(|wave| wave.iter().map(ended).collect()).collect();
    assert!(ends[0].iter().max() < ends[1].iter().min(), "daemons end after others: {ends:?}");
    assert!(ends[1].iter().max() < ends[2].iter().min(), "critical pods end last: {ends:?}");
    for name in ["w0-0", "w1-1", "w2-0"] {
        let pod = world.pod(name, "it is not ready any more", |pod| !ready(pod)).await;
        assert_eq!(pod["status"]["phase"], "Running", "{pod}");
    }
    world.start_agent().await;
    for name in ["w0-0", "w1-1", "w2-0"] {
        world.pod(name, "it runs again", ready).await;
    }
    world.end().await;
}
