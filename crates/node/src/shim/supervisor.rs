//! The containers of the pod: from the agent's requests and the kernel's news to records and answers.
//!
//! ```text
//! create -> Created -> start: worker -> Pid, go -> Started -> Running -> exit -> Exited
//!                                    \-> Failed ----------------------------> Exited (StartError, 128)
//! ```
//!
//! # Invariants
//! - A record is in its file before a reply or a [`Reply::Changed`] tells of it.
//! - When a container's first process has ended, all that is left in its cgroup is killed.
//! - An exit that comes before the worker's report waits for it: [`Shim::orphans`].
//!
//! # Absent
//! Waiting: [`super::event_loop`] waits, and calls these. What follows from the kernel's news: [`super::outcomes`].

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::cgroup::{Hierarchies, hierarchies};
use super::files::{CONTAINER, CONTAINERS, ContainerFile, SANDBOX, SHIM_CONFIG, ShimConfig, read_json, write_json};
use super::log::{self, Log, Stream};
use super::protocol::{ExecProcess, FailureKind, Reply, Request};
use super::supervised::{Supervised, save};
use super::worker::{self, Job, Worker};
use crate::runtime::ContainerState;

/// Names a connection.
pub(crate) type ConnectionId = u64;

/// A connection that has ended.
pub(super) const NOBODY: ConnectionId = ConnectionId::MAX;
/// Most containers of one pod that are remembered; the agent removes ended ones.
const CONTAINERS_MAX: usize = 512;
/// Most execs at a time in one pod: probes and people.
const EXECS_MAX: usize = 128;
/// How long a shutdown waits for killed processes to end.
const SHUTDOWN_MAX: Duration = Duration::from_secs(10);

/// Who a worker works for.
#[derive(Debug)]
pub(super) enum At {
    Container(String),
    Exec { exec: RunningExec, pid: Option<i32> },
}

/// Who waits for a command.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunningExec {
    pub(super) connection: ConnectionId,
    /// It goes on when nobody waits.
    pub(super) outlives: bool,
}

/// All of the pod.
#[derive(Debug)]
pub(crate) struct Shim {
    config: ShimConfig,
    pub(super) groups: Hierarchies,
    pub(super) containers: BTreeMap<String, Supervised>,
    pub(super) workers: BTreeMap<i32, (Worker, Vec<u8>, At)>,
    /// By process.
    pub(super) execs: BTreeMap<i32, RunningExec>,
    pub(super) orphans: VecDeque<(i32, i32)>,
    shutdown: Option<(Instant, Option<ConnectionId>)>,
    /// To be sent: to one, or to all that subscribed.
    pub(crate) outbox: Vec<(Option<ConnectionId>, Reply)>,
}

/// Descriptors to watch beside connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// Reports of the worker with this process id.
    Worker(i32),
    /// An output of a container.
    Output(String, Stream),
}

impl Shim {
    /// Starts with no containers.
    pub(crate) fn new(config: ShimConfig) -> Self {
        let groups = hierarchies().unwrap_or(Hierarchies::V1(Vec::new()));
        Self {
            config,
            groups,
            containers: BTreeMap::new(),
            workers: BTreeMap::new(),
            execs: BTreeMap::new(),
            orphans: VecDeque::new(),
            shutdown: None,
            outbox: Vec::new(),
        }
    }

    /// What to watch.
    pub(crate) fn sources(&self) -> Vec<(Source, std::os::fd::BorrowedFd<'_>)> {
        let mut sources = Vec::new();
        for (pid, (worker, ..)) in &self.workers {
            sources.push((Source::Worker(*pid), worker.reports.as_fd()));
        }
        for (id, container) in &self.containers {
            for (stream, fd) in [Stream::Stdout, Stream::Stderr].into_iter().zip(&container.outputs) {
                if let Some(fd) = fd {
                    sources.push((Source::Output(id.clone(), stream), fd.as_fd()));
                }
            }
        }
        sources
    }

    /// Something is being started.
    pub(crate) fn is_working(&self) -> bool {
        !self.workers.is_empty()
    }

