//! What sandboxes use: the kernel's numbers where their control groups can be read, else the runtime's.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use super::Shared;
use super::info::Inside;
use super::proto::UInt64Value;
use super::proto::stats as cri;
use super::sandbox::OWNER;
use crate::runtime::embedded::usage;
use crate::runtime::stats::{ContainerStats, FsUsage, SandboxStats, Usage};
use crate::runtime::{ContainerState, ContainerStatus, NamespaceMode, RuntimeError, SandboxStatus};

/// A number, 0 where there is none.
fn value(number: Option<UInt64Value>) -> u64 {
    number.map(|number| number.value).unwrap_or_default()
}

/// The runtime's own numbers.
fn usage_of(told: &cri::ContainerStats) -> Usage {
    let memory = told.memory.clone().unwrap_or_default();
    Usage {
        cpu_nanos: value(told.cpu.as_ref().and_then(|cpu| cpu.usage_core_nano_seconds)),
        memory_bytes: value(memory.usage_bytes),
        working_set_bytes: value(memory.working_set_bytes),
        rss_bytes: value(memory.rss_bytes),
        page_faults: value(memory.page_faults),
        major_page_faults: value(memory.major_page_faults),
        ..Usage::default()
    }
}

/// What containers together use, where their sandbox's group can't be read.
fn sum(containers: &[ContainerStats]) -> Usage {
    containers.iter().map(|container| container.usage).fold(Usage::default(), |sum, one| Usage {
        cpu_nanos: sum.cpu_nanos.saturating_add(one.cpu_nanos),
        memory_bytes: sum.memory_bytes.saturating_add(one.memory_bytes),
        working_set_bytes: sum.working_set_bytes.saturating_add(one.working_set_bytes),
        rss_bytes: sum.rss_bytes.saturating_add(one.rss_bytes),
        page_faults: sum.page_faults.saturating_add(one.page_faults),
        major_page_faults: sum.major_page_faults.saturating_add(one.major_page_faults),
        ..sum
    })
}

fn rootfs(told: &cri::ContainerStats) -> Option<FsUsage> {
    let layer = told.writable_layer.as_ref()?;
    Some(FsUsage { used_bytes: value(layer.used_bytes), inodes_used: value(layer.inodes_used), ..FsUsage::default() })
}

impl Shared {
    /// What the sandboxes that are ready use.
    pub(super) async fn measure(self: &Arc<Self>) -> Result<Vec<SandboxStats>, RuntimeError> {
        let labels = [(OWNER.to_owned(), self.options.owner.clone())].into();
        let question = cri::ListRequest { filter: Some(cri::Filter { labels }) };
        let answer: cri::ListResponse = self.client.ask(cri::LIST, question).await?;
        let told: BTreeMap<String, cri::ContainerStats> =
            answer.stats.into_iter().filter_map(|one| Some((one.attributes.clone()?.id, one))).collect();
        let sandboxes = self.sandbox_statuses().await?;
        let containers = self.statuses().await?;
        let shared = Arc::clone(self);
        let work = move || {
            let ready = sandboxes.into_iter().filter(|sandbox| sandbox.ready);
            ready.map(|sandbox| shared.stats_of(sandbox, &containers, &told)).collect()
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| RuntimeError::Failed(error.to_string()))
    }

    fn stats_of(
        &self,
        sandbox: SandboxStatus,
        containers: &[ContainerStatus],
        told: &BTreeMap<String, cri::ContainerStats>,
    ) -> SandboxStats {
        let running = containers.iter().filter(|c| c.sandbox == sandbox.id && c.state == ContainerState::Running);
        let containers: Vec<ContainerStats> = running
            .map(|container| {
                let told = told.get(&container.id.0);
                let inside = self.inside(&container.id.0);
                let kernels = inside.cgroup.as_deref().and_then(|group| self.read_group(group));
                ContainerStats {
                    id: container.id.clone(),
                    name: container.name.clone(),
                    attempt: container.attempt,
                    image: container.image.clone(),
                    cgroup: inside.cgroup.map(|group| group.display().to_string()).unwrap_or_default(),
                    started_at: container.started_at,
                    usage: kernels.or_else(|| told.map(usage_of)).unwrap_or_default(),
                    rootfs: told.and_then(rootfs),
                }
            })
            .collect();
        let Inside { pid, cgroup } = self.inside(&sandbox.id.0);
        let group = cgroup.as_deref().and_then(std::path::Path::parent);
        let net_dev = pid.filter(|_| sandbox.config.network != NamespaceMode::Node);
        let net_dev = net_dev.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/net/dev")).ok());
        SandboxStats {
            usage: group.and_then(|group| self.read_group(group)).unwrap_or_else(|| sum(&containers)),
            cgroup: group.map(|group| group.display().to_string()).unwrap_or_default(),
            links: net_dev.as_deref().map(usage::links).unwrap_or_default(),
            namespace: sandbox.config.namespace,
            name: sandbox.config.name,
            uid: sandbox.config.uid,
            created_at: sandbox.created_at,
            id: sandbox.id,
            containers,
        }
    }

    fn read_group(&self, group: &std::path::Path) -> Option<Usage> {
        let groups = self.groups.as_ref()?;
        groups.directories(group).iter().any(|dir| dir.exists()).then(|| usage::read(groups, group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtimes_numbers_serve_where_the_kernels_can_not_be_read() {
        let number = |value| Some(UInt64Value { value });
        let told = cri::ContainerStats {
            cpu: Some(cri::CpuUsage { usage_core_nano_seconds: number(7) }),
            memory: Some(cri::MemoryUsage { working_set_bytes: number(5), rss_bytes: number(4), ..Default::default() }),
            writable_layer: Some(cri::FilesystemUsage { used_bytes: number(3), inodes_used: number(2), fs_id: None }),
            attributes: None,
        };
        let usage = usage_of(&told);
        assert_eq!((usage.cpu_nanos, usage.working_set_bytes, usage.rss_bytes), (7, 5, 4));
        assert_eq!(rootfs(&told).map(|fs| (fs.used_bytes, fs.inodes_used)), Some((3, 2)));
        let one = ContainerStats {
            id: crate::runtime::ContainerId("a".to_owned()),
            name: String::new(),
            attempt: 0,
            image: String::new(),
            cgroup: String::new(),
            started_at: None,
            usage,
            rootfs: None,
        };
        assert_eq!(sum(&[one.clone(), one]).cpu_nanos, 14);
    }
}
