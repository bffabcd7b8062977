//! Images that a pod asks for on behalf of its successor.

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{World, one, ready, wait};

fn told(pod: &Value) -> (Value, Value, Value) {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|c| c["type"] == "everynode.dev/PrePulled").unwrap_or_default();
    (found["status"].clone(), found["reason"].clone(), found["message"].clone())
}

#[tokio::test]
async fn a_node_pulls_what_its_pod_asks_for_and_says_so() {
    let world = World::new().await;
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(world.client.clone());
    let able = async || {
        let node = nodes.get_opt("n-1").await.unwrap()?;
        node.metadata.annotations.unwrap_or_default().contains_key("everynode.dev/pre-pulls").then_some(())
    };
    wait("a node that pulls", able).await;
    world.create("p", one("busybox:1")).await;
    let before = world.pod("p", "a ready pod", ready).await;
    let ask = async |images: Value| {
        let patch = json!({"metadata": {"annotations": {"everynode.dev/pre-pull": images}}});
        world.pods().patch("p", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    };
    ask(json!("busybox:2,busybox:3")).await;
    let pulled = (json!("True"), json!("Pulled"), json!("busybox:2,busybox:3"));
    world.pod("p", "the images", |pod| told(pod) == pulled).await;
    world.told("Pulling image \"busybox:3\"", 1).await;
    ask(json!("r.io/non-existent:1")).await;
    let pod = world.pod("p", "no image", |pod| told(pod).1 == "ErrImagePull").await;
    assert!(told(&pod).2.as_str().unwrap().starts_with("r.io/non-existent:1: "), "{pod}");
    assert_eq!(told(&pod).0, "False");
    ask(Value::Null).await;
    let after = world.pod("p", "no condition", |pod| told(pod).0.is_null()).await;
    assert!(ready(&after));
    let started = |pod: &Value| pod["status"]["containerStatuses"].clone();
    assert_eq!(started(&after), started(&before), "its containers are as they were");
    world.end().await;
}
