//! The container runtime behind one trait, shaped like CRI (runtime.v1) so that a CRI runtime fits without translation.
//!
//! # Invariants
//! - Every call is idempotent: stopping what is stopped and removing what is gone succeed.
//! - Containers do not belong to the agent: an implementation must find again, after a restart of the agent, all that it
//!   started ([`Runtime::list_pod_sandboxes`], [`Runtime::list_containers`]), and must not touch what runs.
//!
//! # Absent
//! Kubernetes objects: the agent translates a Pod into these configurations, the runtime never sees a Pod.

pub mod cri;
pub mod embedded;
pub mod hollow;
pub mod security;
pub(crate) mod signal;
pub mod stats;
pub mod streaming;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

pub use security::{AppArmor, Seccomp, SecurityConfig};

/// Names one sandbox, stable across restarts of the agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct SandboxId(pub String);

/// Names one container, stable across restarts of the agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct ContainerId(pub String);

/// What a failed runtime call means to the agent.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The sandbox or container does not exist.
    #[error("{0} not found")]
    NotFound(String),
    /// The configuration can't work on this machine; trying again without a change is useless.
    #[error("{0}")]
    Invalid(String),
    /// It may work later.
    #[error("{0}")]
    Failed(String),
    /// The call took longer than it may.
    #[error("timed out after {0:?}")]
    Timeout(Duration),
}

/// Whose namespace a pod uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum NamespaceMode {
    /// One for the pod.
    #[default]
    Pod,
    /// One for each container (pid only).
    Container,
    /// The node's own.
    Node,
}

/// The protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A port of the node that leads to a port of a pod (hostPort).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct PortMapping {
    /// Protocol.
    pub protocol: Protocol,
    /// On the node.
    pub host_port: u16,
    /// In the pod.
    pub container_port: u16,
    /// Of which address of the node; None is all.
    pub host_ip: Option<IpAddr>,
}

/// A pod's sandbox: what its containers share.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct SandboxConfig {
    /// metadata.namespace of the pod.
    pub namespace: String,
    /// metadata.name of the pod.
    pub name: String,
    /// metadata.uid of the pod.
    pub uid: String,
    /// Counts sandboxes of this pod, from 0.
    pub attempt: u32,
    /// Host name inside the pod; empty with the node's network.
    pub hostname: String,
    /// Where the log files of the containers go: /var/log/pods/NAMESPACE_NAME_UID.
    pub log_directory: PathBuf,
    /// Contents of /etc/resolv.conf in the containers; None leaves the machine's own.
    pub resolv_conf: Option<String>,
    /// Whose network.
    pub network: NamespaceMode,
    /// Whose process ids; Container is the default of Kubernetes.
    pub pid: NamespaceMode,
    /// Whose IPC.
    pub ipc: NamespaceMode,
    /// Kernel settings of the pod's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Some container of it may be privileged.
    #[serde(default)]
    pub privileged: bool,
    /// Most processes of all its containers; None is no limit.
    #[serde(default)]
    pub pids_max: Option<u64>,
    /// What all its containers may use together; None is no limit but their own.
    #[serde(default)]
    pub resources: Option<PodResources>,
    /// Ports of the node that lead to it; none with the node's network.
    #[serde(default)]
    pub ports: Vec<PortMapping>,
    /// For list and debugging.
    pub labels: BTreeMap<String, String>,
}

/// A directory or file of the node inside a container.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mount {
    /// On the node.
    pub host_path: PathBuf,
    /// In the container.
    pub container_path: PathBuf,
    /// Read-only.
    pub readonly: bool,
    /// What is mounted below it is read-only too.
    #[serde(default)]
    pub readonly_below: bool,
    /// How mounts made later travel.
    pub propagation: MountPropagation,
}

/// See mountPropagation of a volumeMount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum MountPropagation {
    /// None.
    #[default]
    Private,
    /// HostToContainer.
    HostToContainer,
    /// Bidirectional.
    Bidirectional,
}

/// What a runtime can do that not all can.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// Containers can be kept out of the groups that their image names.
    pub strict_groups: bool,
    /// What is mounted below a read-only mount can be read-only too.
    pub recursive_read_only: bool,
}

/// What a pod's containers may use together.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PodResources {
    /// As in [`ResourceConfig`].
    pub cpu_shares: u64,
    /// Microseconds a period; None is no limit.
    pub cpu_quota: Option<i64>,
    /// Microseconds.
    pub cpu_period: u64,
    /// Bytes; None is no limit.
    pub memory_limit: Option<i64>,
}

/// Linux limits of one container.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct ResourceConfig {
    /// Relative weight: requests of cpu, 1024 a core, at least 2.
    pub cpu_shares: u64,
    /// Microseconds a period; None is no limit.
    pub cpu_quota: Option<i64>,
    /// Microseconds; 100,000 is the default of Kubernetes.
    pub cpu_period: u64,
    /// Bytes; None is no limit.
    pub memory_limit: Option<i64>,
    /// Whom the kernel kills first, -1000 to 1000.
    pub oom_score_adj: i32,
    /// Most processes; None is no limit.
    pub pids_limit: Option<i64>,
}

