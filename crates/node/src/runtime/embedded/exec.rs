//! Commands in running containers.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::fcntl::OFlag;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use super::Inner;
use super::client::{Running, within};
use super::parts::{Images, PodNetwork};
use crate::runtime::{ContainerId, ExecOutput, RuntimeError};
use crate::shim::protocol::{ExecProcess, Request};

/// What a command's output is cut at: kubelet reads 10 KiB of a probe's, people's commands stream.
const OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// After the command's end, children that it left may hold its output open for ever.
const LATE_OUTPUT_MAX: Duration = Duration::from_millis(100);

fn failed(error: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Failed(format!("failed to make the command's streams: {error}"))
}

/// A pipe out of the container: our end, its end.
fn output() -> Result<(pipe::Receiver, OwnedFd), RuntimeError> {
    let (ours, inside) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    Ok((pipe::Receiver::from_owned_fd(ours).map_err(failed)?, inside))
}

impl<I: Images, N: PodNetwork> Inner<I, N> {
    pub(crate) async fn exec_sync(
        &self,
        id: &ContainerId,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        let (sandbox, _) = self.container(id)?;
        let (mut out, stdout) = output()?;
        let (mut err, stderr) = output()?;
        let stdin = File::open("/dev/null").map_err(failed)?.into();
        let request =
            Request::Exec { id: id.0.clone(), process: ExecProcess { command, console: None, outlives: false } };
        let (mut stdout_bytes, mut stderr_bytes) = (Vec::new(), Vec::new());
        let work = async {
            let mut running = Running::start(&sandbox.dir, &request, vec![stdin, stdout, stderr]).await?;
            let reading = async { tokio::join!(read(&mut out, &mut stdout_bytes), read(&mut err, &mut stderr_bytes)) };
            tokio::pin!(reading);
            tokio::select! {
                _ = &mut reading => running.wait().await,
                code = running.wait() => {
                    let _ = tokio::time::timeout(LATE_OUTPUT_MAX, reading).await;
                    code
                }
            }
        };
        let exit_code = if timeout.is_zero() { work.await? } else { within(timeout, work).await? };
        Ok(ExecOutput { stdout: stdout_bytes, stderr: stderr_bytes, exit_code })
    }
}

/// Reads to the end; keeps the first [`OUTPUT_BYTES_MAX`].
async fn read(from: &mut pipe::Receiver, to: &mut Vec<u8>) {
    let mut chunk = [0; 8192];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        let room = OUTPUT_BYTES_MAX.saturating_sub(to.len()).min(count);
        to.extend_from_slice(&chunk[..room]);
    }
}
