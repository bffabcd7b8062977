//! The scheduler: asks `decide::schedule` for one pod after the other, the most important that wait first, and binds.
//!
//! Invariants: decisions are made one at a time, each with all earlier ones taken into account, bound or about to be;
//! bindings run beside each other; a pod that fits nowhere is set aside in the same moment as that is decided, so that
//! nothing that could help it is missed.
//!
//! Absent: any decision.

mod ahead;
mod unfit;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use decide::schedule::{DEFAULT_SCHEDULER, Decision, decide, may_help};
use decide::view::{NodeView, PodView};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::ahead::{Placed, Placer};

use crate::Sync;
use crate::hub::Hub;
use crate::key::Key;
use crate::limits::{BINDINGS_IN_FLIGHT, UNSCHEDULABLE_RETRY};
use crate::record::{About, Event};
use crate::wire;
use crate::world::World;

/// Schedules pods until shutdown.
pub(crate) async fn run(hub: Arc<Hub>, shutdown: CancellationToken) {
    let slots = Arc::new(Semaphore::new(BINDINGS_IN_FLIGHT));
    let tasks = TaskTracker::new();
    let mut waiting = Waiting::default();
    let open = hub.options.placer.open(&hub);
    loop {
        if waiting.0.is_empty() {
            let key = tokio::select! {
                () = shutdown.cancelled() => break,
                key = hub.pods.next() => key,
            };
            waiting.put(&hub, key);
        }
        while let Ok(key) = hub.pods.take() {
            waiting.put(&hub, key);
        }
        let Ok(slot) = slots.clone().acquire_owned().await else { break };
        let Some((_, key)) = waiting.0.pop_first() else { continue };
        let Some((pod, decision)) = choose(&hub, &key) else {
            hub.pods.forget(&key);
            hub.pods.done(&key, Duration::ZERO);
            continue;
        };
        let hub = hub.clone();
        tasks.spawn(async move {
            let outcome = match decision {
                Decision::Bind(node) => bind(&hub, &key, &pod, &node).await,
                Decision::Unschedulable(unfit) => unfit::tell(&hub, &key, &pod, unfit).await,
                Decision::Leave => Ok(()),
            };
            match outcome {
                Ok(()) => hub.pods.forget(&key),
                Err(error) => {
                    let failures = hub.pods.retry(key.clone());
                    if failures == 1 {
                        tracing::warn!(controller = "scheduler", %key, %error, "sync failed, trying again until it works");
                    }
                }
            }
            hub.pods.done(&key, Duration::ZERO);
            drop(slot);
        });
    }
    drop(open);
    tasks.close();
    tasks.wait().await;
}

/// Pods that are due, the most important first, then in the order in which they came.
#[derive(Default)]
struct Waiting(BTreeMap<(Reverse<i32>, u64), Key>, u64);

impl Waiting {
    fn put(&mut self, hub: &Hub, key: Key) {
        let priority = hub.world().pods.get(&key).map_or(0, |p| p.priority);
        self.1 += 1;
        self.0.insert((Reverse(priority), self.1), key);
    }
}

/// The decision about a pod, with a binding counted already; `None` when there is nothing to do.
fn choose(hub: &Hub, key: &Key) -> Option<(Arc<PodView>, Decision)> {
    let mut guard = hub.world();
    let world = &mut *guard;
    world.parked.take(key);
    let pod = world.pods.get(key)?.clone();
    if world.nodes.is_assumed(&pod.uid) {
        return None;
    }
    match decide(&pod, &*world) {
        Decision::Leave => None,
        Decision::Bind(node) => {
            world.nodes.assume(&pod, &node);
            Some((pod, Decision::Bind(node)))
        }
        Decision::Unschedulable(unfit) => {
            world.parked.put(key, unfit.nodes.clone(), unfit.heeds_pods);
            if let Some((node, _)) = &unfit.room {
                world.nodes.nominate(&pod.uid, Some((node.clone(), pod.clone())));
            } else if unfit.drop_nomination {
                world.nodes.nominate(&pod.uid, None);
            }
            hub.pods.add_after(key.clone(), UNSCHEDULABLE_RETRY);
            Some((pod, Decision::Unschedulable(unfit)))
        }
    }
}

fn about(key: &Key, pod: &PodView) -> About {
    About { api_version: "v1", kind: "Pod", key: key.clone(), uid: pod.uid.clone() }
}

async fn bind(hub: &Hub, key: &Key, pod: &PodView, node: &str) -> Sync {
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": key.name, "namespace": key.namespace, "uid": pod.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    match wire::post(&hub.client, wire::pods(), key, "binding", &binding).await {
        Ok(()) => {
            let message = format!("Successfully assigned {key} to {node}");
            let (source, about) = (DEFAULT_SCHEDULER, about(key, pod));
            hub.recorder.record(Event { source, about, warning: false, reason: "Scheduled", message });
            Ok(())
        }
        Err(error) => {
            // What was kept free for it may help others now.
            if let Some(node) = { hub.world().nodes.forget(&pod.uid) } {
                load_changed(hub, &node);
            }
            // Gone, or bound by someone else: the watch will tell.
            if wire::is_gone(&error) || wire::code(&error) == 409 { Ok(()) } else { Err(error.into()) }
        }
    }
}

/// Tries pods again that fitted nowhere and that a change of what is on this node may help.
pub(crate) fn load_changed(hub: &Hub, node: &str) {
    let woken: Vec<Key> = {
        let world = hub.world();
        let named = world.parked.naming(node);
        let any = world.parked.anywhere().filter(|key| helps(&world, key, None, node));
        named.chain(any).cloned().collect()
    };
    wake(hub, woken);
}

/// Tries pods again that fitted nowhere and that a change of this node may help; all of them if it is new.
pub(crate) fn node_changed(hub: &Hub, before: Option<&NodeView>, node: &str) {
    let woken: Vec<Key> = {
        let world = hub.world();
        let named = world.parked.naming(node);
        let any = world.parked.anywhere().filter(|key| before.is_none() || helps(&world, key, before, node));
        named.chain(any).chain(world.parked.heeding()).cloned().collect()
    };
    wake(hub, woken);
}

/// True when `node` as it is now may let the pod start there.
fn helps(world: &World, key: &Key, before: Option<&NodeView>, node: &str) -> bool {
    match (world.pods.get(key), world.nodes.one(node)) {
        (Some(pod), Some((node, load))) => may_help(pod, before, node, load),
        _ => false,
    }
}

/// Tries pods again that fitted nowhere and that heed pods on other nodes.
pub(crate) fn pods_changed(hub: &Hub) {
    let woken: Vec<Key> = { hub.world().parked.heeding().cloned().collect() };
    wake(hub, woken);
}

fn wake(hub: &Hub, keys: Vec<Key>) {
    for key in keys {
        hub.world().parked.take(&key);
        hub.pods.add(key);
    }
}
