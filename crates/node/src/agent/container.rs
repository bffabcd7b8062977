//! One container of a pod to what the runtime takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};

use super::downward::Ips;
use super::env::{EnvError, Sources, environment, expand};
use super::resources::resources;
use super::security::{SecurityError, security};
use super::{Agent, sandbox};
use crate::runtime::{ContainerConfig, ContainerId, Features, ImageInfo, Mount, MountPropagation, Runtime};
use crate::volumes::{self, VolumeError};

/// Seccomp profiles of the node, below the data directory: what localhostProfile names.
const SECCOMP: &str = "seccomp";
/// Where the kubelet has them: daemons that bring a profile with them put it there.
const KUBELETS_SECCOMP: &str = "/var/lib/kubelet/seccomp";
/// Default of terminationMessagePath.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Why a container can't be made; the pod waits with CreateContainerConfigError.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// Its environment.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// Its security context.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// One of its mounts.
    #[error("{0}")]
    Mount(String),
    /// A file of the agent's own.
    #[error("can't write {path}: {cause}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
}

impl From<VolumeError> for ConfigError {
    fn from(error: VolumeError) -> Self {
        Self::Mount(error.to_string())
    }
}

/// What a container is made from beside the pod.
pub(super) struct Parts<'a> {
    pub(super) target: Option<ContainerId>,
    pub(super) attempt: u32,
    pub(super) image: &'a ImageInfo,
    pub(super) volumes: &'a BTreeMap<String, PathBuf>,
    pub(super) ips: &'a Ips,
}

/// The whole configuration; writes the files it mounts (hosts, termination message).
pub(super) async fn container<R: Runtime>(
    agent: &Agent<R>,
    pod: &Pod,
    container: &Container,
    parts: &Parts<'_>,
) -> Result<ContainerConfig, ConfigError> {
    let sources = Sources {
        objects: &agent.objects,
        pod,
        ips: parts.ips,
        node_memory_bytes: agent.memory_bytes,
        server: &agent.server,
    };
    let able = agent.runtime.features();
    let env = environment(&sources, container).await?;
    let known: BTreeMap<String, String> = env.iter().cloned().collect();
    let expanded = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|text| expand(text, &known)).collect()
    };
    let mut mounts = if agent.options.volumes { own_files(agent, pod, container, parts).await? } else { Vec::new() };
    if agent.options.volumes {
        for mount in container.volume_mounts.iter().flatten() {
            mounts.retain(|m: &Mount| m.container_path != Path::new(&mount.mount_path));
            mounts.push(volume_mount(agent, pod, container, mount, &known, parts.volumes, able).await?);
        }
    }
    let own_profiles = agent.options.data_dir.join(SECCOMP);
    Ok(ContainerConfig {
        target: parts.target.clone(),
        name: container.name.clone(),
        attempt: parts.attempt,
        image_id: parts.image.id.clone(),
        image: container.image.clone().unwrap_or_default(),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        env,
        mounts,
        log_path: PathBuf::from(&container.name).join(format!("{}.log", parts.attempt)),
        security: security(pod, container, &parts.image.user, &[&own_profiles, Path::new(KUBELETS_SECCOMP)])?,
        stop_signal: container.lifecycle.as_ref().and_then(|l| l.stop_signal.clone()).unwrap_or_default(),
        resources: resources(pod, container, agent.memory_bytes),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        labels: pod.metadata.labels.clone().unwrap_or_default(),
    })
}

async fn volume_mount<R>(
    agent: &Agent<R>,
    pod: &Pod,
    container: &Container,
    mount: &VolumeMount,
    known: &BTreeMap<String, String>,
    volumes: &BTreeMap<String, PathBuf>,
    able: Features,
) -> Result<Mount, ConfigError> {
    let volume = volumes.get(&mount.name).ok_or_else(|| {
        ConfigError::Mount(format!("volume mount {} of container {}: no such volume", mount.name, container.name))
    })?;
    let sub = match (&mount.sub_path_expr, &mount.sub_path) {
        (Some(expr), _) if !expr.is_empty() => expand(expr, known),
        (_, Some(path)) => path.clone(),
        _ => String::new(),
    };
    let host_path = if sub.is_empty() {
        volume.clone()
    } else {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let place = agent.options.pod_dir(uid).join("volume-subpaths").join(&mount.name).join(&container.name);
        let key = mount.mount_path.trim_matches('/').replace('/', "~");
        volumes::sub_path(volume.clone(), sub, place.join(key)).await?
    };
    let readonly_below = readonly_below(mount, able)?;
    Ok(Mount {
        host_path,
        readonly_below,
        container_path: PathBuf::from(&mount.mount_path),
        readonly: mount.read_only == Some(true) || volumes::is_read_only(pod, &mount.name),
        propagation: match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => MountPropagation::HostToContainer,
            Some("Bidirectional") => MountPropagation::Bidirectional,
            _ => MountPropagation::Private,
        },
    })
}

/// Whether what is mounted below is read-only too.
fn readonly_below(mount: &VolumeMount, able: Features) -> Result<bool, ConfigError> {
    match mount.recursive_read_only.as_deref() {
        Some("Enabled") if !able.recursive_read_only => Err(ConfigError::Mount(format!(
            "volume {:?} requested recursive read-only mode, but it is not supported by the runtime",
            mount.name
        ))),
        Some("Enabled" | "IfPossible") => Ok(mount.read_only == Some(true) && able.recursive_read_only),
        _ => Ok(false),
    }
}

/// Where a container leaves its last words.
pub(super) fn termination_log<R>(agent: &Agent<R>, uid: &str, container: &str, attempt: u32) -> PathBuf {
    agent.options.pod_dir(uid).join("containers").join(container).join(attempt.to_string())
}

async fn own_files<R>(
    agent: &Agent<R>,
    pod: &Pod,
    container: &Container,
    parts: &Parts<'_>,
) -> Result<Vec<Mount>, ConfigError> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let hosts = agent.options.pod_dir(uid).join("etc-hosts");
    let machine = match pod.spec.as_ref().and_then(|spec| spec.host_network) {
        Some(true) => tokio::fs::read_to_string("/etc/hosts").await.unwrap_or_default(),
        _ => String::new(),
    };
    write(&hosts, sandbox::hosts(pod, &parts.ips.pod, &machine), 0o644).await?;
    let words = termination_log(agent, uid, &container.name, parts.attempt);
    write(&words, String::new(), 0o666).await?;
    let path = container.termination_message_path.as_deref().filter(|p| !p.is_empty()).unwrap_or(TERMINATION_LOG);
    let mount = |host_path, container_path: &str| Mount {
        host_path,
        container_path: PathBuf::from(container_path),
        readonly: false,
        readonly_below: false,
        propagation: MountPropagation::Private,
    };
    Ok(vec![mount(hosts, "/etc/hosts"), mount(words, path)])
}

async fn write(path: &Path, text: String, mode: u32) -> Result<(), ConfigError> {
    use std::os::unix::fs::PermissionsExt as _;
    let target = path.to_owned();
    let write = move || -> std::io::Result<()> {
        if let Some(dir) = target.parent() {
            std::fs::create_dir_all(dir)?;
        }
        // Written in place: it may be mounted into running containers.
        if std::fs::read(&target).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(());
        }
        std::fs::write(&target, text)?;
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(mode))
    };
    let done = tokio::task::spawn_blocking(write).await.unwrap_or_else(|e| Err(std::io::Error::other(e)));
    done.map_err(|cause| ConfigError::File { path: path.to_owned(), cause })
}
