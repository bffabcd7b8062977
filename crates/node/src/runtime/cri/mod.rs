//! A runtime behind a socket: containerd, CRI-O, whatever speaks runtime.v1 of the Container Runtime Interface.
//!
//! # Invariants
//! - All state is the runtime's: what this node made is found by a label, what it was made from by an annotation. An agent
//!   that restarts, or a runtime that does, loses nothing, and what others made with the same runtime is not touched.
//! - While the runtime does not answer, nothing is said to be gone: lists fail, they are never short.
//!
//! # Absent
//! The pods' network (the runtime's own, by its CNI configuration), the built-in image, user namespaces.

mod client;
mod container;
mod endpoint;
mod events;
mod groups;
mod images;
mod info;
mod listening;
mod looks;
mod pieces;
mod proto;
mod rotation;
mod sandbox;
mod stats;
mod stop;
mod streams;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::broadcast;
use tokio::task::JoinHandle;

pub use self::endpoint::Endpoint;

use self::client::{ANSWER_MAX, Client};
use self::info::Configuration;
use self::proto::container as cri;
use self::proto::sandbox as cri_sandbox;
use self::proto::{CgroupDriver, Empty};
use super::stats::{FsUsage, SandboxStats};
use super::streaming::{Connection, Running, Wanted};
use super::{
    ContainerConfig, ContainerId, ContainerStatus, ExecOutput, Features, ImageError, ImageInfo, RegistryAuth, Runtime,
    RuntimeError, SandboxConfig, SandboxId, SandboxStatus, signal,
};
use crate::shim::cgroup::{Hierarchies, hierarchies};
use crate::shim::log;

/// Events that a slow receiver may be behind; it lists again when it has missed some.
const EVENTS_MAX: usize = 1024;
/// An agent that starts with its machine waits this long for the runtime to start too.
const START_MAX: Duration = Duration::from_secs(60);
/// How often it asks meanwhile.
const START_EVERY: Duration = Duration::from_millis(500);
/// Output of a command beyond this is cut, as the embedded runtime does.
const OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// A runtime that restarts is no node without a network: its last word holds this long, as Kubernetes has it.
const LAST_WORD_HOLDS: Duration = Duration::from_secs(30);
/// How often logs are looked at, as Kubernetes has it.
const LOG_LOOK_EVERY: Duration = Duration::from_secs(10);

/// Where things are.
#[derive(Debug, Clone)]
pub struct Options {
    /// The runtime's socket.
    pub socket: PathBuf,
    /// Whose containers these are: INSTANCE/NODE.
    pub owner: String,
    /// /everynode-ID/NODE, in every cgroup hierarchy.
    pub cgroup: PathBuf,
    /// /var/log/containers.
    pub log_links: PathBuf,
    /// When a container's log is turned over, bytes.
    pub log_bytes_max: u64,
    /// How many files of one log there are, the present one included.
    pub log_files_max: usize,
    /// How often logs are looked at.
    pub log_look_every: Duration,
    /// How long a runtime that does not answer yet is waited for.
    pub start_max: Duration,
}

