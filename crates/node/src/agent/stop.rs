//! The end of a pod on its node: preStop, SIGTERM, grace, SIGKILL, the sandbox, the volumes, the object.

use std::sync::Arc;
use std::time::{Duration, Instant};

use decide::pod_lifecycle::{self, Look, Memory, SeenContainer};
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};

use super::tell::ANSWER_MAX;
use super::{Agent, Picture, hooks, start};
use crate::runtime::{ContainerId, Runtime, RuntimeError};
use crate::volumes;

/// Wait between tries to delete a pod that nobody waits for.
const DELETE_EVERY: Duration = Duration::from_secs(5);

/// How long the containers of this pod may still take.
pub(super) fn grace(pod: &Pod) -> Duration {
    pod_lifecycle::stop::grace_left(pod, Timestamp::now()).try_into().unwrap_or_default()
}

/// Stops one container: hook, then signal, within `grace` all together.
pub(super) async fn stop_one<R: Runtime>(
    agent: &Agent<R>,
    pod: &Pod,
    seen: &SeenContainer,
    pod_ip: &str,
    grace: Duration,
    with_hook: bool,
) -> Result<(), RuntimeError> {
    let shortest: Duration = pod_lifecycle::stop::GRACE_MIN.try_into().unwrap_or_default();
    let id = ContainerId(seen.id.clone());
    let spec = start::find(pod, &seen.name);
    let hook = spec.and_then(|s| Some((s, s.lifecycle.as_ref()?.pre_stop.as_ref()?)));
    let begin = Instant::now();
    if let Some((spec, hook)) = hook.filter(|_| with_hook) {
        let result = tokio::time::timeout(grace, hooks::run(agent, &id, spec, hook, pod_ip, grace)).await;
        if !matches!(result, Ok(Ok(()))) {
            agent.recorder.pod_event(pod, Some(&seen.name), true, "FailedPreStopHook", "PreStopHook failed");
        }
    }
    agent.runtime.stop_container(&id, grace.saturating_sub(begin.elapsed()).max(shortest)).await
}

/// Stops all that runs, wave by wave. `first`: tells it and runs the hooks; a second call only makes it quicker.
pub(super) async fn stop_all<R: Runtime>(
    agent: &Agent<R>,
    pod: &Pod,
    picture: &Picture,
    pod_ip: &str,
    first: bool,
) -> Result<(), RuntimeError> {
    let memory = Memory::default();
    let now = Timestamp::now();
    let look = Look { pod, sandbox: picture.sandbox.as_ref(), containers: &picture.containers, memory: &memory, now };
    let end = Instant::now() + grace(pod);
    let shortest: Duration = pod_lifecycle::stop::GRACE_MIN.try_into().unwrap_or_default();
    for wave in pod_lifecycle::stop::waves(&look) {
        let left = end.saturating_duration_since(Instant::now()).max(shortest);
        if first {
            for seen in &wave {
                let text = format!("Stopping container {}", seen.name);
                agent.recorder.pod_event(pod, Some(&seen.name), false, "Killing", &text);
            }
        }
        let stops = wave.iter().map(|seen| stop_one(agent, pod, seen, pod_ip, left, first));
        for result in join_all(stops).await {
            result?;
        }
    }
    Ok(())
}

/// Removes the pod's sandboxes, its volumes and its directories. What it logged goes too: nobody can ask for it.
pub(super) async fn clean<R: Runtime>(agent: &Agent<R>, uid: &str, pod: Option<&Pod>) -> Result<(), RuntimeError> {
    for sandbox in agent.runtime.list_pod_sandboxes().await? {
        if sandbox.config.uid != uid {
            continue;
        }
        agent.runtime.stop_pod_sandbox(&sandbox.id).await?;
        agent.runtime.remove_pod_sandbox(&sandbox.id).await?;
        agent.forget_sandbox(&sandbox.id);
    }
    if let Err(error) = volumes::remove(agent.options.pod_dir(uid)).await {
        return Err(RuntimeError::Failed(error.to_string()));
    }
    if let Some(pod) = pod {
        remove_logs(agent, uid, pod).await;
    }
    Ok(())
}

async fn remove_logs<R>(agent: &Agent<R>, uid: &str, pod: &Pod) {
    let (Some(namespace), Some(name)) = (&pod.metadata.namespace, &pod.metadata.name) else { return };
    let logs = agent.options.log_directory(namespace, name, uid);
    let removal = move || match std::fs::remove_dir_all(&logs) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!("logs in {} stay: {error}", logs.display());
        }
        _ => {}
    };
    drop(tokio::task::spawn_blocking(removal).await);
}

/// Tells the API server that nothing of the pod is left here. True when the object is gone, or is another one by now.
pub(super) async fn delete_object<R>(agent: &Arc<Agent<R>>, pod: &Pod) -> bool {
    let (Some(namespace), Some(name)) = (&pod.metadata.namespace, &pod.metadata.name) else { return true };
    let pods: Api<Pod> = Api::namespaced(agent.client.clone(), namespace);
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None }),
        ..Default::default()
    };
    match tokio::time::timeout(ANSWER_MAX, pods.delete(name, &params)).await {
        Ok(Ok(_)) => true,
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => true,
        Ok(Err(error)) => {
            tracing::debug!("pod {namespace}/{name} ended but can't be deleted yet: {error}");
            false
        }
        Err(_) => {
            tracing::debug!("pod {namespace}/{name} ended but can't be deleted yet: no answer within {ANSWER_MAX:?}");
            false
        }
    }
}

/// The same without waiting for it: tries until it is done, or until the agent ends and the next one hears of the pod.
pub(super) fn delete_later<R: Runtime>(agent: &Arc<Agent<R>>, pod: Arc<Pod>) {
    let agent = Arc::clone(agent);
    tokio::spawn(async move {
        let done = async {
            while !delete_object(&agent, &pod).await {
                tokio::time::sleep(DELETE_EVERY).await;
            }
        };
        agent.shutdown.run_until_cancelled(done).await;
    });
}
