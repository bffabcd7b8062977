//! A daemon that cuts its node off before the end of the pod before it has reached the API server.

use std::task::{Context, Poll};

use http::{Method, Request};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use kube::client::{Body, ClientBuilder};
use node::runtime::{ContainerState, Runtime};
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::{Layer, Service};

use super::{PATIENCE, World, one, ready, wait};

/// What is lost between the agent and the server: who asks waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    Nothing,
    Deletions,
    All,
}

/// The line between the two.
#[derive(Clone)]
struct Line(watch::Receiver<Lost>);

struct OnLine<S>(S, Line);

impl<S> Layer<S> for Line {
    type Service = OnLine<S>;

    fn layer(&self, inner: S) -> OnLine<S> {
        OnLine(inner, self.clone())
    }
}

impl<S: Service<Request<Body>, Future: Send + 'static>> Service<Request<Body>> for OnLine<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = futures::future::BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_deletion = request.method() == Method::DELETE;
        let (Line(mut lost), answer) = (self.1.clone(), self.0.call(request));
        Box::pin(async move {
            let passes = |lost: &Lost| *lost == Lost::Nothing || *lost == Lost::Deletions && !is_deletion;
            drop(lost.wait_for(passes).await);
            answer.await
        })
    }
}

/// Asks so much at once until the node is registered: to make it, for its pods, and to renew its lease.
const ASKED_AT_START: usize = 3;

/// A pod of one DaemonSet, whose controller this test is.
async fn daemon(world: &World, name: &str, revision: &str, image: &str) -> Pod {
    let owner = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "1", "controller": true});
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": one(image), "metadata": {"name": name,
        "labels": {"controller-revision-hash": revision}, "ownerReferences": [owner],
        "annotations": {"everynode.dev/dead-man-after-seconds": "30"}}});
    pod["spec"]["nodeName"] = json!("n-1");
    pod["spec"]["automountServiceAccountToken"] = json!(false);
    world.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap()
}

/// Runs until the node has gone back by itself, and is cut off still.
async fn gone_back() -> (World, watch::Sender<Lost>, String) {
    let mut world = World::new().await;
    world.stop_agent().await;
    let (lost, line) = watch::channel(Lost::Nothing);
    let client = ClientBuilder::try_from(world.agent_config().await).unwrap().with_layer(&Line(line)).build();
    world.run_agent(world.options(), client);
    let first = daemon(&world, "first", "a", "busybox:1").await.metadata.uid.unwrap();
    world.pod("first", "a ready pod", ready).await;
    lost.send_replace(Lost::Deletions);
    world.pods().delete("first", &DeleteParams::default()).await.unwrap();
    world
        .pod("first", "its end", |pod| pod["status"]["phase"] == "Failed" || pod["status"]["phase"] == "Succeeded")
        .await;
    daemon(&world, "second", "b", "busybox:2").await;
    world.pod("second", "a ready pod", ready).await;
    lost.send_replace(Lost::All);
    wait("the first one again", async || runs(&world, &first).await.then_some(())).await;
    let all = world.runtime.list_pod_sandboxes().await.unwrap();
    assert_eq!(all.iter().filter(|sandbox| sandbox.ready).count(), 1, "{all:?}");
    (world, lost, first)
}

async fn runs(world: &World, uid: &str) -> bool {
    let sandboxes = world.runtime.list_pod_sandboxes().await.unwrap();
    let ids: Vec<_> = sandboxes.into_iter().filter(|s| s.config.uid == uid).map(|s| s.id).collect();
    let containers = world.runtime.list_containers().await.unwrap();
    containers.iter().any(|c| c.state == ContainerState::Running && ids.contains(&c.sandbox))
}

async fn is_well(world: World, first: &str) {
    world.pod("first", "nothing of the pod that ended", Value::is_null).await;
    let second = world.pod("second", "why it failed", |pod| pod["status"]["phase"] == "Failed").await;
    assert_eq!(second["status"]["reason"], "DeadManSwitch");
    assert!(runs(&world, first).await, "the stand-in runs on");
    world.end().await;
}

#[tokio::test]
async fn the_old_pod_makes_room_and_is_deleted_later() {
    let (world, lost, first) = gone_back().await;
    lost.send_replace(Lost::Nothing);
    is_well(world, &first).await;
}

#[tokio::test]
async fn another_agent_deletes_the_old_pod() {
    let (mut world, lost, first) = gone_back().await;
    world.stop_agent().await;
    drop(lost);
    world.start_agent().await;
    is_well(world, &first).await;
}

#[tokio::test]
async fn an_agent_ends_although_its_server_is_mute() {
    let mut world = World::new().await;
    world.stop_agent().await;
    let (lost, line) = watch::channel(Lost::All);
    let client = ClientBuilder::try_from(world.agent_config().await).unwrap().with_layer(&Line(line)).build();
    let idle = lost.receiver_count();
    world.run_agent(world.options(), client);
    let asked = async || (lost.receiver_count() >= idle + ASKED_AT_START).then_some(());
    wait("requests that nobody answers", asked).await;
    tokio::time::timeout(PATIENCE, world.end()).await.expect("nothing waits for the server");
}
