//! What the sandboxes of this node use.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::parts::{Images, PodNetwork};
use super::sandbox::{Sandbox, running_shim};
use super::{Inner, usage};
use crate::disk_usage;
use crate::runtime::stats::{ContainerStats, FsUsage, SandboxStats};
use crate::runtime::{ContainerId, ContainerState, NamespaceMode, RuntimeError};

/// How long a measured file system is taken for true: a walk over its files is what costs.
const MEASURED_FOR: Duration = Duration::from_secs(60);

/// What containers have written, as last measured.
pub(crate) type Measured = Mutex<BTreeMap<PathBuf, (Instant, FsUsage)>>;

impl<I: Images, N: PodNetwork> Inner<I, N> {
    pub(crate) async fn stats(self: &Arc<Self>) -> Result<Vec<SandboxStats>, RuntimeError> {
        let inner = Arc::clone(self);
        let work = move || {
            let sandboxes = inner.all_sandboxes();
            let alive = sandboxes.iter().filter(|sandbox| sandbox.is_alive());
            let all: Vec<SandboxStats> = alive.map(|sandbox| inner.stats_of(sandbox)).collect();
            inner.measured().retain(|_, (at, _)| at.elapsed() < MEASURED_FOR * 2);
            all
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| RuntimeError::Failed(error.to_string()))
    }

    fn stats_of(&self, sandbox: &Sandbox) -> SandboxStats {
        let config = &sandbox.saved.config;
        let group = self.pod_cgroup(&config.uid);
        let running = sandbox.records().into_iter().filter(|record| record.state == ContainerState::Running);
        let containers = running.map(|record| ContainerStats {
            usage: usage::read(&self.groups, &record.cgroup),
            rootfs: Some(self.rootfs_usage(&self.data_dir().join(&record.id).join("upper"))),
            id: ContainerId(record.id),
            name: record.name,
            attempt: record.attempt,
            image: record.image,
            cgroup: record.cgroup.display().to_string(),
            started_at: record.started_at,
        });
        SandboxStats {
            id: sandbox.id.clone(),
            namespace: config.namespace.clone(),
            name: config.name.clone(),
            uid: config.uid.clone(),
            cgroup: group.display().to_string(),
            created_at: sandbox.saved.created_at,
            usage: usage::read(&self.groups, &group),
            links: if config.network == NamespaceMode::Node { Vec::new() } else { links(&sandbox.dir) },
            containers: containers.collect(),
        }
    }

    fn measured(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, (Instant, FsUsage)>> {
        // Whole at every moment: each change is one statement.
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rootfs_usage(&self, dir: &Path) -> FsUsage {
        if let Some((at, usage)) = self.measured().get(dir)
            && at.elapsed() < MEASURED_FOR
        {
            return *usage;
        }
        let usage = disk_usage::of_tree(dir);
        self.measured().insert(dir.to_owned(), (Instant::now(), usage));
        usage
    }
}

/// The pod's links, as its shim sees them.
fn links(dir: &Path) -> Vec<crate::runtime::stats::LinkUsage> {
    let Some(pid) = running_shim(dir) else { return Vec::new() };
    usage::links(&fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default())
}
