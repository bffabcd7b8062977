//! What pods and their containers use of the machine, as a runtime measures it.
//!
//! # Invariants
//! Numbers that end in `_nanos` or count something since the start only grow while a container lives.
//!
//! # Absent
//! Logs and volumes: the agent measures them, they are its own.

use super::{ContainerId, SandboxId};

/// Processor, memory and processes of one control group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nanoseconds of processor time since the start.
    pub cpu_nanos: u64,
    /// Of these, in programs.
    pub cpu_user_nanos: u64,
    /// Of these, in the kernel.
    pub cpu_system_nanos: u64,
    /// Periods of the processor quota that have passed.
    pub cpu_periods: u64,
    /// Periods in which it had to wait.
    pub cpu_throttled_periods: u64,
    /// Nanoseconds that it had to wait.
    pub cpu_throttled_nanos: u64,
    /// Bytes of memory, page cache included.
    pub memory_bytes: u64,
    /// Bytes of memory without page cache that could go at once: what evictions and dashboards go by.
    pub working_set_bytes: u64,
    /// Bytes that are in no file.
    pub rss_bytes: u64,
    /// Bytes of page cache.
    pub cache_bytes: u64,
    /// Bytes of mapped files.
    pub mapped_bytes: u64,
    /// Bytes swapped out.
    pub swap_bytes: u64,
    /// Most bytes of memory ever, 0 where the kernel does not say.
    pub memory_max_bytes: u64,
    /// Most bytes it may have, 0 for no limit.
    pub memory_limit_bytes: u64,
    /// Page faults since the start.
    pub page_faults: u64,
    /// Of these, those that read a disk.
    pub major_page_faults: u64,
    /// Processes killed for want of memory.
    pub oom_kills: u64,
    /// Processes.
    pub processes: u64,
    /// Threads.
    pub threads: u64,
    /// Bytes read from disks since the start.
    pub read_bytes: u64,
    /// Bytes written to disks since the start.
    pub written_bytes: u64,
    /// Reads of disks since the start.
    pub reads: u64,
    /// Writes to disks since the start.
    pub writes: u64,
}

/// Bytes and inodes of one file system, or of what somebody has in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FsUsage {
    /// Bytes of the file system.
    pub capacity_bytes: u64,
    /// Bytes that are free.
    pub available_bytes: u64,
    /// Bytes in use: by the one that is asked about.
    pub used_bytes: u64,
    /// Inodes of the file system.
    pub inodes: u64,
    /// Inodes that are free.
    pub inodes_free: u64,
    /// Inodes in use: by the one that is asked about.
    pub inodes_used: u64,
}

/// Bytes and packets over one link since it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkUsage {
    /// eth0.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets received and broken.
    pub rx_errors: u64,
    /// Packets received and dropped.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets that were to be sent and dropped.
    pub tx_dropped: u64,
}

/// One running container.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerStats {
    /// Its id.
    pub id: ContainerId,
    /// Name in the pod.
    pub name: String,
    /// Counts starts.
    pub attempt: u32,
    /// As the user wrote it.
    pub image: String,
    /// Path of its control group.
    pub cgroup: String,
    /// When it started.
    pub started_at: Option<jiff::Timestamp>,
    /// What it uses.
    pub usage: Usage,
    /// What it wrote into its root file system; None where that is not known.
    pub rootfs: Option<FsUsage>,
}

/// One sandbox and what runs in it.
#[derive(Debug, Clone, PartialEq)]
pub struct SandboxStats {
    /// Its id.
    pub id: SandboxId,
    /// metadata.namespace of the pod.
    pub namespace: String,
    /// metadata.name of the pod.
    pub name: String,
    /// metadata.uid of the pod.
    pub uid: String,
    /// Path of its control group.
    pub cgroup: String,
    /// When it was made.
    pub created_at: jiff::Timestamp,
    /// All of it together.
    pub usage: Usage,
    /// Its links without loopback; empty with the node's network.
    pub links: Vec<LinkUsage>,
    /// What runs in it.
    pub containers: Vec<ContainerStats>,
}
