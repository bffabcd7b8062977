//! Watches over memory, disk and process ids of the node, and gives up pods when they run short.
//!
//! # Invariants
//! One pod at a time, and no other before it has ended or had its time to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use decide::node_pressure::eviction::{Candidate, ContainerUse, Standing, choose, message};
use decide::node_pressure::respite::Respite;
use decide::node_pressure::{Condition, Seen, Shortage, Signal, Stock, Supplies, shortages};
use decide::pod_lifecycle::PodFailure;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::image_gc::Collector;
use super::node::reference;
use super::{Agent, facts};
use crate::measure::{self, Look};
use crate::runtime::{ContainerState, Runtime};

/// How often the node is looked at, as Kubernetes has it.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long a pod that ends is waited for before the next look, as Kubernetes has it.
const END_MAX: Duration = Duration::from_secs(30);
/// How often one looks whether it has ended.
const END_LOOK: Duration = Duration::from_millis(500);

/// Watches until shutdown; not at all where nothing could come of it.
pub(super) async fn keep<R: Runtime>(agent: &Arc<Agent<R>>) {
    if agent.options.eviction.is_none() && agent.runtime.image_fs().await.is_none() {
        return;
    }
    let (mut seen, mut relief, mut ticks) = (Seen::default(), Relief::default(), tokio::time::interval(LOOK_EVERY));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = agent.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let now = Timestamp::now();
        relief.collector.turn(agent, now).await;
        let short = shortages(&agent.options.eviction, &supplies(agent).await);
        tell(agent, seen.look(&short, now));
        relief.respite.look(&short, now);
        match short.first() {
            Some(shortage) => relief.reclaim(agent, shortage, now).await,
            None => relief.helpless = None,
        }
    }
}

/// What a node does about a shortage, and remembers of it.
#[derive(Default)]
struct Relief {
    collector: Collector,
    respite: Respite,
    /// It was told that no pod may end for this; told once until it is over.
    helpless: Option<Signal>,
}

async fn supplies<R: Runtime>(agent: &Arc<Agent<R>>) -> Supplies {
    let capacity = facts::capacity(&agent.options.data_dir).await;
    let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
    let stock = |whole: i64, left: i64| Stock { whole: unsigned(whole), left: unsigned(left) };
    let (node_disk, node_inodes) = (
        stock(capacity.disk_bytes, capacity.disk_available_bytes),
        Stock { whole: capacity.inodes, left: capacity.inodes_available },
    );
    let images = agent.runtime.image_fs().await;
    // The same file system is asked twice, a moment apart: by its size it is known to be the same.
    let other = images.filter(|fs| fs.capacity_bytes != node_disk.whole);
    Supplies {
        memory: stock(capacity.memory_bytes, capacity.memory_available_bytes),
        node_disk,
        node_inodes,
        image_disk: other.map_or(node_disk, |fs| Stock { whole: fs.capacity_bytes, left: fs.available_bytes }),
        image_inodes: other.map_or(node_inodes, |fs| Stock { whole: fs.inodes, left: fs.inodes_free }),
        pids: Stock { whole: capacity.pids_max, left: capacity.pids_max.saturating_sub(capacity.pids) },
    }
}

/// Keeps the conditions for the node's status, and tells changes as events.
fn tell<R>(agent: &Arc<Agent<R>>, conditions: Vec<Condition>) {
    let before = agent.conditions();
    for condition in [Condition::Memory, Condition::Disk, Condition::Pids] {
        let on = conditions.contains(&condition);
        if on == before.contains(&condition) {
            continue;
        }
        let reason = match (condition, on) {
            (Condition::Memory, true) => "NodeHasInsufficientMemory",
            (Condition::Memory, false) => "NodeHasSufficientMemory",
            (Condition::Disk, true) => "NodeHasDiskPressure",
            (Condition::Disk, false) => "NodeHasNoDiskPressure",
            (Condition::Pids, true) => "NodeHasInsufficientPID",
            (Condition::Pids, false) => "NodeHasSufficientPID",
        };
        let text = format!("Node {} status is now: {reason}", agent.options.node_name);
        agent.recorder.node_event(&reference(agent), "Normal", reason, &text);
    }
    agent.set_conditions(conditions);
}