impl Options {
    /// The node `node` of the instance `instance`, on the runtime behind `socket`.
    #[must_use]
    pub fn new(socket: PathBuf, instance: &str, node: &str) -> Self {
        let embedded = super::embedded::Options::new(PathBuf::new(), instance, node, Path::new("/"));
        Self {
            socket,
            owner: format!("{instance}/{node}"),
            cgroup: embedded.cgroup,
            log_links: embedded.log_links,
            log_bytes_max: embedded.log_bytes_max,
            log_files_max: embedded.log_files_max,
            log_look_every: LOG_LOOK_EVERY,
            start_max: START_MAX,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Cri {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Cri {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

#[derive(Debug)]
struct Shared {
    options: Options,
    client: Client,
    version: String,
    configuration: Configuration,
    /// None where control groups can't be read: the runtime's numbers serve.
    groups: Option<Hierarchies>,
    known: Mutex<looks::Known>,
    events: broadcast::Sender<SandboxId>,
    network: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Cri {
    /// Opens the runtime; waits a while for one that is still starting.
    ///
    /// # Errors
    /// It does not answer, or does not speak this interface. The text says what to do.
    pub async fn open(options: Options) -> Result<Self, RuntimeError> {
        let client = Client::new(&options.socket)?;
        let version = first_answer(&client, options.start_max).await?;
        let configuration = configuration(&client).await?;
        let version = format!("{}://{}", version.runtime_name, version.runtime_version);
        let shared = Arc::new(Shared {
            options,
            client,
            version,
            configuration,
            groups: hierarchies().ok(),
            known: Mutex::default(),
            events: broadcast::channel(EVENTS_MAX).0,
            network: Mutex::default(),
        });
        let tasks =
            vec![tokio::spawn(events::watch(Arc::clone(&shared))), tokio::spawn(rotation::keep(Arc::clone(&shared)))];
        Ok(Self { shared, tasks })
    }

    /// Ends and removes all pods of this node, and its control groups. What others made with the same runtime stays.
    ///
    /// # Errors
    /// The first that could not be removed; the others are.
    pub async fn clear(&self) -> Result<(), RuntimeError> {
        let mut result = Ok(());
        for sandbox in self.shared.sandboxes().await? {
            let removed = self.remove_pod_sandbox(&SandboxId(sandbox.id)).await;
            if result.is_ok() {
                result = removed;
            }
        }
        self.shared.remove_node_groups().await;
        result
    }
}

/// What the runtime is, once it answers.
async fn first_answer(client: &Client, start_max: Duration) -> Result<proto::VersionResponse, RuntimeError> {
    let began = Instant::now();
    let mut told = false;
    loop {
        let asked = client.unary(Some(ANSWER_MAX), proto::VERSION, proto::VersionRequest::default()).await;
        let status = match asked {
            Ok(version) => return Ok(version),
            Err(status) => status,
        };
        let error = client.error(Some(ANSWER_MAX), &status);
        // One that starts serves nothing at first, then says that it is not ready.
        let starts = matches!(status.code(), tonic::Code::Unavailable | tonic::Code::Unknown);
        if !starts || began.elapsed() >= start_max {
            let hint =
                "is it running, and is its cri plugin enabled (disabled_plugins in /etc/containerd/config.toml)?";
            return Err(RuntimeError::Failed(format!("{error}; {hint}")));
        }
        if !std::mem::replace(&mut told, true) {
            tracing::info!("{error}; waiting for it");
        }
        tokio::time::sleep(START_EVERY).await;
    }
}

async fn configuration(client: &Client) -> Result<Configuration, RuntimeError> {
    let status: proto::StatusResponse = client.ask(proto::STATUS, proto::StatusRequest { verbose: true }).await?;
    let mut configuration = info::configuration(&status.info);
    configuration.features = features(&status);
    // Runtimes from 2024 on have a call for it.
    let asked: Result<proto::RuntimeConfigResponse, _> =
        client.unary(Some(ANSWER_MAX), proto::RUNTIME_CONFIG, Empty {}).await;
    if let Ok(proto::RuntimeConfigResponse { linux: Some(linux) }) = asked {
        configuration.systemd = linux.cgroup_driver == i32::from(CgroupDriver::Systemd);
    }
    Ok(configuration)
}

impl Shared {
    fn tell(&self, id: SandboxId) {
        // Nobody listens: nobody needs to know.
        let _ = self.events.send(id);
    }

    fn sandbox_image(&self) -> Option<String> {
        self.configuration.sandbox_image.clone()
    }

    async fn run(&self, config: SandboxConfig) -> Result<SandboxStatus, RuntimeError> {
        let message = sandbox::config(&self.options.owner, &config, &self.cgroup_parent(&config.uid));
        let question = cri_sandbox::RunRequest { config: Some(message) };
        let made: cri_sandbox::Id = self.client.ask(cri_sandbox::RUN, question).await?;
        self.limit(&config).await;
        let created_at = jiff::Timestamp::now();
        let mut status = SandboxStatus { id: SandboxId(made.id), config, ready: true, created_at, ips: Vec::new() };
        status.ips = self.sandbox_details(&status).await?;
        self.tell(status.id.clone());
        Ok(status)
    }

    async fn sandbox_config(&self, id: &SandboxId) -> Result<SandboxConfig, RuntimeError> {
        let listed = self.sandboxes().await?;
        let found = listed.iter().find(|one| one.id == id.0);
        found.map(|one| sandbox::status(one).config).ok_or_else(|| RuntimeError::NotFound(format!("sandbox {}", id.0)))
    }

    async fn create(&self, id: &SandboxId, config: ContainerConfig) -> Result<ContainerId, RuntimeError> {
        let of = self.sandbox_config(id).await?;
        signal::number(&config.stop_signal).map_err(RuntimeError::Invalid)?;
        let user = self.image_user(&config.image_id).await?;
        let log = of.log_directory.join(&config.log_path);
        if let Some(dir) = log.parent() {
            // The runtime makes the file, not its directory.
            tokio::fs::create_dir_all(dir)
                .await
                .map_err(|error| RuntimeError::Failed(format!("can't make {}: {error}", dir.display())))?;
        }
        let name = config.name.clone();
        let question = cri::CreateRequest {
            sandbox: id.0.clone(),
            sandbox_config: Some(sandbox::config(&self.options.owner, &of, &self.cgroup_parent(&of.uid))),
            config: Some(container::config(&self.options.owner, &of, config, &user)),
        };
        let made: cri::Id = self.client.ask(cri::CREATE, question).await?;
        let (links, id) = (self.options.log_links.clone(), made.id.clone());
        let linking = move || log::link(&links, &of.name, &of.namespace, &name, &id, &log);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(linking).await {
            tracing::warn!("log collectors do not see container {}: {error}", made.id);
        }
        Ok(ContainerId(made.id))
    }

    /// Answers that a thing is gone are as good as its removal.
    async fn ask_gone<Q: prost::Message + Send + Sync + 'static>(
        &self,
        bound: Duration,
        path: &'static str,
        question: Q,
    ) -> Result<(), RuntimeError> {
        match self.client.ask_within::<Q, Empty>(Some(bound), path, question).await {
            Ok(_) | Err(RuntimeError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes the link to a container's log.
    async fn unlink(&self, ids: Vec<String>) {
        let links = self.options.log_links.clone();
        let removing = move || {
            let Ok(entries) = std::fs::read_dir(&links) else { return };
            for entry in entries.filter_map(Result::ok) {
                let name = entry.file_name().to_string_lossy().into_owned();
                if ids.iter().any(|id| name.ends_with(&format!("-{id}.log"))) {
                    let _ = std::fs::remove_file(entry.path());
                }
            }
        };
        drop(tokio::task::spawn_blocking(removing).await);
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        let uid = self.sandbox_config(id).await.map(|config| config.uid);
        let containers = self.containers().await?;
        let ids = containers.into_iter().filter(|c| c.sandbox == id.0).map(|c| c.id).collect();
        // First: whoever comes after a crash in between finds no container to read a link's name from.
        self.unlink(ids).await;
        self.ask_gone(ANSWER_MAX, cri_sandbox::REMOVE, cri_sandbox::Id { id: id.0.clone() }).await?;
        if let Ok(uid) = uid {
            self.remove_group(&uid).await;
        }
        self.tell(id.clone());
        Ok(())
    }

    async fn ready(&self) -> Result<(), String> {
        let asked: Result<proto::StatusResponse, _> =
            self.client.ask(proto::STATUS, proto::StatusRequest::default()).await;
        let answer = match asked {
            Ok(answer) => network(&answer),
            Err(error) => {
                let last = self.network.lock().unwrap_or_else(PoisonError::into_inner).clone();
                return match last {
                    Some((at, word)) if at.elapsed() < LAST_WORD_HOLDS => word,
                    _ => Err(error.to_string()),
                };
            }
        };
        *self.network.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), answer.clone()));
        answer
    }
}

/// What the runtime says that it can do; older ones say nothing, and can't.
fn features(answer: &proto::StatusResponse) -> Features {
    let default = answer.handlers.iter().find(|handler| handler.name.is_empty());
    Features {
        strict_groups: answer.features.as_ref().is_some_and(|features| features.supplemental_groups_policy),
        recursive_read_only: default
            .and_then(|handler| handler.features.as_ref())
            .is_some_and(|features| features.recursive_read_only_mounts),
    }
}

/// What the runtime's conditions say of the network.
fn network(answer: &proto::StatusResponse) -> Result<(), String> {
    let conditions = answer.status.iter().flat_map(|status| &status.conditions);
    for condition in conditions.filter(|condition| !condition.status) {
        if matches!(condition.kind.as_str(), "NetworkReady" | "RuntimeReady") {
            return Err(condition.message.clone());
        }
    }
    Ok(())
}

impl Runtime for Cri {
    fn version(&self) -> String {
        self.shared.version.clone()
    }

    fn features(&self) -> Features {
        self.shared.configuration.features
    }

    async fn run_pod_sandbox(&self, config: SandboxConfig) -> Result<SandboxStatus, RuntimeError> {
        self.shared.run(config).await
    }

    async fn stop_pod_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        self.shared.ask_gone(ANSWER_MAX, cri_sandbox::STOP, cri_sandbox::Id { id: id.0.clone() }).await?;
        self.shared.tell(id.clone());
        Ok(())
    }

    async fn remove_pod_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        self.stop_pod_sandbox(id).await?;
        self.shared.remove_sandbox(id).await
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<SandboxStatus>, RuntimeError> {
        self.shared.sandbox_statuses().await
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
    ) -> Result<ContainerId, RuntimeError> {
        self.shared.create(sandbox, config).await
    }

    async fn start_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.shared.client.ask::<_, Empty>(cri::START, cri::Id { id: id.0.clone() }).await.map(drop)
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        self.shared.stop(id, grace).await
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.shared.ask_gone(ANSWER_MAX, cri::REMOVE, cri::Id { id: id.0.clone() }).await?;
        self.shared.unlink(vec![id.0.clone()]).await;
        Ok(())
    }

    async fn list_containers(&self) -> Result<Vec<ContainerStatus>, RuntimeError> {
        self.shared.statuses().await
    }

    async fn container_status(&self, id: &ContainerId) -> Result<ContainerStatus, RuntimeError> {
        self.shared.one_status(id).await
    }

    async fn exec_sync(
        &self,
        id: &ContainerId,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        let question = cri::ExecSyncRequest { id: id.0.clone(), command, timeout: container::seconds(timeout).max(1) };
        let bound = Some(timeout + ANSWER_MAX);
        let asked = self.shared.client.ask_within::<_, cri::ExecSyncResponse>(bound, cri::EXEC_SYNC, question).await;
        let mut answer = match asked {
            Err(RuntimeError::Timeout(_)) => return Err(RuntimeError::Timeout(timeout)),
            other => other?,
        };
        answer.stdout.truncate(OUTPUT_BYTES_MAX);
        answer.stderr.truncate(OUTPUT_BYTES_MAX);
        Ok(ExecOutput { stdout: answer.stdout, stderr: answer.stderr, exit_code: answer.exit_code })
    }

    async fn exec(&self, id: &ContainerId, command: Vec<String>, wanted: Wanted) -> Result<Running, RuntimeError> {
        self.shared.start_command(id, command, wanted).await
    }

    async fn attach(&self, id: &ContainerId, wanted: Wanted, _: bool) -> Result<Running, RuntimeError> {
        // Whether its input ends with the first client was said when it was made.
        self.shared.attach_to(id, wanted).await
    }

    async fn connect(&self, id: &SandboxId, port: u16) -> Result<Connection, RuntimeError> {
        self.shared.connect_to(id, port).await
    }

    fn events(&self) -> broadcast::Receiver<SandboxId> {
        self.shared.events.subscribe()
    }

    async fn image_status(&self, reference: &str) -> Result<Option<ImageInfo>, ImageError> {
        self.shared.find_image(reference).await
    }

    async fn pull_image(&self, reference: &str, auth: Option<RegistryAuth>) -> Result<ImageInfo, ImageError> {
        self.shared.pull(reference, auth).await
    }

    async fn list_images(&self) -> Result<Vec<ImageInfo>, ImageError> {
        self.shared.all_images().await
    }

    async fn remove_image(&self, id: &str) -> Result<(), ImageError> {
        self.shared.drop_image(id).await
    }

    async fn image_fs(&self) -> Option<FsUsage> {
        self.shared.images_on().await
    }

    async fn network_ready(&self) -> Result<(), String> {
        self.shared.ready().await
    }

    async fn stats(&self) -> Result<Vec<SandboxStats>, RuntimeError> {
        self.shared.measure().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_is_not_true_tells_why() {
        let answer = |kind: &str, status| proto::StatusResponse {
            status: Some(proto::RuntimeStatus {
                conditions: vec![proto::RuntimeCondition {
                    kind: kind.to_owned(),
                    status,
                    message: "cni config uninitialized".to_owned(),
                    ..Default::default()
                }],
            }),
            ..Default::default()
        };
        assert_eq!(network(&answer("NetworkReady", true)), Ok(()));
        assert_eq!(network(&answer("NetworkReady", false)), Err("cni config uninitialized".to_owned()));
        assert_eq!(network(&answer("ContainerdHasNoDeprecationWarnings", false)), Ok(()));
    }
}
