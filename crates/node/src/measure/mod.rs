//! What a node and its pods use, in the words of Prometheus, cAdvisor and Kubernetes' summary.
//!
//! # Invariants
//! - Nothing is measured while nobody asks, but for what evictions need.
//! - Label values come from the node's own pods and links, so the number of series is bounded by what runs.
//!
//! # Absent
//! A history: rates are the asker's business, but for `usageNanoCores`, which has the time since the last question.

mod cadvisor;
mod counters;
mod kubelet;
mod machine;
mod page;
mod resource;
mod summary;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

pub(crate) use self::counters::Counters;
use self::machine::MachineUsage;
use crate::agent::Agent;
use crate::disk_usage;
use crate::runtime::Runtime;
use crate::runtime::stats::{FsUsage, SandboxStats};
use crate::volumes;

/// What the agent measures of one pod beside what the runtime does.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Of its containers, by name.
    pub(crate) logs: Vec<(String, FsUsage)>,
    /// Of its emptyDirs, by name.
    pub(crate) volumes: Vec<(String, FsUsage)>,
}

/// One measured pod.
pub(crate) struct PodUsage {
    pub(crate) stats: SandboxStats,
    pub(crate) kept: Kept,
}

impl PodUsage {
    /// Bytes and inodes of containers, logs and emptyDirs together.
    pub(crate) fn disk(&self) -> FsUsage {
        let rootfs = self.stats.containers.iter().filter_map(|container| container.rootfs);
        let kept = self.kept.logs.iter().chain(&self.kept.volumes).map(|(_, usage)| *usage);
        rootfs.chain(kept).fold(FsUsage::default(), |sum, one| FsUsage {
            used_bytes: sum.used_bytes.saturating_add(one.used_bytes),
            inodes_used: sum.inodes_used.saturating_add(one.inodes_used),
            ..one
        })
    }
}

/// One look at everything.
pub(crate) struct Look {
    pub(crate) at: Timestamp,
    pub(crate) node: String,
    pub(crate) machine: MachineUsage,
    pub(crate) node_fs: FsUsage,
    pub(crate) image_fs: FsUsage,
    pub(crate) pods: Vec<PodUsage>,
}

/// Measures the node and its pods.
pub(crate) async fn look<R: Runtime>(agent: &Arc<Agent<R>>) -> Look {
    let stats = agent.runtime.stats().await.unwrap_or_default();
    let image_fs = agent.runtime.image_fs().await;
    let known = agent.pods();
    let own = Arc::clone(agent);
    let work = move || {
        let node_fs = disk_usage::of_file_system(&own.options.data_dir);
        let measured = |stats: SandboxStats| {
            let pod = known.iter().find(|pod| pod.metadata.uid.as_deref() == Some(&stats.uid));
            PodUsage { kept: kept(&own, &stats, pod.map(AsRef::as_ref)), stats }
        };
        Look {
            at: Timestamp::now(),
            node: own.options.node_name.clone(),
            machine: machine::read(),
            node_fs,
            image_fs: image_fs.unwrap_or(node_fs),
            pods: stats.into_iter().map(measured).collect(),
        }
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(look) => look,
        Err(_) => Look {
            at: Timestamp::now(),
            node: agent.options.node_name.clone(),
            machine: MachineUsage::default(),
            node_fs: FsUsage::default(),
            image_fs: FsUsage::default(),
            pods: Vec::new(),
        },
    }
}

fn kept<R>(agent: &Agent<R>, stats: &SandboxStats, pod: Option<&Pod>) -> Kept {
    let logs = agent.options.log_directory(&stats.namespace, &stats.name, &stats.uid);
    let of_container = |name: &str| (name.to_owned(), disk_usage::of_tree(&logs.join(name)));
    let volumes = pod.map(|pod| volumes::empty_dirs(&agent.options.pod_dir(&stats.uid), pod)).unwrap_or_default();
    Kept {
        logs: stats.containers.iter().map(|container| of_container(&container.name)).collect(),
        volumes: volumes.into_iter().map(|(name, dir)| (name, disk_usage::of_tree(&dir))).collect(),
    }
}

/// Answers GET of `/metrics…` and `/stats/…`: content type and text. None for a path that is none of them.
pub(crate) async fn answer<R: Runtime>(agent: &Arc<Agent<R>>, parts: &[&str]) -> Option<(&'static str, String)> {
    let text = match parts {
        ["metrics"] => kubelet::page(agent).await,
        ["metrics", "cadvisor"] => cadvisor::page(&look(agent).await),
        ["metrics", "resource"] => resource::page(&look(agent).await),
        // Probes are told by events; the page is there for those who scrape it.
        ["metrics", "probes"] => String::new(),
        ["stats"] | ["stats", "summary"] => {
            let look = look(agent).await;
            return Some(("application/json", summary::page(&look, &agent.counters).to_string()));
        }
        _ => return None,
    };
    Some((page::CONTENT_TYPE, text))
}

/// Nanoseconds as seconds.
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// Seconds since 1970.
fn epoch(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1e3
}
