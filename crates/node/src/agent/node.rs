//! The Node object: made, made again when somebody deletes it, and kept true.
//!
//! # Invariants
//! Labels, taints and the pod CIDR are written when the Node is made; later only the labels every node has are corrected,
//! so what people label stays.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams, Request};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use rand::Rng as _;
use serde_json::json;
use tokio::time::Instant;

use super::answer::within;
use super::node_status::{Facts, changed, differs_in_images_alone, essence, status};
use super::reconnect::Reconnect;
use super::unmanaged::Unmanaged;
use super::unread::unread;
use super::{Agent, facts};
use crate::runtime::Runtime;

/// How often the machine is looked at, as Kubernetes has it.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often a network that is not there yet is looked for: pods and people wait for it.
const NETWORK_EVERY: Duration = Duration::from_secs(2);
/// How often the status is written when nothing changed, as Kubernetes has it: leases are the heartbeat.
const TELL_EVERY: Duration = Duration::from_secs(300);
/// Images that came or went are told this long after they did, at the least and at the most: a rollout brings one to every
/// node at once, and its pods go first.
const IMAGES_AFTER: RangeInclusive<Duration> = Duration::from_secs(20)..=Duration::from_secs(50);
/// How long a machine that goes down tries to say so.
const FAREWELL: Duration = Duration::from_secs(2);
/// Wait before a registration that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Longest such wait: a server that comes back sees its nodes within this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(15);

/// An answer of the server is waited for so long.
const ANSWER_MAX: Duration = Duration::from_secs(8);

/// Keeps the Node until shutdown, whatever is asked of the server then: it may never answer.
pub(super) async fn keep<R: Runtime>(agent: &Arc<Agent<R>>) {
    let mut keeper = Keeper::new(Api::all(agent.client.clone()));
    agent.shutdown.run_until_cancelled(follow(agent, &mut keeper)).await;
    if agent.is_going_down() {
        drop(tokio::time::timeout(FAREWELL, keeper.tell(agent)).await);
    }
}

async fn follow<R: Runtime>(agent: &Arc<Agent<R>>, keeper: &mut Keeper) {
    let own = watcher::Config::default().fields(&format!("metadata.name={}", agent.options.node_name));
    let watched: Api<Unmanaged<Node>> = Api::all(agent.client.clone());
    let mut watch = watcher(watched, own).backoff(Reconnect::default()).boxed();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    keeper.register(agent).await;
    let mut seen_in_list = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => keeper.tell(agent).await,
            () = agent.node_changed.notified() => keeper.tell(agent).await,
            () = tokio::time::sleep(NETWORK_EVERY), if keeper.waits_for_network => keeper.tell(agent).await,
            event = watch.next() => match event {
                Some(Ok(Event::Init)) => seen_in_list = false,
                Some(Ok(Event::Apply(Unmanaged(node)) | Event::InitApply(Unmanaged(node)))) => {
                    seen_in_list = true;
                    keeper.see(agent, node).await;
                }
                Some(Ok(Event::InitDone)) if seen_in_list => {}
                Some(Ok(Event::InitDone | Event::Delete(_))) => keeper.register(agent).await,
                // The watcher waits and lists again by itself; the lease tells people about the server.
                Some(Err(error)) => tracing::debug!("watch of node {}: {error}", agent.options.node_name),
                None => return,
            },
        }
    }
}

struct Keeper {
    nodes: Api<Node>,
    node: Option<Node>,
    told: Option<NodeStatus>,
    told_at: Option<Timestamp>,
    /// When images that came or went are told; None while there are none.
    images_at: Option<Instant>,
    greeted: bool,
    waits_for_network: bool,
}

impl Keeper {
    fn new(nodes: Api<Node>) -> Self {
        let (node, told, told_at, images_at) = (None, None, None, None);
        Self { nodes, node, told, told_at, images_at, greeted: false, waits_for_network: false }
    }

    /// Makes the Node, or takes over the one that is there; tries until it works.
    async fn register<R: Runtime>(&mut self, agent: &Arc<Agent<R>>) {
        let (mut wait, mut logged) = (RETRY_AFTER, false);
        loop {
            match self.try_register(agent).await {
                Ok(()) => break,
                Err(error) if !logged => {
                    logged = true;
                    tracing::warn!("node {} can't be registered yet: {error}", agent.options.node_name);
                }
                Err(_) => {}
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_AFTER_MAX);
        }
        self.told = None;
        self.tell(agent).await;
        if !self.greeted {
            self.greeted = true;
            agent.recorder.node_event(&reference(agent), "Normal", "Starting", "Starting kubelet.");
        }
    }

