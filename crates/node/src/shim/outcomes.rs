//! The kernel's news of the pod: what workers report, which children ended, and what follows for containers and execs.

use std::os::fd::AsFd as _;

use jiff::Timestamp;

use super::protocol::{FailureKind, Reply};
use super::streams;
use super::supervised::{save, start_ticks};
use super::supervisor::{At, NOBODY, RunningExec, Shim, kill_exec};
use super::worker::{Report, Worker};
use crate::runtime::ContainerState;

/// Exits without an owner that are kept while a worker is to report one.
const ORPHANS_MAX: usize = 256;
/// Exit code of a container that could not be started, as containerd has it.
const START_ERROR_CODE: i32 = 128;

impl Shim {
    /// A worker has something to say, or has ended.
    pub(crate) fn worker_ready(&mut self, pid: i32) {
        let Some((worker, buffer, _)) = self.workers.get_mut(&pid) else { return };
        let ended = streams::read_available(worker.reports.as_fd(), buffer);
        while let Some((_, buffer, _)) = self.workers.get_mut(&pid)
            && let Some(end) = buffer.iter().position(|byte| *byte == b'\n')
        {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(report) => self.report(pid, report),
                Err(_) => self.report(pid, Report::Failed("the worker is of another version".to_owned())),
            }
        }
        if ended && self.workers.contains_key(&pid) {
            self.report(pid, Report::Failed("the process that starts it was killed".to_owned()));
        }
        if self.workers.is_empty() {
            self.orphans.clear();
        }
    }

    fn report(&mut self, worker: i32, report: Report) {
        match (report, self.workers.remove(&worker)) {
            (_, None) => {}
            (Report::Pid(pid), Some((handle, buffer, At::Container(id)))) => {
                self.container_made(&id, pid, &handle);
                self.workers.insert(worker, (handle, buffer, At::Container(id)));
            }
            (Report::Pid(pid), Some((handle, buffer, At::Exec { exec, .. }))) => {
                if exec.connection == NOBODY && !exec.outlives {
                    kill_exec(pid);
                }
                self.execs.insert(pid, exec);
                self.workers.insert(worker, (handle, buffer, At::Exec { exec, pid: Some(pid) }));
            }
            (Report::Started, Some((.., At::Container(id)))) => self.container_started(&id),
            (Report::Started, Some((.., At::Exec { exec: RunningExec { connection, .. }, pid }))) => {
                self.outbox.push((Some(connection), Reply::Started));
                if let Some(code) = pid.and_then(|pid| self.take_orphan(pid)) {
                    self.execs.retain(|running, _| Some(*running) != pid);
                    self.outbox.push((Some(connection), Reply::Exited { code }));
                }
            }
            (Report::Failed(message), Some((.., At::Container(id)))) => {
                let starter = self.containers.get_mut(&id).and_then(|container| container.starter.take());
                self.start_failed(&id, &message);
                self.outbox.push((starter, Reply::failed(FailureKind::Failed, message)));
            }
            (Report::Failed(message), Some((.., At::Exec { exec: RunningExec { connection, .. }, pid }))) => {
                self.execs.retain(|running, _| Some(*running) != pid);
                self.outbox.push((Some(connection), Reply::failed(FailureKind::Failed, message)));
            }
        }
    }

    fn container_made(&mut self, id: &str, pid: i32, worker: &Worker) {
        let early = self.take_orphan(pid);
        let Some(container) = self.containers.get_mut(id) else { return };
        container.record.pid = Some(pid);
        container.record.pid_start = start_ticks(pid);
        container.exited_early = early;
        save(&container.record);
        if let Some(console) = container.console.take() {
            container.outputs[0] = streams::take_terminal(&console);
        }
        let _ = nix::unistd::write(&worker.go, b"g");
    }

    fn container_started(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.starting = false;
        container.record.state = ContainerState::Running;
        container.record.started_at = Some(Timestamp::now());
        save(&container.record);
        if let Some(starter) = container.starter.take() {
            self.outbox.push((Some(starter), Reply::Done));
        }
        self.outbox.push((None, Reply::Changed { id: id.to_owned() }));
        if let Some(code) = container.exited_early {
            self.container_exited(id, code);
        } else if container.stopping {
            // It was asked to stop before it ran, so the signal met nobody.
            container.signal_stop();
        }
    }

    pub(super) fn start_failed(&mut self, id: &str, message: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        self.groups.kill(&container.record.cgroup);
        self.end(id, START_ERROR_CODE, "StartError", message);
    }

    fn take_orphan(&mut self, pid: i32) -> Option<i32> {
        let at = self.orphans.iter().position(|(orphan, _)| *orphan == pid)?;
        self.orphans.remove(at).map(|(_, code)| code)
    }

    /// A child has ended.
    pub(crate) fn reaped(&mut self, pid: i32, code: i32) {
        if let Some(RunningExec { connection, .. }) = self.execs.get(&pid).copied() {
            let starting =
                self.workers.values().any(|(.., at)| matches!(at, At::Exec { pid: Some(of), .. } if *of == pid));
            if starting {
                self.orphans.push_back((pid, code));
            } else {
                self.execs.remove(&pid);
                self.outbox.push((Some(connection), Reply::Exited { code }));
            }
            return;
        }
        let owner = self.containers.iter().find(|(_, container)| container.record.pid == Some(pid));
        if let Some((id, container)) = owner {
            let (id, starting) = (id.clone(), container.starting);
            if !starting {
                self.container_exited(&id, code);
            } else if let Some(container) = self.containers.get_mut(&id) {
                container.exited_early = Some(code);
            }
        } else if !self.workers.is_empty() {
            self.orphans.push_back((pid, code));
            if self.orphans.len() > ORPHANS_MAX {
                self.orphans.pop_front();
            }
        }
    }

    fn container_exited(&mut self, id: &str, code: i32) {
        let Some(container) = self.containers.get_mut(id) else { return };
        self.groups.kill(&container.record.cgroup);
        let reason = match code {
            _ if self.groups.oom_kills(&container.record.cgroup) > 0 => "OOMKilled",
            0 => "Completed",
            _ => "Error",
        };
        self.end(id, code, reason, "");
    }

    pub(super) fn end(&mut self, id: &str, code: i32, reason: &str, message: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.end(code, reason, message);
        for waiter in container.stoppers.drain(..) {
            self.outbox.push((Some(waiter), Reply::Done));
        }
        let removers = std::mem::take(&mut container.removers);
        self.outbox.push((None, Reply::Changed { id: id.to_owned() }));
        if !removers.is_empty() {
            self.containers.remove(id);
            self.outbox.extend(removers.into_iter().map(|waiter| (Some(waiter), Reply::Done)));
        }
    }
}
