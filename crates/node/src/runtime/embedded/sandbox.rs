//! A sandbox's life: made, watched, stopped, removed.
//!
//! # Invariants
//! - `sandbox.json` is written last: what has none and no shim was never ready, and is taken away at the next start.
//! - All that is made for a sandbox lies in its directory, its cgroups and the network module; [`Inner::tear_down`]
//!   finds it there whatever died when.
//! - Only the shim writes records; once it has died, only this module.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use jiff::Timestamp;

use super::client::{Connection, ask, start_shim, within};
use super::parts::{Images, Joining, PodNetwork};
use super::{Inner, container, machine, mounts, pod_files};
use crate::network::netns;
use crate::runtime::{ContainerState, NamespaceMode, RuntimeError, SandboxConfig, SandboxId, SandboxStatus};
use crate::shim::cgroup::Hierarchies;
use crate::shim::files::{
    CONTAINER, CONTAINERS, ContainerFile, NETNS, Record, SANDBOX, SHIM_CONFIG, SHIM_PID, SHIM_SOCKET, SHM, STATE,
    SandboxFile, ShimConfig, VERSION, read_json, write_json,
};
use crate::shim::protocol::{Reply, Request};
use crate::shim::start_ticks;

/// A shim is there in some 10 ms; a machine that swaps takes longer.
const SHIM_START_MAX: Duration = Duration::from_secs(30);
/// The shim itself waits 10 s for killed processes.
const SHUTDOWN_MAX: Duration = Duration::from_secs(15);
/// How long killed processes are waited for, and how often one looks.
const KILL_WAITS_MAX: usize = 2000;
const KILL_WAIT: Duration = Duration::from_millis(2);
/// Passes over cgroups whose processes are ending.
const CGROUP_REMOVALS_MAX: u32 = 50;

/// One sandbox.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) id: SandboxId,
    pub(crate) dir: PathBuf,
    pub(crate) saved: SandboxFile,
    /// Its shim answers.
    pub(crate) alive: AtomicBool,
    /// Held while it is stopped or removed.
    pub(crate) ending: tokio::sync::Mutex<()>,
}