/// One container.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct ContainerConfig {
    /// Name in the pod.
    pub name: String,
    /// Counts starts of this container, from 0.
    pub attempt: u32,
    /// Image as the image service named it ([`ImageInfo::id`]).
    pub image_id: String,
    /// Image as the user wrote it.
    pub image: String,
    /// Replaces the image's entry point where not empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments where `command` or this is not empty.
    pub args: Vec<String>,
    /// Empty: the image's.
    pub working_dir: String,
    /// On top of the image's.
    pub env: Vec<(String, String)>,
    /// Beside those every container has.
    pub mounts: Vec<Mount>,
    /// Relative to the sandbox's log directory: NAME/ATTEMPT.log.
    pub log_path: PathBuf,
    /// Another container of the pod whose process ids it shares, where each has its own.
    #[serde(default)]
    pub target: Option<ContainerId>,
    /// Signal that asks it to stop, by its name; empty is the image's.
    #[serde(default)]
    pub stop_signal: String,
    /// Security.
    pub security: SecurityConfig,
    /// Limits.
    pub resources: ResourceConfig,
    /// Keeps standard input open.
    pub stdin: bool,
    /// Standard input ends with the first client that was attached to it.
    #[serde(default)]
    pub stdin_once: bool,
    /// Gives it a terminal.
    pub tty: bool,
    /// For list and debugging.
    pub labels: BTreeMap<String, String>,
}

/// See CRI's ContainerState.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ContainerState {
    /// Made, not started.
    Created,
    /// Runs.
    Running,
    /// Ended.
    Exited,
}

/// What a container does now.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct ContainerStatus {
    /// Its id.
    pub id: ContainerId,
    /// Its sandbox.
    pub sandbox: SandboxId,
    /// Name in the pod.
    pub name: String,
    /// Counts starts.
    pub attempt: u32,
    /// State.
    pub state: ContainerState,
    /// First process, while it runs.
    pub pid: Option<i32>,
    /// Made at.
    pub created_at: Timestamp,
    /// Started at.
    pub started_at: Option<Timestamp>,
    /// Ended at.
    pub finished_at: Option<Timestamp>,
    /// 128 + signal where a signal ended it.
    pub exit_code: Option<i32>,
    /// Completed, Error, OOMKilled, StartError (exit code 128: it could not be started).
    pub reason: String,
    /// For people.
    pub message: String,
    /// As the user wrote it.
    pub image: String,
    /// As the image service named it.
    pub image_id: String,
    /// Whole path of its log.
    pub log_path: PathBuf,
}

/// What a sandbox does now.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct SandboxStatus {
    /// Its id.
    pub id: SandboxId,
    /// What it was made from.
    pub config: SandboxConfig,
    /// False: its shim or namespaces are gone; the pod needs a new one.
    pub ready: bool,
    /// Made at.
    pub created_at: Timestamp,
    /// Addresses of the pod; empty with the node's network.
    pub ips: Vec<IpAddr>,
}

/// What a command in a container gave.
#[derive(Debug, Clone, Default)]
pub struct ExecOutput {
    /// Standard output, cut at a bound.
    pub stdout: Vec<u8>,
    /// Standard error, cut at a bound.
    pub stderr: Vec<u8>,
    /// Exit code.
    pub exit_code: i32,
}

/// An image on this machine.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct ImageInfo {
    /// sha256:… of its configuration.
    pub id: String,
    /// NAME:TAG it is known by.
    pub tags: Vec<String>,
    /// NAME@sha256:… it was pulled by.
    pub digests: Vec<String>,
    /// Bytes of its layers unpacked.
    pub size: u64,
    /// User of its configuration ("", "0", "nobody", "1:2").
    pub user: String,
    /// It must not be collected: it came with the runtime, or from no registry that has it again.
    #[serde(default)]
    pub pinned: bool,
}

/// Who may pull.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryAuth {
    /// User name; empty is anonymous.
    pub username: String,
    /// Password or token.
    pub password: String,
}

/// Why an image is not there, as Kubernetes names it in `waiting.reason`.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The reference can't be parsed.
    #[error("couldn't parse image name {0:?}: {1}")]
    InvalidImageName(String, String),
    /// The registry, or what came from it.
    #[error("failed to pull image {image:?}: {cause}")]
    ErrImagePull {
        /// As the user wrote it.
        image: String,
        /// For people.
        cause: String,
    },
    /// This machine (disk full, …).
    #[error("{0}")]
    Local(String),
}

