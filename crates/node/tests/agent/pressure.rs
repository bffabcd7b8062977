//! A node that runs short of something.

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde_json::{Value, json};

use crate::{World, one, ready, wait};

fn failed(pod: &Value) -> bool {
    pod["status"]["phase"] == "Failed"
}

#[tokio::test]
async fn a_node_in_need_turns_pods_away_and_gives_up_daemons_last_and_critical_ones_never() {
    // All of the memory is less than what is asked for.
    let world = World::with(|options| options.eviction = "memory.available<100%".parse().unwrap()).await;
    let nodes: Api<Node> = Api::all(world.client.clone());
    wait("the condition", async || {
        let node = nodes.get_opt("n-1").await.unwrap()?;
        let conditions = node.status?.conditions?;
        conditions.into_iter().find(|c| c.type_ == "MemoryPressure" && c.status == "True")
    })
    .await;
    world.create("anyone", one("busybox")).await;
    let away = world.pod("anyone", "it is turned away", failed).await;
    assert_eq!(
        (&away["status"]["reason"], &away["status"]["message"]),
        (&json!("Evicted"), &json!("The node had condition: [MemoryPressure]. "))
    );
    assert!(world.running().await.is_empty() && away["status"]["containerStatuses"].is_null());
    // It asks for more than it uses, so it is let in, and goes before the daemon at the next look.
    let modest =
        json!({"containers": [{"name": "c", "image": "busybox", "resources": {"requests": {"memory": "1Gi"}}}]});
    let daemon = world.create_owned("daemon", one("busybox"), "DaemonSet").await;
    let critical =
        json!({"containers": [{"name": "c", "image": "busybox"}], "priorityClassName": "system-node-critical"});
    let critical = world.create_owned("critical", critical, "DaemonSet").await;
    assert_eq!(critical.spec.unwrap().priority, Some(2_000_001_000));
    world.create("modest", modest).await;
    let given_up = world.pod("daemon", "the daemon ends when nothing else can", failed).await;
    let message = given_up["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("The node was low on resource: memory. Threshold quantity: "), "{message}");
    let modest = world.pod("modest", "it went before", failed).await;
    assert_eq!(modest["status"]["reason"], "Evicted");
    world.event("n-1", "EvictionThresholdMet").await;
    world.event("daemon", "Evicted").await;
    world.pod("critical", "it goes on", ready).await;
    assert_eq!(world.running().await.len(), 1);
    drop(daemon);
    world.end().await;
}
