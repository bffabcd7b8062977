//! A runtime that starts no containers: for tests, and for nodes by the thousand.
//!
//! # Invariants
//! - It keeps the contract of [`Runtime`] to the letter, so the agent above it is the real one.
//! - A container runs until somebody stops it, or until a test ends it ([`Hollow::end_container`]).
//!
//! # Absent
//! Persistence: what it "runs" lives as long as the value; an agent that restarts beside it finds everything again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rand::Rng as _;
use tokio::sync::broadcast;

use super::streaming::{self, Connection, Running, Wanted};
use super::{
    ContainerConfig, ContainerId, ContainerState, ContainerStatus, ExecOutput, ImageError, ImageInfo, NamespaceMode,
    RegistryAuth, Runtime, RuntimeError, SandboxConfig, SandboxId, SandboxStatus,
};

/// Events kept for a slow listener; one that lags lists again.
const EVENTS_MAX: usize = 256;
/// Exit code of a process that SIGTERM ended.
const TERMINATED: i32 = 143;
/// Bytes of a command's stream that wait for their reader.
const STREAM_BYTES_MAX: usize = 64 * 1024;
/// An image whose name contains this can't be pulled, as tests of Kubernetes have it.
const NO_IMAGE: &str = "non-existent";

/// How slow it pretends to be.
#[derive(Debug, Clone, Copy)]
pub struct HollowOptions {
    /// A sandbox takes this long.
    pub sandbox_delay: Duration,
    /// A container's start takes this long at least, and up to `start_spread` longer.
    pub start_delay: Duration,
    /// See `start_delay`.
    pub start_spread: Duration,
    /// This share of the containers' starts ends at once with exit code 1, 0.0 to 1.0.
    pub failure_rate: f64,
    /// An image that is not there takes this long.
    pub pull_delay: Duration,
    /// Pods get addresses from here on.
    pub first_ip: Ipv4Addr,
}

impl Default for HollowOptions {
    fn default() -> Self {
        let none = Duration::ZERO;
        Self {
            sandbox_delay: none,
            start_delay: none,
            start_spread: none,
            failure_rate: 0.0,
            pull_delay: none,
            first_ip: Ipv4Addr::new(10, 42, 0, 2),
        }
    }
}

#[derive(Default)]
struct State {
    made: u64,
    next_ip: u32,
    sandboxes: BTreeMap<String, SandboxStatus>,
    containers: BTreeMap<String, ContainerStatus>,
    images: BTreeSet<String>,
}

/// See the module.
pub struct Hollow {
    options: HollowOptions,
    state: Mutex<State>,
    events: broadcast::Sender<SandboxId>,
}

impl Hollow {
    /// A node with nothing on it.
    pub fn new(options: HollowOptions) -> Self {
        Self { options, state: Mutex::new(State::default()), events: broadcast::channel(EVENTS_MAX).0 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held can't leave it half changed: each change is one statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, sandbox: SandboxId) {
        // Nobody listening is fine.
        let _ = self.events.send(sandbox);
    }

    /// Ends a running container as if its process had exited; false when none of that name runs in the pod.
    pub fn end_container(&self, pod_uid: &str, name: &str, exit_code: i32) -> bool {
        let mut state = self.state();
        let State { sandboxes, containers, .. } = &mut *state;
        let running = containers.values_mut().find(|c| {
            let uid = sandboxes.get(&c.sandbox.0).map(|s| s.config.uid.as_str());
            c.name == name && c.state == ContainerState::Running && uid == Some(pod_uid)
        });
        let Some(container) = running else { return false };
        end(container, exit_code, if exit_code == 0 { "Completed" } else { "Error" });
        let sandbox = container.sandbox.clone();
        drop(state);
        self.tell(sandbox);
        true
    }

    /// Loses a sandbox and what runs in it, as a reboot does.
    pub fn lose_sandbox(&self, pod_uid: &str) {
        let ids: Vec<SandboxId> = {
            let mut state = self.state();
            let lost = state.sandboxes.values_mut().filter(|s| s.config.uid == pod_uid);
            let ids: Vec<SandboxId> = lost
                .map(|s| {
                    s.ready = false;
                    s.id.clone()
                })
                .collect();
            for container in state.containers.values_mut().filter(|c| ids.contains(&c.sandbox)) {
                end(container, 137, "Error");
            }
            ids
        };
        ids.into_iter().for_each(|id| self.tell(id));
    }
}

fn end(container: &mut ContainerStatus, exit_code: i32, reason: &str) {
    if container.state != ContainerState::Running {
        return;
    }
    container.state = ContainerState::Exited;
    container.pid = None;
    container.finished_at = Some(Timestamp::now());
    container.exit_code = Some(exit_code);
    reason.clone_into(&mut container.reason);
}

fn image_info(reference: &str) -> ImageInfo {
    ImageInfo {
        id: format!("hollow:{reference}"),
        tags: vec![reference.to_owned()],
        digests: Vec::new(),
        size: 0,
        user: String::new(),
        pinned: false,
    }
}

impl Runtime for Hollow {
    fn version(&self) -> String {
        format!("hollow://{}", env!("CARGO_PKG_VERSION"))
    }