impl Sandbox {
    pub(crate) fn new(id: SandboxId, dir: PathBuf, saved: SandboxFile, alive: bool) -> Self {
        Self { id, dir, saved, alive: AtomicBool::new(alive), ending: tokio::sync::Mutex::default() }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    pub(crate) fn status(&self) -> SandboxStatus {
        SandboxStatus {
            id: self.id.clone(),
            config: self.saved.config.clone(),
            ready: self.is_alive(),
            created_at: self.saved.created_at,
            ips: self.saved.ips.clone(),
        }
    }

    /// The records of its containers, ended ones too.
    pub(crate) fn records(&self) -> Vec<Record> {
        records(&self.dir)
    }
}

fn records(dir: &Path) -> Vec<Record> {
    let read = |path: PathBuf| read_json(&path.join(STATE)).ok();
    children(&dir.join(CONTAINERS)).into_iter().filter_map(read).collect()
}

/// Containers whose record is damaged, as they were made: nobody could tell whether they run.
fn unrecorded(dir: &Path) -> Vec<Record> {
    let mut all = children(&dir.join(CONTAINERS));
    all.retain(|path| read_json::<Record>(&path.join(STATE)).is_err());
    let read = |path: &PathBuf| read_json::<ContainerFile>(&path.join(CONTAINER)).ok();
    all.iter().filter_map(read).map(|file| Record::new(&file)).collect()
}

/// Entries of a directory; none when it is not there.
pub(crate) fn children(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.filter_map(Result::ok).map(|entry| entry.path()).collect()
}

fn failed(what: &str, error: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Failed(format!("{what}: {error}"))
}

impl<I: Images, N: PodNetwork> Inner<I, N> {
    /// Makes a sandbox. The same pod's same attempt again gives the one that is there.
    pub(crate) async fn make_sandbox(self: Arc<Self>, config: SandboxConfig) -> Result<SandboxStatus, RuntimeError> {
        let turn = self.turn(&config.uid);
        let _one = turn.lock().await;
        let same = |sandbox: &Arc<Sandbox>| {
            let known = &sandbox.saved.config;
            (known.uid.as_str(), known.attempt) == (config.uid.as_str(), config.attempt) && sandbox.is_alive()
        };
        if let Some(sandbox) = self.all_sandboxes().iter().find(|sandbox| same(sandbox)) {
            return Ok(sandbox.status());
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        let dir = self.pods_dir().join(&id);
        let pod_group = self.pod_cgroup(&config.uid);
        match self.build(&id, &dir, config).await {
            Ok(status) => Ok(status),
            Err(error) => {
                self.tear_down(&id, &dir).await;
                // Another sandbox of the pod may be in it, and then it stays.
                let _ = self.groups.remove_if_empty(&pod_group);
                Err(error)
            }
        }
    }

    /// The lock of a pod's sandboxes. Those that nobody holds are let go of, so there are as many as pods being made.
    fn turn(&self, uid: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        making.retain(|_, turn| Arc::strong_count(turn) > 1);
        making.entry(uid.to_owned()).or_default().clone()
    }

    async fn build(
        self: &Arc<Self>,
        id: &str,
        dir: &Path,
        config: SandboxConfig,
    ) -> Result<SandboxStatus, RuntimeError> {
        fs::create_dir_all(dir.join(CONTAINERS))
            .map_err(|error| failed("failed to make the pod's directory", error))?;
        let netns = dir.join(NETNS);
        let with_network = config.network != NamespaceMode::Node;
        let mut ips = Vec::new();
        if with_network {
            netns::create(&netns).map_err(|error| failed("failed to make the pod's network namespace", error))?;
            let joining = Joining {
                sandbox: id.to_owned(),
                netns: netns.clone(),
                namespace: config.namespace.clone(),
                name: config.name.clone(),
                uid: config.uid.clone(),
                ports: config.ports.clone(),
            };
            ips = self
                .network
                .attach(&joining)
                .await
                .map_err(|error| failed("failed to set up the pod's network", error))?;
        }
        if config.ipc != NamespaceMode::Node {
            mounts::mount_shm(&dir.join(SHM)).map_err(|error| failed("failed to mount the pod's /dev/shm", error))?;
        }
        if config.pids_max.is_some() || config.resources.is_some() {
            self.groups
                .limit(&self.pod_cgroup(&config.uid), config.pids_max, config.resources.as_ref())
                .map_err(|error| failed("failed to limit the pod as a whole", error))?;
        }
        let machine = machine::read(false).map_err(|error| failed("failed to read the machine", error))?;
        pod_files::write(dir, &config, &ips, &machine.hostname)
            .map_err(|error| failed("failed to write the pod's /etc files", error))?;
        let saved = SandboxFile { version: VERSION, config, created_at: Timestamp::now(), ips };
        write_json(&dir.join(SHIM_CONFIG), &self.shim_config(id, &saved, with_network.then_some(netns)))
            .map_err(|error| failed("failed to write the shim's configuration", error))?;
        within(SHIM_START_MAX, start_shim(self.options.program(), dir.to_owned())).await?;
        let connection = Connection::open(dir, &Request::Subscribe, &[])
            .map_err(|error| failed("the pod's shim died at once", error))?;
        write_json(&dir.join(SANDBOX), &saved).map_err(|error| failed("failed to write the sandbox's state", error))?;
        let sandbox = Arc::new(Sandbox::new(SandboxId(id.to_owned()), dir.to_owned(), saved, true));
        let status = sandbox.status();
        self.insert(sandbox, Some(connection));
        Ok(status)
    }

    fn shim_config(&self, id: &str, file: &SandboxFile, netns: Option<PathBuf>) -> ShimConfig {
        let config = &file.config;
        let named = config.network != NamespaceMode::Node && !config.hostname.is_empty();
        ShimConfig {
            file: file.clone(),
            sandbox: id.to_owned(),
            pod_name: config.name.clone(),
            pod_namespace: config.namespace.clone(),
            hostname: named.then(|| config.hostname.clone()),
            netns,
            ipc: config.ipc,
            pid: config.pid,
            sysctls: config.sysctls.clone(),
            cgroup: self.options.cgroup.join("shims"),
            log_directory: config.log_directory.clone(),
            log_links: self.options.log_links.clone(),
            log_bytes_max: self.options.log_bytes_max,
            log_files_max: self.options.log_files_max,
        }
    }

    pub(super) fn insert(self: &Arc<Self>, sandbox: Arc<Sandbox>, connection: Option<Connection>) {
        self.lock_sandboxes().insert(sandbox.id.clone(), sandbox.clone());
        if let Some(connection) = connection {
            tokio::spawn(watch(Arc::downgrade(self), sandbox.clone(), connection));
        }
        self.tell(&sandbox.id);
    }

    /// The shim has died: what it held is killed and noted as ended.
    pub(crate) async fn bury(&self, sandbox: &Sandbox) {
        let _ending = sandbox.ending.lock().await;
        sandbox.alive.store(false, Ordering::Release);
        let (dir, groups) = (sandbox.dir.clone(), self.groups.clone());
        let done = tokio::task::spawn_blocking(move || {
            for mut record in records(&dir).into_iter().chain(unrecorded(&dir)) {
                if record.state == ContainerState::Exited {
                    continue;
                }
                kill_and_wait(&groups, &record.cgroup);
                record.state = ContainerState::Exited;
                record.pid = None;
                record.pid_start = None;
                record.finished_at = Some(Timestamp::now());
                record.exit_code = Some(128 + libc::SIGKILL);
                record.reason = "Error".to_owned();
                record.message = "killed: the process that held its pod has died".to_owned();
                let _ = write_json(&dir.join(CONTAINERS).join(&record.id).join(STATE), &record);
            }
        });
        let _ = done.await;
    }

    /// Kills what runs in it, gives its network back. Its records stay.
    pub(crate) async fn stop(&self, sandbox: &Sandbox) -> Result<(), RuntimeError> {
        {
            let _ending = sandbox.ending.lock().await;
            self.end_shim(&sandbox.dir).await;
            sandbox.alive.store(false, Ordering::Release);
        }
        self.bury(sandbox).await;
        self.release(&sandbox.id.0, &sandbox.dir).await
    }

    /// Ends the shim, by its own means or by force.
    async fn end_shim(&self, dir: &Path) {
        if dir.join(SHIM_SOCKET).exists() {
            let _ = within(SHUTDOWN_MAX, ask(dir, &Request::Shutdown)).await;
        }
        if let Some(pid) = running_shim(dir) {
            // It may still be on its way out; a killed one is as good, its containers are killed after it.
            // SAFETY: kill takes no memory; number and start time say that it is our shim.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        let _ = fs::remove_file(dir.join(SHIM_SOCKET));
    }

    async fn release(&self, id: &str, dir: &Path) -> Result<(), RuntimeError> {
        let netns = dir.join(NETNS);
        if netns.exists() {
            self.network.detach(id).await.map_err(|error| failed("failed to take the pod's network down", error))?;
            netns::remove(&netns).map_err(|error| failed("failed to remove the pod's network namespace", error))?;
        }
        mounts::unmount(&dir.join(SHM)).map_err(|error| failed("failed to unmount the pod's /dev/shm", error))
    }

    /// Removes all of a stopped sandbox.
    pub(crate) async fn remove(&self, sandbox: &Sandbox) -> Result<(), RuntimeError> {
        for record in sandbox.records() {
            container::clean_up(self, sandbox, &record).await?;
        }
        let pod_group = self.pod_cgroup(&sandbox.saved.config.uid);
        let shared =
            |other: &Arc<Sandbox>| other.id != sandbox.id && other.saved.config.uid == sandbox.saved.config.uid;
        if !self.all_sandboxes().iter().any(shared) {
            self.remove_cgroup(&pod_group).await;
        }
        fs::remove_dir_all(&sandbox.dir)
            .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
            .map_err(|error| failed("failed to remove the pod's directory", error))?;
        self.lock_sandboxes().remove(&sandbox.id);
        self.remove_empty_cgroups().await;
        self.tell(&sandbox.id);
        Ok(())
    }

    /// Takes away a sandbox that was never ready.
    pub(super) async fn tear_down(&self, id: &str, dir: &Path) {
        self.end_shim(dir).await;
        for record in records(dir) {
            self.groups.kill(&record.cgroup);
            self.remove_cgroup(&record.cgroup).await;
        }
        if let Err(error) = self.release(id, dir).await {
            tracing::warn!(sandbox = id, %error, "left over from a sandbox that could not be made");
            return;
        }
        let _ = fs::remove_dir_all(dir);
        self.remove_empty_cgroups().await;
    }

    /// Kills what is in a group, and removes it, waiting for processes that are ending.
    pub(crate) async fn remove_cgroup(&self, group: &Path) {
        for pass in 1..=CGROUP_REMOVALS_MAX {
            if self.groups.remove(group) {
                return;
            }
            self.groups.kill(group);
            tokio::time::sleep(Duration::from_millis(u64::from(pass.min(20)))).await;
        }
        tracing::warn!(cgroup = %group.display(), "a control group could not be removed: a process in it does not end");
    }

    /// Without sandboxes, the groups of shims, node and instance go (the instance's only when it is the last node's).
    async fn remove_empty_cgroups(&self) {
        if !self.lock_sandboxes().is_empty() {
            return;
        }
        let node = &self.options.cgroup;
        for pass in 1..=CGROUP_REMOVALS_MAX {
            let shims_gone = self.groups.remove_if_empty(&node.join("shims"));
            let node_gone = self.groups.remove_if_empty(node);
            if shims_gone && node_gone {
                break;
            }
            // The last shim is ending.
            tokio::time::sleep(Duration::from_millis(u64::from(pass.min(20)))).await;
        }
        if let Some(instance) = node.parent().filter(|parent| *parent != Path::new("/")) {
            self.groups.remove_if_empty(instance);
        }
    }
}

/// Returns when nothing runs in the group, or what is in it can't be killed (waits for a disk).
fn kill_and_wait(groups: &Hierarchies, group: &Path) {
    for _ in 0..KILL_WAITS_MAX {
        groups.kill(group);
        if groups.processes(group).is_empty() {
            return;
        }
        std::thread::sleep(KILL_WAIT);
    }
}

/// The shim's process, if it still is that one.
pub(crate) fn running_shim(dir: &Path) -> Option<i32> {
    let text = fs::read_to_string(dir.join(SHIM_PID)).ok()?;
    let (pid, start) = text.trim().split_once(' ')?;
    let pid: i32 = pid.parse().ok()?;
    (start_ticks(pid) == start.parse().ok()).then_some(pid)
}

/// Passes on what the shim tells, until it dies.
async fn watch<I: Images, N: PodNetwork>(inner: Weak<Inner<I, N>>, sandbox: Arc<Sandbox>, mut connection: Connection) {
    while let Some(reply) = connection.reply().await {
        let Some(inner) = inner.upgrade() else { return };
        if matches!(reply, Reply::Changed { .. }) {
            inner.tell(&sandbox.id);
        }
    }
    sandbox.alive.store(false, Ordering::Release);
    if let Some(inner) = inner.upgrade() {
        inner.bury(&sandbox).await;
        inner.tell(&sandbox.id);
    }
}
