//! Ends pods that write more to the node's disk than they may (`ephemeral-storage`).
//!
//! # Invariants
//! Nothing is measured while no pod has such a limit.

use std::sync::Arc;
use std::time::Duration;

use api::quantity::Quantity;
use decide::pod_lifecycle::PodFailure;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::Agent;
use crate::measure::{self, PodUsage};
use crate::runtime::Runtime;

/// How often pods with such limits are measured, as Kubernetes has it.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Watches until shutdown.
pub(super) async fn keep<R: Runtime>(agent: &Arc<Agent<R>>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = agent.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let limited: Vec<Arc<Pod>> = agent.pods().into_iter().filter(|pod| is_limited(pod)).collect();
        if limited.is_empty() {
            continue;
        }
        let look = measure::look(agent).await;
        for pod in limited {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            let measured = look.pods.iter().find(|one| one.stats.uid == uid);
            let Some(message) = measured.and_then(|usage| over(&pod, usage)) else { continue };
            if pod.metadata.deletion_timestamp.is_none() && !agent.is_evicted(uid) {
                tracing::warn!("pod {} is evicted: {message}", super::pod_words(&pod));
                agent.evict(uid, PodFailure { reason: "Evicted".to_owned(), message });
            }
        }
    }
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|spec| &spec.containers)
}

/// A container's limit, as written and in bytes.
fn limit(container: &Container) -> Option<(&str, u64)> {
    let text = &container.resources.as_ref()?.limits.as_ref()?.get("ephemeral-storage")?.0;
    let bytes = u64::try_from(Quantity::parse(text).ok()?.units()).ok()?;
    Some((text.as_str(), bytes)).filter(|(_, bytes)| *bytes > 0)
}

fn is_limited(pod: &Pod) -> bool {
    containers(pod).any(|container| limit(container).is_some())
}

/// What Kubernetes says of a pod that wrote too much: a container of it, or all together.
fn over(pod: &Pod, usage: &PodUsage) -> Option<String> {
    let limits: Vec<_> = containers(pod).map(limit).collect();
    let sum = limits.iter().flatten().map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
    // One container without a limit leaves the whole pod without.
    if limits.iter().all(Option::is_some) && usage.disk().used_bytes > sum {
        return Some(format!("Pod ephemeral local storage usage exceeds the total limit of containers {sum}. "));
    }
    containers(pod).find_map(|container| {
        let (text, bytes) = limit(container)?;
        let name = &container.name;
        let own = usage.stats.containers.iter().find(|one| one.name == *name).and_then(|one| one.rootfs);
        let logs = usage.kept.logs.iter().find(|(of, _)| of == name).map_or(0, |(_, logs)| logs.used_bytes);
        let used = own.map_or(0, |fs| fs.used_bytes).saturating_add(logs);
        let text = format!("Container {name} exceeded its local ephemeral storage limit \"{text}\". ");
        (used > bytes).then_some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Kept;
    use crate::runtime::stats::{ContainerStats, FsUsage, SandboxStats, Usage};
    use crate::runtime::{ContainerId, SandboxId};

    #[test]
    fn who_wrote_too_much() {
        let bytes = |used_bytes| FsUsage { used_bytes, ..FsUsage::default() };
        for (limits, root, logs, volume, expect) in [
            ([Some("1Ki"), None], [1000, 9000], 24, 9000, None),
            (
                [Some("1Ki"), None],
                [1000, 0],
                25,
                0,
                Some("Container a exceeded its local ephemeral storage limit \"1Ki\". "),
            ),
            ([Some("1Ki"), Some("1Ki")], [1000, 0], 0, 1048, None),
            (
                [Some("1Ki"), Some("1Ki")],
                [1000, 0],
                0,
                1049,
                Some("Pod ephemeral local storage usage exceeds the total limit of containers 2048. "),
            ),
            ([None, None], [9000, 9000], 9000, 9000, None),
        ] {
            let names = ["a", "b"];
            let of = |index: usize| {
                let limits = limits[index].map(|text| serde_json::json!({"limits": {"ephemeral-storage": text}}));
                serde_json::json!({"name": names[index], "resources": limits})
            };
            let spec = serde_json::json!({"spec": {"containers": [of(0), of(1)]}});
            let pod: Pod = serde_json::from_value(spec).unwrap();
            let stats = |index: usize| ContainerStats {
                name: names[index].to_owned(),
                id: ContainerId(String::new()),
                attempt: 0,
                image: String::new(),
                cgroup: String::new(),
                started_at: None,
                usage: Usage::default(),
                rootfs: Some(bytes(root[index])),
            };
            let usage = PodUsage {
                stats: SandboxStats {
                    id: SandboxId(String::new()),
                    namespace: String::new(),
                    name: String::new(),
                    uid: String::new(),
                    cgroup: String::new(),
                    created_at: jiff::Timestamp::UNIX_EPOCH,
                    usage: Usage::default(),
                    links: Vec::new(),
                    containers: vec![stats(0), stats(1)],
                },
                kept: Kept {
                    logs: vec![("a".to_owned(), bytes(logs))],
                    volumes: vec![("v".to_owned(), bytes(volume))],
                },
            };
            assert_eq!(over(&pod, &usage).as_deref(), expect, "{limits:?}");
            assert_eq!(is_limited(&pod), limits[0].is_some());
        }
    }
}