    /// When [`Shim::tick`] must be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let kills = self.containers.values().filter_map(|container| container.kill_at);
        kills.chain(self.shutdown.map(|(at, _)| at)).min()
    }

    /// The end is here: nothing runs any more, or it took too long.
    pub(crate) fn is_over(&mut self, now: Instant) -> bool {
        let Some((at, connection)) = self.shutdown else { return false };
        let runs = self.containers.values().any(|container| container.starting || container.record.pid.is_some());
        if runs && now < at {
            return false;
        }
        if let Some(connection) = connection {
            self.outbox.push((Some(connection), Reply::Done));
        }
        true
    }

    /// Kills what had its grace.
    pub(crate) fn tick(&mut self, now: Instant) {
        for container in self.containers.values_mut() {
            if container.kill_at.is_some_and(|at| at <= now) {
                container.kill_at = None;
                self.groups.kill(&container.record.cgroup);
            }
        }
    }

    /// Does what the agent asks.
    pub(crate) fn request(&mut self, from: ConnectionId, request: Request, fds: Vec<OwnedFd>) {
        let done = match request {
            Request::Subscribe => Ok(Some(Reply::Done)),
            Request::Create { id } => self.create(&id),
            Request::Start { id } => self.start(from, &id),
            Request::Stop { id, grace_ms } => self.stop(from, &id, Duration::from_millis(grace_ms)),
            Request::Exec { id, process } => self.exec(from, &id, process, fds),
            Request::Attach { id, give_input } => self.attach(from, &id, give_input, fds),
            Request::Remove { id } => self.remove(from, &id),
            Request::Save => self.save_all(),
            Request::Shutdown => {
                self.shut_down(Some(from));
                Ok(None)
            }
        };
        match done {
            Ok(Some(reply)) => self.outbox.push((Some(from), reply)),
            Ok(None) => {}
            Err((kind, message)) => self.outbox.push((Some(from), Reply::failed(kind, message))),
        }
    }

    /// Writes every state file anew.
    fn save_all(&self) -> Answer {
        self.containers.values().for_each(|container| save(&container.record));
        write_json(SHIM_CONFIG.as_ref(), &self.config)
            .and_then(|()| write_json(SANDBOX.as_ref(), &self.config.file))
            .map_err(|error| (FailureKind::Failed, format!("failed to write the pod's state: {error}")))?;
        Ok(Some(Reply::Done))
    }

    /// Kills all, and makes [`Shim::is_over`] true when they have ended.
    fn shut_down(&mut self, connection: Option<ConnectionId>) {
        for container in self.containers.values() {
            self.groups.kill(&container.record.cgroup);
        }
        self.shutdown = Some((Instant::now() + SHUTDOWN_MAX, connection));
    }

    /// A connection has ended: its execs have nobody who waits for them.
    pub(crate) fn disconnected(&mut self, connection: ConnectionId) {
        for (pid, exec) in &mut self.execs {
            if exec.connection == connection {
                exec.connection = NOBODY;
                if !exec.outlives {
                    kill_exec(*pid);
                }
            }
        }
        for (.., at) in self.workers.values_mut() {
            if let At::Exec { exec, .. } = at
                && exec.connection == connection
            {
                exec.connection = NOBODY;
            }
        }
        for container in self.containers.values_mut() {
            container.watchers.retain(|watcher| watcher.connection != connection);
        }
    }

    fn find(&mut self, id: &str) -> Result<&mut Supervised, Failure> {
        self.containers.get_mut(id).ok_or_else(|| (FailureKind::NotFound, format!("container {id} not found")))
    }

    fn create(&mut self, id: &str) -> Answer {
        if self.containers.contains_key(id) {
            return Ok(Some(Reply::Done));
        }
        if self.containers.len() >= CONTAINERS_MAX {
            return Err((FailureKind::Failed, format!("the pod already has {CONTAINERS_MAX} containers")));
        }
        let path = PathBuf::from(CONTAINERS).join(id).join(CONTAINER);
        let file: ContainerFile = read_json(&path).map_err(|error| (FailureKind::Invalid, error.to_string()))?;
        if file.id != id {
            return Err((FailureKind::Invalid, format!("{} is not of container {id}", path.display())));
        }
        let container = Supervised::new(&file);
        save(&container.record);
        self.containers.insert(id.to_owned(), container);
        self.outbox.push((None, Reply::Changed { id: id.to_owned() }));
        Ok(Some(Reply::Done))
    }

    fn start(&mut self, from: ConnectionId, id: &str) -> Answer {
        let config = self.config.clone();
        let container = self.find(id)?;
        match container.record.state {
            ContainerState::Running => return Ok(Some(Reply::Done)),
            ContainerState::Exited => return Err((FailureKind::Invalid, format!("container {id} has already ended"))),
            ContainerState::Created if container.starting => {
                return Err((FailureKind::Failed, format!("container {id} is being started")));
            }
            ContainerState::Created => {}
        }
        let record = &container.record;
        container.log = Some(Log::open(&record.log_path, config.log_bytes_max, config.log_files_max));
        // Collectors miss the log without the link; the container needs it not.
        let _ =
            log::link(&config.log_links, &config.pod_name, &config.pod_namespace, &record.name, id, &record.log_path);
        match container.spawn(id) {
            Ok(worker) => {
                container.starting = true;
                container.starter = Some(from);
                self.workers.insert(worker.pid, (worker, Vec::new(), At::Container(id.to_owned())));
                Ok(None)
            }
            Err(message) => {
                self.start_failed(id, &message);
                Err((FailureKind::Failed, message))
            }
        }
    }

    fn stop(&mut self, from: ConnectionId, id: &str, grace: Duration) -> Answer {
        let container = self.find(id)?;
        match (container.record.state, container.starting) {
            (ContainerState::Exited, _) => return Ok(Some(Reply::Done)),
            (ContainerState::Created, false) => {
                self.end(id, 128 + libc::SIGKILL, "Error", "stopped before it was started");
                return Ok(Some(Reply::Done));
            }
            _ => {}
        }
        container.stoppers.push(from);
        container.ask_to_stop(grace);
        self.tick(Instant::now());
        Ok(None)
    }

    fn remove(&mut self, from: ConnectionId, id: &str) -> Answer {
        let Ok(container) = self.find(id) else { return Ok(Some(Reply::Done)) };
        if container.record.state == ContainerState::Running || container.starting {
            container.removers.push(from);
            container.ask_to_stop(Duration::ZERO);
            self.tick(Instant::now());
            return Ok(None);
        }
        self.containers.remove(id);
        Ok(Some(Reply::Done))
    }

    fn exec(&mut self, from: ConnectionId, id: &str, process: ExecProcess, fds: Vec<OwnedFd>) -> Answer {
        let execs = self.execs.len() + self.workers.len();
        let container = self.find(id)?;
        if container.record.state != ContainerState::Running {
            return Err((FailureKind::Failed, format!("container {id} is not running")));
        }
        if execs >= EXECS_MAX {
            return Err((FailureKind::Failed, format!("{EXECS_MAX} commands already run in this pod")));
        }
        let streams = match (process.console.is_some(), <[OwnedFd; 3]>::try_from(fds)) {
            (true, _) => None,
            (false, Ok(streams)) => Some(streams),
            (false, Err(_)) => return Err((FailureKind::Invalid, "exec needs three file descriptors".to_owned())),
        };
        let exec = RunningExec { connection: from, outlives: process.outlives };
        let job = Job::Exec { id: id.to_owned(), process, streams };
        let worker = worker::spawn(job).map_err(|errno| (FailureKind::Failed, format!("failed to fork: {errno}")))?;
        self.workers.insert(worker.pid, (worker, Vec::new(), At::Exec { exec, pid: None }));
        Ok(None)
    }

    fn attach(&mut self, from: ConnectionId, id: &str, give_input: bool, fds: Vec<OwnedFd>) -> Answer {
        let container = self.find(id)?;
        if container.record.state != ContainerState::Running {
            return Err((FailureKind::Failed, format!("container {id} is not running")));
        }
        let fds = <[OwnedFd; 3]>::try_from(fds)
            .map_err(|_| (FailureKind::Invalid, "attach needs three file descriptors".to_owned()))?;
        container.attach(from, give_input, fds).map_err(|message| (FailureKind::Failed, message))?;
        Ok(Some(Reply::Started))
    }

    /// A container has written something, or closed the stream.
    pub(crate) fn output_ready(&mut self, id: &str, stream: Stream) {
        if let Some(container) = self.containers.get_mut(id) {
            container.read_output(stream, false);
        }
    }
}

type Failure = (FailureKind, String);
type Answer = Result<Option<Reply>, Failure>;

/// The program leads a session of its own; its children go with it.
pub(super) fn kill_exec(pid: i32) {
    // SAFETY: kill takes no memory; the process is our child and not reaped, so the number is its own.
    unsafe { libc::kill(-pid, libc::SIGKILL) };
}
