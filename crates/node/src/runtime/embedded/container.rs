//! A container's life, as far as the agent has a part in it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::RngCore as _;

use super::client::{ask, within};
use super::parts::{Images, PodNetwork, Rootfs};
use super::sandbox::Sandbox;
use super::{Inner, confinement, machine, spec};
use crate::runtime::{
    ContainerConfig, ContainerId, ContainerState, ContainerStatus, ImageError, RuntimeError, SandboxId, signal,
};
use crate::shim::files::{CONTAINER, CONTAINERS, ContainerFile, Record, UserChoice, write_json};
use crate::shim::log;
use crate::shim::protocol::Request;

/// The shim only reads a file.
const CREATE_MAX: Duration = Duration::from_secs(30);
/// 30 ms on an idle machine; overlayfs of many layers on a slow disk takes longer.
const START_MAX: Duration = Duration::from_secs(120);
/// After SIGKILL a process may wait for a disk or a network file system.
const KILLED_MAX: Duration = Duration::from_secs(60);

impl<I: Images, N: PodNetwork> Inner<I, N> {
    pub(crate) async fn create(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
    ) -> Result<ContainerId, RuntimeError> {
        let sandbox = self.sandbox(sandbox)?;
        if !sandbox.is_alive() {
            return Err(RuntimeError::Failed(format!("sandbox {} is not ready", sandbox.id.0)));
        }
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let made = self.try_create(&sandbox, &id, config).await;
        if made.is_err() {
            let _ = fs::remove_dir_all(sandbox.dir.join(CONTAINERS).join(&id));
            let _ = fs::remove_dir_all(self.data_dir().join(&id));
            let _ = self.images.unpin(&self.holder(&id));
        }
        made.map(|()| ContainerId(id))
    }

    async fn try_create(&self, sandbox: &Sandbox, id: &str, config: ContainerConfig) -> Result<(), RuntimeError> {
        let invalid = |error: ImageError| RuntimeError::Failed(error.to_string());
        let rootfs = self.images.rootfs(&config.image_id).map_err(invalid)?;
        let rootfs = rootfs.ok_or_else(|| RuntimeError::NotFound(format!("image {}", config.image_id)))?;
        self.images.pin(&config.image_id, &self.holder(id)).map_err(invalid)?;
        let file = self.container_file(sandbox, id, config, rootfs)?;
        let dir = sandbox.dir.join(CONTAINERS).join(id);
        let write = || -> io::Result<()> {
            fs::create_dir_all(&dir)?;
            fs::create_dir_all(&file.data_dir)?;
            write_json(&dir.join(CONTAINER), &file)
        };
        write()
            .map_err(|error| RuntimeError::Failed(format!("failed to make the container's directories: {error}")))?;
        within(CREATE_MAX, ask(&sandbox.dir, &Request::Create { id: id.to_owned() })).await
    }

    fn container_file(
        &self,
        sandbox: &Sandbox,
        id: &str,
        config: ContainerConfig,
        rootfs: Rootfs,
    ) -> Result<ContainerFile, RuntimeError> {
        let security = &config.security;
        let cgroup = self.pod_cgroup(&sandbox.saved.config.uid).join(format!("{}-{}", config.name, config.attempt));
        let machine = machine::read(security.privileged)
            .map_err(|error| RuntimeError::Failed(format!("failed to read the machine: {error}")))?;
        let target = match &config.target {
            Some(id) => Some(
                self.container(id)?
                    .1
                    .pid
                    .ok_or_else(|| RuntimeError::Failed(format!("container {} is not running", id.0)))?,
            ),
            None => None,
        };
        let mut spec = spec::build(&sandbox.saved.config, &config, &rootfs, &machine, &sandbox.dir, &cgroup)
            .map_err(RuntimeError::Invalid)?;
        if let Some(pid) = target {
            spec::share_processes(&mut spec, pid);
        }
        let kernel = confinement::kernel(&machine.kernel);
        let confinement = confinement::confine(&mut spec, security, kernel).map_err(RuntimeError::Failed)?;
        let number =
            |id: i64| u32::try_from(id).map_err(|_| RuntimeError::Invalid(format!("{id} is no user or group id")));
        let user = UserChoice {
            image: rootfs.user,
            uid: security.run_as_user.map(number).transpose()?,
            gid: security.run_as_group.map(number).transpose()?,
            strict: security.strict_groups,
            groups: security.supplemental_groups.iter().map(|id| number(*id)).collect::<Result<_, _>>()?,
        };
        let asked = if config.stop_signal.is_empty() { &rootfs.stop_signal } else { &config.stop_signal };
        let stop_signal = signal::number(asked).map_err(RuntimeError::Invalid)?;
        Ok(ContainerFile {
            id: id.to_owned(),
            log_path: sandbox.saved.config.log_directory.join(&config.log_path),
            lower_dirs: rootfs.lower_dirs,
            data_dir: self.data_dir().join(id),
            mounts: spec::shim_mounts(&config, &sandbox.dir),
            user,
            cgroup,
            stop_signal,
            stdin: config.stdin,
            tty: config.tty,
            spec,
            confinement,
            name: config.name,
            attempt: config.attempt,
            image: config.image,
            image_id: config.image_id,
        })
    }

