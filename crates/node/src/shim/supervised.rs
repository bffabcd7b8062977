//! One container as the shim holds it: its record, its streams, who waits for it.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::files::{CONTAINERS, ContainerFile, Record, STATE, write_json};
use super::log::{Log, Stream};
use super::streams;
use super::supervisor::ConnectionId;
use super::watcher::{WATCHERS_MAX, Watcher, send_fd};
use super::worker::{self, Job, Worker};
use crate::runtime::ContainerState;

/// One container.
#[derive(Debug)]
pub(super) struct Supervised {
    pub(super) record: Record,
    stop_signal: i32,
    with_stdin: bool,
    with_tty: bool,
    pub(super) log: Option<Log>,
    /// Where standard output and error are read; a terminal is in the first.
    pub(super) outputs: [Option<OwnedFd>; 2],
    /// Holds standard input open.
    stdin: Option<OwnedFd>,
    /// Takes the terminal from libcontainer.
    pub(super) console: Option<UnixListener>,
    pub(super) starting: bool,
    /// Asked to start, to be told.
    pub(super) starter: Option<ConnectionId>,
    pub(super) exited_early: Option<i32>,
    pub(super) kill_at: Option<Instant>,
    pub(super) stopping: bool,
    /// Wait for its end.
    pub(super) stoppers: Vec<ConnectionId>,
    /// Wait for its end and want it forgotten.
    pub(super) removers: Vec<ConnectionId>,
    /// Read along.
    pub(super) watchers: Vec<Watcher>,
}

impl Supervised {
    /// Made, not started.
    pub(super) fn new(file: &ContainerFile) -> Self {
        Self {
            stop_signal: file.stop_signal,
            with_stdin: file.stdin,
            with_tty: file.tty,
            record: Record::new(file),
            log: None,
            outputs: [None, None],
            stdin: None,
            console: None,
            starting: false,
            starter: None,
            exited_early: None,
            kill_at: None,
            stopping: false,
            stoppers: Vec::new(),
            removers: Vec::new(),
            watchers: Vec::new(),
        }
    }

    pub(super) fn spawn(&mut self, id: &str) -> Result<Worker, String> {
        let (streams, console) = if self.with_tty {
            let path = std::env::current_dir()
                .map_err(|error| format!("no working directory: {error}"))?
                .join(CONTAINERS)
                .join(id)
                .join("console.sock");
            self.console = Some(streams::listen_for_terminal(id).map_err(|error| format!("terminal: {error}"))?);
            (None, Some(path))
        } else {
            let made = streams::for_container(self.with_stdin).map_err(|error| format!("standard streams: {error}"))?;
            self.outputs = made.outputs;
            self.stdin = made.stdin;
            (Some(made.inside), None)
        };
        worker::spawn(Job::Container { id: id.to_owned(), streams, console })
            .map_err(|errno| format!("failed to fork: {errno}"))
    }

    /// Adds a reader of what it writes from now on, and hands its input over.
    ///
    /// # Errors
    /// Too many are attached, or the kernel refuses.
    pub(super) fn attach(
        &mut self,
        connection: ConnectionId,
        give_input: bool,
        [stdout, stderr, socket]: [OwnedFd; 3],
    ) -> Result<(), String> {
        if self.watchers.len() >= WATCHERS_MAX {
            return Err(format!("{WATCHERS_MAX} clients are already attached to the container"));
        }
        let watcher = Watcher::new(connection, stdout, stderr).map_err(|errno| format!("failed to attach: {errno}"))?;
        let input = if self.with_tty { self.outputs[0].as_ref() } else { self.stdin.as_ref() };
        if let Some(input) = input {
            send_fd(&socket, input).map_err(|errno| format!("failed to hand the input over: {errno}"))?;
        }
        if give_input && !self.with_tty {
            self.stdin = None;
        }
        self.watchers.push(watcher);
        Ok(())
    }

    /// The record of its end; streams are read to what is there, and closed.
    pub(super) fn end(&mut self, code: i32, reason: &str, message: &str) {
        let now = Timestamp::now();
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.read_output(stream, true);
            if let Some(log) = &mut self.log {
                log.finish(stream, now);
            }
        }
        self.outputs = [None, None];
        self.console = None;
        self.stdin = None;
        self.log = None;
        self.watchers.clear();
        self.starting = false;
        self.kill_at = None;
        let record = &mut self.record;
        record.state = ContainerState::Exited;
        record.pid = None;
        record.pid_start = None;
        record.finished_at = Some(now);
        record.exit_code = Some(code);
        record.reason = reason.to_owned();
        record.message = message.to_owned();
        save(record);
    }

    pub(super) fn ask_to_stop(&mut self, grace: Duration) {
        let at = Instant::now() + grace;
        self.kill_at = Some(self.kill_at.map_or(at, |before| before.min(at)));
        if !self.stopping {
            self.stopping = true;
            if self.record.state == ContainerState::Running {
                self.signal_stop();
            }
        }
    }

    pub(super) fn signal_stop(&self) {
        if let Some(pid) = self.record.pid {
            // SAFETY: kill takes no memory; the process is our child and not reaped, so the number is its own.
            unsafe { libc::kill(pid, self.stop_signal) };
        }
    }

    /// Moves what there is to the log; to the end of what there is when `all`.
    pub(super) fn read_output(&mut self, stream: Stream, all: bool) {
        let slot = &mut self.outputs[stream as usize];
        let Some(fd) = slot else { return };
        let (log, watchers) = (&mut self.log, &mut self.watchers);
        let open = streams::read_output(fd.as_fd(), all, &mut |bytes| {
            watchers.retain_mut(|watcher| watcher.take(stream, bytes));
            if let Some(log) = log {
                log.take(stream, bytes, Timestamp::now());
            }
        });
        if !open {
            *slot = None;
            watchers.iter_mut().for_each(|watcher| watcher.outputs[stream as usize] = None);
        }
        if let Some(log) = log
            && std::mem::take(&mut log.rotated)
        {
            streams::compress_in_child(log.path());
        }
    }
}

pub(super) fn save(record: &Record) {
    // Memory is all that can fail here; the agent then sees the older state until the next change.
    let _ = write_json(&Path::new(CONTAINERS).join(&record.id).join(STATE), record);
}

/// When a process began, in clock ticks since boot; with its number it names it for ever.
pub(crate) fn start_ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything; field 22 is the 20th after it.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}
