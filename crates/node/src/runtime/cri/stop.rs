//! The end of a container that has a signal of its own.
//!
//! The interface's newest version can be told such a signal, and runtimes that do not know it take no notice. So the agent
//! sends it, and leaves to the runtime what is left when the grace is over.

use std::time::Duration;

use tokio::time::Instant;

use super::container::STOP_SIGNAL;
use super::info::inside;
use super::proto::container as cri;
use super::{ANSWER_MAX, Shared, container};
use crate::runtime::{ContainerId, RuntimeError, signal};

/// How often it is asked whether the container has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Shared {
    /// Stops a container; returns when it has ended.
    pub(super) async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        let left = match self.send_own_signal(id).await {
            Ok(true) => self.wait_for_end(id, grace).await,
            Ok(false) => grace,
            Err(RuntimeError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let question = cri::StopRequest { id: id.0.clone(), timeout: container::seconds(left) };
        self.ask_gone(left + ANSWER_MAX, cri::STOP, question).await
    }

    async fn told(&self, id: &ContainerId) -> Result<cri::StatusResponse, RuntimeError> {
        self.client.ask(cri::STATUS, cri::StatusRequest { id: id.0.clone(), verbose: true }).await
    }

    /// True when the container has a signal of its own, and it was sent.
    async fn send_own_signal(&self, id: &ContainerId) -> Result<bool, RuntimeError> {
        let told = self.told(id).await?;
        let status = told.status.unwrap_or_default();
        let runs = status.state == i32::from(cri::State::Running);
        let own = status.annotations.get(STOP_SIGNAL).and_then(|name| signal::number(name).ok());
        let (Some(number), Some(pid)) = (own.filter(|_| runs), inside(&told.info).pid) else { return Ok(false) };
        let process = rustix::process::Pid::from_raw(pid)
            .and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok());
        let Some(process) = process else { return Ok(false) };
        // It may have ended in between, and its number be another's: what is held is the container's if that still runs.
        let still = self.told(id).await?.status.unwrap_or_default();
        if still.state != i32::from(cri::State::Running) {
            return Ok(false);
        }
        use std::os::fd::AsRawFd as _;
        // SAFETY: no memory is passed; the descriptor is open.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), number, 0, 0) };
        Ok(sent == 0)
    }

    /// What is left of the grace when there is nothing more to wait for: none.
    async fn wait_for_end(&self, id: &ContainerId, grace: Duration) -> Duration {
        let end = Instant::now() + grace;
        loop {
            let state = self.told(id).await.map(|told| told.status.unwrap_or_default().state);
            if matches!(state, Ok(state) if state != i32::from(cri::State::Running))
                || matches!(state, Err(RuntimeError::NotFound(_)))
                || Instant::now() >= end
            {
                return Duration::ZERO;
            }
            tokio::time::sleep(LOOK_EVERY.min(end.saturating_duration_since(Instant::now()))).await;
        }
    }
}
