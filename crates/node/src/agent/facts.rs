//! What this machine is: read from /proc, /sys and /etc.
//!
//! # Invariants
//! A file that is missing gives an empty answer, never an error: a node in a small container is still a node.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::NodeSystemInfo;
use tokio::sync::OnceCell;

use super::Options;

/// What a Node's status says about the machine now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Capacity {
    pub(super) cpus: i64,
    pub(super) memory_bytes: i64,
    pub(super) memory_available_bytes: i64,
    pub(super) disk_bytes: i64,
    pub(super) disk_available_bytes: i64,
    pub(super) inodes: u64,
    pub(super) inodes_available: u64,
    pub(super) pids_max: u64,
    pub(super) pids: u64,
}

/// How long what was read is taken for true: many agents of one machine ask at about the same time.
const TRUE_FOR: Duration = Duration::from_secs(1);

/// What was read last, of one directory's disk.
static LAST: Mutex<Option<(Instant, PathBuf, Capacity)>> = Mutex::new(None);

fn read(path: &str) -> String {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn meminfo(text: &str, key: &str) -> i64 {
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
    let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").trim().parse::<i64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Bytes of memory.
pub(super) async fn memory_bytes() -> i64 {
    tokio::task::spawn_blocking(|| meminfo(&read("/proc/meminfo"), "MemTotal")).await.unwrap_or_default()
}

/// What there is and what of it is free, as somebody here read it a moment ago: good enough to tell people.
pub(super) async fn recent_capacity(data_dir: &Path) -> Capacity {
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match last {
        Some((at, dir, capacity)) if dir == data_dir && at.elapsed() < TRUE_FOR => capacity,
        _ => capacity(data_dir).await,
    }
}

/// What there is and what of it is free now.
pub(super) async fn capacity(data_dir: &Path) -> Capacity {
    let dir = data_dir.to_owned();
    let looked = tokio::task::spawn_blocking(move || {
        let capacity = look(&dir);
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), dir, capacity));
        capacity
    });
    looked.await.unwrap_or_default()
}

fn look(data_dir: &Path) -> Capacity {
    let memory = read("/proc/meminfo");
    let disk = rustix::fs::statvfs(data_dir).ok();
    let bytes = |blocks: u64, size: u64| i64::try_from(blocks.saturating_mul(size)).unwrap_or(i64::MAX);
    let (disk_bytes, disk_available_bytes, inodes, inodes_available) = disk.map_or((0, 0, 0, 0), |d| {
        (bytes(d.f_blocks, d.f_frsize), bytes(d.f_bavail, d.f_frsize), d.f_files, d.f_favail)
    });
    // /proc/loadavg: "0.1 0.2 0.3 RUNNING/ALL LAST".
    let tasks = read("/proc/loadavg");
    let pids = tasks.split(' ').nth(3).and_then(|t| t.split_once('/')).and_then(|(_, all)| all.parse().ok());
    Capacity {
        cpus: std::thread::available_parallelism().map_or(1, |n| i64::try_from(n.get()).unwrap_or(1)),
        memory_bytes: meminfo(&memory, "MemTotal"),
        memory_available_bytes: meminfo(&memory, "MemAvailable"),
        disk_bytes,
        disk_available_bytes,
        inodes,
        inodes_available,
        pids_max: read("/proc/sys/kernel/pid_max").parse().unwrap_or(0),
        pids: pids.unwrap_or(0),
    }
}

/// `status.nodeInfo`, with the names of the system as they were when this process first asked: they change by a boot, or by
/// an upgrade after which agents are started again.
pub(super) async fn system_info(runtime_version: String) -> NodeSystemInfo {
    static NAMES: OnceCell<NodeSystemInfo> = OnceCell::const_new();
    let names = NAMES.get_or_init(|| async { tokio::task::spawn_blocking(names).await.unwrap_or_default() }).await;
    NodeSystemInfo { container_runtime_version: runtime_version, ..names.clone() }
}

fn names() -> NodeSystemInfo {
    let release = read("/etc/os-release");
    let pretty = release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    let machine_id = read("/etc/machine-id");
    let system_uuid = read("/sys/class/dmi/id/product_uuid");
    NodeSystemInfo {
        architecture: go_arch().to_owned(),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        container_runtime_version: String::new(),
        kernel_version: read("/proc/sys/kernel/osrelease"),
        kube_proxy_version: String::new(),
        kubelet_version: api::KUBERNETES_VERSION.to_owned(),
        system_uuid: if system_uuid.is_empty() { machine_id.clone() } else { system_uuid },
        machine_id,
        operating_system: "linux".to_owned(),
        os_image: pretty.map_or("Linux", |p| p.trim_matches('"')).to_owned(),
        swap: None,
    }
}

/// The architecture as Go names it.
pub(super) fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// The node's addresses: the given one, or the one the kernel uses towards the API server.
pub(super) async fn addresses(options: &Options, server: &(String, u16)) -> Vec<IpAddr> {
    if let Some(ip) = options.node_ip {
        return vec![ip];
    }
    // Connecting a UDP socket sends nothing; it only chooses a route. The documentation address stands for "outside".
    for target in [(server.0.as_str(), server.1), ("192.0.2.1", 9)] {
        let Ok(socket) = tokio::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await else { continue };
        if socket.connect(target).await.is_err() {
            continue;
        }
        match socket.local_addr() {
            Ok(local) if !local.ip().is_loopback() => return vec![local.ip()],
            _ => {}
        }
    }
    vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_meminfo() {
        let text = "MemTotal:       2048 kB\nMemFree: 1 kB\nMemAvailable:   1024 kB\n";
        for (key, expect) in [("MemTotal", 2048 * 1024), ("MemAvailable", 1024 * 1024), ("Nothing", 0)] {
            assert_eq!(meminfo(text, key), expect);
        }
    }

    #[tokio::test]
    async fn this_machine_has_something() {
        let capacity = capacity(Path::new("/")).await;
        assert!(capacity.cpus > 0 && capacity.memory_bytes > 0 && capacity.disk_bytes > 0, "{capacity:?}");
    }
}
