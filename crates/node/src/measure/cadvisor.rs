//! `/metrics/cadvisor`: containers, pods and the machine as cAdvisor names them.

use super::page::Page;
use super::{Look, PodUsage, epoch, seconds};
use crate::runtime::stats::{ContainerStats, FsUsage, LinkUsage, Usage};

/// Who a series is about.
struct Labels<'a> {
    container: &'a str,
    id: &'a str,
    image: &'a str,
    name: &'a str,
    namespace: &'a str,
    pod: &'a str,
}

impl<'a> Labels<'a> {
    /// With another label or two where they belong in the alphabet: some readers compare lines.
    fn with(&self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let own = [
            ("container", self.container),
            ("id", self.id),
            ("image", self.image),
            ("name", self.name),
            ("namespace", self.namespace),
            ("pod", self.pod),
        ];
        let mut labels: Vec<(&str, &str)> = own.into_iter().chain(more.iter().copied()).collect();
        labels.sort_unstable();
        labels
    }
}

/// The page.
pub(super) fn page(look: &Look) -> String {
    let mut page = Page::default();
    let version = env!("CARGO_PKG_VERSION");
    page.gauge("cadvisor_version_info", &[("cadvisorVersion", ""), ("everynodeVersion", version)], 1.0);
    page.gauge("machine_cpu_cores", &[], look.machine.cpus as f64);
    page.gauge("machine_memory_bytes", &[], look.machine.memory_bytes as f64);
    page.gauge("machine_swap_bytes", &[], look.machine.swap_bytes as f64);
    machine(look, &mut page);
    for pod in &look.pods {
        of_pod(look, pod, &mut page);
        for container in &pod.stats.containers {
            of_container(look, pod, container, &mut page);
        }
    }
    page.text()
}

/// The root of all control groups.
fn machine(look: &Look, page: &mut Page) {
    let labels = Labels { container: "", id: "/", image: "", name: "", namespace: "", pod: "" };
    let machine = &look.machine;
    let usage = Usage {
        cpu_nanos: machine.cpu_nanos,
        memory_bytes: machine.memory_used_bytes,
        working_set_bytes: machine.working_set_bytes,
        rss_bytes: machine.rss_bytes,
        swap_bytes: machine.swap_used_bytes,
        page_faults: machine.page_faults,
        major_page_faults: machine.major_page_faults,
        threads: machine.pids,
        ..Usage::default()
    };
    put_usage(&labels, &usage, page);
    put_fs(&labels, &look.node_fs, page);
    put_links(&labels, &machine.links, page);
    page.gauge("container_last_seen", &labels.with(&[]), epoch(look.at));
}

fn of_pod(look: &Look, pod: &PodUsage, page: &mut Page) {
    let stats = &pod.stats;
    let labels =
        Labels { container: "", id: &stats.cgroup, image: "", name: "", namespace: &stats.namespace, pod: &stats.name };
    put_usage(&labels, &stats.usage, page);
    put_links(&labels, &stats.links, page);
    page.gauge("container_start_time_seconds", &labels.with(&[]), epoch(stats.created_at));
    page.gauge("container_last_seen", &labels.with(&[]), epoch(look.at));
}

fn of_container(look: &Look, pod: &PodUsage, container: &ContainerStats, page: &mut Page) {
    let labels = Labels {
        container: &container.name,
        id: &container.cgroup,
        image: &container.image,
        name: &container.id.0,
        namespace: &pod.stats.namespace,
        pod: &pod.stats.name,
    };
    put_usage(&labels, &container.usage, page);
    if let Some(rootfs) = &container.rootfs {
        put_fs(&labels, rootfs, page);
    }
    let disk = [("device", "")];
    page.counter("container_fs_reads_bytes_total", &labels.with(&disk), container.usage.read_bytes as f64);
    page.counter("container_fs_writes_bytes_total", &labels.with(&disk), container.usage.written_bytes as f64);
    page.counter("container_fs_reads_total", &labels.with(&disk), container.usage.reads as f64);
    page.counter("container_fs_writes_total", &labels.with(&disk), container.usage.writes as f64);
    page.gauge("container_spec_memory_limit_bytes", &labels.with(&[]), container.usage.memory_limit_bytes as f64);
    page.counter("container_oom_events_total", &labels.with(&[]), container.usage.oom_kills as f64);
    if let Some(at) = container.started_at {
        page.gauge("container_start_time_seconds", &labels.with(&[]), epoch(at));
    }
    page.gauge("container_last_seen", &labels.with(&[]), epoch(look.at));
}

fn put_usage(labels: &Labels<'_>, usage: &Usage, page: &mut Page) {
    let plain = labels.with(&[]);
    page.counter("container_cpu_usage_seconds_total", &labels.with(&[("cpu", "total")]), seconds(usage.cpu_nanos));
    page.counter("container_cpu_user_seconds_total", &plain, seconds(usage.cpu_user_nanos));
    page.counter("container_cpu_system_seconds_total", &plain, seconds(usage.cpu_system_nanos));
    // Only who has a quota has periods.
    if usage.cpu_periods > 0 {
        page.counter("container_cpu_cfs_periods_total", &plain, usage.cpu_periods as f64);
        page.counter("container_cpu_cfs_throttled_periods_total", &plain, usage.cpu_throttled_periods as f64);
        page.counter("container_cpu_cfs_throttled_seconds_total", &plain, seconds(usage.cpu_throttled_nanos));
    }
    for (name, value) in [
        ("container_memory_usage_bytes", usage.memory_bytes),
        ("container_memory_working_set_bytes", usage.working_set_bytes),
        ("container_memory_rss", usage.rss_bytes),
        ("container_memory_cache", usage.cache_bytes),
        ("container_memory_mapped_file", usage.mapped_bytes),
        ("container_memory_swap", usage.swap_bytes),
        ("container_memory_max_usage_bytes", usage.memory_max_bytes),
        ("container_processes", usage.processes),
        ("container_threads", usage.threads),
    ] {
        page.gauge(name, &plain, value as f64);
    }
    for (kind, value) in [("pgfault", usage.page_faults), ("pgmajfault", usage.major_page_faults)] {
        let labels = labels.with(&[("failure_type", kind), ("scope", "hierarchy")]);
        page.counter("container_memory_failures_total", &labels, value as f64);
    }
}

fn put_fs(labels: &Labels<'_>, usage: &FsUsage, page: &mut Page) {
    let labels = labels.with(&[("device", "")]);
    page.gauge("container_fs_usage_bytes", &labels, usage.used_bytes as f64);
    page.gauge("container_fs_limit_bytes", &labels, usage.capacity_bytes as f64);
    page.gauge("container_fs_inodes_total", &labels, usage.inodes as f64);
    page.gauge("container_fs_inodes_free", &labels, usage.inodes_free as f64);
}

fn put_links(labels: &Labels<'_>, links: &[LinkUsage], page: &mut Page) {
    for link in links {
        let labels = labels.with(&[("interface", &link.name)]);
        for (name, value) in [
            ("container_network_receive_bytes_total", link.rx_bytes),
            ("container_network_receive_packets_total", link.rx_packets),
            ("container_network_receive_errors_total", link.rx_errors),
            ("container_network_receive_packets_dropped_total", link.rx_dropped),
            ("container_network_transmit_bytes_total", link.tx_bytes),
            ("container_network_transmit_packets_total", link.tx_packets),
            ("container_network_transmit_errors_total", link.tx_errors),
            ("container_network_transmit_packets_dropped_total", link.tx_dropped),
        ] {
            page.counter(name, &labels, value as f64);
        }
    }
}
