//! `/metrics`: the agent itself, by the names that the kubelet's dashboards ask for.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use super::page::Page;
use crate::agent::Agent;
use crate::runtime::{ContainerState, Runtime};

/// Bytes of a page of memory, on all machines that we are built for.
const PAGE_BYTES: f64 = 4096.0;

/// The page.
pub(super) async fn page<R: Runtime>(agent: &Arc<Agent<R>>) -> String {
    let mut page = Page::default();
    page.gauge("kubelet_node_name", &[("node", &agent.options.node_name)], 1.0);
    let version = api::KUBERNETES_VERSION;
    let build = [("git_version", version), ("platform", "linux"), ("everynode_version", env!("CARGO_PKG_VERSION"))];
    page.gauge("kubernetes_build_info", &build, 1.0);
    let sandboxes = agent.runtime.list_pod_sandboxes().await.unwrap_or_default();
    page.gauge("kubelet_running_pods", &[], sandboxes.iter().filter(|sandbox| sandbox.ready).count() as f64);
    page.gauge("kubelet_desired_pods", &[("static", "")], agent.pods().len() as f64);
    let mut states: BTreeMap<&str, u64> = [("created", 0), ("exited", 0), ("running", 0)].into();
    for container in agent.runtime.list_containers().await.unwrap_or_default() {
        let state = match container.state {
            ContainerState::Created => "created",
            ContainerState::Running => "running",
            ContainerState::Exited => "exited",
        };
        *states.entry(state).or_default() += 1;
    }
    for (state, count) in states {
        page.gauge("kubelet_running_containers", &[("container_state", state)], count as f64);
    }
    let volumes = agent
        .pods()
        .iter()
        .map(|pod| pod.spec.as_ref().and_then(|s| s.volumes.as_ref()).map_or(0, Vec::len))
        .sum::<usize>();
    let labels = [("plugin_name", "everynode"), ("state", "actual_state_of_world")];
    page.gauge("volume_manager_total_volumes", &labels, volumes as f64);
    agent.counters.put(&mut page);
    process(&mut page);
    page.text()
}

/// What every program tells of itself.
fn process(page: &mut Page) {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let stat = text("/proc/self/stat");
    // The name in brackets may hold anything; after it come state (3rd) and the others.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_ascii_whitespace().collect()).unwrap_or_default();
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    // SAFETY: asks for a constant of the system.
    let ticks = (unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64).max(1.0);
    let booted = super::machine::read().booted_at as f64;
    page.counter("process_cpu_seconds_total", &[], (field(14) + field(15)) / ticks);
    page.gauge("process_virtual_memory_bytes", &[], field(23));
    page.gauge("process_resident_memory_bytes", &[], field(24) * PAGE_BYTES);
    page.gauge("process_start_time_seconds", &[], booted + field(22) / ticks);
    page.gauge("process_open_fds", &[], fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as f64);
    let limits = text("/proc/self/limits");
    let most = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files")?.split_ascii_whitespace().next()?.parse().ok());
    page.gauge("process_max_fds", &[], most.unwrap_or(0.0));
}
