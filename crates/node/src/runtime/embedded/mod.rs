//! The embedded runtime: pods as shim processes of our own binary, containers by libcontainer, no daemon beside.
//!
//! # Invariants
//! - State is in files that shims write; this process holds nothing that a restart would lose.
//! - Nothing polls: shims tell, and their connections' ends tell that they died.
//! - After `remove_pod_sandbox` nothing of the pod is left but its logs: no mount, cgroup, namespace, socket, file.
//!
//! # Absent
//! Images and the pod network: [`Images`], [`PodNetwork`].

mod capabilities;
mod client;
mod confinement;
mod container;
mod exec;
mod machine;
mod mounts;
mod parts;
mod pod_files;
mod sandbox;
mod spec;
mod stats;
mod streams;
mod take_over;
mod terminal;
pub(crate) mod usage;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;

pub(crate) use spec::{MASKED_PATHS, READONLY_PATHS};

pub use parts::{Images, Joining, PodNetwork, Rootfs};

use self::client::Program;
use self::sandbox::Sandbox;
use super::stats::{FsUsage, SandboxStats};
use super::streaming::{Connection, Running, Wanted};
use super::{
    ContainerConfig, ContainerId, ContainerStatus, ExecOutput, ImageError, ImageInfo, RegistryAuth, Runtime,
    RuntimeError, SandboxConfig, SandboxId, SandboxStatus,
};
use crate::shim::cgroup::{Hierarchies, hierarchies};

/// Events that a slow receiver may be behind; it lists again when it has missed some.
const EVENTS_MAX: usize = 1024;
/// kubelet's containerLogMaxSize.
const LOG_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// kubelet's containerLogMaxFiles.
const LOG_FILES_MAX: usize = 5;

/// Where things are.
#[derive(Debug, Clone)]
pub struct Options {
    /// Program that is a shim when called with `shim_args --dir POD_DIR`: our own binary.
    pub shim: PathBuf,
    /// What makes it a shim: its hidden subcommand.
    pub shim_args: Vec<String>,
    /// /run/everynode/ID/NODE: sockets, states and mounts of pods, which a reboot shall lose.
    pub run_dir: PathBuf,
    /// DATA_DIR/nodes/NODE: what containers write.
    pub data_dir: PathBuf,
    /// /everynode-ID/NODE, in every cgroup hierarchy.
    pub cgroup: PathBuf,
    /// /var/log/containers.
    pub log_links: PathBuf,
    /// Begins the names by which this node's containers hold their images: others share the store. No other node's
    /// may begin with it.
    pub pin_prefix: String,
    /// When a container's log is rotated, bytes.
    pub log_bytes_max: u64,
    /// How many files of one log there are, the present one included.
    pub log_files_max: usize,
}

impl Options {
    /// The usual places of the node `node` of the instance `instance` (see the names of run directories and cgroups).
    #[must_use]
    pub fn new(shim: PathBuf, instance: &str, node: &str, data_dir: &Path) -> Self {
        Self {
            shim,
            shim_args: vec!["shim".to_owned()],
            run_dir: Path::new("/run/everynode").join(instance).join(node),
            data_dir: data_dir.join("nodes").join(node),
            cgroup: Path::new("/").join(format!("everynode-{instance}")).join(node),
            log_links: "/var/log/containers".into(),
            // A node's name is a DNS name, so it has no underscore: no node's prefix begins another's.
            pin_prefix: format!("{node}_"),
            log_bytes_max: LOG_BYTES_MAX,
            log_files_max: LOG_FILES_MAX,
        }
    }

    fn program(&self) -> Program {
        Program { path: self.shim.clone(), args: self.shim_args.clone() }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Embedded<I, N> {
    inner: Arc<Inner<I, N>>,
}

#[derive(Debug)]
pub(crate) struct Inner<I, N> {
    options: Options,
    images: I,
    network: N,
    groups: Hierarchies,
    sandboxes: Mutex<BTreeMap<SandboxId, Arc<Sandbox>>>,
    /// One sandbox of a pod is made at a time: two of the same attempt must not both be made. By the pod's UID, for a
    /// network plugin that hangs must not stop other pods.
    making: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    events: broadcast::Sender<SandboxId>,
    measured: stats::Measured,
}

impl<I: Images, N: PodNetwork> Embedded<I, N> {
    /// Opens the runtime and takes over what earlier agents started.
    ///
    /// # Errors
    /// The machine can't run containers (no control groups, or no right to mount), or a newer everynode runs its pods. The
    /// text says what to do.
    pub async fn open(options: Options, images: I, network: N) -> io::Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "running containers needs root: start it by sudo",
            ));
        }
        take_over::refuse_newer(&options.run_dir.join("pods"))?;
        let groups = hierarchies()?;
        std::fs::create_dir_all(&options.data_dir)?;
        mounts::make_private(&options.run_dir).map_err(|error| {
            io::Error::new(error.kind(), format!("failed to prepare {}: {error}", options.run_dir.display()))
        })?;
        std::fs::create_dir_all(options.run_dir.join("pods"))?;
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let inner = Arc::new(Inner {
            options,
            images,
            network,
            groups,
            sandboxes: Mutex::default(),
            making: Mutex::default(),
            events,
            measured: stats::Measured::default(),
        });
        inner.take_over().await;
        Ok(Self { inner })
    }

    /// Stops and removes all pods of this node, and what the runtime itself has on the machine.
    ///
    /// # Errors
    /// The first that could not be removed; the others are.
    pub async fn clear(&self) -> Result<(), RuntimeError> {
        let mut result = Ok(());
        for sandbox in self.inner.all_sandboxes() {
            let removed = self.remove_pod_sandbox(&sandbox.id).await;
            if result.is_ok() {
                result = removed;
            }
        }
        result?;
        let run_dir = &self.inner.options.run_dir;
        mounts::unmount(run_dir)
            .and_then(|()| std::fs::remove_dir_all(run_dir))
            .map_err(|error| RuntimeError::Failed(format!("failed to remove {}: {error}", run_dir.display())))
    }
}