    pub(crate) async fn start(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let (sandbox, _) = self.container(id)?;
        within(START_MAX, ask(&sandbox.dir, &Request::Start { id: id.0.clone() })).await
    }

    pub(crate) async fn stop_one(&self, id: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        let Ok((sandbox, record)) = self.container(id) else { return Ok(()) };
        if record.state == ContainerState::Exited {
            return Ok(());
        }
        if !sandbox.is_alive() {
            self.bury(&sandbox).await;
            return Ok(());
        }
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let asked = within(grace + KILLED_MAX, ask(&sandbox.dir, &Request::Stop { id: id.0.clone(), grace_ms })).await;
        match asked {
            Err(RuntimeError::NotFound(_)) => Ok(()),
            // The shim died meanwhile: what it held is killed.
            Err(RuntimeError::Failed(_))
                if super::client::Connection::open(&sandbox.dir, &Request::Subscribe, &[]).is_err() =>
            {
                self.bury(&sandbox).await;
                Ok(())
            }
            other => other,
        }
    }

    pub(crate) async fn remove_one(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let Ok((sandbox, record)) = self.container(id) else { return Ok(()) };
        if sandbox.is_alive() {
            within(KILLED_MAX, ask(&sandbox.dir, &Request::Remove { id: id.0.clone() })).await?;
        } else {
            self.bury(&sandbox).await;
        }
        clean_up(self, &sandbox, &record).await?;
        self.tell(&sandbox.id);
        Ok(())
    }

    /// A container and where it is.
    pub(crate) fn container(&self, id: &ContainerId) -> Result<(Arc<Sandbox>, Record), RuntimeError> {
        let missing = || RuntimeError::NotFound(format!("container {}", id.0));
        if id.0.is_empty() || !id.0.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(missing());
        }
        for sandbox in self.all_sandboxes() {
            let path = sandbox.dir.join(CONTAINERS).join(&id.0).join(crate::shim::files::STATE);
            if let Ok(record) = crate::shim::files::read_json(&path) {
                return Ok((sandbox, record));
            }
        }
        Err(missing())
    }
}

/// Removes all of an ended container but its log.
pub(crate) async fn clean_up<I: Images, N: PodNetwork>(
    inner: &Inner<I, N>,
    sandbox: &Sandbox,
    record: &Record,
) -> Result<(), RuntimeError> {
    inner.remove_cgroup(&record.cgroup).await;
    let config = &sandbox.saved.config;
    let link = log::link_path(&inner.options.log_links, &config.name, &config.namespace, &record.name, &record.id);
    let dirs: Vec<PathBuf> = vec![inner.data_dir().join(&record.id), sandbox.dir.join(CONTAINERS).join(&record.id)];
    let removed = tokio::task::spawn_blocking(move || -> io::Result<()> {
        let gone = |error: io::Error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) };
        fs::remove_file(&link).or_else(gone)?;
        // The record goes last: until then the container is found and removed again.
        dirs.iter().try_for_each(|dir| fs::remove_dir_all(dir).or_else(gone))
    });
    removed
        .await
        .map_err(io::Error::other)
        .and_then(|removed| removed)
        .map_err(|error| RuntimeError::Failed(format!("failed to remove container {}: {error}", record.id)))?;
    inner.images.unpin(&inner.holder(&record.id)).map_err(|error| RuntimeError::Failed(error.to_string()))
}

/// What the trait tells of a record.
pub(crate) fn status(sandbox: &SandboxId, record: Record) -> ContainerStatus {
    ContainerStatus {
        id: ContainerId(record.id),
        sandbox: sandbox.clone(),
        name: record.name,
        attempt: record.attempt,
        state: record.state,
        pid: record.pid,
        created_at: record.created_at,
        started_at: record.started_at,
        finished_at: record.finished_at,
        exit_code: record.exit_code,
        reason: record.reason,
        message: record.message,
        image: record.image,
        image_id: record.image_id,
        log_path: record.log_path,
    }
}
