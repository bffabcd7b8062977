//! What the runtime shows of one pod.

use std::net::IpAddr;

use decide::pod_lifecycle::{SeenContainer, SeenSandbox, SeenState};

use crate::runtime::{ContainerState, ContainerStatus, Runtime, RuntimeError, SandboxId, SandboxStatus};

/// One look at the runtime.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    /// The newest one.
    pub(crate) sandbox: Option<SeenSandbox>,
    /// Older ones, to be removed.
    pub(crate) older: Vec<SandboxId>,
    /// All containers of the pod.
    pub(crate) containers: Vec<SeenContainer>,
    /// As the runtime has them, in the same order.
    pub(crate) statuses: Vec<ContainerStatus>,
    /// Addresses of the newest sandbox.
    pub(crate) ips: Vec<IpAddr>,
}

impl Picture {
    /// The newest sandbox.
    pub(crate) fn sandbox_id(&self) -> Option<SandboxId> {
        self.sandbox.as_ref().map(|s| SandboxId(s.id.clone()))
    }

    /// True while some container runs.
    pub(crate) fn runs(&self) -> bool {
        self.containers.iter().any(|c| c.state == SeenState::Running)
    }
}

/// Looks at the sandboxes and containers of the pod with this UID.
pub(crate) async fn observe<R: Runtime>(runtime: &R, uid: &str) -> Result<Picture, RuntimeError> {
    let mut sandboxes: Vec<SandboxStatus> =
        runtime.list_pod_sandboxes().await?.into_iter().filter(|s| s.config.uid == uid).collect();
    if sandboxes.is_empty() {
        return Ok(Picture::default());
    }
    sandboxes.sort_by_key(|s| (s.config.attempt, s.created_at));
    let statuses: Vec<ContainerStatus> =
        runtime.list_containers().await?.into_iter().filter(|c| sandboxes.iter().any(|s| s.id == c.sandbox)).collect();
    let newest = sandboxes.pop();
    Ok(Picture {
        sandbox: newest.as_ref().map(|s| SeenSandbox { id: s.id.0.clone(), ready: s.ready, attempt: s.config.attempt }),
        ips: newest.map(|s| s.ips).unwrap_or_default(),
        older: sandboxes.into_iter().map(|s| s.id).collect(),
        containers: statuses.iter().map(|status| seen(runtime.name(), status)).collect(),
        statuses,
    })
}

fn seen(runtime: String, status: &ContainerStatus) -> SeenContainer {
    SeenContainer {
        runtime,
        id: status.id.0.clone(),
        sandbox: status.sandbox.0.clone(),
        name: status.name.clone(),
        attempt: status.attempt,
        state: match status.state {
            ContainerState::Created => SeenState::Created,
            ContainerState::Running => SeenState::Running,
            ContainerState::Exited => SeenState::Exited,
        },
        started_at: status.started_at,
        finished_at: status.finished_at,
        exit_code: status.exit_code.unwrap_or_default(),
        reason: status.reason.clone(),
        message: status.message.clone(),
        image: status.image.clone(),
        image_id: status.image_id.clone(),
    }
}