    async fn run_pod_sandbox(&self, config: SandboxConfig) -> Result<SandboxStatus, RuntimeError> {
        tokio::time::sleep(self.options.sandbox_delay).await;
        let mut state = self.state();
        state.made += 1;
        let id = SandboxId(format!("{:x}", state.made));
        let ips = if config.network == NamespaceMode::Node {
            Vec::new()
        } else {
            state.next_ip += 1;
            let first = u32::from(self.options.first_ip);
            vec![IpAddr::V4(Ipv4Addr::from(first.wrapping_add(state.next_ip - 1)))]
        };
        let status = SandboxStatus { id: id.clone(), config, ready: true, created_at: Timestamp::now(), ips };
        state.sandboxes.insert(id.0.clone(), status.clone());
        drop(state);
        self.tell(id);
        Ok(status)
    }

    async fn stop_pod_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        {
            let mut state = self.state();
            if let Some(sandbox) = state.sandboxes.get_mut(&id.0) {
                sandbox.ready = false;
            }
            for container in state.containers.values_mut().filter(|c| c.sandbox == *id) {
                end(container, 137, "Error");
            }
        }
        self.tell(id.clone());
        Ok(())
    }

    async fn remove_pod_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        {
            let mut state = self.state();
            state.sandboxes.remove(&id.0);
            state.containers.retain(|_, c| c.sandbox != *id);
        }
        self.tell(id.clone());
        Ok(())
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<SandboxStatus>, RuntimeError> {
        Ok(self.state().sandboxes.values().cloned().collect())
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
    ) -> Result<ContainerId, RuntimeError> {
        let mut state = self.state();
        let Some(pod) = state.sandboxes.get(&sandbox.0) else {
            return Err(RuntimeError::NotFound(format!("sandbox {}", sandbox.0)));
        };
        let log_path = pod.config.log_directory.join(&config.log_path);
        state.made += 1;
        let id = ContainerId(format!("{:x}", state.made));
        let status = ContainerStatus {
            id: id.clone(),
            sandbox: sandbox.clone(),
            name: config.name,
            attempt: config.attempt,
            state: ContainerState::Created,
            pid: None,
            created_at: Timestamp::now(),
            started_at: None,
            finished_at: None,
            exit_code: None,
            reason: String::new(),
            message: String::new(),
            image: config.image,
            image_id: config.image_id,
            log_path,
        };
        state.containers.insert(id.0.clone(), status);
        Ok(id)
    }

