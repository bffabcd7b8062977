//! `/metrics/resource`: what metrics-server reads for `kubectl top`.

use super::page::Page;
use super::{Look, epoch, seconds};

/// The page.
pub(super) fn page(look: &Look) -> String {
    let mut page = Page::default();
    page.counter("node_cpu_usage_seconds_total", &[], seconds(look.machine.cpu_nanos));
    page.gauge("node_memory_working_set_bytes", &[], look.machine.working_set_bytes as f64);
    page.gauge("node_swap_usage_bytes", &[], look.machine.swap_used_bytes as f64);
    for pod in &look.pods {
        let (name, namespace) = (pod.stats.name.as_str(), pod.stats.namespace.as_str());
        let labels = [("namespace", namespace), ("pod", name)];
        page.counter("pod_cpu_usage_seconds_total", &labels, seconds(pod.stats.usage.cpu_nanos));
        page.gauge("pod_memory_working_set_bytes", &labels, pod.stats.usage.working_set_bytes as f64);
        page.gauge("pod_swap_usage_bytes", &labels, pod.stats.usage.swap_bytes as f64);
        for container in &pod.stats.containers {
            let labels = [("container", container.name.as_str()), ("namespace", namespace), ("pod", name)];
            page.counter("container_cpu_usage_seconds_total", &labels, seconds(container.usage.cpu_nanos));
            page.gauge("container_memory_working_set_bytes", &labels, container.usage.working_set_bytes as f64);
            page.gauge("container_swap_usage_bytes", &labels, container.usage.swap_bytes as f64);
            if let Some(at) = container.started_at {
                page.gauge("container_start_time_seconds", &labels, epoch(at));
            }
        }
    }
    page.gauge("resource_scrape_error", &[], 0.0);
    page.gauge("scrape_error", &[], 0.0);
    page.text()
}