/// Runs pods. The embedded one is in `runtime::embedded`.
pub trait Runtime: Send + Sync + 'static {
    /// Name and version as in node.status.nodeInfo.containerRuntimeVersion ("everynode://0.1.0").
    fn version(&self) -> String;
    /// Its name alone, the scheme of `containerID`.
    fn name(&self) -> String {
        let version = self.version();
        version.split_once("://").map(|(name, _)| name.to_owned()).unwrap_or(version)
    }
    /// What it can do that not all can.
    fn features(&self) -> Features {
        Features { strict_groups: true, recursive_read_only: true }
    }
    /// Makes a sandbox with its namespaces and network, and returns when containers can be made in it.
    fn run_pod_sandbox(
        &self,
        config: SandboxConfig,
    ) -> impl Future<Output = Result<SandboxStatus, RuntimeError>> + Send;
    /// Kills what still runs in it and gives its addresses back.
    fn stop_pod_sandbox(&self, id: &SandboxId) -> impl Future<Output = Result<(), RuntimeError>> + Send;
    /// Stops it and forgets it and its containers; logs stay.
    fn remove_pod_sandbox(&self, id: &SandboxId) -> impl Future<Output = Result<(), RuntimeError>> + Send;
    /// All sandboxes of this node, also those that an earlier agent made.
    fn list_pod_sandboxes(&self) -> impl Future<Output = Result<Vec<SandboxStatus>, RuntimeError>> + Send;
    /// Makes a container; it does not run yet.
    fn create_container(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
    ) -> impl Future<Output = Result<ContainerId, RuntimeError>> + Send;
    /// Starts a container that was made.
    fn start_container(&self, id: &ContainerId) -> impl Future<Output = Result<(), RuntimeError>> + Send;
    /// SIGTERM (or the image's stop signal), after `grace` SIGKILL; returns when it has ended.
    fn stop_container(
        &self,
        id: &ContainerId,
        grace: Duration,
    ) -> impl Future<Output = Result<(), RuntimeError>> + Send;
    /// Forgets an ended container; its log stays.
    fn remove_container(&self, id: &ContainerId) -> impl Future<Output = Result<(), RuntimeError>> + Send;
    /// All containers of this node, ended ones too.
    fn list_containers(&self) -> impl Future<Output = Result<Vec<ContainerStatus>, RuntimeError>> + Send;
    /// One container.
    fn container_status(&self, id: &ContainerId) -> impl Future<Output = Result<ContainerStatus, RuntimeError>> + Send;
    /// Runs a command in a running container and waits for its end.
    fn exec_sync(
        &self,
        id: &ContainerId,
        command: Vec<String>,
        timeout: Duration,
    ) -> impl Future<Output = Result<ExecOutput, RuntimeError>> + Send;
    /// Starts a command in a running container and hands its streams over. It outlives who asked for it.
    fn exec(
        &self,
        id: &ContainerId,
        command: Vec<String>,
        wanted: streaming::Wanted,
    ) -> impl Future<Output = Result<streaming::Running, RuntimeError>> + Send;
    /// The streams of a running container from now on. With `give_input` the container's input ends with the caller's.
    fn attach(
        &self,
        id: &ContainerId,
        wanted: streaming::Wanted,
        give_input: bool,
    ) -> impl Future<Output = Result<streaming::Running, RuntimeError>> + Send;
    /// Connects to a TCP port on the loopback address of a sandbox.
    fn connect(
        &self,
        id: &SandboxId,
        port: u16,
    ) -> impl Future<Output = Result<streaming::Connection, RuntimeError>> + Send;
    /// Tells that a container or a sandbox changed state; a receiver that lags only needs to list again.
    fn events(&self) -> tokio::sync::broadcast::Receiver<SandboxId>;
    /// The image if it is on this machine; `reference` is `NAME[:TAG][@DIGEST]` or an id.
    fn image_status(&self, reference: &str) -> impl Future<Output = Result<Option<ImageInfo>, ImageError>> + Send;
    /// Pulls, verifies and unpacks.
    fn pull_image(
        &self,
        reference: &str,
        auth: Option<RegistryAuth>,
    ) -> impl Future<Output = Result<ImageInfo, ImageError>> + Send;
    /// All images of this machine.
    fn list_images(&self) -> impl Future<Output = Result<Vec<ImageInfo>, ImageError>> + Send;
    /// Removes an image that no container is made of; one that is not there is no error.
    fn remove_image(&self, id: &str) -> impl Future<Output = Result<(), ImageError>> + Send {
        let error = ImageError::Local(format!("{id}: this runtime removes no images"));
        std::future::ready(Err(error))
    }
    /// The file system that images lie in; None where the runtime does not say.
    fn image_fs(&self) -> impl Future<Output = Option<stats::FsUsage>> + Send {
        std::future::ready(None)
    }
    /// Whether pods with a network of their own can be made; the text says why not, as CRI's NetworkReady has it.
    fn network_ready(&self) -> impl Future<Output = Result<(), String>> + Send {
        std::future::ready(Ok(()))
    }
    /// What the sandboxes that are ready use.
    fn stats(&self) -> impl Future<Output = Result<Vec<stats::SandboxStats>, RuntimeError>> + Send {
        std::future::ready(Ok(Vec::new()))
    }
}
