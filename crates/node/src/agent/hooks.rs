//! postStart and preStop.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use super::Agent;
use crate::probe::{self, Outcome};
use crate::runtime::{ContainerId, Runtime};

/// A postStart hook may take this long. Kubernetes gives no bound; without one a hook that hangs holds its pod for ever.
pub(super) const POST_START_MAX: Duration = Duration::from_secs(600);

/// Runs a hook; `pod_ip` is where httpGet goes by default.
///
/// # Errors
/// Why it failed, for people.
pub(super) async fn run<R: Runtime>(
    agent: &Agent<R>,
    id: &ContainerId,
    container: &Container,
    handler: &LifecycleHandler,
    pod_ip: &str,
    timeout: Duration,
) -> Result<(), String> {
    if let Some(exec) = &handler.exec {
        let command = exec.command.clone().unwrap_or_default();
        let output = agent.runtime.exec_sync(id, command.clone(), timeout).await.map_err(|e| e.to_string())?;
        return match output.exit_code {
            0 => Ok(()),
            code => Err(format!("command {command:?} exited with {code}: {}", String::from_utf8_lossy(&output.stderr))),
        };
    }
    if let Some(get) = &handler.http_get {
        return match probe::http::get(get, container, pod_ip, timeout).await {
            Outcome::Success => Ok(()),
            Outcome::Failure(text) | Outcome::Error(text) => Err(text),
        };
    }
    if let Some(sleep) = &handler.sleep {
        let wanted = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0));
        tokio::time::sleep(wanted.min(timeout)).await;
        return Ok(());
    }
    Err("no handler this node supports (exec, httpGet, sleep)".to_owned())
}