    async fn try_register<R: Runtime>(&mut self, agent: &Arc<Agent<R>>) -> Result<(), kube::Error> {
        let name = &agent.options.node_name;
        match within(ANSWER_MAX, self.nodes.create(&PostParams::default(), &new_node(agent))).await {
            Ok(node) => {
                tracing::info!("node {name} is registered");
                self.node = Some(node);
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let patch =
                    Patch::Merge(json!({"metadata": {"labels": own_labels(agent), "annotations": own_annotations()}}));
                let params = PatchParams::default();
                let patched = self.nodes.patch(name, &params, &patch);
                self.node = Some(within(ANSWER_MAX, patched).await?);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Somebody may have changed our conditions: the controller does when our heartbeat was late.
    async fn see<R: Runtime>(&mut self, agent: &Arc<Agent<R>>, node: Node) {
        let overruled = self.told.as_ref().is_some_and(|told| ready(Some(told)) != ready(node.status.as_ref()));
        self.node = Some(node);
        if overruled {
            self.told = None;
            self.tell(agent).await;
        }
    }

    /// Whether nothing changed since the status was written.
    fn is_told(&mut self, news: &NodeStatus) -> bool {
        let told = self.told.as_ref() == Some(news);
        // Images that came and went again are none that wait.
        self.images_at = self.images_at.filter(|_| !told);
        told
    }

    /// Whether images are all that changed, and their time has not come.
    fn images_wait(&mut self, news: &NodeStatus) -> bool {
        if !self.told.as_ref().is_some_and(|told| differs_in_images_alone(told, news)) {
            return false;
        }
        let at = self.images_at.get_or_insert_with(|| Instant::now() + rand::rng().random_range(IMAGES_AFTER));
        Instant::now() < *at
    }

    /// Writes the status when it changed, or when it is old.
    async fn tell<R: Runtime>(&mut self, agent: &Arc<Agent<R>>) {
        let now = Timestamp::now();
        let facts = Facts {
            capacity: facts::recent_capacity(&agent.options.data_dir).await,
            info: facts::system_info(agent.runtime.version()).await,
            addresses: agent.addresses.clone(),
            hostname: agent.options.node_name.clone(),
            images: agent.runtime.list_images().await.unwrap_or_default(),
            pressure: agent.conditions(),
            going_down: agent.is_going_down(),
            no_network: agent.runtime.network_ready().await.err(),
        };
        self.waits_for_network = facts.no_network.is_some();
        let old = self.node.as_ref().and_then(|n| n.status.as_ref());
        let status = status(&facts, old, now);
        let due = self.told_at.is_none_or(|at| now.duration_since(at) >= TELL_EVERY.try_into().unwrap_or_default());
        let news = essence(&status);
        if !due && (self.is_told(&news) || self.images_wait(&news)) {
            return;
        }
        let name = &agent.options.node_name;
        let told = self.told.as_ref().filter(|_| !due);
        let patch = Patch::Strategic(json!({"status": changed(&status, told)}));
        let request =
            Request::new(self.nodes.resource_url()).patch_subresource("status", name, &PatchParams::default(), &patch);
        match within(ANSWER_MAX, unread(&agent.client, request)).await {
            Ok(()) => {
                self.told = Some(news);
                self.told_at = Some(now);
                self.images_at = None;
                if let Some(node) = &mut self.node {
                    node.status = Some(status);
                }
            }
            // The watch sees a deletion and registers again; all else is tried at the next tick.
            Err(error) => tracing::debug!("status of node {name}: {error}"),
        }
    }
}

/// What the condition Ready says.
fn ready(status: Option<&NodeStatus>) -> Option<&str> {
    status?.conditions.as_ref()?.iter().find(|c| c.type_ == "Ready").map(|c| c.status.as_str())
}

/// The labels every node has.
fn own_labels<R>(agent: &Agent<R>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("kubernetes.io/hostname".to_owned(), agent.options.node_name.clone()),
        ("kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("kubernetes.io/arch".to_owned(), facts::go_arch().to_owned()),
        ("beta.kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("beta.kubernetes.io/arch".to_owned(), facts::go_arch().to_owned()),
    ]);
    labels.extend(agent.options.labels.clone());
    labels
}

/// What this agent can do that other kubelets can't.
fn own_annotations() -> BTreeMap<String, String> {
    [(decide::pre_pull::ABLE.to_owned(), "true".to_owned())].into()
}

fn new_node<R>(agent: &Agent<R>) -> Node {
    let options = &agent.options;
    Node {
        metadata: ObjectMeta {
            name: Some(options.node_name.clone()),
            labels: Some(own_labels(agent)),
            annotations: Some(own_annotations()),
            ..Default::default()
        },
        spec: Some(NodeSpec {
            pod_cidr: options.pod_cidrs.first().cloned(),
            pod_cidrs: Some(options.pod_cidrs.clone()).filter(|cidrs| !cidrs.is_empty()),
            taints: Some(options.taints.clone()).filter(|t| !t.is_empty()),
            ..Default::default()
        }),
        status: None,
    }
}

pub(super) fn reference<R>(agent: &Agent<R>) -> ObjectReference {
    let name = agent.options.node_name.clone();
    ObjectReference { kind: Some("Node".to_owned()), uid: Some(name.clone()), name: Some(name), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ContainerImage, NodeCondition};
    use kube::Client;

    use super::*;

    fn status(ready: &str, image: &str) -> NodeStatus {
        let condition =
            NodeCondition { type_: "Ready".to_owned(), status: ready.to_owned(), ..NodeCondition::default() };
        let image = ContainerImage { names: Some(vec![image.to_owned()]), size_bytes: Some(1) };
        NodeStatus { conditions: Some(vec![condition]), images: Some(vec![image]), ..NodeStatus::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn images_wait_and_nothing_else_does() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let nobody = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let mut keeper = Keeper::new(Api::all(nobody));
        assert!(!keeper.images_wait(&status("True", "x:1")), "nothing was told yet");
        keeper.told = Some(status("True", "x:1"));
        assert!(!keeper.images_wait(&status("False", "x:1")));
        assert!(!keeper.images_wait(&status("False", "x:2")), "they are told with what can't wait");
        assert!(keeper.images_wait(&status("True", "x:2")));
        tokio::time::advance(*IMAGES_AFTER.start() - Duration::from_secs(1)).await;
        assert!(keeper.images_wait(&status("True", "x:3")));
        tokio::time::advance(*IMAGES_AFTER.end() - *IMAGES_AFTER.start() + Duration::from_secs(2)).await;
        assert!(!keeper.images_wait(&status("True", "x:4")), "they wait from the first change on");
    }
}