impl Relief {
    /// Frees what the node can do without, and if that is not enough ends one pod.
    async fn reclaim<R: Runtime>(&mut self, agent: &Arc<Agent<R>>, shortage: &Shortage, now: Timestamp) {
        let resource = shortage.signal.resource();
        let text = format!("Attempting to reclaim {resource}");
        agent.recorder.node_event(&reference(agent), "Warning", "EvictionThresholdMet", &text);
        if shortage.signal.condition() == Condition::Disk {
            self.collector.free_all(agent, now).await;
            let left = shortages(&agent.options.eviction, &supplies(agent).await);
            if !left.iter().any(|short| short.signal.condition() == Condition::Disk) {
                return;
            }
        }
        let candidates = candidates(agent, shortage.signal).await;
        let Some(chosen) = choose(shortage.signal, &candidates, &self.respite) else {
            if self.helpless.replace(shortage.signal) != Some(shortage.signal) {
                let node = &agent.options.node_name;
                tracing::warn!("node {node} is short of {resource}, and no pod may end for it: free some by hand");
            }
            return;
        };
        let message = message(shortage, chosen);
        tracing::warn!("pod {} is evicted: {message}", chosen.name);
        self.respite.given_up(chosen, now);
        agent.counters.evicted(shortage.signal.name());
        agent.evict(&chosen.uid, PodFailure { reason: "Evicted".to_owned(), message });
        ended(agent, &chosen.uid).await;
    }
}

/// Waits until nothing of the pod runs.
async fn ended<R: Runtime>(agent: &Arc<Agent<R>>, uid: &str) {
    let begin = Instant::now();
    while begin.elapsed() < END_MAX && !agent.shutdown.is_cancelled() {
        tokio::time::sleep(END_LOOK).await;
        let sandboxes = agent.runtime.list_pod_sandboxes().await.unwrap_or_default();
        let containers = agent.runtime.list_containers().await.unwrap_or_default();
        let own = sandboxes.iter().filter(|sandbox| sandbox.config.uid == uid);
        let runs = own
            .into_iter()
            .any(|sandbox| containers.iter().any(|c| c.sandbox == sandbox.id && c.state == ContainerState::Running));
        if !runs {
            return;
        }
    }
}

async fn candidates<R: Runtime>(agent: &Arc<Agent<R>>, signal: Signal) -> Vec<Candidate> {
    let look = measure::look(agent).await;
    let containers = agent.runtime.list_containers().await.unwrap_or_default();
    let sandboxes = agent.runtime.list_pod_sandboxes().await.unwrap_or_default();
    let runs = |uid: &str| {
        let own: Vec<_> = sandboxes.iter().filter(|sandbox| sandbox.config.uid == uid).collect();
        containers.iter().any(|c| c.state == ContainerState::Running && own.iter().any(|s| s.id == c.sandbox))
    };
    let pods = agent.pods();
    let able = pods.iter().filter(|pod| {
        let meta = &pod.metadata;
        meta.deletion_timestamp.is_none() && meta.uid.as_deref().is_some_and(|uid| runs(uid) && !agent.is_evicted(uid))
    });
    able.map(|pod| candidate(pod, signal, &look)).collect()
}

fn candidate(pod: &Pod, signal: Signal, look: &Look) -> Candidate {
    let meta = &pod.metadata;
    let uid = meta.uid.clone().unwrap_or_default();
    let measured = look.pods.iter().find(|one| one.stats.uid == uid);
    let resource = signal.resource();
    let asked: Vec<&Container> = pod.spec.iter().flat_map(|spec| &spec.containers).collect();
    let of_container = |name: &str| {
        let stats = measured?.stats.containers.iter().find(|c| c.name == name)?;
        Some(match signal {
            Signal::Memory => stats.usage.working_set_bytes,
            _ => {
                let logs = measured?.kept.logs.iter().find(|(of, _)| of == name).map_or(0, |(_, fs)| fs.used_bytes);
                stats.rootfs.map_or(0, |fs| fs.used_bytes).saturating_add(logs)
            }
        })
    };
    let told = matches!(signal, Signal::Memory | Signal::NodeDisk | Signal::ImageDisk);
    let containers = asked.iter().filter(|_| told).filter_map(|container| {
        let (name, request) = (container.name.clone(), request(container, resource));
        Some(ContainerUse { used: of_container(&name)?, name, request })
    });
    Candidate {
        name: format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default()),
        controller: controller(pod),
        standing: Standing::of(pod),
        used: measured.map(|one| match signal {
            Signal::Memory => one.stats.usage.working_set_bytes,
            Signal::NodeDisk | Signal::ImageDisk => one.disk().used_bytes,
            Signal::NodeInodes | Signal::ImageInodes => one.disk().inodes_used,
            Signal::Pids => one.stats.usage.processes,
        }),
        request: asked.iter().map(|container| request(container, resource)).fold(0, u64::saturating_add),
        containers: containers.collect(),
        uid,
    }
}

/// UID of the object that controls the pod.
fn controller(pod: &Pod) -> String {
    let owners = pod.metadata.owner_references.iter().flatten();
    owners.into_iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone()).unwrap_or_default()
}

fn request(container: &Container, resource: &str) -> u64 {
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let quantity = requests.and_then(|list| api::quantity::Quantity::parse(&list.get(resource)?.0).ok());
    quantity.and_then(|quantity| u64::try_from(quantity.units()).ok()).unwrap_or(0)
}