impl<I, N> Inner<I, N> {
    fn pods_dir(&self) -> PathBuf {
        self.options.run_dir.join("pods")
    }

    fn data_dir(&self) -> PathBuf {
        self.options.data_dir.join("containers")
    }

    fn pod_cgroup(&self, uid: &str) -> PathBuf {
        self.options.cgroup.join(format!("pod{uid}"))
    }

    fn lock_sandboxes(&self) -> MutexGuard<'_, BTreeMap<SandboxId, Arc<Sandbox>>> {
        // The map is whole at every moment, whoever panicked.
        self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_sandboxes(&self) -> Vec<Arc<Sandbox>> {
        self.lock_sandboxes().values().cloned().collect()
    }

    /// By which a container holds its image.
    fn holder(&self, container: &str) -> String {
        format!("{}{container}", self.options.pin_prefix)
    }

    fn sandbox(&self, id: &SandboxId) -> Result<Arc<Sandbox>, RuntimeError> {
        self.lock_sandboxes().get(id).cloned().ok_or_else(|| RuntimeError::NotFound(format!("sandbox {}", id.0)))
    }

    fn tell(&self, id: &SandboxId) {
        // Nobody listens: nobody needs to know.
        let _ = self.events.send(id.clone());
    }
}

impl<I: Images, N: PodNetwork> Runtime for Embedded<I, N> {
    fn version(&self) -> String {
        format!("everynode://{}", env!("CARGO_PKG_VERSION"))
    }

    async fn run_pod_sandbox(&self, config: SandboxConfig) -> Result<SandboxStatus, RuntimeError> {
        // In a task of its own: a caller that gives up leaves a whole sandbox or none.
        let made = tokio::spawn(self.inner.clone().make_sandbox(config));
        made.await.map_err(|error| RuntimeError::Failed(error.to_string()))?
    }

    async fn stop_pod_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        let Ok(sandbox) = self.inner.sandbox(id) else { return Ok(()) };
        self.inner.stop(&sandbox).await
    }

    async fn remove_pod_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        let Ok(sandbox) = self.inner.sandbox(id) else { return Ok(()) };
        self.inner.stop(&sandbox).await?;
        self.inner.remove(&sandbox).await
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<SandboxStatus>, RuntimeError> {
        Ok(self.inner.all_sandboxes().iter().map(|sandbox| sandbox.status()).collect())
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
    ) -> Result<ContainerId, RuntimeError> {
        self.inner.create(sandbox, config).await
    }

    async fn start_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.inner.start(id).await
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        self.inner.stop_one(id, grace).await
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.inner.remove_one(id).await
    }

    async fn list_containers(&self) -> Result<Vec<ContainerStatus>, RuntimeError> {
        let mut all = Vec::new();
        for sandbox in self.inner.all_sandboxes() {
            all.extend(sandbox.records().into_iter().map(|record| container::status(&sandbox.id, record)));
        }
        Ok(all)
    }

    async fn container_status(&self, id: &ContainerId) -> Result<ContainerStatus, RuntimeError> {
        self.inner.container(id).map(|(sandbox, record)| container::status(&sandbox.id, record))
    }

    async fn exec_sync(
        &self,
        id: &ContainerId,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        self.inner.exec_sync(id, command, timeout).await
    }

    async fn exec(&self, id: &ContainerId, command: Vec<String>, wanted: Wanted) -> Result<Running, RuntimeError> {
        self.inner.exec(id, command, wanted).await
    }

    async fn attach(&self, id: &ContainerId, wanted: Wanted, give_input: bool) -> Result<Running, RuntimeError> {
        self.inner.attach(id, wanted, give_input).await
    }

    async fn connect(&self, id: &SandboxId, port: u16) -> Result<Connection, RuntimeError> {
        self.inner.connect(id, port).await
    }

    fn events(&self) -> broadcast::Receiver<SandboxId> {
        self.inner.events.subscribe()
    }

    async fn image_status(&self, reference: &str) -> Result<Option<ImageInfo>, ImageError> {
        self.inner.images.image_status(reference).await
    }

    async fn pull_image(&self, reference: &str, auth: Option<RegistryAuth>) -> Result<ImageInfo, ImageError> {
        self.inner.images.pull_image(reference, auth).await
    }

    async fn list_images(&self) -> Result<Vec<ImageInfo>, ImageError> {
        self.inner.images.list_images().await
    }

    async fn remove_image(&self, id: &str) -> Result<(), ImageError> {
        self.inner.images.remove_image(id).await
    }

    async fn image_fs(&self) -> Option<FsUsage> {
        self.inner.images.file_system()
    }

    async fn stats(&self) -> Result<Vec<SandboxStats>, RuntimeError> {
        self.inner.stats().await
    }

    async fn network_ready(&self) -> Result<(), String> {
        self.inner.network.ready()
    }
}
