//! `/stats/summary`: Kubernetes' own words for what a node and its pods use.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::counters::Counters;
use super::machine::MachineUsage;
use super::{Look, PodUsage};
use crate::runtime::stats::{FsUsage, LinkUsage, Usage};

/// The page.
pub(super) fn page(look: &Look, counters: &Counters) -> Value {
    let pods: Vec<Value> = look.pods.iter().map(|pod| of_pod(look, pod, counters)).collect();
    let machine = &look.machine;
    let node = json!({
        "nodeName": look.node,
        "startTime": Timestamp::from_second(machine.booted_at).ok(),
        "cpu": cpu(look, "/", machine.cpu_nanos, counters),
        "memory": memory_of_machine(look, machine),
        "network": network(look, &machine.links),
        "fs": fs(look, &look.node_fs),
        "runtime": {"imageFs": fs(look, &look.image_fs), "containerFs": fs(look, &look.node_fs)},
        "rlimit": {"time": look.at, "maxpid": machine.pids_max, "curproc": machine.pids},
        "swap": {
            "time": look.at,
            "swapAvailableBytes": machine.swap_bytes.saturating_sub(machine.swap_used_bytes),
            "swapUsageBytes": machine.swap_used_bytes,
        },
    });
    counters.forget_others(look.at);
    json!({"node": node, "pods": pods})
}

fn of_pod(look: &Look, pod: &PodUsage, counters: &Counters) -> Value {
    let stats = &pod.stats;
    let containers: Vec<Value> = stats
        .containers
        .iter()
        .map(|container| {
            let logs = pod.kept.logs.iter().find(|(name, _)| *name == container.name);
            json!({
                "name": container.name,
                "startTime": container.started_at,
                "cpu": cpu(look, &container.cgroup, container.usage.cpu_nanos, counters),
                "memory": memory(look, &container.usage),
                "rootfs": container.rootfs.as_ref().map(|usage| fs(look, usage)),
                "logs": logs.map(|(_, usage)| fs(look, usage)),
                "swap": {"time": look.at, "swapUsageBytes": container.usage.swap_bytes},
            })
        })
        .collect();
    let volume = |(name, usage): &(String, FsUsage)| {
        let mut value = fs(look, usage);
        value["name"] = json!(name);
        value
    };
    let mut value = json!({
        "podRef": {"name": stats.name, "namespace": stats.namespace, "uid": stats.uid},
        "startTime": stats.created_at,
        "containers": containers,
        "cpu": cpu(look, &stats.cgroup, stats.usage.cpu_nanos, counters),
        "memory": memory(look, &stats.usage),
        "volume": pod.kept.volumes.iter().map(volume).collect::<Vec<_>>(),
        "ephemeral-storage": fs(look, &pod.disk()),
        "process_stats": {"process_count": stats.usage.processes},
        "swap": {"time": look.at, "swapUsageBytes": stats.usage.swap_bytes},
    });
    if !stats.links.is_empty() {
        value["network"] = network(look, &stats.links);
    }
    value
}

fn cpu(look: &Look, group: &str, nanos: u64, counters: &Counters) -> Value {
    let mut value = json!({"time": look.at, "usageCoreNanoSeconds": nanos});
    if let Some(rate) = counters.rate(group, look.at, nanos) {
        value["usageNanoCores"] = json!(rate);
    }
    value
}

fn memory(look: &Look, usage: &Usage) -> Value {
    let mut value = json!({
        "time": look.at,
        "usageBytes": usage.memory_bytes,
        "workingSetBytes": usage.working_set_bytes,
        "rssBytes": usage.rss_bytes,
        "pageFaults": usage.page_faults,
        "majorPageFaults": usage.major_page_faults,
    });
    if usage.memory_limit_bytes > 0 {
        value["availableBytes"] = json!(usage.memory_limit_bytes.saturating_sub(usage.working_set_bytes));
    }
    value
}

fn memory_of_machine(look: &Look, machine: &MachineUsage) -> Value {
    json!({
        "time": look.at,
        "availableBytes": machine.available_bytes,
        "usageBytes": machine.memory_used_bytes,
        "workingSetBytes": machine.working_set_bytes,
        "rssBytes": machine.rss_bytes,
        "pageFaults": machine.page_faults,
        "majorPageFaults": machine.major_page_faults,
    })
}

fn link(link: &LinkUsage) -> Value {
    json!({
        "name": link.name, "rxBytes": link.rx_bytes, "rxErrors": link.rx_errors,
        "txBytes": link.tx_bytes, "txErrors": link.tx_errors,
    })
}

fn network(look: &Look, links: &[LinkUsage]) -> Value {
    let first = links.iter().find(|link| link.name == "eth0").or(links.first());
    let mut value = first.map_or_else(|| json!({"name": ""}), link);
    value["time"] = json!(look.at);
    value["interfaces"] = links.iter().map(link).collect();
    value
}

fn fs(look: &Look, usage: &FsUsage) -> Value {
    json!({
        "time": look.at,
        "availableBytes": usage.available_bytes,
        "capacityBytes": usage.capacity_bytes,
        "usedBytes": usage.used_bytes,
        "inodesFree": usage.inodes_free,
        "inodes": usage.inodes,
        "inodesUsed": usage.inodes_used,
    })
}
