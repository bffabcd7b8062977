//! A server of our own, as a process in a directory that goes with it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Connection, Target};

/// The kernel's clock ticks in /proc: fixed for user space.
const TICKS_PER_SECOND: f64 = 100.0;
/// A server that is not ready after this is broken.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Process {
    child: Child,
    dir: tempfile::TempDir,
}

/// What processes have used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_mib: f64,
    /// The most that was resident at once.
    pub(crate) peak_mib: f64,
}

impl Process {
    /// Starts `binary server`, with its controllers or without, and waits until it is ready.
    pub(crate) async fn start(binary: &Path, below: &Path, controllers: bool) -> Result<(Process, Target)> {
        let dir = tempfile::Builder::new().prefix("everynode-load-").tempdir_in(below)?;
        let mut command = Command::new(binary);
        command.args(["server", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.path());
        if !controllers {
            command.arg("--no-controllers");
        }
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| binary.display().to_string())?;
        let process = Process { child, dir };
        let began = Instant::now();
        loop {
            if let Ok(target) = process.ready().await {
                return Ok((process, target));
            }
            if began.elapsed() > START_TIMEOUT {
                bail!("{} is not ready after {START_TIMEOUT:?}", binary.display());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn ready(&self) -> Result<Target> {
        let target = Target::read(&self.kubeconfig()).await?;
        Connection::open(&target).await?.read("/readyz", "*/*").await?.done()?;
        Ok(target)
    }

    /// Its administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("admin.kubeconfig")
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Usage {
    /// What these processes have used until now, together.
    pub(crate) fn of(processes: &[u32]) -> Usage {
        processes.iter().fold(Usage::default(), |sum, id| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            // After the command's name in brackets: user and system time are the 12th and 13th word.
            let words: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks = |at: usize| words.get(at).and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
            let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            let mib = |field: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
                line.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
            };
            Usage {
                cpu_seconds: sum.cpu_seconds + (ticks(11) + ticks(12)) / TICKS_PER_SECOND,
                resident_mib: sum.resident_mib + mib("VmRSS:"),
                peak_mib: sum.peak_mib + mib("VmHWM:"),
            }
        })
    }
}
