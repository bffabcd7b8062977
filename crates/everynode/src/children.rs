//! The processes that `up` starts: this binary again, as `server` and as `agent`.
//!
//! # Invariants
//! - A child ends when its parent does, however that ends: no control plane is left that nobody knows of.
//! - Its output goes to a file of its own; standard input is closed.
//! - A child that ends by itself is started again, after a wait that doubles.
//!
//! # Absent
//! Containers: they belong to shims, which outlive every child.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::process::{Child, Command};

/// The first wait before a child that ended is started again.
const RESTART_DELAY_MIN: Duration = Duration::from_millis(200);
/// The longest: a child that can't start should not keep the machine busy.
const RESTART_DELAY_MAX: Duration = Duration::from_secs(30);
/// A child that ran this long counts as healthy: its next end starts with the shortest wait again.
const HEALTHY: Duration = Duration::from_secs(60);
/// How long a child may take to end after SIGTERM.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// A log file larger than this becomes FILE.1 when its process starts.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// One child and how to start it again.
pub(crate) struct Process {
    pub(crate) name: String,
    args: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    started: Instant,
    delay: Duration,
    due: Option<Instant>,
}

impl Process {
    /// Starts this binary with `args`.
    pub(crate) fn start(name: &str, args: Vec<String>, log: PathBuf) -> Result<Self> {
        let mut process = Self {
            name: name.into(),
            args,
            log,
            child: None,
            started: Instant::now(),
            delay: RESTART_DELAY_MIN,
            due: None,
        };
        process.spawn()?;
        Ok(process)
    }

    /// Its process id while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// The last line it wrote: why it ended, as every command of ours says that in one line.
    pub(crate) fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines()
            .rev()
            .find(|l| !l.trim().is_empty())
            .unwrap_or("it said nothing")
            .trim_start_matches("error: ")
            .to_owned()
    }

    /// True once when it has ended.
    pub(crate) fn ended(&mut self) -> bool {
        let ended = matches!(self.child.as_mut().map(Child::try_wait), Some(Ok(Some(_)) | Err(_)));
        if ended {
            self.child = None;
            if self.started.elapsed() > HEALTHY {
                self.delay = RESTART_DELAY_MIN;
            }
            self.due = Some(Instant::now() + self.delay);
            self.delay = (self.delay * 2).min(RESTART_DELAY_MAX);
        }
        ended
    }

    /// Starts it again when its wait is over.
    pub(crate) fn restart_if_due(&mut self) -> Result<bool> {
        if self.child.is_some() || self.due.is_none_or(|due| due > Instant::now()) {
            return Ok(false);
        }
        self.due = None;
        self.spawn()?;
        Ok(true)
    }

    /// SIGTERM, then SIGKILL; returns when it is gone.
    pub(crate) async fn stop(&mut self) {
        self.due = None;
        let Some(mut child) = self.child.take() else { return };
        if let Some(pid) = child.id() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::Signal::SIGTERM);
        }
        if tokio::time::timeout(STOP_GRACE, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }

    fn spawn(&mut self) -> Result<()> {
        let log = open_log(&self.log)?;
        let exe = std::env::current_exe().context("where is this binary")?;
        let mut command = Command::new(exe);
        command.args(&self.args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        die_with_parent(&mut command);
        self.child = Some(command.spawn().with_context(|| format!("start {}", self.name))?);
        self.started = Instant::now();
        Ok(())
    }
}

/// Opens a log file for appending; a large one is set aside first.
pub(crate) fn open_log(path: &Path) -> Result<File> {
    if std::fs::metadata(path).is_ok_and(|m| m.len() > LOG_BYTES_MAX) {
        std::fs::rename(path, path.with_extension("log.1")).with_context(|| path.display().to_string())?;
    }
    OpenOptions::new().create(true).append(true).open(path).with_context(|| path.display().to_string())
}

#[allow(unsafe_code)]
fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: between fork and exec only async-signal-safe calls are made: prctl, getppid, setpgid.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)?;
            // A group of its own: Ctrl-C reaches `up` alone, which then ends its children in order.
            nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0))?;
            if nix::unistd::getppid().as_raw() as u32 != parent {
                return Err(std::io::Error::other("the parent is gone"));
            }
            Ok(())
        });
    }
}
