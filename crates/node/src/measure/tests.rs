//! The pages of a made-up node.

use jiff::Timestamp;

use super::machine::MachineUsage;
use super::{Counters, Kept, Look, PodUsage, cadvisor, resource, summary};
use crate::runtime::stats::{ContainerStats, FsUsage, LinkUsage, SandboxStats, Usage};
use crate::runtime::{ContainerId, SandboxId};

fn look() -> Look {
    let at = |second| Timestamp::from_second(second).unwrap();
    let usage = Usage { cpu_nanos: 1_500_000_000, memory_bytes: 3000, working_set_bytes: 2000, ..Usage::default() };
    let disk = |used_bytes| FsUsage { used_bytes, capacity_bytes: 9000, inodes_used: 1, ..FsUsage::default() };
    let container = ContainerStats {
        id: ContainerId("c1".into()),
        name: "agent".into(),
        attempt: 0,
        image: "fluent/fluentd:v1".into(),
        cgroup: "/everynode/n/podu/agent-0".into(),
        started_at: Some(at(100)),
        usage: Usage { memory_limit_bytes: 5000, cpu_periods: 4, ..usage },
        rootfs: Some(disk(10)),
    };
    let stats = SandboxStats {
        id: SandboxId("s".into()),
        namespace: "logging".into(),
        name: "fluentd-x".into(),
        uid: "u".into(),
        cgroup: "/everynode/n/podu".into(),
        created_at: at(99),
        usage,
        links: vec![LinkUsage { name: "eth0".into(), rx_bytes: 7, tx_bytes: 8, ..LinkUsage::default() }],
        containers: vec![container],
    };
    let kept = Kept { logs: vec![("agent".into(), disk(20))], volumes: vec![("cache".into(), disk(30))] };
    Look {
        at: at(200),
        node: "n".into(),
        machine: MachineUsage { cpus: 2, cpu_nanos: 9_000_000_000, working_set_bytes: 77, ..MachineUsage::default() },
        node_fs: disk(5),
        image_fs: disk(6),
        pods: vec![PodUsage { stats, kept }],
    }
}

#[test]
fn cadvisors_labels() {
    let text = cadvisor::page(&look());
    let own = "container=\"agent\"";
    let rest = "id=\"/everynode/n/podu/agent-0\",image=\"fluent/fluentd:v1\",name=\"c1\",namespace=\"logging\",pod=\"fluentd-x\"";
    for line in [
        format!("container_cpu_usage_seconds_total{{{own},cpu=\"total\",{rest}}} 1.5\n"),
        format!("container_memory_working_set_bytes{{{own},{rest}}} 2000\n"),
        format!("container_spec_memory_limit_bytes{{{own},{rest}}} 5000\n"),
        format!("container_fs_usage_bytes{{{own},device=\"\",{rest}}} 10\n"),
        format!("container_cpu_cfs_periods_total{{{own},{rest}}} 4\n"),
        "container_network_receive_bytes_total{container=\"\",id=\"/everynode/n/podu\",image=\"\",interface=\"eth0\",\
         name=\"\",namespace=\"logging\",pod=\"fluentd-x\"} 7\n"
            .to_owned(),
        "machine_cpu_cores 2\n".to_owned(),
        "# TYPE container_cpu_usage_seconds_total counter\n".to_owned(),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
    assert_eq!(text.matches("# TYPE container_memory_rss ").count(), 1);
}

#[test]
fn what_metrics_server_reads() {
    let text = resource::page(&look());
    for line in [
        "node_cpu_usage_seconds_total 9\n",
        "node_memory_working_set_bytes 77\n",
        "pod_memory_working_set_bytes{namespace=\"logging\",pod=\"fluentd-x\"} 2000\n",
        "container_cpu_usage_seconds_total{container=\"agent\",namespace=\"logging\",pod=\"fluentd-x\"} 1.5\n",
        "container_start_time_seconds{container=\"agent\",namespace=\"logging\",pod=\"fluentd-x\"} 100\n",
        "scrape_error 0\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn the_summary_adds_up() {
    let counters = Counters::default();
    let first = summary::page(&look(), &counters);
    let pod = &first["pods"][0];
    assert_eq!(pod["podRef"]["namespace"], "logging");
    assert_eq!(pod["ephemeral-storage"]["usedBytes"], 60);
    assert_eq!(pod["volume"][0]["name"], "cache");
    assert_eq!(pod["containers"][0]["logs"]["usedBytes"], 20);
    assert_eq!(pod["containers"][0]["memory"]["availableBytes"], 3000);
    assert_eq!((&pod["network"]["name"], &pod["network"]["txBytes"]), (&"eth0".into(), &8.into()));
    assert!(pod["cpu"]["usageNanoCores"].is_null(), "no rate yet");
    assert_eq!(first["node"]["runtime"]["imageFs"]["usedBytes"], 6);
    let later = Look { at: Timestamp::from_second(202).unwrap(), ..look() };
    assert_eq!(summary::page(&later, &counters)["pods"][0]["cpu"]["usageNanoCores"], 0);
}