    async fn start_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let HollowOptions { start_delay, start_spread, failure_rate, .. } = self.options;
        let spread: f64 = rand::rng().random();
        tokio::time::sleep(start_delay + start_spread.mul_f64(spread)).await;
        let fails = rand::rng().random_bool(failure_rate.clamp(0.0, 1.0));
        let sandbox = {
            let mut state = self.state();
            let Some(container) = state.containers.get_mut(&id.0) else {
                return Err(RuntimeError::NotFound(format!("container {}", id.0)));
            };
            if container.state == ContainerState::Created {
                container.state = ContainerState::Running;
                container.started_at = Some(Timestamp::now());
            }
            if fails {
                end(container, 1, "Error");
            }
            container.sandbox.clone()
        };
        self.tell(sandbox);
        Ok(())
    }

    async fn stop_container(&self, id: &ContainerId, _grace: Duration) -> Result<(), RuntimeError> {
        let sandbox = {
            let mut state = self.state();
            let Some(container) = state.containers.get_mut(&id.0) else { return Ok(()) };
            end(container, TERMINATED, "Error");
            container.sandbox.clone()
        };
        self.tell(sandbox);
        Ok(())
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.state().containers.remove(&id.0);
        Ok(())
    }

    async fn list_containers(&self) -> Result<Vec<ContainerStatus>, RuntimeError> {
        Ok(self.state().containers.values().cloned().collect())
    }

    async fn container_status(&self, id: &ContainerId) -> Result<ContainerStatus, RuntimeError> {
        let found = self.state().containers.get(&id.0).cloned();
        found.ok_or_else(|| RuntimeError::NotFound(format!("container {}", id.0)))
    }

    async fn exec_sync(
        &self,
        id: &ContainerId,
        command: Vec<String>,
        _timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        if self.container_status(id).await?.state != ContainerState::Running {
            return Err(RuntimeError::Failed(format!("container {} does not run", id.0)));
        }
        // `false` fails and all else succeeds: enough for probes and hooks.
        let exit_code = i32::from(command.first().is_some_and(|c| c == "false"));
        Ok(ExecOutput { stdout: command.join(" ").into_bytes(), stderr: Vec::new(), exit_code })
    }

    async fn exec(&self, id: &ContainerId, command: Vec<String>, wanted: Wanted) -> Result<Running, RuntimeError> {
        let output = self.exec_sync(id, command, Duration::ZERO).await?;
        let (mut inside, outside) = tokio::io::duplex(STREAM_BYTES_MAX);
        let (reader, writer) = tokio::io::split(outside);
        // Says the command, then whatever it is told.
        let echo = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt as _;
            inside.write_all(&output.stdout).await?;
            if wanted.stdin {
                let (mut from, mut to) = tokio::io::split(inside);
                tokio::io::copy(&mut from, &mut to).await?;
            }
            std::io::Result::Ok(())
        });
        Ok(Running {
            stdin: wanted.stdin.then(|| Box::new(writer) as streaming::Writer),
            stdout: Some(Box::new(reader)),
            stderr: None,
            terminal: None,
            ended: Some(Box::pin(async move {
                let _ = echo.await;
                Ok(output.exit_code)
            })),
        })
    }

    async fn attach(&self, _: &ContainerId, _: Wanted, _: bool) -> Result<Running, RuntimeError> {
        Err(RuntimeError::Invalid("a hollow container writes nothing that one could look at".to_owned()))
    }

    async fn connect(&self, _: &SandboxId, port: u16) -> Result<Connection, RuntimeError> {
        Err(RuntimeError::Invalid(format!("nothing listens on port {port} of a hollow pod")))
    }

    fn events(&self) -> broadcast::Receiver<SandboxId> {
        self.events.subscribe()
    }

    async fn image_status(&self, reference: &str) -> Result<Option<ImageInfo>, ImageError> {
        Ok(self.state().images.contains(reference).then(|| image_info(reference)))
    }

    async fn pull_image(&self, reference: &str, _auth: Option<RegistryAuth>) -> Result<ImageInfo, ImageError> {
        tokio::time::sleep(self.options.pull_delay).await;
        if reference.contains(NO_IMAGE) {
            let cause = "not found in any registry".to_owned();
            return Err(ImageError::ErrImagePull { image: reference.to_owned(), cause });
        }
        self.state().images.insert(reference.to_owned());
        Ok(image_info(reference))
    }

    async fn list_images(&self) -> Result<Vec<ImageInfo>, ImageError> {
        Ok(self.state().images.iter().map(|r| image_info(r)).collect())
    }
}
